//! The identity of this process and how it gives up root: accounts, group file, socket access,
//! drop.
//!
//! The root phase calls, in this order: [`resolve`] → [`grant_access`] → [`hand_over`] →
//! [`Root::drop`]. The decisions are pure functions ([`group_file`], [`supplementary`], the plan of
//! [`membership`]); the system calls of the drop go through [`Kernel`].

pub mod above;
pub mod access;
pub mod account;
pub mod database;
pub mod etc;
pub mod group_file;
pub mod kernel;
pub mod membership;
pub mod privileges;
pub mod stdio;

pub use above::root_above;
pub use access::{Access, AccessRequest, foresee_access, grant_access};
pub use account::{
    Account, IdentityError, current, group, group_name, groups_of_root, known_user, resolve,
};
pub use kernel::{Kernel, Linux, container, may_chown};
pub use privileges::{DropError, Target, inherited_groups, passed_on, supplementary};
pub use stdio::hand_over;

/// Proof that this process is root and has not dropped yet.
///
/// A function that needs root takes `&Root`. The token cannot be copied, and [`Root::drop`]
/// consumes it, so nothing privileged can run after the drop.
#[derive(Debug)]
pub struct Root(());

/// Proof that the decision about root is made: root was dropped, was never there, or was kept on
/// purpose (the old root layout, [`Root::stay`]).
///
/// A function that must not run earlier takes `&Dropped`.
#[derive(Debug, Clone, Copy)]
pub struct Dropped(());

impl Root {
    /// Returns the token if the effective uid is 0.
    pub fn detect() -> Option<Self> {
        nix::unistd::geteuid().is_root().then_some(Self(()))
    }
}

#[cfg(test)]
impl Dropped {
    /// Returns the token for tests.
    pub fn for_tests() -> Self {
        Self(())
    }
}
