//! The survey: what the image and the volume have at each path, before anything is changed.

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::degradation::Degradation;
use crate::volume::defaults::atomic;
use crate::volume::defaults::atomic::Fault;
use crate::volume::defaults::manifest::{Content, Digest, Entry, Manifest, Stamp};
use crate::volume::defaults::open::Opened;
use crate::volume::defaults::other_case::{fold, is_listed};
use crate::volume::defaults::seal::Seal;
use crate::volume::defaults::source::{Offer, paths};
use crate::volume::pace::Pace;
use crate::volume::tree;
use crate::volume::tree::{FileStat, Tree};
use crate::volume::{ErrnoCounts, VolumeError, shown};

/// The state of one path in the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InVolume {
    /// Nothing.
    Absent,
    /// This content.
    Is(Content),
    /// A notebook with this content, whose cells are those of the installed version.
    Run(Digest),
    /// A regular file that was not read and counts as changed: its size is neither that of the
    /// installed file nor that of the image's, or it exceeds the limits for reading.
    Changed,
    /// A regular file that was not read: the image has none, a killed start may have put it there.
    NotChecked,
    /// The file of another default, whose path differs only in case: the file system takes both
    /// for one.
    OtherCase,
    /// Something that no default can be or lie under (a socket, a link in place of a parent
    /// directory), or that cannot be read.
    InTheWay,
}

impl InVolume {
    /// Returns the content of a notebook that was only run.
    pub(super) fn run(self) -> Option<Content> {
        match self {
            Self::Run(digest) => Some(Content::File(digest)),
            _ => None,
        }
    }
}

/// One path of the image or the manifest, and its state on both sides.
#[derive(Debug)]
pub(super) struct Row {
    pub path: Vec<u8>,
    /// The content in the image; `None` if the image has nothing there, or it is unknown.
    pub image: Option<Content>,
    /// True if the image's side could not be read: the plan leaves this path out.
    pub unknown: bool,
    pub volume: InVolume,
    /// The stamp of a file of known content in the volume, for the manifest.
    pub in_volume: Option<Stamp>,
    /// The stamp of the file in the image, for the manifest.
    pub in_image: Option<Stamp>,
}

/// The input of the plan, and the stamps that save reading the files again.
#[derive(Default)]
pub(super) struct Survey {
    /// In the order of their paths.
    pub rows: Vec<Row>,
    /// The files that could not be read.
    pub unread: ErrnoCounts,
    /// Problems of the image's seal.
    pub degradations: Vec<Degradation>,
}

impl Survey {
    /// Returns the state of `path` in the volume and its stamp, or `None` if it was not read.
    pub fn found(&self, path: &[u8]) -> Option<(Option<Content>, Option<Stamp>)> {
        let row = self
            .rows
            .binary_search_by(|row| row.path.as_slice().cmp(path));
        let row = &self.rows[row.ok()?];
        let content = match row.volume {
            InVolume::NotChecked => return None,
            InVolume::Is(content) => Some(content),
            _ => None,
        };
        Some((content, row.in_volume))
    }
}

/// The stat of a path in the volume; ENOENT if nothing is there.
pub(super) type StatResult = Result<FileStat, Errno>;

