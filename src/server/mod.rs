//! The Jupyter server: program, arguments, environment, password, log pump, readiness, welcome.

pub mod argv;
pub mod environment;
pub mod password;
pub mod probe;
pub mod program;
pub mod pump;
pub mod readiness;
mod tls;
pub mod traits;
pub mod watch;
pub mod welcome;
