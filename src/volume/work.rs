//! Carries out the plan, one action after the other, and records what was done.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::batch::Staged;
use super::home::Home;
use super::manifest::{Content, Manifest};
use super::pace::Pace;
use super::place::{Able, NEW, OLD, is_temporary};
use super::plan::{Found, Verdict};
use super::stage::{Job, Writer};
use super::summary::Summary;
use super::survey::Row;
use super::tidy::Strays;
use super::tree;
use super::{Tally, VolumeError, shown};
use crate::degradation::Degradation;

/// The remedy if the volume refuses a change.
pub(super) const REFUSED: &str =
    "make the notebooks directory writable for the user, or see what its file system lacks";

/// The remedy if something cannot be read.
pub(super) const UNREAD: &str = "check the files and their modes";

/// The size of a batch, and what the file system can do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means {
    /// Files in a batch; more if there are many defaults: see [`Means::files_of`].
    pub batch_files: usize,
    pub batch_bytes: u64,
    pub able: Able,
    /// Tests only: true to use several threads for little work, too.
    pub apart: bool,
}

impl Means {
    /// Returns the number of files in a batch, of `all` defaults. Each batch writes the whole
    /// manifest: if more defaults made more batches, a first install of twice as many would take
    /// four times as long.
    pub fn files_of(self, all: usize) -> usize {
        self.batch_files.max(all.div_ceil(MOST_BATCHES))
    }
}

/// The most batches of very small files: see [`Means::files_of`].
const MOST_BATCHES: usize = 8;

/// The most files that the log names; a manifest can name any number.
const MOST_TOLD: usize = 100;

/// The time that a start has to clean up after a stop.
const TO_GIVE_UP: Duration = Duration::from_millis(200);

/// The work of one start, and its results so far.
pub(super) struct Work<'a> {
    pub writer: Writer<'a>,
    pub manifest: Manifest,
    /// `None` if no manifest is kept.
    pub home: Option<Box<Home>>,
    pub means: Means,
    /// The image's version, if it has one.
    pub version: Option<&'a str>,
    /// True if the manifest names this version, so that stamps of the image's files are recorded.
    pub version_known: bool,
    pub stop: &'a dyn Fn() -> bool,
    /// Called for each path that is done; an error ends the work.
    pub each: &'a mut dyn FnMut() -> Result<(), VolumeError>,
    /// Jobs of the next batch, and their total size in bytes.
    pub jobs: Vec<Job<'a>>,
    pub bytes: u64,
    /// Files of the current batch that are staged but not yet renamed into place.
    pub batch: Vec<Staged<'a>>,
    /// Directories that may hold temporary files.
    pub touched: BTreeSet<Vec<u8>>,
    /// The number of defaults that found no room.
    pub full: u64,
    /// The number of newer defaults that the file system cannot put in place safely.
    pub unexchanged: u64,
    /// Files that a replacement took out and could not put back.
    pub strays: Strays,
    /// Changes that the volume refused.
    pub refused: Tally,
    /// Files that could not be read.
    pub unread: Tally,
    /// The number of lines about single files, including those above [`MOST_TOLD`].
    pub told: usize,
    pub summary: Summary,
}

impl<'a> Work<'a> {
    /// Carries out the action for one path.
    pub fn act(&mut self, row: &'a Row, verdict: Verdict) -> Result<(), VolumeError> {
        let path = &row.path;
        let is_dir = row.image == Some(Content::Directory);
        let counted = u64::from(!is_dir);
        self.remember(row, verdict);
        match verdict {
            Verdict::Install if is_dir => self.make_dir(row),
            Verdict::Install | Verdict::Replace | Verdict::Beside => {
                return self.queue(row, verdict);
            }
            Verdict::Adopt | Verdict::Current => {
                self.note(row);
                self.summary.current += counted;
            }
            Verdict::Left => self.summary.left += counted,
            Verdict::Kept => self.keep(row, counted),
            Verdict::Deleted => self.summary.deleted += counted,
            Verdict::Gone => self.tell(path, "is no longer a default; it stays"),
            Verdict::InTheWay => {
                self.summary.in_the_way += counted;
                self.tell(path, "is not brought in: something else is in the way");
            }
        }
        (self.each)()
    }

    /// Reports one line about a file, for up to [`MOST_TOLD`] files.
    pub fn tell(&mut self, path: &[u8], what: &str) {
        self.told += 1;
        if self.told <= MOST_TOLD {
            let line = format!("{} {what}", shown(path));
            self.summary.reported.push(line);
        }
    }

    /// Records the file that was read in the volume and stays there, so that the next start
    /// need not read it.
    fn remember(&mut self, row: &Row, verdict: Verdict) {
        use Verdict::{Beside, InTheWay, Kept, Left};
        let stays = matches!(verdict, Kept | Beside | Left | InTheWay);
        let (Found::Is(content @ Content::File(digest)), Some(stamp), true) =
            (row.volume, row.in_volume, stays)
        else {
            return;
        };
        let entry = self.manifest.entries.entry(row.path.clone()).or_default();
        if entry.installed == Some(content) {
            entry.in_volume = Some(stamp);
        } else {
            entry.yours = (!stamp.is_of_size()).then_some((digest, stamp));
        }
    }

