//! The first process of an AI Lab container.
//!
//! # The story of a start
//!
//! ```text
//! Settings → root phase → Dropped → user phase → Serve → exit code
//! ```
//!
//! 1. **Settings** ([`settings`]): flags, environment and TOML file become one checked
//!    value before anything is touched. [`cli`] is what can be typed.
//! 2. **Root phase**, only if started as root: the notebooks volume gets its owner
//!    ([`volume::claim`]), the user gets access to the Docker socket
//!    ([`identity::grant_access`]), and root is given up for good
//!    ([`identity::Root::drop`]).
//! 3. **User phase**: the notebook defaults arrive ([`volume::bring_in`]), the password is
//!    seen to ([`server::password`]), core dumps are switched off.
//! 4. **Serve**: the [`supervisor`] starts the server, forwards signals, reaps and ends
//!    everything in order; [`server::watch`] pumps its log and finds out when it is ready.
//!
//! [`boot`] tells this story in code and is the only place that knows the order. Other
//! rooms know the values they are handed, not each other: what needs root takes
//! [`identity::Root`], what must never run as root takes [`identity::Dropped`], which only
//! the drop can make.
//!
//! # The other rooms
//!
//! - [`commands`]: `healthcheck`, `status`, `restart`, which look at a running supervisor
//!   through the [`state`] that it keeps.
//! - [`output`]: our own log and the server's, to a console that may stall.
//! - [`hooks`]: programs of the image's author that take part in a start.
//! - [`degradation`]: what could not be done as asked, as data.
//! - `sys`: the few system calls that need `unsafe`, and the escaper of foreign text.

pub mod boot;
pub mod cli;
pub mod commands;
pub mod degradation;
pub mod hooks;
pub mod identity;
pub mod output;
pub mod server;
pub mod settings;
pub mod state;
pub mod supervisor;
mod sys;
pub mod volume;
