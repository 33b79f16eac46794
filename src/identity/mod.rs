//! Who we are and stop being: accounts, the group file, socket access, the drop.

/// Proof that this process is root and has not dropped yet.
///
/// What needs root takes `&Root`. The token cannot be copied, and
/// [`Root::drop`] consumes it, so nothing privileged can run after the drop.
#[derive(Debug)]
pub struct Root(());

/// Proof that root is gone (or was never there).
///
/// What must never run as root takes `&Dropped`.
#[derive(Debug)]
pub struct Dropped(());

impl Root {
    /// The token, if the effective uid is 0.
    pub fn detect() -> Option<Self> {
        nix::unistd::geteuid().is_root().then_some(Self(()))
    }
}

#[cfg(test)]
impl Dropped {
    /// The token, for tests.
    pub fn for_tests() -> Self {
        Self(())
    }
}
