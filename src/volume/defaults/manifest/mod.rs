//! The manifest: which defaults were brought in, their checksums, and the image's version.

mod format;
mod line;

use std::collections::BTreeMap;

use sha2::Digest as _;

use crate::volume::tree::{FileStat, Time};
pub use format::Unreadable;

/// A SHA-256 checksum.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub(super) [u8; 32]);

impl Digest {
    /// Returns the checksum of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Returns the checksum that these 64 hexadecimal digits write.
    pub(super) fn from_hex(hex: &[u8]) -> Option<Self> {
        let mut digest = [0; 32];
        let (pairs, rest) = hex.as_chunks::<2>();
        for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        (pairs.len() == digest.len() && rest.is_empty()).then_some(Self(digest))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The content at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// A regular file with this checksum.
    File(Digest),
    /// A symbolic link whose target path has this checksum.
    Link(Digest),
    /// A directory.
    Directory,
    /// A regular file of the image whose content was not needed, so that it was not read.
    /// Never occurs in a volume or a manifest.
    NotHashed,
}

/// Stat fields by which an unchanged file is recognised without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub size: u64,
    pub modified: Time,
    pub changed: Time,
    pub ino: u64,
}

impl Stamp {
    /// Returns a stamp that records only a size. It fits no file.
    pub fn of_size(size: u64) -> Self {
        Self {
            size,
            modified: (0, 0),
            changed: (0, 0),
            ino: 0,
        }
    }

    /// Reports whether this stamp records only a size.
    pub fn is_of_size(&self) -> bool {
        *self == Self::of_size(self.size)
    }

    /// Returns the stamp of a stat, or `None` if a later change could leave the same stamp:
    /// both times must be older than `now` by more than one tick of the file system's clock.
    pub fn if_stable(stat: &FileStat, now: Time) -> Option<Self> {
        Self::if_older(stat, stat.modified.max(stat.changed), now)
    }

    /// Returns the stamp of a file that was written earlier and renamed just now. The rename
    /// set `changed` by the clock of the file system, and a later write would set `modified`.
    /// So only `modified` must be older than that time.
    pub fn after_rename(stat: &FileStat) -> Option<Self> {
        Self::if_older(stat, stat.modified, stat.changed)
    }

    fn if_older(stat: &FileStat, newest: Time, now: Time) -> Option<Self> {
        // Whole seconds: the file system has no finer times (FAT has steps of two seconds).
        let tick = if newest.1 == 0 {
            (3, 0)
        } else {
            (0, 50_000_000)
        };
        let nanos = newest.1 + tick.1;
        let after = (
            (newest.0).saturating_add(tick.0 + i64::from(nanos / 1_000_000_000)),
            nanos % 1_000_000_000,
        );
        (after < now).then_some(Self {
            size: stat.size,
            modified: stat.modified,
            changed: stat.changed,
            ino: stat.inode.ino,
        })
    }

    /// Reports whether `stat` is that of the same, unchanged file.
    pub fn fits(&self, stat: &FileStat) -> bool {
        !self.is_of_size()
            && self.size == stat.size
            && self.modified == stat.modified
            && self.changed == stat.changed
            && self.ino == stat.inode.ino
    }
}

/// The manifest's record of one path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// The content that was brought in.
    pub installed: Option<Content>,
    /// The content that a start was about to bring in; it may already be in place.
    pub pending: Option<Content>,
    /// The content that was put beside a changed file.
    pub beside: Option<Content>,
    /// The stamp of `installed` in the volume, or only its size.
    pub(super) in_volume: Option<Stamp>,
    pub(super) in_image: Option<Stamp>,
    /// The checksum and stamp of the user's own file at this path, so that it is read once. A
    /// notebook that was only run is not among them.
    pub(super) yours: Option<(Digest, Stamp)>,
    /// The copies with outputs that starts moved to `.ai-lab/kept`, or were about to; the newest
    /// is the last.
    pub(super) kept: Vec<KeptCopy>,
    /// The newest version of a changed file that was news for the person.
    pub(super) announced: Option<Digest>,
    /// The version from which the person's newest kept file comes, if it is not `installed`.
    pub(super) earlier: Option<Digest>,
    /// The merge that was begun and may have been killed.
    pub(super) merging: Option<Merging>,
}

/// A merge on its way into the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Merging {
    /// The person's file, and where it is to be kept. No start deletes it there.
    pub mine: KeptCopy,
    /// The merged text.
    pub merged: Digest,
}

/// The most copies of one notebook.
pub(super) const MAX_COPIES: usize = 3;

/// A copy of a notebook at the notebook's path in `.ai-lab/kept/DIRECTORY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeptCopy {
    pub directory: String,
    /// The content; a copy that has another one now is a person's.
    pub digest: Digest,
    /// The stamp with which it has that content, so that it need not be read.
    pub stamp: Option<Stamp>,
}

impl Entry {
    /// Returns the content and the stamp of the file with this stat, if a stamp fits.
    pub(super) fn content_of(&self, stat: &FileStat) -> Option<(Content, Stamp)> {
        let installed = self.installed.zip(self.in_volume);
        let yours = self.yours;
        let yours = yours.map(|(digest, stamp)| (Content::File(digest), stamp));
        let mut known = [installed, yours].into_iter().flatten();
        known.find(|(_, stamp)| stamp.fits(stat))
    }
}

