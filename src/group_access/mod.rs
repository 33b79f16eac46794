//! Access to the Docker socket and to devices, by group: which groups the user needs, and the edit
//! of `/etc/group` that gives them. It changes no path itself.

pub mod grant;
pub mod group_file;
pub mod lock;
pub mod membership;

pub use grant::{Access, AccessRequest, grant_access, preview_access};