/// Stats every path of the manifest in the volume, in order.
///
/// # Errors
/// `stop` returned true.
pub(super) fn stat_all(
    volume: &mut Tree,
    manifest: &Manifest,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<StatResult>, VolumeError> {
    let mut stats = Vec::with_capacity(manifest.entries.len());
    let mut pace = Pace::new();
    for path in manifest.entries.keys() {
        pace.step(stop)?;
        stats.push(volume.stat(path));
    }
    Ok(stats)
}

/// Surveys every path of the image or the manifest. `stats` are those of the manifest's
/// paths. Reads a file only if neither stamp nor size decides. What cannot be read in the
/// image is unknown. Calls `each` before every path, with their number; its error ends the survey.
pub(super) fn survey(
    opened: &mut Opened,
    manifest: &Manifest,
    stats: Vec<StatResult>,
    stop: &dyn Fn() -> bool,
    each: &mut dyn FnMut(usize) -> Result<(), VolumeError>,
) -> Result<Survey, VolumeError> {
    let Opened {
        source,
        volume,
        offers: all,
    } = opened;
    let mut survey = Survey {
        unread: std::mem::take(&mut all.unread),
        ..Survey::default()
    };
    let unread = &mut survey.unread;
    let none = Entry::default();
    let (offers, closed) = (&all.by_path, &all.unreadable_paths);
    let budget = Cell::new(all.total_read_limit());
    // Read when it is first needed.
    let mut seal = None;
    let mut stats = stats.into_iter();
    let total = paths(offers, manifest).count();
    for (path, offer, entry) in paths(offers, manifest) {
        each(total)?;
        let seen = entry.and_then(|_| stats.next());
        let seen = seen.unwrap_or_else(|| volume.stat(path));
        let entry = entry.unwrap_or(&none);
        let known = Known {
            offer,
            entry,
            budget: &budget,
        };
        let found = match volume_state(volume, path, seen, known, stop) {
            // Removed since the stat.
            Err(fault) if fault.errno() == Errno::NOENT => Ok((InVolume::Absent, None)),
            found => found,
        };
        let found = count_fault(found, unread, path)?;
        let (found, in_volume) = found.unwrap_or((InVolume::InTheWay, None));
        let mut unknown = false;
        let (image, in_image) = match offer {
            None => {
                unknown = closed.iter().any(|closed| tree::is_in(path, closed));
                (None, None)
            }
            Some(Offer::Directory) => (Some(Content::Directory), None),
            Some(Offer::Link(_, content)) => (Some(*content), None),
            Some(Offer::File(_)) if matches!(found, InVolume::Absent | InVolume::InTheWay) => {
                (Some(Content::NotHashed), None)
            }
            // The size shows that it is the user's, so the image's content is not needed.
            Some(Offer::File(_)) if found == InVolume::Changed && entry.installed.is_none() => {
                (Some(Content::NotHashed), None)
            }
            Some(Offer::File(stat)) => match (entry.installed, entry.in_image) {
                (Some(known), Some(stamp)) if stamp.fits(stat) => (Some(known), Some(stamp)),
                _ => {
                    let find = || Seal::find(source.top(), &mut survey.degradations);
                    let seal = seal.get_or_insert_with(find).as_ref();
                    let read = match seal.and_then(|seal| seal.knows(path, stat)) {
                        Some(content) => Ok((content, None, stat.size)),
                        None => source
                            .parent(path, false)
                            .map_err(Fault::Source)
                            .and_then(|(dir, name)| read(dir, &name, stop)),
                    };
                    match count_fault(read, unread, path)? {
                        Some((content, stamp, _)) => (Some(content), stamp),
                        None => {
                            unknown = true;
                            (None, None)
                        }
                    }
                }
            },
        };
        survey.rows.push(Row {
            path: path.to_vec(),
            image,
            unknown,
            volume: found,
            in_volume,
            in_image,
        });
    }
    mark_other_case(&mut survey.rows, manifest, volume, stop)?;
    Ok(survey)
}

/// Marks the rows whose file is the one of another default, which has been brought in under a
/// path that differs only in case.
fn mark_other_case(
    rows: &mut [Row],
    manifest: &Manifest,
    volume: &mut Tree,
    stop: &dyn Fn() -> bool,
) -> Result<(), VolumeError> {
    let is_installed = |row: &Row| {
        let entry = manifest.entries.get(&row.path);
        entry.is_some_and(|entry| entry.installed.is_some() || entry.pending.is_some())
    };
    let is_theirs = |row: &Row| {
        let absent = matches!(
            row.volume,
            InVolume::Absent | InVolume::Is(Content::Directory)
        );
        row.image.is_some() && !absent && !is_installed(row)
    };
    // Usually there is none, and nothing more to do.
    if !rows.iter().any(is_theirs) {
        return Ok(());
    }
    let installed = rows.iter().filter(|row| is_installed(row));
    let installed: HashSet<String> = installed.map(|row| fold(&row.path)).collect();
    let rows = rows.iter_mut().filter(|row| is_theirs(row));
    for row in rows.filter(|row| installed.contains(&fold(&row.path))) {
        if !is_listed(volume, &row.path, stop)? {
            row.volume = InVolume::OtherCase;
            row.in_volume = None;
        }
    }
    Ok(())
}

/// Counts a fault that concerns one path, and returns `None` instead of a result.
fn count_fault<T>(
    result: Result<T, Fault>,
    unread: &mut ErrnoCounts,
    path: &[u8],
) -> Result<Option<T>, VolumeError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Fault::Stopped) => Err(VolumeError::Stopped),
        Err(Fault::Source(error) | Fault::Volume(error)) => {
            unread.add(error, || shown(path));
            Ok(None)
        }
    }
}

