//! The first process of an AI Lab container.
//!
//! # The phases of a start
//!
//! 1. **Settings** ([`settings`]): flags, environment and TOML file become one checked
//!    value before anything is changed. [`cli`] defines the command line.
//! 2. **Root phase**, only if started as root: the notebooks volume gets its owner
//!    ([`volume::claim`]), the user gets access to the Docker socket
//!    ([`group_access::grant_access`]), and root is dropped for good
//!    ([`identity::Root::drop`]).
//! 3. **User phase**: the notebook defaults are copied to the volume ([`volume::bring_in`]), the
//!    password is set ([`password`]), and core dumps are disabled.
//! 4. **Serve**: the [`supervisor`] starts the server, forwards signals, reaps children and ends
//!    all processes in order; [`server::monitor`] pumps the server's log and detects readiness.
//!
//! [`boot`] has one call per phase and is the only module that knows the order. A dry run is the
//! same story: each change is previewed, and the plan is printed in place of step 4. The other
//! modules work on the values that they are given. Code that needs root takes
//! [`identity::Root`]. Code that must not run before the drop takes [`identity::Dropped`], which
//! exists only once root is dropped, was never there, or is kept on purpose (the old layout).
//!
//! Each other module says at its top what it contains; `docs/contributing.md` shows which module uses
//! which.

pub mod boot;
pub mod cli;
pub mod commands;
pub mod death;
pub mod degradation;
pub mod group_access;
pub mod hooks;
pub mod identity;
pub mod jupyter_config;
pub mod log;
pub mod notebook;
pub mod password;
pub mod server;
pub mod settings;
pub mod state;
pub mod supervisor;
mod sys;
pub mod tls;
pub mod volume;

pub use sys::effects;
