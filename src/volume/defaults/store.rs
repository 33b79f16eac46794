//! `.ai-lab`, our own directory in the volume, with the lock and the manifest.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Access, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use tracing::info;

use crate::degradation::Degradation;
use crate::volume::defaults::atomic::StagedText;
use crate::volume::defaults::manifest::{Manifest, Unreadable, is_older};
use crate::volume::defaults::manifest_file;
use crate::volume::defaults::manifest_file::NotRead;
use crate::volume::tree::{FileStat, Rights, Tree};
use crate::volume::{VolumeError, remedy_for, tree};

/// Name of the directory in the volume.
pub(super) const NAME: &CStr = c".ai-lab";
const LOCK: &CStr = c"lock";

/// Time after which a wait for the lock is logged.
const LOG_WAIT_AFTER: Duration = Duration::from_secs(1);

/// Maximum time to wait for the lock while another container holds it.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// Our directory, open. `locked` is false if we could not get the lock.
pub(super) struct AiLabDir {
    pub dir: OwnedFd,
    lock: File,
    pub locked: bool,
    /// Maximum length of a manifest that is read, in bytes.
    longest: u64,
    /// Text of the manifest as last read or written. A file with the same meaning but another
    /// text, which another program may have written, is written anew.
    base: Vec<u8>,
}

/// Result of opening our directory.
pub(super) enum OpenedDir {
    Dir(Box<AiLabDir>),
    /// Files can be added, but no manifest can be kept; the degradation says why.
    Without(Degradation),
    ReadOnly,
}

/// Opens or creates `.ai-lab` in `volume` and waits at most `limit` for its lock.
pub(super) fn open(
    volume: &mut Tree,
    limit: Duration,
    stop: &dyn Fn() -> bool,
    degradations: &mut Vec<Degradation>,
) -> Result<OpenedDir, VolumeError> {
    let (dir, lock) = match open_files(volume) {
        Ok(files) => files,
        Err(Errno::ROFS) => return Ok(OpenedDir::ReadOnly),
        Err(error) => {
            return Ok(OpenedDir::Without(no_manifest(
                volume.top(),
                Rights::ThisProcess,
                error,
            )));
        }
    };
    let locked = take(&lock, limit, stop, degradations)?;
    Ok(OpenedDir::Dir(Box::new(AiLabDir {
        dir,
        lock,
        locked,
        longest: 0,
        base: Manifest::default().render(),
    })))
}

/// Waits at most `limit` for the lock. Returns whether we hold it.
fn take(
    lock: &File,
    limit: Duration,
    stop: &dyn Fn() -> bool,
    degradations: &mut Vec<Degradation>,
) -> Result<bool, VolumeError> {
    let start = Instant::now();
    let mut logged = false;
    loop {
        match rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) if stop() => return Err(VolumeError::Stopped),
            Err(Errno::WOULDBLOCK) if start.elapsed() < limit => {
                if !logged && start.elapsed() >= LOG_WAIT_AFTER {
                    info!(
                        "another start or a `notebooks` verb is at work on the same notebooks; it \
                         is waited for, {limit:?} at most"
                    );
                    logged = true;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(Errno::WOULDBLOCK) => {
                degradations.push(Degradation::new(
                    format!("another container holds .ai-lab/lock for more than {limit:?}; went on without it"),
                    "none if another container was still bringing its defaults in; otherwise look \
                     for one that hangs on the same volume",
                ));
                return Ok(false);
            }
            // The file system has no locks: the manifest is merged when it is written.
            Err(_) => return Ok(false),
        }
    }
}

/// Previews [`open`] and [`AiLabDir::read`] without creating or renaming anything.
///
/// # Errors
/// The degradation if no manifest could be kept, or `stop`.
pub(super) fn preview_manifest(
    volume: BorrowedFd<'_>,
    rights: Rights,
    longest: u64,
    stop: &dyn Fn() -> bool,
    degradations: &mut Vec<Degradation>,
) -> Result<Manifest, NotRead> {
    let dir = preview_files(volume, rights);
    match dir.map_err(|error| NotRead::Unusable(no_manifest(volume, rights, error)))? {
        Some(dir) => {
            let aside = || rights.may_change(&dir);
            Ok(manifest_file::read(&dir, longest, aside, stop, degradations)?.0)
        }
        None => Ok(Manifest::default()),
    }
}

