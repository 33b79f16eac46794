//! Where words go: our own log, the container's stdout and stderr, the logfile.

pub mod json;
pub mod logfile;
pub mod logging;
pub mod notify;
pub mod sink;
pub mod straight;
