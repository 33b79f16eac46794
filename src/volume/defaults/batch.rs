//! A batch of defaults on the way into the volume: staged, recorded as pending, flushed,
//! renamed into place and recorded as installed.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::volume::defaults::apply::Work;
use crate::volume::defaults::atomic;
use crate::volume::defaults::atomic::{Fault, OursCheck};
use crate::volume::defaults::compare::{Row, fold};
use crate::volume::defaults::copy::{Halt, Job, Staged, Written, write_all};
use crate::volume::defaults::kept::KeptPlace;
use crate::volume::defaults::manifest::{Content, Entry, Stamp};
use crate::volume::defaults::place::{Placed, Replacement, install};
use crate::volume::defaults::plan::Decision;
use crate::volume::defaults::source::Offer;
use crate::volume::defaults::store::Mark;
use crate::volume::defaults::vacant::{At, lacks_flag};
use crate::volume::pace::Pace;
use crate::volume::tree;
use crate::volume::{VolumeError, shown};

/// Largest batch whose files are flushed one by one. 16 calls of fsync(2) take some
/// milliseconds; a syncfs(2) takes up to a second while others write to the file system.
const FSYNC_BATCH_MAX: usize = 16;

impl<'a> Work<'a> {
    /// Adds a default to the next batch, and writes the batch if it is large enough. Only counts
    /// the default if the volume is full.
    pub fn queue(&mut self, row: &'a Row, verdict: Decision) -> Result<(), VolumeError> {
        if self.full > 0 {
            self.full += 1;
            return (self.each)();
        }
        let target = match (verdict, row.image) {
            (Decision::Beside, Some(content)) => beside(&row.path, self.version, content),
            _ => row.path.clone(),
        };
        self.touched.insert(tree::split(&target).0.to_vec());
        let offer = self.writer.offers.get(&row.path);
        self.bytes += offer.map_or(0, Offer::size);
        let news = self.news_of(row, verdict);
        self.jobs.push(Job {
            row,
            verdict,
            target,
            news,
        });
        let files = self.batch_limits.files_of(self.writer.offers.len());
        match self.jobs.len() >= files || self.bytes >= self.batch_limits.batch_bytes {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Writes the jobs to temporary files in their target directories.
    fn stage(&mut self, jobs: &[Job<'a>]) -> Result<(), Halt> {
        // A job that found no space is not done: `write_all` may try it again.
        let mut done = 0;
        let mut take = |number: usize, written: Written| {
            let job: &Job<'a> = &jobs[number];
            match written {
                Ok(file) => {
                    if let (Content::File(digest), Some(cells)) = (file.content, file.cells) {
                        let path = &job.row.path;
                        self.cells.insert(path, digest, self.version, cells);
                    }
                    self.batch.push(Staged {
                        job: job.clone(),
                        temp: file.name,
                        content: file.content,
                        file_stat: file.file_stat,
                    });
                }
                Err(Fault::Stopped) => return Err(Halt::Stopped),
                Err(Fault::Source(error)) => self.unread.add(error, || shown(&job.row.path)),
                Err(Fault::Volume(Errno::NOSPC | Errno::DQUOT)) => return Err(Halt::Full),
                Err(Fault::Volume(error)) => {
                    self.write_failures.add(error, || shown(&job.row.path))
                }
            }
            done += 1;
            (self.each)().map_err(|_| Halt::Stopped)
        };
        let (writer, apart) = (&mut self.writer, self.batch_limits.always_threaded);
        let halted = write_all(jobs, writer, apart, self.stop, &mut take);
        if halted == Err(Halt::Full) {
            self.full += (jobs.len() - done) as u64;
        }
        // Threads finish in any order.
        self.batch
            .sort_by(|one, other| one.job.target.cmp(&other.job.target));
        halted
    }

    /// Writes the queued jobs as one batch: stage, record as pending, flush, rename, record as
    /// installed.
    ///
    /// # Errors
    /// `stop`. Files that are staged and not renamed stay in `batch`.
    pub fn flush(&mut self) -> Result<(), VolumeError> {
        let jobs = std::mem::take(&mut self.jobs);
        self.bytes = 0;
        if jobs.is_empty() {
            return Ok(());
        }
        if let Some(home) = &self.home {
            home.mark_at_least(Mark::Temporary);
        }
        if self.stage(&jobs) == Err(Halt::Stopped) {
            return Err(VolumeError::Stopped);
        }
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        for staged in batch.iter().filter(|staged| !staged.is_beside()) {
            let entry = self.manifest.entries.entry(staged.job.row.path.clone());
            entry.or_default().pending = Some(staged.content);
        }
        if let Err(error) = self.save().and_then(|()| self.sync(&batch)) {
            // Nothing was renamed: all old files stay.
            for staged in &batch {
                self.drop_staged(staged);
                match error {
                    Errno::NOSPC | Errno::DQUOT => self.full += 1,
                    error => self
                        .write_failures
                        .add(error, || shown(&staged.job.row.path)),
                }
            }
            return Ok(());
        }
        let mut pace = Pace::new();
        let mut batch = batch.into_iter();
        while let Some(staged) = batch.next() {
            let settled = self.put_in_place(&staged);
            if let Err(stopped) = settled.and_then(|()| pace.step(self.stop)) {
                self.batch = batch.collect();
                return Err(stopped);
            }
        }
        Ok(())
    }

    /// Writes the manifest, unless none can be kept.
    pub fn save(&mut self) -> Result<(), Errno> {
        match &mut self.home {
            Some(home) => home.write(&mut self.manifest),
            None => Ok(()),
        }
    }

    /// Flushes a small batch with one fsync(2) per file, a larger one with one syncfs(2) per file
    /// system. syncfs(2) also waits for what other processes have written there.
    fn sync(&mut self, batch: &[Staged<'_>]) -> Result<(), Errno> {
        let mut synced = BTreeSet::new();
        for staged in batch {
            let Some(look) = staged.file_stat else {
                continue;
            };
            let few = batch.len() <= FSYNC_BATCH_MAX;
            if few || synced.insert(look.inode.dev) {
                let (dir, _) = self.writer.volume.parent(&staged.job.target, false)?;
                if few {
                    atomic::fsync(dir, &staged.temp)?;
                } else {
                    rustix::fs::syncfs(tree::open_dir(dir, c".")?)?;
                }
            }
        }
        Ok(())
    }

    /// Renames one staged file into place and records the result.
    ///
    /// # Errors
    /// `stop`.
    fn put_in_place(&mut self, staged: &Staged<'_>) -> Result<(), VolumeError> {
        match self.place(staged) {
            Ok(Some(placed)) => self.record(staged, placed),
            Ok(None) => Ok(()),
            Err(error) => {
                self.write_failures
                    .add(error, || shown(&staged.job.row.path));
                Ok(())
            }
        }
    }

    /// Renames one staged file into place. Returns `None` if a notebook that was only run stays,
    /// because no copy can be kept.
    fn place(&mut self, staged: &Staged<'_>) -> Result<Option<Placed>, Errno> {
        let Staged { job, content, .. } = staged;
        let path = &job.row.path;
        let entry = self.entry(path);
        entry.pending = None;
        let was = entry.installed;
        let (dir, name) = self.writer.volume.parent(&job.target, false)?;
        let home = self.home.as_deref();
        let reserving = || {
            if let Some(home) = home {
                home.mark_at_least(Mark::Reserved);
            }
        };
        let at = |name| At { dir, name };
        let temp = at(&staged.temp);
        let keep = match (job.verdict, &mut self.kept, self.manifest.entries.get(path)) {
            (Decision::ReplaceRun, Some(kept), Some(entry)) => match kept.place_for(path, entry) {
                Ok(place) => Some(place),
                Err(error) => {
                    temp.discard();
                    self.count_not_kept(path, error);
                    return Ok(None);
                }
            },
            (Decision::Replace, ..) => None,
            _ => return Ok(Some(install(temp, at(&name), &reserving))),
        };
        let new_size = staged.file_stat.map(|look| look.size);
        let size = |size| {
            new_size == Some(size) || job.row.in_volume.is_some_and(|stamp| stamp.size == size)
        };
        let run = job.row.volume.run();
        let replacement = Replacement {
            dir,
            temp: &staged.temp,
            name: &name,
            path,
            new: *content,
            check: OursCheck {
                ours: &|found| found == *content || was == Some(found) || run == Some(found),
                size: &size,
                stop: self.stop,
            },
            keep: keep.as_ref().map(KeptPlace::at),
            home: home.map(|home| home.dir.as_fd()),
            reserving: &reserving,
        };
        Ok(Some(replacement.run(&mut self.aside)))
    }

    fn record(&mut self, staged: &Staged<'_>, placed: Placed) -> Result<(), VolumeError> {
        let Staged { job, content, .. } = staged;
        let path = &job.row.path;
        if staged.is_beside() && matches!(placed, Placed::Done | Placed::Conflict) {
            // Recorded even if a person's file has the name, so that not every start tries again.
            self.entry(path).beside = Some(*content);
        }
        let failed = matches!(placed, Placed::FsRefused(_) | Placed::Displaced(_));
        let mark = || self.home.as_ref().and_then(|home| home.mark());
        if failed && !staged.is_beside() && mark() == Some(Mark::Reserved) {
            // Its name may be reserved by an empty file, which the next start then removes.
            self.entry(path).pending = Some(*content);
            self.may_reserve = true;
        }
        match (placed, job.verdict) {
            (Placed::Done, Decision::Beside) => {
                self.summary.beside += 1;
                self.summary.kept += 1;
                let what = format!("is new; yours is kept in {}", shown(path));
                self.report_line(&job.target, &what);
            }
            (done @ (Placed::Done | Placed::NotKept(_)), verdict) => {
                if let Placed::NotKept(path) = done {
                    self.strays.add(path);
                }
                self.record_installed(staged);
                if let Some(kind) = job.news {
                    self.news.add(kind, path);
                }
                match verdict {
                    Decision::ReplaceRun => self.count_run(path),
                    Decision::Replace => self.summary.updated += 1,
                    _ => self.summary.installed += 1,
                }
            }
            (Placed::Conflict, Decision::Install) if self.has_other_case(path) => {
                self.summary.in_the_way += 1;
                self.report_other_case(path);
            }
            (Placed::Conflict, _) => self.record_conflict(staged),
            (Placed::OldUnreadable(error), _) => {
                self.forget_stamp(path);
                self.unread.add(error, || shown(path));
            }
            (Placed::Displaced(path), _) => {
                self.summary.kept += 1;
                self.strays.add(path);
            }
            (Placed::Stopped, _) => {
                // It may be left in a temporary file, which the next start then recognises.
                self.entry(path).pending = Some(*content);
                return Err(VolumeError::Stopped);
            }
            (Placed::FsRefused(error), Decision::Replace | Decision::ReplaceRun)
                if lacks_flag(error) || error == Errno::XDEV =>
            {
                self.not_exchangeable += 1;
            }
            (Placed::FsRefused(error), _) => self.write_failures.add(error, || shown(path)),
        }
        Ok(())
    }

    /// Records that something else has the name of a staged file.
    fn record_conflict(&mut self, staged: &Staged<'_>) {
        let size = staged.file_stat.map(|look| look.size);
        let is_new = OursCheck {
            ours: &|found| found == staged.content,
            size: &|found| size == Some(found),
            stop: self.stop,
        };
        let there = self.writer.volume.parent(&staged.job.target, false);
        let same = there.is_ok_and(|(dir, name)| is_new.is_ours(dir, &name) == Ok(true));
        let path = &staged.job.row.path;
        if same && !staged.is_beside() {
            // Another start put it there first: without the lock, two can run at once.
            let entry = self.entry(path);
            entry.installed = Some(staged.content);
            entry.in_volume = size.map(Stamp::of_size);
            self.summary.current += 1;
        } else {
            self.forget_stamp(path);
            self.summary.kept += 1;
        }
    }

    /// Keeps only the size of a stamp that may not be that of the file that is there now.
    fn forget_stamp(&mut self, path: &[u8]) {
        let entry = self.entry(path);
        entry.in_volume = entry.in_volume.map(|stamp| Stamp::of_size(stamp.size));
    }

    /// Returns the record of a path.
    fn entry(&mut self, path: &[u8]) -> &mut Entry {
        self.manifest.entries.entry(path.to_vec()).or_default()
    }

    /// Reports whether another default with this path, but for the case, is in the volume.
    fn has_other_case(&self, path: &[u8]) -> bool {
        let folded = fold(path);
        let mut others = self.manifest.entries.iter();
        others.any(|(other, entry)| {
            entry.installed.is_some() && other != path && fold(other) == folded
        })
    }

    /// Records a file as installed, with its stat now, so the next start need not read it.
    fn record_installed(&mut self, staged: &Staged<'_>) {
        let there = self.writer.volume.parent(&staged.job.target, false);
        let now = there.and_then(|(dir, name)| tree::stat_name(dir, &name));
        let clock = tree::now();
        let untouched = now.ok().zip(staged.file_stat).filter(|(now, then)| {
            now.inode == then.inode && now.modified == then.modified && now.size == then.size
        });
        let path = &staged.job.row.path;
        let in_image = match self.writer.offers.get(path) {
            Some(Offer::File(look)) if self.version_known => Stamp::if_stable(look, clock),
            _ => None,
        };
        let entry = self.entry(path);
        entry.installed = Some(staged.content);
        let size = staged.file_stat.map(|look| Stamp::of_size(look.size));
        let settled = untouched.and_then(|(now, _)| Stamp::after_rename(&now));
        entry.in_volume = settled.or(size);
        entry.in_image = in_image;
        entry.yours = None;
    }

    /// Removes a staged file that is not to be renamed into place.
    pub fn drop_staged(&mut self, staged: &Staged<'_>) {
        let job = &staged.job;
        if let Ok((dir, _)) = self.writer.volume.parent(&job.target, false) {
            atomic::discard(dir, &staged.temp);
        }
        if let Some(entry) = self.manifest.entries.get_mut(&job.row.path) {
            entry.pending = None;
        }
    }
}

/// Returns the path `NAME.VERSION.EXT` for a new default beside a changed one.
fn beside(path: &[u8], version: Option<&str>, content: Content) -> Vec<u8> {
    let version = match (version, content) {
        (Some(version), _) => version.replace(['/', '\0'], "-"),
        (None, Content::File(digest)) => format!("{digest:?}")[..8].to_owned(),
        (None, _) => "new".to_owned(),
    };
    let (_, name) = tree::split(path);
    let dot = name
        .iter()
        .rposition(|byte| *byte == b'.')
        .filter(|at| *at > 0);
    let at = path.len() - name.len() + dot.unwrap_or(name.len());
    [&path[..at], b".", version.as_bytes(), &path[at..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::defaults::manifest::Digest;

    #[test]
    fn names_beside() {
        let content = Content::File(Digest::of(b"x"));
        let name = |path: &[u8], version: Option<&str>| beside(path, version, content);
        assert_eq!(name(b"a.ipynb", Some("1.2")), b"a.1.2.ipynb");
        assert_eq!(name(b"d.d/a", Some("1.2")), b"d.d/a.1.2");
        assert_eq!(name(b"d/.profile", Some("1.2")), b"d/.profile.1.2");
        assert_eq!(name(b"a.b", Some("1/../2")), b"a.1-..-2.b");
        assert_eq!(name(b"a.b", None), b"a.2d711642.b");
    }
}