fn preview_files(volume: BorrowedFd<'_>, rights: Rights) -> Result<Option<OwnedFd>, Errno> {
    let dir = match tree::open_dir(volume, NAME) {
        Err(Errno::NOENT) => return rights.may_change(volume).map(|()| None),
        other => other?,
    };
    match tree::stat_name(&dir, LOCK) {
        Err(Errno::NOENT) => rights.may_change(&dir)?,
        stat => {
            check_lock_file(stat?)?;
            rights.may(&dir, LOCK, Access::READ_OK | Access::WRITE_OK)?;
        }
    }
    Ok(Some(dir))
}

/// Returns the degradation that reports that `error` keeps us from keeping a manifest.
fn no_manifest(volume: BorrowedFd<'_>, rights: Rights, error: Errno) -> Degradation {
    let own = "make .ai-lab in the notebooks directory a directory that the user can write";
    let (why, remedy) = match error {
        Errno::NOTDIR | Errno::LOOP => (".ai-lab is a link or no directory".into(), own),
        Errno::INVAL => (
            ".ai-lab/lock is not a file, or has a second name elsewhere".into(),
            "remove .ai-lab/lock from the notebooks directory",
        ),
        Errno::ACCESS | Errno::PERM if rights.may(volume, c".", Access::WRITE_OK).is_err() => {
            let uid = rights.uid();
            let why = format!(
                "uid {uid} may not write to the notebooks directory, nothing can be saved there"
            );
            let remedy = "start as root, without `docker run --user` and without USER in a derived \
                          image, so that the volume is handed over; or as its owner, whom \
                          `ls -ldn` shows; or, where root may not hand it over (NFS with root \
                          squash), change its owner on the server";
            (why, remedy)
        }
        error => (format!(".ai-lab: {error}"), remedy_for(error, own)),
    };
    Degradation::new(
        format!("no record of the notebook defaults is kept: {why}; only missing ones are added"),
        remedy,
    )
}

/// Accepts only a regular file with one link. The lock is written to, so it must not be a
/// device, nor a file that has another name outside of the volume.
fn check_lock_file(stat: FileStat) -> Result<(), Errno> {
    match stat.kind {
        FileType::RegularFile if stat.links <= 1 => Ok(()),
        _ => Err(Errno::INVAL),
    }
}

fn open_files(volume: &mut Tree) -> Result<(OwnedFd, File), Errno> {
    let dir = tree::open_dir(volume.dir(NAME.to_bytes(), true)?, c".")?;
    let lock = tree::stat_name(&dir, LOCK);
    let is_new = lock.is_err_and(|error| error == Errno::NOENT);
    match is_new {
        true => hide_from_git(&dir),
        false => check_lock_file(lock?)?,
    }
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // Everyone who can write in the directory can take the lock.
    let mode = Mode::from(tree::stat_fd(&dir)?.mode & 0o666);
    let lock = rustix::fs::openat(&dir, LOCK, flags, mode)?;
    check_lock_file(tree::stat_fd(&lock)?)?;
    if is_new {
        // The umask may have removed bits. Some file systems have no modes.
        let _ = rustix::fs::fchmod(&lock, mode);
    }
    Ok((dir, File::from(lock)))
}

/// Keeps git from listing our directory, where the notebooks are in a checkout of the person's.
fn hide_from_git(dir: &OwnedFd) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    // Without the file, git lists the directory, which does no other harm.
    if let Ok(file) = rustix::fs::openat(dir, c".gitignore", flags, Mode::from(0o644)) {
        let _ = rustix::io::write(file, b"*\n");
    }
}

impl AiLabDir {
    /// Reads the manifest. `Err`: a newer version wrote it, or it cannot be read now; it must
    /// not be changed.
    ///
    /// A manifest that is damaged or longer than `longest` is set aside and counts as absent.
    pub fn read(
        &mut self,
        longest: u64,
        stop: &dyn Fn() -> bool,
        degradations: &mut Vec<Degradation>,
    ) -> Result<Manifest, NotRead> {
        let aside = || {
            rustix::fs::renameat(
                &self.dir,
                manifest_file::NAME,
                &self.dir,
                manifest_file::DAMAGED,
            )
        };
        self.longest = longest;
        let (manifest, text) = manifest_file::read(&self.dir, longest, aside, stop, degradations)?;
        self.base = text;
        Ok(manifest)
    }

