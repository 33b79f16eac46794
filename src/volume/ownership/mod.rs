//! The owner of the volume: handed over to the user, adopted or left, as root. Knows nothing of the
//! notebook defaults.

pub mod claim;
pub mod hand_over;
pub mod open;
mod parallel;
mod shared;
mod walk;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::degradation::Degradation;
use crate::settings::VolumeOwner;

/// A request about the owner of the volume.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The notebooks directory. It and its missing parents are made.
    pub directory: PathBuf,
    /// The treatment of the owner.
    pub policy: VolumeOwner,
    /// The user's uid.
    pub uid: u32,
    /// The user's gid.
    pub gid: u32,
}

/// The result of [`claim()`](claim::claim).
#[derive(Debug, Default)]
pub struct Claimed {
    /// The number of entries examined.
    pub checked: u64,
    /// The number of entries handed over to the user.
    pub changed: u64,
    /// The number of those by former uid, for the first few of them.
    pub former: BTreeMap<u32, u64>,
    /// True if the file system ignores chown(2), so that no owner changed.
    pub ignored: bool,
    /// True if the directory was missing and is made.
    pub created: bool,
    /// The adopted uid and gid, with which the server runs; `None` if no owner is adopted.
    pub adopted: Option<(u32, u32)>,
    /// In a preview: the entries that would be handed over.
    pub would_hand_over: Vec<String>,
    /// The entries that could not be handed over, counted.
    pub degradations: Vec<Degradation>,
}
