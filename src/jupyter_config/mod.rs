//! What Jupyter will read of its configuration: where it looks, which source wins, and what the
//! files say about passwords and about where the server listens. Nothing here writes.

pub mod command_line;
pub mod location;
pub mod precedence;
mod python;
pub mod traits;

pub use command_line::CommandLine;
pub use location::ConfigLocation;
pub use precedence::Effective;