    /// Writes the manifest and flushes its data, unless its text is the last one known.
    pub fn write(&mut self, manifest: &mut Manifest) -> Result<(), Errno> {
        match self.stage(manifest)? {
            Some(staged) => self.put_in_place(staged),
            None => Ok(()),
        }
    }

    /// Writes the manifest under a temporary name and flushes its data. Returns `None` if there is
    /// nothing to write.
    pub fn stage(&self, manifest: &mut Manifest) -> Result<Option<StagedManifest>, Errno> {
        let mut new = manifest.render();
        if new == self.base {
            return Ok(None);
        }
        if !self.locked {
            let theirs = manifest_file::text(&self.dir, self.longest, &|| false)
                .ok()
                .flatten();
            match theirs.map(|(text, _)| Manifest::parse(&text)) {
                Some(Ok(theirs)) => {
                    let base = Manifest::parse(&self.base).unwrap_or_default();
                    merge(manifest, &base, theirs);
                    new = manifest.render();
                }
                Some(Err(Unreadable::Newer)) => return Ok(None),
                _ => {}
            }
        }
        self.mark_at_least(Mark::Temporary);
        let file = StagedText::write(&self.dir, manifest_file::NAME, &new)?;
        Ok(Some(StagedManifest { file, text: new }))
    }

    /// Puts the manifest in place.
    pub fn put_in_place(&mut self, staged: StagedManifest) -> Result<(), Errno> {
        staged.file.put_in_place()?;
        self.base = staged.text;
        Ok(())
    }

    /// Returns what a killed start may have left. `None`: we do not hold the lock, so that the
    /// mark is another start's, or someone wrote more than that.
    pub fn mark(&self) -> Option<Mark> {
        match tree::stat_fd(&self.lock).ok()?.size {
            _ if !self.locked => None,
            0 => Some(Mark::Nothing),
            1 => Some(Mark::Temporary),
            2 => Some(Mark::Reserved),
            _ => None,
        }
    }

    /// Marks that there may be temporary files, or empty files too, in the volume.
    pub fn mark_at_least(&self, mark: Mark) {
        if self.mark().is_some_and(|marked| marked < mark) {
            // If this fails, files of a killed start are not removed, which does no other harm.
            let _ = self.lock.set_len(mark as u64);
        }
    }

    /// Reports whether the mark is set.
    pub fn is_marked(&self) -> bool {
        self.mark().is_some_and(|mark| mark > Mark::Nothing)
    }

    /// Marks that nothing is left in the volume.
    pub fn clear_mark(&self) {
        if self.is_marked() {
            let _ = self.lock.set_len(Mark::Nothing as u64);
        }
    }
}

/// A manifest under a temporary name.
pub(super) struct StagedManifest {
    file: StagedText,
    text: Vec<u8>,
}

/// The kind of files that a killed start may leave in the volume: the number of bytes in the lock
/// file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    Nothing = 0,
    /// Temporary files, and old files in `.ai-lab/moved`.
    Temporary = 1,
    /// Also empty files that reserve the names of pending ones.
    Reserved = 2,
}

/// Returns the length of the manifest in bytes; 0 if there is none.
pub(super) fn manifest_size(volume: &Tree) -> u64 {
    let stat = tree::open_dir(volume.top(), NAME)
        .and_then(|dir| tree::stat_name(dir, manifest_file::NAME));
    stat.map_or(0, |stat| stat.size)
}

/// Takes over what `theirs` changed since `base`, except paths that `ours` changed.
fn merge(ours: &mut Manifest, base: &Manifest, theirs: Manifest) {
    if ours.image == base.image || is_older(ours.image.as_deref(), theirs.image.as_deref()) {
        ours.image = theirs.image;
    }
    for (path, entry) in theirs.entries {
        if ours.entries.get(&path) == base.entries.get(&path) {
            ours.entries.insert(path, entry);
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
