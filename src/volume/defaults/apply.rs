//! Carries out the plan, one action after the other, and records what was done.

use std::collections::{BTreeSet, HashMap};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::degradation::Degradation;
use crate::volume::defaults::aside::Aside;
use crate::volume::defaults::atomic::{NEW, OLD, is_temporary};
use crate::volume::defaults::copy::{Job, Staged, Writer};
use crate::volume::defaults::installed_cells::{InstalledCells, is_notebook};
use crate::volume::defaults::kept::KeptCopies;
use crate::volume::defaults::manifest::{Content, Manifest};
use crate::volume::defaults::news::{Kind, News};
use crate::volume::defaults::plan::{Decision, Policy};
use crate::volume::defaults::recover::{is_absent, unrestored};
use crate::volume::defaults::store::{AiLabDir, LOCK_TIMEOUT};
use crate::volume::defaults::summary::Summary;
use crate::volume::defaults::survey::{InVolume, Row};
use crate::volume::pace::Pace;
use crate::volume::tree;
use crate::volume::{ErrnoCounts, PathCount, ROOM_REMEDY, VolumeError, remedy_for, shown};

/// The remedy if the volume refuses a change.
pub(super) const WRITE_REMEDY: &str =
    "make the notebooks directory writable for the user, or see what its file system lacks";

/// The remedy if the copy of a notebook that was only run cannot be kept.
const KEEP_REMEDY: &str = "make .ai-lab/kept in the notebooks directory a directory that the user \
                           can write; until then, the notebook is not updated";

/// The remedy if something cannot be read.
pub(super) const READ_REMEDY: &str = "check the files and their modes";

/// The limits of a start, which tests lower.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The time to wait for the lock.
    pub lock: Duration,
    /// Files in a batch; more if there are many defaults: see [`Limits::files_of`].
    pub batch_files: usize,
    pub batch_bytes: u64,
}

impl Limits {
    pub const USUAL: Self = Self {
        lock: LOCK_TIMEOUT,
        batch_files: 4096,
        batch_bytes: 256 << 20,
    };

    /// Returns the number of files in a batch, of `all` defaults. Each batch writes the whole
    /// manifest: if more defaults made more batches, a first install of twice as many would take
    /// four times as long.
    pub fn files_of(self, all: usize) -> usize {
        self.batch_files.max(all.div_ceil(MAX_BATCHES))
    }
}

/// The most batches of very small files: see [`Limits::files_of`].
const MAX_BATCHES: usize = 8;

/// The most files that the log names; a manifest can name any number.
const MAX_REPORT_LINES: usize = 100;

/// The time that a start has to clean up after a stop.
const CLEANUP_TIME: Duration = Duration::from_millis(200);

/// The work of one start, and its results so far.
pub(super) struct Work<'a> {
    pub writer: Writer<'a>,
    pub manifest: Manifest,
    /// `None` if no manifest is kept.
    pub ai_lab: Option<Box<AiLabDir>>,
    /// Old files on their way out.
    pub aside: Aside,
    pub limits: Limits,
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
    /// True if the disk takes its time to flush files.
    pub flushes_slowly: bool,
    /// The number of defaults that found no room.
    pub full: u64,
    /// The number of newer defaults whose old file can be neither exchanged nor moved aside.
    pub not_exchangeable: u64,
    /// Files that a replacement took out and could not put back.
    pub strays: PathCount,
    /// The cells of the installed notebooks.
    pub cells: InstalledCells,
    pub policy: Policy,
    /// True if earlier starts brought defaults in, so that there can be news.
    pub has_news: bool,
    pub news: News,
    /// Changed files of which the image has a newer version that is news for the person.
    pub newer: Vec<&'a Row>,
    /// Notebooks whose cells may not be recorded.
    pub without_cells: Vec<&'a Row>,
    /// Copies of notebooks that were only run; `None` if none can be kept.
    pub kept: Option<KeptCopies>,
    /// Notebooks that were only run, and no copy could be kept.
    pub not_kept: ErrnoCounts,
    /// True if files of this start or of a killed one may be left.
    pub keeps_mark: bool,
    /// Changes that the volume refused.
    pub write_failures: ErrnoCounts,
    /// Files that could not be read.
    pub unread: ErrnoCounts,
    /// The number of lines about single files, including those above [`MAX_REPORT_LINES`].
    pub report_lines: usize,
    /// The paths that differ only in case, once they are needed.
    pub alike: Option<HashMap<String, BTreeSet<Vec<u8>>>>,
    pub summary: Summary,
}

impl<'a> Work<'a> {
    /// Carries out the action for one path.
    pub fn run_action(&mut self, row: &'a Row, decision: Decision) -> Result<(), VolumeError> {
        let path = &row.path;
        let is_dir = row.image == Some(Content::Directory);
        let counted = u64::from(!is_dir);
        self.record_kept_file(row, decision);
        if self.news_of(row, decision) == Some(Kind::Newer) {
            self.news.add(Kind::Newer, path);
            self.newer.push(row);
        }
        if is_notebook(path) && (self.cells.incomplete || decision == Decision::Adopt) {
            self.without_cells.push(row);
        }
        match decision {
            Decision::Install if is_dir => self.make_dir(row),
            Decision::ReplaceRun => match self.prepare_copy(row) {
                Ok(()) => return self.queue(row, decision),
                Err(Errno::CANCELED) => return Err(VolumeError::Stopped),
                Err(error) => self.count_not_kept(path, error),
            },
            Decision::Install | Decision::Replace | Decision::Beside => {
                return self.queue(row, decision);
            }
            Decision::Adopt | Decision::Current => {
                self.note(row);
                self.summary.current += counted;
            }
            Decision::Left => self.summary.other_version += counted,
            Decision::Kept | Decision::Run => self.count_kept(row, counted),
            Decision::Deleted => self.summary.deleted += counted,
            Decision::Gone => self.report_line(path, "is no longer a default; it stays"),
            Decision::InTheWay => {
                self.summary.in_the_way += counted;
                match row.volume {
                    InVolume::OtherCase => self.report_other_case(path),
                    _ => self.report_line(path, "is not brought in: something else is in the way"),
                }
            }
        }
        (self.each)()
    }

