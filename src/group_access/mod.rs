//! Access to the Docker socket and to devices, by group: which groups the user needs, and the edits
//! of `/etc/group` and `/etc/passwd` that give them, and a user its name. It changes no path itself.

pub mod account_file;
pub mod grant;
pub mod group_file;
mod group_root;
pub mod lock;
pub mod membership;
pub mod path_access;
mod replacement;
#[cfg(test)]
mod testing;

pub use account_file::Entry;
pub use grant::{Access, grant_access};
