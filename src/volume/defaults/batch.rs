//! A batch of defaults on the way into the volume: staged, recorded as pending, flushed,
//! renamed into place and recorded as installed.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::volume::defaults::apply::Work;
use crate::volume::defaults::atomic;
use crate::volume::defaults::atomic::{Fault, OursCheck};
use crate::volume::defaults::copy::{Halt, Job, Staged, Written, write_all};
use crate::volume::defaults::kept::KeptPlace;
use crate::volume::defaults::manifest::Content;
use crate::volume::defaults::place::{Placed, Replacement, install};
use crate::volume::defaults::plan::Decision;
use crate::volume::defaults::rename::At;
use crate::volume::defaults::source::Offer;
use crate::volume::defaults::store::Mark;
use crate::volume::defaults::survey::Row;
use crate::volume::pace::Pace;
use crate::volume::tree;
use crate::volume::{VolumeError, shown};

/// Largest batch whose files are flushed one by one. 16 calls of fsync(2) take some
/// milliseconds; a syncfs(2) takes up to a second while others write to the file system.
const FSYNC_BATCH_MAX: usize = 16;

/// A disk that takes longer than this for a flush gets none after a stop.
const SLOW_FLUSH: Duration = Duration::from_millis(100);

impl<'a> Work<'a> {
    /// Adds a default to the next batch, and writes the batch if it is large enough. Only counts
    /// the default if the volume is full.
    pub fn queue(&mut self, row: &'a Row, decision: Decision) -> Result<(), VolumeError> {
        if self.full > 0 {
            self.full += 1;
            return (self.each)();
        }
        let target = match (decision, row.image) {
            (Decision::Beside, Some(content)) => self.beside(&row.path, content),
            _ => row.path.clone(),
        };
        self.touched.insert(tree::split(&target).0.to_vec());
        let offer = self.writer.offers.get(&row.path);
        self.bytes += offer.map_or(0, Offer::size);
        let news = self.news_of(row, decision);
        self.jobs.push(Job {
            row,
            decision,
            target,
            news,
        });
        let files = self.limits.files_of(self.writer.offers.len());
        match self.jobs.len() >= files || self.bytes >= self.limits.batch_bytes {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Returns the path for a new default beside a changed one. If another file has the name with
    /// the version, the name has the checksum.
    fn beside(&mut self, path: &[u8], content: Content) -> Vec<u8> {
        let target = beside(path, self.version, content);
        let size = self.writer.offers.get(path).map_or(0, Offer::size);
        let same = OursCheck {
            ours: &|found| found == content,
            size: &|found| found == size,
            stop: self.stop,
        };
        let there = self.writer.volume.parent(&target, false);
        match there.is_ok_and(|(dir, name)| same.is_ours(dir, &name) == Ok(false)) {
            true => beside(path, None, content),
            false => target,
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
                    if let (Content::File(digest), Some(notebook)) = (file.content, file.notebook) {
                        let path = &job.row.path;
                        self.cells.insert(path, digest, self.version, notebook);
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
        let halted = write_all(jobs, &mut self.writer, self.stop, &mut take);
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
        if let Some(ai_lab) = &self.ai_lab {
            ai_lab.mark_at_least(Mark::Temporary);
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
            if error == Errno::CANCELED {
                self.batch = batch;
                return Err(VolumeError::Stopped);
            }
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
            let recorded = self.put_in_place(&staged);
            if let Err(stopped) = recorded.and_then(|()| pace.step(self.stop)) {
                self.batch = batch.collect();
                return Err(stopped);
            }
        }
        Ok(())
    }

    /// Writes the manifest, unless none can be kept.
    pub fn save(&mut self) -> Result<(), Errno> {
        match &mut self.ai_lab {
            Some(ai_lab) => ai_lab.write(&mut self.manifest),
            None => Ok(()),
        }
    }

    /// Flushes a small batch with one fsync(2) per file, a larger one with one syncfs(2) per file
    /// system. syncfs(2) also waits for what other processes have written there.
    ///
    /// # Errors
    /// ECANCELED if `stop` returned true.
    fn sync(&mut self, batch: &[Staged<'_>]) -> Result<(), Errno> {
        let mut synced = BTreeSet::new();
        for staged in batch {
            let Some(stat) = staged.file_stat else {
                continue;
            };
            let few = batch.len() <= FSYNC_BATCH_MAX;
            if few || synced.insert(stat.inode.dev) {
                if (self.stop)() {
                    return Err(Errno::CANCELED);
                }
                let (dir, _) = self.writer.volume.parent(&staged.job.target, false)?;
                let begun = Instant::now();
                if few {
                    atomic::fsync(dir, &staged.temp)?;
                } else {
                    rustix::fs::syncfs(tree::open_dir(dir, c".")?)?;
                }
                self.flushes_slowly |= begun.elapsed() > SLOW_FLUSH;
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
        let ai_lab = self.ai_lab.as_deref();
        let reserving = || {
            if let Some(ai_lab) = ai_lab {
                ai_lab.mark_at_least(Mark::Reserved);
            }
        };
        let temp = At::new(dir, &staged.temp);
        let keep = match (
            job.decision,
            &mut self.kept,
            self.manifest.entries.get(path),
        ) {
            (Decision::ReplaceRun, Some(kept), Some(entry)) => match kept.place_for(path, entry) {
                Ok(place) => Some(place),
                Err(error) => {
                    temp.discard();
                    self.count_not_kept(path, error);
                    return Ok(None);
                }
            },
            (Decision::Replace, ..) => None,
            _ => return Ok(Some(install(temp, At::new(dir, &name), &reserving))),
        };
        let new_size = staged.file_stat.map(|stat| stat.size);
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
            ai_lab: ai_lab.map(|ai_lab| ai_lab.dir.as_fd()),
            reserving: &reserving,
        };
        Ok(Some(replacement.run(&mut self.aside)))
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
    tree::with_mark(path, format!(".{version}").as_bytes())
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
