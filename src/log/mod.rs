//! Output: our own log and the server's, to the container's stdout and stderr and to the logfile.

pub mod logfile;
pub mod logger;
pub mod pump;
pub mod server_json;
pub mod sink;
pub mod stderr;
