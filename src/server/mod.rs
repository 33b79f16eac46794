//! The Jupyter server: program, arguments, readiness, welcome, and what is done while it runs.

pub mod announce;
mod argument;
pub mod argv;
pub mod boot_times;
pub mod ca_files;
mod end_report;
pub mod load_failures;
pub mod log_reader;
mod memory;
pub mod monitor;
pub mod no_login;
pub mod notify;
mod outputs;
pub mod prefix;
pub mod probe;
pub mod program;
pub mod readiness;
pub mod rescue;
mod stop_check;
pub mod targets;
pub mod welcome;
