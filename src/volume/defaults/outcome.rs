//! The outcome of each staged file of a batch: recorded in the manifest, counted and reported.

use rustix::io::Errno;

use crate::volume::defaults::apply::Work;
use crate::volume::defaults::atomic::OursCheck;
use crate::volume::defaults::copy::Staged;
use crate::volume::defaults::manifest::{Content, Entry, Stamp};
use crate::volume::defaults::other_case::{alike, fold};
use crate::volume::defaults::place::Placed;
use crate::volume::defaults::plan::Decision;
use crate::volume::defaults::rename::lacks_flag;
use crate::volume::defaults::source::Offer;
use crate::volume::defaults::store::Mark;
use crate::volume::tree;
use crate::volume::{VolumeError, shown};

impl Work<'_> {
    /// Records the result of one staged file.
    ///
    /// # Errors
    /// `stop`.
    pub fn record(&mut self, staged: &Staged<'_>, placed: Placed) -> Result<(), VolumeError> {
        let Staged { job, content, .. } = staged;
        let path = &job.row.path;
        let too_long = Placed::FsRefused(Errno::NAMETOOLONG);
        if staged.is_beside() && [Placed::Done, Placed::Conflict, too_long].contains(&placed) {
            // Recorded even if there is no such name, so that not every start tries again.
            self.entry(path).beside = Some(*content);
        }
        let failed = matches!(placed, Placed::FsRefused(_) | Placed::Displaced(_));
        let mark = || self.ai_lab.as_ref().and_then(|ai_lab| ai_lab.mark());
        if failed && !staged.is_beside() && mark() == Some(Mark::Reserved) {
            // Its name may be reserved by an empty file, which the next start then removes.
            self.entry(path).pending = Some(*content);
            self.keeps_mark = true;
        }
        match (placed, job.decision) {
            (Placed::Done, Decision::Beside) => {
                self.summary.beside += 1;
                self.summary.kept += 1;
                let what = format!("is new; yours is kept in {}", shown(path));
                self.report_line(&job.target, &what);
            }
            (done @ (Placed::Done | Placed::NotKept(_)), decision) => {
                if let Placed::NotKept(path) = done {
                    self.strays.add(|| shown(&path));
                }
                self.record_installed(staged);
                if let Some(kind) = job.news {
                    self.news.add(kind, path);
                }
                match decision {
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
                self.strays.add(|| shown(&path));
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
        let size = staged.file_stat.map(|stat| stat.size);
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
    pub fn entry(&mut self, path: &[u8]) -> &mut Entry {
        self.manifest.entries.entry(path.to_vec()).or_default()
    }

    /// Reports whether another default with this path, but for the case, is in the volume.
    fn has_other_case(&mut self, path: &[u8]) -> bool {
        let (manifest, offers) = (&self.manifest, self.writer.offers);
        let alike = self
            .alike
            .get_or_insert_with(|| alike(offers.keys().chain(manifest.entries.keys())));
        let mut others = alike.get(&fold(path)).into_iter().flatten();
        others.any(|other| {
            let entry = manifest.entries.get(other);
            other != path && entry.is_some_and(|entry| entry.installed.is_some())
        })
    }

    /// Records a file as installed, with its stat now, so the next start need not read it.
    fn record_installed(&mut self, staged: &Staged<'_>) {
        let now = self.writer.volume.stat(&staged.job.target);
        let clock = tree::now();
        let untouched = now.ok().zip(staged.file_stat).filter(|(now, then)| {
            now.inode == then.inode && now.modified == then.modified && now.size == then.size
        });
        let path = &staged.job.row.path;
        let in_image = match self.writer.offers.get(path) {
            Some(Offer::File(stat)) if self.version_known => Stamp::if_stable(stat, clock),
            _ => None,
        };
        let entry = self.entry(path);
        if let (Decision::ReplaceRun, Some(Content::File(old))) =
            (staged.job.decision, entry.installed)
        {
            entry.earlier = Some(old);
        }
        entry.installed = Some(staged.content);
        let size = staged.file_stat.map(|stat| Stamp::of_size(stat.size));
        let settled = untouched.and_then(|(now, _)| Stamp::after_rename(&now));
        entry.in_volume = settled.or(size);
        entry.in_image = in_image;
        entry.yours = None;
    }
}