/// The facts about a path before anything is read.
struct Known<'a> {
    offer: Option<&'a Offer>,
    entry: &'a Entry,
    /// Bytes that may still be read of files whose size is not the image's.
    budget: &'a Cell<u64>,
}

impl Known<'_> {
    /// Returns the state of a regular file, if its stamp or size decides.
    fn file(&self, stat: &FileStat) -> Option<(InVolume, Option<Stamp>)> {
        let entry = self.entry;
        if let Some((content, stamp)) = entry.content_of(stat) {
            return Some((InVolume::Is(content), Some(stamp)));
        }
        let same_size = |stamp: Stamp| stamp.size == stat.size;
        let installed = matches!(entry.installed, Some(Content::File(_)));
        if self.offer.is_none() {
            // The file stays in any case.
            return Some(match (entry.pending, entry.installed) {
                (None, Some(known)) if installed && entry.in_volume.is_none_or(same_size) => {
                    (InVolume::Is(known), entry.in_volume)
                }
                (None, _) => (InVolume::Changed, None),
                (Some(_), _) => (InVolume::NotChecked, None),
            });
        }
        // The file can be the image's, the installed or the pending one.
        let image = matches!(self.offer, Some(Offer::File(new)) if new.size == stat.size);
        let installed = installed && entry.in_volume.is_none_or(same_size);
        let pending = matches!(entry.pending, Some(Content::File(_)));
        let reads = image || (installed || pending) && self.may_read(stat.size);
        (!reads).then_some((InVolume::Changed, None))
    }

    /// Takes `size` from the budget. Reports whether that was possible.
    fn may_read(&self, size: u64) -> bool {
        let left = self.budget.get().checked_sub(size);
        self.budget.set(left.unwrap_or(self.budget.get()));
        left.is_some()
    }
}

/// Returns the state of `path` in the volume, whose stat is `seen`.
fn volume_state(
    volume: &mut Tree,
    path: &[u8],
    seen: StatResult,
    known: Known<'_>,
    stop: &dyn Fn() -> bool,
) -> Result<(InVolume, Option<Stamp>), Fault> {
    let stat = match seen {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok((InVolume::Absent, None)),
        // A component above it is not a directory.
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok((InVolume::InTheWay, None)),
        Err(error) => return Err(Fault::Volume(error)),
    };
    let found = match stat.kind {
        FileType::Directory => InVolume::Is(Content::Directory),
        FileType::Symlink => {
            let (dir, name) = volume.parent(path, false).map_err(Fault::Volume)?;
            InVolume::Is(atomic::link(dir, &name).map_err(Fault::Volume)?.0)
        }
        FileType::RegularFile => {
            if let Some(found) = known.file(&stat) {
                return Ok(found);
            }
            let (dir, name) = volume.parent(path, false).map_err(Fault::Volume)?;
            let (content, stamp, size) = read(dir, &name, stop)?;
            let stamp = stamp.unwrap_or(Stamp::of_size(size));
            return Ok((InVolume::Is(content), Some(stamp)));
        }
        _ => InVolume::InTheWay,
    };
    Ok((found, None))
}

/// Reads a regular file. Returns its content, its stamp if it is stable, and its size.
fn read(
    dir: BorrowedFd<'_>,
    name: &CStr,
    stop: &dyn Fn() -> bool,
) -> Result<(Content, Option<Stamp>, u64), Fault> {
    let now = tree::now();
    let read = atomic::digest(dir, name, stop)?;
    let stamp = read.file_stat.and_then(|stat| Stamp::if_stable(&stat, now));
    Ok((Content::File(read.digest), stamp, read.size))
}
