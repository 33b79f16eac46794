//! A batch of defaults on their way into the volume: staged, noted as pending,
//! flushed, put in place and noted as installed.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::defaults::with_x;
use super::manifest::{Content, Stamp};
use super::place::{self, Fault, Placed};
use super::plan::Verdict;
use super::survey::{Offer, Row};
use super::tidy::stray;
use super::tree::{self, Look};
use super::work::Work;
use super::{VolumeError, shown};

/// Up to so many files are flushed one by one. With 16 that takes some milliseconds,
/// and a syncfs up to a second while others write to the same file system.
const FEW: usize = 16;

/// A complete file that waits for its batch to be flushed.
pub(super) struct Staged {
    /// The default's path.
    path: Vec<u8>,
    /// Where it goes: `path`, or the name beside it.
    target: Vec<u8>,
    temp: CString,
    content: Content,
    verdict: Verdict,
    /// How the temporary file looked; `None`: a link.
    look: Option<Look>,
}

impl Work<'_> {
    /// Writes the new file under a temporary name, in the directory where it goes.
    pub fn stage(&mut self, row: &Row, verdict: Verdict) -> Result<(), VolumeError> {
        let path = &row.path;
        if self.full > 0 {
            self.full += 1;
            return Ok(());
        }
        if self.batch.is_empty()
            && let Some(home) = &mut self.home
        {
            home.mark(true);
        }
        let target = match (verdict, row.image) {
            (Verdict::Beside, Some(content)) => beside(path, self.version, content),
            _ => path.clone(),
        };
        self.touched.insert(tree::split(&target).0.to_vec());
        match self.write(path, &target) {
            Ok((temp, content, look)) => {
                self.bytes += look.map_or(0, |look| look.size);
                self.batch.push(Staged {
                    path: path.clone(),
                    target,
                    temp,
                    content,
                    verdict,
                    look,
                });
            }
            Err(Fault::Stopped) => return Err(VolumeError::Stopped),
            Err(Fault::Source(error)) => self.unread.add(error, || shown(path)),
            Err(Fault::Volume(Errno::NOSPC | Errno::DQUOT)) => self.full += 1,
            Err(Fault::Volume(error)) => self.refused.add(error, || shown(path)),
        }
        Ok(())
    }

    fn write(
        &mut self,
        path: &[u8],
        target: &[u8],
    ) -> Result<(CString, Content, Option<Look>), Fault> {
        let (dir, _) = self.volume.parent(target, true).map_err(Fault::Volume)?;
        match self.offers.get(path) {
            Some(Offer::Link(text, content)) => {
                let temp = place::stage_link(dir, text).map_err(Fault::Volume)?;
                Ok((temp, *content, None))
            }
            Some(Offer::File(_)) => {
                let (from, name) = self.source.parent(path, false).map_err(Fault::Source)?;
                let (file, look) = place::open_file(from, &name).map_err(Fault::Source)?;
                let mode = match look.mode & 0o111 {
                    0 => self.mode,
                    _ => with_x(self.mode),
                };
                let (temp, content, look) = place::stage_file(dir, file, mode, self.stop)?;
                Ok((temp, content, Some(look)))
            }
            _ => Err(Fault::Source(Errno::INVAL)),
        }
    }

    /// Puts the batch in place: note as pending, flush, rename, note as installed.
    pub fn flush(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        if batch.is_empty() {
            return;
        }
        for staged in &batch {
            if staged.verdict != Verdict::Beside {
                let entry = self.manifest.entries.entry(staged.path.clone());
                entry.or_default().pending = Some(staged.content);
            }
        }
        if let Err(error) = self.save().and_then(|()| self.sync(&batch)) {
            // Nothing was renamed: the old state, as a whole.
            for staged in &batch {
                self.drop_staged(staged);
                match error {
                    Errno::NOSPC | Errno::DQUOT => self.full += 1,
                    error => self.refused.add(error, || shown(&staged.path)),
                }
            }
            return;
        }
        for staged in batch {
            self.settle(&staged);
        }
    }

    /// Writes the manifest, if one is kept.
    pub fn save(&mut self) -> Result<(), Errno> {
        match &mut self.home {
            Some(home) => home.write(&mut self.manifest),
            None => Ok(()),
        }
    }

    /// One fsync for each of a few files, or one syncfs for each file system that the
    /// batch is on: that waits for what everybody else has written there too.
    fn sync(&mut self, batch: &[Staged]) -> Result<(), Errno> {
        let mut synced = BTreeSet::new();
        for staged in batch {
            let Some(look) = staged.look else { continue };
            let few = batch.len() <= FEW;
            if few || synced.insert(look.inode.dev) {
                let (dir, _) = self.volume.parent(&staged.target, false)?;
                if few {
                    fsync(dir, &staged.temp)?;
                } else {
                    rustix::fs::syncfs(tree::open_dir(dir, c".")?)?;
                }
            }
        }
        Ok(())
    }

    /// Renames one staged file and notes how that ended.
    fn settle(&mut self, staged: &Staged) {
        let Staged { path, content, .. } = staged;
        let entry = self.manifest.entries.entry(path.clone()).or_default();
        entry.pending = None;
        let was = entry.installed;
        let (dir, name) = match self.volume.parent(&staged.target, false) {
            Ok(found) => found,
            Err(error) => return self.refused.add(error, || shown(path)),
        };
        let able = self.means.able;
        let ours = |found| found == *content || was == Some(found);
        let placed = match staged.verdict {
            Verdict::Replace => place::replace(dir, &staged.temp, &name, *content, able, &ours),
            _ => place::install(dir, &staged.temp, &name, able),
        };
        if staged.verdict == Verdict::Beside && matches!(placed, Placed::Done | Placed::Theirs) {
            // What has the name already is a person's: it is not tried at each start.
            entry.beside = Some(*content);
        }
        match (placed, staged.verdict) {
            (Placed::Done, Verdict::Beside) => {
                self.summary.beside += 1;
                self.summary.kept += 1;
                let what = format!("is new; yours is kept in {}", shown(path));
                self.tell(&staged.target, &what);
            }
            (Placed::Done, verdict) => {
                let now = tree::look(dir, &name).ok();
                self.placed(staged, now);
                match verdict {
                    Verdict::Replace => self.summary.updated += 1,
                    _ => self.summary.installed += 1,
                }
            }
            (Placed::Theirs, _) => {
                // What the stamp was taken of is not what is there.
                entry.in_volume = None;
                self.summary.kept += 1;
            }
            (Placed::Unread(error), _) => {
                entry.in_volume = None;
                self.unread.add(error, || shown(path));
            }
            (Placed::Stray(name), _) => {
                self.summary.kept += 1;
                let stray = stray(tree::split(&staged.target).0, &name);
                self.summary.degradations.push(stray);
            }
            (Placed::Unable(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP), Verdict::Replace) => {
                self.unexchanged += 1;
            }
            (Placed::Unable(error), _) => self.refused.add(error, || shown(path)),
        }
    }

    /// Notes what was put in place and looks like `now`, so that the next start need
    /// not read it.
    fn placed(&mut self, staged: &Staged, now: Option<Look>) {
        let clock = tree::now();
        let untouched = now.zip(staged.look).filter(|(now, then)| {
            now.inode == then.inode && now.modified == then.modified && now.size == then.size
        });
        let in_image = match self.offers.get(&staged.path) {
            Some(Offer::File(look)) if self.version_known => Stamp::settled(look, clock),
            _ => None,
        };
        let entry = self.manifest.entries.entry(staged.path.clone());
        let entry = entry.or_default();
        entry.installed = Some(staged.content);
        entry.in_volume = untouched.and_then(|(now, _)| Stamp::renamed(&now, clock));
        entry.in_image = in_image;
    }

    /// Removes what was staged and does not get its name.
    pub fn drop_staged(&mut self, staged: &Staged) {
        if let Ok((dir, _)) = self.volume.parent(&staged.target, false) {
            place::discard(dir, &staged.temp);
        }
        if let Some(entry) = self.manifest.entries.get_mut(&staged.path) {
            entry.pending = None;
        }
    }
}

/// Flushes one staged file. One that somebody took away is no fault of the others.
fn fsync(dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => rustix::fs::fsync(file),
        Err(Errno::NOENT | Errno::LOOP) => Ok(()),
        Err(error) => Err(error),
    }
}

/// `NAME.VERSION.EXT` for a new default next to a changed one.
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
    use crate::volume::manifest::Digest;

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
