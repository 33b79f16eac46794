//! The notebooks volume: safe access to a hostile file tree, ownership, defaults, manifest.
//!
//! [`claim`] runs as root and sets the owner of the volume. [`bring_in`] runs as the user
//! and brings the image's notebook defaults in. Nothing here follows a symbolic link in the
//! volume, and nothing that a person wrote is overwritten or deleted.

mod defaults;
mod mounts;
mod ownership;
mod pace;
#[cfg(test)]
mod testing;
mod threads;
mod tree;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::degradation::Degradation;
use crate::identity::Root;
use crate::sys::text::shown;

pub use defaults::manifest;
pub use defaults::merge::{MergedNotebook, merge};
pub use defaults::news::NEWS;
pub use defaults::not_merged::NotMerged;
pub use defaults::open::Defaults;
pub use defaults::plan::{Action, Decision};
pub use defaults::preview::{DefaultsPreview, preview_defaults, preview_in};
pub use defaults::restore::{
    DefaultsStatus, Restored, Versions, defaults_status, restore, versions,
};
pub use defaults::restore_kept::{BroughtBack, restore_kept};
pub use defaults::seal::{Sealed, seal};
pub use defaults::summary::Summary;
pub use defaults::sync::bring_in;
pub use mounts::{is_in_volume, lost_with_container, unusable_mounts};
pub use ownership::claim::{
    claim, is_anothers_mount, is_hosts_mount, is_on_hosts_mount, is_ordinary, is_system_path,
};
pub use ownership::hand_over::{
    HandOver, hand_over_directories, hand_over_mounts, hand_over_volumes,
};
pub use ownership::{Claim, Claimed};
pub use tree::Rights;

/// Path of the manifest, relative to the volume.
pub const MANIFEST: &str = ".ai-lab/manifest.sha256";

/// Progress of a long operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Number of entries done.
    pub done: u64,
    /// Number of all entries; `None` if it is not known yet.
    pub total: Option<u64>,
}

/// Maximum number of entries between two calls of `progress` or `stop`.
const REPORT_EVERY: u64 = 1024;

/// Why the work on the volume or on the defaults ended.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // each is documented by its message
pub enum VolumeError {
    /// The directory of the defaults does not exist. Log watchers rely on this message.
    #[error("Source directory not found: {}", .0.display())]
    SourceMissing(PathBuf),
    #[error("cannot read the notebook defaults in {}", directory.display())]
    Source {
        directory: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot open or create the notebooks directory {} (at {at})", directory.display())]
    Open {
        directory: PathBuf,
        /// The path as far as the component that failed.
        at: String,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "{at}, on the way to the notebooks directory {}, is a symbolic link that root did not \
         make or that others can replace; name the real directory with --notebooks",
        directory.display()
    )]
    Link {
        directory: PathBuf,
        at: String,
        /// The user who put it there: its owner, if it is in a directory of theirs or of root's.
        by: Option<u32>,
    },
    #[error("cannot open or create the notebooks directory {}: {at} is not a directory", directory.display())]
    InTheWay {
        directory: PathBuf,
        at: String,
        /// The user who put it there, as for a link.
        by: Option<u32>,
    },
    #[error(
        "the notebooks directory is the root of the file system; name a directory below it with --notebooks"
    )]
    IsRootDirectory,
    #[error(
        "the notebooks directory {} is one of the system's, whose owner stays; mount a volume \
         there, or name a directory below it with --notebooks",
        .0.display()
    )]
    SystemDirectory(PathBuf),
    #[error(
        "cannot adopt the owner of {}: it belongs to root (uid 0), and the server never runs as \
         root; give it to a user (chown 1000:1000 on the host) or use --volume-owner chown",
        .0.display()
    )]
    AdoptRoot(PathBuf),
    #[error("cannot seal the notebook defaults in {}", directory.display())]
    Seal {
        directory: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "others than root can write to {place}, and a start would not trust a seal of theirs; \
         first run: chown -R root:root {place}; chmod -R go-w {place}",
        place = .0.display()
    )]
    WritableByOthers(PathBuf),
    /// The caller's `stop` returned true; the caller reports that.
    #[error("stopped")]
    Stopped,
}

