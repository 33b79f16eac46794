//! Reads Jupyter's configuration as Jupyter will: its locations, their precedence, and the settings
//! for authentication and for the server's address. Nothing here writes.

pub mod command_line;
pub mod config_files;
pub mod location;
pub mod precedence;
mod python;
pub mod sources;
mod token;
pub mod traits;

pub use command_line::CommandLine;
pub use location::ConfigLocation;
pub use sources::ConfigSources;
pub use token::EnvironmentToken;