    /// Records that the volume has the image's content, with the survey's stamps.
    fn note(&mut self, row: &Row) {
        let entry = match self.manifest.entries.get_mut(&row.path) {
            Some(entry) => entry,
            None => self.manifest.entries.entry(row.path.clone()).or_default(),
        };
        entry.installed = row.image;
        entry.yours = None;
        entry.in_volume = row.in_volume;
        entry.in_image = row.in_image.filter(|_| self.version_known);
    }

    /// Counts a changed file, and records the image's stamp, which saves the next start a read.
    fn keep(&mut self, row: &Row, counted: u64) {
        self.summary.kept += counted;
        if let Some(entry) = self.manifest.entries.get_mut(&row.path)
            && entry.installed == row.image
        {
            entry.in_image = row.in_image.filter(|_| self.version_known);
        }
    }

    fn make_dir(&mut self, row: &Row) {
        match self.writer.volume.dir(&row.path, true) {
            Ok(_) => self.note(row),
            Err(error) => self.refused.add(error, || shown(&row.path)),
        }
    }

    /// Cleans up before a stop. What is in place stays, and is recorded.
    pub fn give_up(&mut self) {
        let end = Instant::now() + TO_GIVE_UP;
        let is_late = || Instant::now() >= end;
        let mut pace = Pace::new();
        for staged in std::mem::take(&mut self.batch) {
            if pace.step(&is_late).is_err() {
                break;
            }
            self.drop_staged(&staged);
        }
        let _ = self.save();
        self.unmark(&is_late);
    }

    /// Clears the mark of temporary files if none is left. One that could not be removed is left
    /// to the next start.
    fn unmark(&mut self, stop: &dyn Fn() -> bool) {
        let clean = self.is_clean(stop);
        if let Some(home) = self.home.as_mut().filter(|_| clean) {
            home.mark(false);
        }
    }

    fn is_clean(&mut self, stop: &dyn Fn() -> bool) -> bool {
        let mut buffer = vec![MaybeUninit::uninit(); 32 * 1024];
        let mut pace = Pace::new();
        std::mem::take(&mut self.touched).iter().all(|path| {
            let list = self.writer.volume.dir(path, false);
            let list = list.and_then(|dir| tree::open_dir(dir, c"."));
            if list.as_ref().is_err_and(|error| *error == Errno::NOENT) {
                // The directory was never made.
                return true;
            }
            let mut clean = true;
            let seen = list.and_then(|list| {
                tree::entries(&list, &mut buffer, |name, _| {
                    let name = name.to_bytes();
                    let ours = [NEW, OLD].iter().any(|prefix| is_temporary(name, prefix));
                    clean = !ours && pace.step(stop).is_ok();
                    clean
                })
            });
            clean && seen.is_ok()
        })
    }

    /// Writes the manifest and returns the summary.
    pub fn finish(mut self) -> Summary {
        let offers = self.writer.offers;
        self.manifest.entries.retain(|path, entry| {
            entry.yours = entry.yours.filter(|_| offers.contains_key(path));
            entry.installed.is_some()
                || entry.beside.is_some()
                || entry.pending.is_some()
                || entry.yours.is_some()
        });
        let saved = self.save();
        self.unmark(self.stop);
        if let Some(more) = self.told.checked_sub(MOST_TOLD).filter(|more| *more > 0) {
            let line = format!("and {more} more: `ai-lab-entrypoint notebooks status` lists them");
            self.summary.reported.push(line);
        }
        let degradations = &mut self.summary.degradations;
        if let Err(error) = saved {
            degradations.push(Degradation::new(
                format!("the record of the notebook defaults could not be written: {error}"),
                "make room, or make .ai-lab in the notebooks directory writable",
            ));
        }
        if self.full > 0 {
            degradations.push(Degradation::new(
                format!(
                    "the volume is full: {} notebook defaults were not brought in",
                    self.full
                ),
                "make room and start again",
            ));
        }
        if self.unexchanged > 0 {
            degradations.push(Degradation::new(
                format!(
                    "{} newer notebook defaults were not brought in: the volume's file system \
                     cannot exchange a file for another without a risk for what is written \
                     meanwhile",
                    self.unexchanged
                ),
                "delete the old ones and start again",
            ));
        }
        degradations.extend(self.strays.degradation());
        degradations.extend(self.unread.degradations("read", UNREAD));
        degradations.extend(self.refused.degradations("write", REFUSED));
        self.summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_defaults_are_no_more_batches_than_a_hundred_thousand() {
        let means = Means {
            batch_files: 4096,
            batch_bytes: 256 << 20,
            able: Able::ALL,
            apart: false,
        };
        assert_eq!(means.files_of(10), 4096);
        assert_eq!(means.files_of(4096 * MOST_BATCHES), 4096);
        for all in [100_000_usize, 1_000_000, 10_000_001] {
            let batches = all.div_ceil(means.files_of(all));
            assert!(batches <= MOST_BATCHES, "{all}: {batches}");
        }
    }
}