impl VolumeError {
    /// Returns the error of a volume that cannot be opened, at this path.
    fn open(directory: &Path, at: &Path, error: Errno) -> Self {
        Self::Open {
            directory: directory.to_owned(),
            at: shown(at.as_os_str().as_bytes()),
            source: error.into(),
        }
    }
}

/// Opens a directory as root, one path component at a time; missing ones are created, owned by
/// root. Follows a symbolic link only if root made it where no one else can replace it.
///
/// # Errors
/// Those of open(2) and mkdir(2), the path `/`, or a link that another user may have made.
pub fn open_as_root(_: &Root, path: &Path) -> std::io::Result<OwnedFd> {
    let missing = ownership::open::Missing::Make { uid: 0, gid: 0 };
    match ownership::open::open_volume(path, missing) {
        Ok((directory, _)) => Ok(directory),
        Err(VolumeError::Open { source, .. }) => Err(source),
        Err(VolumeError::InTheWay { .. }) => Err(Errno::NOTDIR.into()),
        Err(VolumeError::Link { at, .. }) => Err(std::io::Error::other(format!(
            "{at} is a symbolic link that root did not make or that others can replace"
        ))),
        Err(error) => Err(std::io::Error::other(error)),
    }
}

impl VolumeError {
    /// Reports whether the volume does not exist.
    fn is_absent(&self) -> bool {
        self.is_of(std::io::ErrorKind::NotFound)
    }

    /// Reports whether this user put something in place of the volume. They can do so at any time.
    pub fn is_caused_by(&self, uid: u32) -> bool {
        matches!(self, Self::Link { by, .. } | Self::InTheWay { by, .. } if *by == Some(uid))
    }

    /// Reports whether we lack the permission to reach or create the volume.
    fn is_refused(&self) -> bool {
        self.is_of(std::io::ErrorKind::PermissionDenied)
    }

    fn is_of(&self, kind: std::io::ErrorKind) -> bool {
        matches!(self, Self::Open { source, .. } if source.kind() == kind)
    }
}

/// The remedy if there is no room.
const ROOM_REMEDY: &str = "make room and start again; `df`, `df --inodes` and the user's quota \
                           show what is used up";

/// Returns the remedy for an error; `other` if it is one of permissions or the like.
fn remedy_for(error: Errno, other: &str) -> &str {
    match error {
        Errno::NOSPC | Errno::DQUOT => ROOM_REMEDY,
        Errno::IO | Errno::STALE => "check the disk or the file server; `dmesg` says more",
        _ => other,
    }
}

/// Failures, counted by errno, so that a million refusals are one line.
#[derive(Debug, Default)]
struct ErrnoCounts(BTreeMap<i32, (u64, String)>);

impl ErrnoCounts {
    fn add(&mut self, error: Errno, path: impl FnOnce() -> String) {
        let entry = self.0.entry(error.raw_os_error());
        entry.or_insert_with(|| (0, path())).0 += 1;
    }

    fn extend(&mut self, other: Self) {
        for (code, (count, first)) in other.0 {
            self.0.entry(code).or_insert((0, first)).0 += count;
        }
    }

    /// Returns one degradation per errno: `could not WHAT 12 entries, first PATH: WHY`. `remedy` is
    /// for those that have none of their own.
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
                remedy_for(Errno::from_raw_os_error(*code), remedy),
            )
        })
    }
}

/// Counts paths and keeps only the first: there may be millions.
#[derive(Debug, Default)]
struct PathCount {
    count: u64,
    first: Option<String>,
}

impl PathCount {
    fn add(&mut self, path: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(path);
    }

    fn extend(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.take().or(other.first);
    }
}
