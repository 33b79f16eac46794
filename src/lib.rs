//! The first process of an AI Lab container.

pub mod cli;
pub mod degradation;
pub mod identity;
pub mod output;
pub mod server;
pub mod settings;
pub mod state;
pub mod supervisor;
mod sys;
pub mod volume;