    /// Reports one line about a file, for up to [`MAX_REPORT_LINES`] files.
    pub fn report_line(&mut self, path: &[u8], what: &str) {
        self.report_lines += 1;
        if self.report_lines <= MAX_REPORT_LINES {
            let line = format!("{} {what}", shown(path));
            self.summary.reported.push(line);
        }
    }

    /// Reports a default that has no place beside another one.
    pub fn report_other_case(&mut self, path: &[u8]) {
        let what = "is not brought in: another default has this name but for the case, and the \
                    file system takes both for one";
        self.report_line(path, what);
    }

    /// Records the file that was read in the volume and stays there, so that the next start
    /// need not read it.
    fn record_kept_file(&mut self, row: &Row, decision: Decision) {
        use Decision::{Beside, InTheWay, Kept, Left};
        let stays = matches!(decision, Kept | Beside | Left | InTheWay);
        let (InVolume::Is(content @ Content::File(digest)), Some(stamp), true) =
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
    fn count_kept(&mut self, row: &Row, counted: u64) {
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
            Err(Errno::NOSPC | Errno::DQUOT) => self.full += 1,
            Err(error) => self.write_failures.add(error, || shown(&row.path)),
        }
    }

    /// Cleans up before a stop. The files that are in place stay and are recorded.
    pub fn give_up(&mut self) {
        let end = Instant::now() + CLEANUP_TIME;
        let is_late = || Instant::now() >= end;
        let mut pace = Pace::new();
        for staged in std::mem::take(&mut self.batch) {
            if pace.step(&is_late).is_err() {
                break;
            }
            self.drop_staged(&staged);
        }
        if self.flushes_slowly {
            // The next start needs only the pending entries of the record, and the mark.
            return;
        }
        let _ = self.save();
        if self.cells.write(&self.manifest).is_ok() {
            self.clear_mark(&is_late);
        }
    }

    /// Clears the mark of temporary files if none is left. One that could not be removed is left
    /// to the next start.
    fn clear_mark(&mut self, stop: &dyn Fn() -> bool) {
        let touched = std::mem::take(&mut self.touched);
        let clean = self.is_clean(&touched, stop);
        if let Some(ai_lab) = &self.ai_lab {
            let moved = std::mem::take(&mut self.aside);
            if moved.clear(ai_lab.dir.as_fd(), &touched) && clean && !self.keeps_mark {
                ai_lab.clear_mark();
            }
        }
    }

    fn is_clean(&mut self, touched: &BTreeSet<Vec<u8>>, stop: &dyn Fn() -> bool) -> bool {
        let mut buffer = vec![MaybeUninit::uninit(); 32 * 1024];
        let mut pace = Pace::new();
        touched.iter().all(|path| {
            let list = self.writer.volume.list(path);
            if list.as_ref().is_err_and(|error| is_absent(*error)) {
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
        // First, so that a kill does not lose them.
        self.write_news();
        self.record_announced();
        let saved = self.save();
        // Otherwise, the next start reads the missing cells in the image.
        if self.record_cells().is_ok() {
            self.clear_mark(self.stop);
        }
        if let Some(more) = self
            .report_lines
            .checked_sub(MAX_REPORT_LINES)
            .filter(|more| *more > 0)
        {
            let line = format!("and {more} more: `ai-lab-entrypoint notebooks status` lists them");
            self.summary.reported.push(line);
        }
        let degradations = &mut self.summary.degradations;
        if let Err(error) = saved {
            degradations.push(Degradation::new(
                format!("the record of the notebook defaults could not be written: {error}"),
                remedy_for(error, "make .ai-lab in the notebooks directory writable"),
            ));
        }
        if self.full > 0 {
            degradations.push(Degradation::new(
                format!(
                    "the volume is full: {} notebook defaults were not brought in",
                    self.full
                ),
                ROOM_REMEDY,
            ));
        }
        if self.not_exchangeable > 0 {
            degradations.push(Degradation::new(
                format!(
                    "{} newer notebook defaults were not brought in: the file system mounted in \
                     the notebooks directory cannot exchange two files, and the old ones cannot be \
                     moved to .ai-lab, which is on another one",
                    self.not_exchangeable
                ),
                "delete the old ones and start again",
            ));
        }
        degradations.extend(unrestored(self.strays));
        degradations.extend(self.not_kept.degradations("keep your copy of", KEEP_REMEDY));
        degradations.extend(self.unread.degradations("read", READ_REMEDY));
        degradations.extend(self.write_failures.degradations("write", WRITE_REMEDY));
        self.summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_defaults_are_no_more_batches_than_a_hundred_thousand() {
        let means = Limits::USUAL;
        assert_eq!(means.files_of(10), 4096);
        assert_eq!(means.files_of(4096 * MAX_BATCHES), 4096);
        for all in [100_000_usize, 1_000_000, 10_000_001] {
            let batches = all.div_ceil(means.files_of(all));
            assert!(batches <= MAX_BATCHES, "{all}: {batches}");
        }
    }
}
