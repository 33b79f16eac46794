//! The identity of this process and how it gives up root: accounts, standard streams, drop.
//!
//! The root phase calls, in this order: [`resolve`] → [`group_access`](crate::group_access) →
//! [`hand_over_stdio`] → [`Root::drop`]. The groups that stay are a pure decision
//! ([`supplementary`]); the system calls of the drop go through [`Kernel`].

pub mod account;
mod ancestors;
pub mod database;
pub mod privileges;
pub mod stdio;
pub mod syscall;

pub use account::{
    Account, IdentityError, current, group, group_name, groups_of_root, known_user, resolve,
};
pub use ancestors::{parent_with, root_parent};
pub use database::has_name_service;
pub use privileges::{DropError, Target, split_inherited, supplementary};
pub use stdio::hand_over_stdio;
pub use syscall::{Kernel, Linux, may_chown};

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
impl Root {
    /// Returns the token for tests.
    pub fn for_tests() -> Self {
        Self(())
    }
}

#[cfg(test)]
impl Dropped {
    /// Returns the token for tests.
    pub fn for_tests() -> Self {
        Self(())
    }
}
