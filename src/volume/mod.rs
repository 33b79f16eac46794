//! The notebooks volume: a safe handle on hostile ground, ownership, defaults, manifest.
//!
//! [`claim`] runs as root and settles who owns the volume; [`bring_in`] runs as the
//! user and brings the image's notebook defaults in. Nothing here follows a link
//! that is in the volume, and nothing a person wrote is overwritten or deleted.

mod batch;
mod crew;
mod defaults;
mod foresee;
mod handed;
mod home;
pub mod manifest;
mod mend;
mod mounts;
mod offers;
mod owner;
mod pace;
mod place;
mod plan;
mod seal;
mod stage;
mod summary;
mod survey;
#[cfg(test)]
mod testing;
mod tidy;
mod together;
mod tree;
mod walk;
mod way;
mod work;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::degradation::Degradation;
use crate::identity::Root;
use crate::sys::text::shown;

pub use defaults::{Defaults, bring_in};
pub use foresee::{Foreseen, foresee_defaults, unread_taken};
pub use handed::{Hand, hand_over_directories, hand_over_mounts};
pub use mend::{Restored, Standing, Versions, restore, standing, versions};
pub use mounts::wrong_mounts;
pub use owner::{Claim, Claimed, claim, foresee as foresee_claim, is_ordinary};
pub use plan::{Action, Verdict};
pub use seal::{Sealed, seal};
pub use summary::Summary;
pub use tree::Rights;

/// Where the record of what was brought in is, below the volume.
pub const MANIFEST: &str = ".ai-lab/manifest.sha256";

/// How far a long piece of work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Entries done.
    pub done: u64,
    /// Entries there are; `None`: not known yet.
    pub total: Option<u64>,
}

/// After how many entries `progress` is called and `stop` asked, at the latest.
const REPORT_EVERY: u64 = 1024;

/// Why the volume could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The defaults are not where the settings say. Log watchers rely on this phrase.
    #[error("Source directory not found: {}", .0.display())]
    SourceMissing(PathBuf),
    /// The defaults cannot be read.
    #[error("cannot read the notebook defaults in {}", directory.display())]
    Source {
        /// The directory of the defaults.
        directory: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The volume or a directory above it cannot be opened or created.
    #[error("cannot open or create the notebooks directory {} (at {at})", directory.display())]
    Open {
        /// The notebooks directory.
        directory: PathBuf,
        /// The component that failed.
        at: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A link on the way to the volume that someone else than root could have made.
    #[error(
        "{at}, on the way to the notebooks directory {}, is a symbolic link that root did not \
         make or that others can replace; name the real directory with --notebooks",
        directory.display()
    )]
    Link {
        /// The notebooks directory.
        directory: PathBuf,
        /// The link.
        at: String,
    },
    /// The notebooks directory is `/`.
    #[error(
        "the notebooks directory is the root of the file system; name a directory below it with --notebooks"
    )]
    Everything,
    /// The notebooks directory is one of the system's.
    #[error(
        "the notebooks directory {} is one of the system's, whose owner stays; mount a volume \
         there, or name a directory below it with --notebooks",
        .0.display()
    )]
    OfTheSystem(PathBuf),
    /// `adopt` would make the server run as root.
    #[error(
        "cannot adopt the owner of {}: it belongs to root (uid 0), and the server never runs as \
         root; give it to a user (chown 1000:1000 on the host) or use --volume-owner chown",
        .0.display()
    )]
    AdoptRoot(PathBuf),
    /// The defaults cannot be sealed.
    #[error("cannot seal the notebook defaults in {}", directory.display())]
    Seal {
        /// The directory of the defaults.
        directory: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A seal there would count for nothing.
    #[error(
        "others than root can write to {place}, and a start would not trust a seal of theirs; \
         first run: chown -R root:root {place}; chmod -R go-w {place}",
        place = .0.display()
    )]
    NotRoots(PathBuf),
    /// The caller's `stop` said so, who tells it.
    #[error("stopped")]
    Stopped,
}

/// Opens a directory for root step by step, making what is missing of its path as root's. A
/// link is followed only if root made it where nobody else can replace it.
///
/// # Errors
/// open(2)'s, or the link that another user could have made.
pub fn open_as_root(_: &Root, path: &Path) -> std::io::Result<OwnedFd> {
    let missing = way::Missing::Make { uid: 0, gid: 0 };
    match way::open_volume(path, missing) {
        Ok((directory, _)) => Ok(directory),
        Err(VolumeError::Open { source, .. }) => Err(source),
        Err(VolumeError::Link { at, .. }) => Err(std::io::Error::other(format!(
            "{at} is a symbolic link that root did not make or that others can replace"
        ))),
        Err(error) => Err(std::io::Error::other(error)),
    }
}

impl VolumeError {
    /// Whether the volume is not there.
    fn is_absent(&self) -> bool {
        self.is_of(std::io::ErrorKind::NotFound)
    }

    /// Whether we may not go or make where the volume is.
    fn is_refused(&self) -> bool {
        self.is_of(std::io::ErrorKind::PermissionDenied)
    }

    fn is_of(&self, kind: std::io::ErrorKind) -> bool {
        matches!(self, Self::Open { source, .. } if source.kind() == kind)
    }
}

/// What failed, counted by reason, so that a million refusals are one line.
#[derive(Debug, Default)]
struct Tally(BTreeMap<i32, (u64, String)>);

impl Tally {
    fn add(&mut self, error: Errno, path: impl FnOnce() -> String) {
        let entry = self.0.entry(error.raw_os_error());
        entry.or_insert_with(|| (0, path())).0 += 1;
    }

    fn extend(&mut self, other: Self) {
        for (code, (count, first)) in other.0 {
            self.0.entry(code).or_insert((0, first)).0 += count;
        }
    }

    /// One degradation for each reason: `could not WHAT 12 entries, first PATH: WHY`.
    fn degradations<'a>(
        &'a self,
        what: &'a str,
        remedy: &'a str,
    ) -> impl Iterator<Item = Degradation> + 'a {
        self.0.iter().map(move |(code, (count, first))| {
            let entries = if *count == 1 { "entry" } else { "entries" };
            let why = std::io::Error::from_raw_os_error(*code);
            Degradation::new(
                format!("could not {what} {count} {entries}, first {first}: {why}"),
                remedy,
            )
        })
    }
}

/// Counts paths and keeps the first one: there may be millions.
#[derive(Debug, Default)]
struct Counted {
    count: u64,
    first: Option<String>,
}

impl Counted {
    fn add(&mut self, path: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(path);
    }

    fn extend(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.take().or(other.first);
    }
}
