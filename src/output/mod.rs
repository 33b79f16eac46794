//! Output: our own log, the container's stdout and stderr, the logfile, and `READY=1`.

pub mod json;
pub mod logfile;
pub mod logging;
pub mod notify;
pub mod sink;
pub mod straight;