/// The defaults that earlier starts brought into the volume.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// The version of the newest image that brought some in; `None` if none had a version.
    pub image: Option<String>,
    /// The records by path, relative to the volume, with `/` between components.
    pub entries: BTreeMap<Vec<u8>, Entry>,
    /// True until all defaults of the first image were brought in.
    pub(super) unfinished: bool,
}

impl Manifest {
    /// Resolves the contents that a killed start left pending: each is in place or not. `found`
    /// returns the state of a path, or `None` if it was not read. Returns the paths of those that
    /// are in place, and whether another version was there before.
    pub(super) fn resolve(
        &mut self,
        found: impl Fn(&[u8]) -> Option<(Option<Content>, Option<Stamp>)>,
    ) -> Vec<(Vec<u8>, bool)> {
        let mut in_place = Vec::new();
        for (path, entry) in &mut self.entries {
            let Some(content) = entry.pending else {
                continue;
            };
            let Some((found, stamp)) = found(path) else {
                continue;
            };
            entry.pending = None;
            if found == Some(content) {
                in_place.push((path.clone(), entry.installed.is_some()));
                entry.installed = Some(content);
                entry.in_volume = stamp;
            }
        }
        in_place
    }
}

/// Reports whether `image` is older than `known` (SemVer); false if they cannot be compared.
pub(super) fn is_older(image: Option<&str>, known: Option<&str>) -> bool {
    let version = |text: Option<&str>| {
        let text = text?;
        semver::Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
    };
    match (version(image), version(known)) {
        (Some(image), Some(known)) => image.cmp_precedence(&known).is_lt(),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::volume::tree::Inode;

    fn stat(modified: Time, changed: Time) -> FileStat {
        let dir = tempfile::tempdir().unwrap();
        let handle = std::fs::File::open(dir.path()).unwrap();
        let stat = crate::volume::tree::stat_fd(&handle).unwrap();
        FileStat {
            inode: Inode {
                dev: (0, 0),
                ino: 7,
            },
            size: 12,
            modified,
            changed,
            ..stat
        }
    }

    #[test]
    fn a_stamp_is_taken_only_when_a_later_change_would_bear_another() {
        let seen = stat((100, 5), (200, 500_000_000));
        assert_eq!(Stamp::if_stable(&seen, (200, 500_000_001)), None);
        assert_eq!(Stamp::if_stable(&seen, (200, 540_000_000)), None);
        assert!(Stamp::if_stable(&seen, (200, 550_000_001)).is_some());
        // Whole seconds: the file system has no finer times.
        let coarse = stat((200, 0), (200, 0));
        assert_eq!(Stamp::if_stable(&coarse, (202, 0)), None);
        assert!(Stamp::if_stable(&coarse, (204, 0)).is_some());
        // The file's times are in the future.
        assert_eq!(Stamp::if_stable(&seen, (100, 0)), None);
    }

    #[test]
    fn of_what_was_renamed_just_now_the_last_write_counts() {
        let seen = stat((100, 5), (200, 5));
        assert_eq!(Stamp::if_stable(&seen, (200, 5)), None);
        assert!(Stamp::after_rename(&seen).is_some());
        let seen = stat((200, 5), (200, 5));
        assert_eq!(Stamp::after_rename(&seen), None);
    }

    #[test]
    fn a_stamp_fits_only_the_very_same() {
        let seen = stat((100, 5), (200, 6));
        let stamp = Stamp::if_stable(&seen, (300, 0)).unwrap();
        assert!(stamp.fits(&seen));
        let others = [
            FileStat { size: 13, ..seen },
            stat((100, 6), (200, 6)),
            stat((100, 5), (200, 7)),
            FileStat {
                inode: Inode {
                    dev: (0, 0),
                    ino: 8,
                },
                ..seen
            },
        ];
        for other in others {
            assert!(!stamp.fits(&other), "{other:?}");
        }
    }

    #[test]
    fn only_a_lower_version_is_older() {
        for (image, known) in [
            ("1.0.0", "1.0.1"),
            ("1.9.0", "1.10.0"),
            ("1.0.0-rc.1", "1.0.0"),
            ("v1.0.0", "2.0.0"),
            ("1.0.0", "v2.0.0"),
        ] {
            assert!(is_older(Some(image), Some(known)), "{image} < {known}");
            assert!(!is_older(Some(known), Some(image)), "{known} > {image}");
        }
        for (image, known) in [
            ("1.0.0", "1.0.0"),
            // Build metadata has no precedence.
            ("1.0.0+a", "1.0.0+b"),
            ("nightly", "1.0.0"),
            ("1.0.0", "nightly"),
            ("1.0", "2.0"),
            ("", "1.0.0"),
        ] {
            assert!(!is_older(Some(image), Some(known)), "{image}, {known}");
        }
        assert!(!is_older(None, Some("1.0.0")));
        assert!(!is_older(Some("1.0.0"), None));
        assert!(!is_older(None, None));
    }
}
