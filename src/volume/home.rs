//! `.ai-lab`, our own directory in the volume: the lock and the manifest.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Access, AtFlags, FileType, FlockOperation, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use tracing::info;

use super::manifest::{Manifest, Unreadable};
use super::plan::is_older;
use super::tree::{Look, Rights, Time, Tree};
use super::{VolumeError, place, tree};
use crate::degradation::Degradation;

/// The directory's name in the volume.
pub(super) const NAME: &CStr = c".ai-lab";
const LOCK: &CStr = c"lock";
const MANIFEST: &CStr = c"manifest.sha256";
const ASIDE: &CStr = c"manifest.sha256.damaged";
/// The record is read in pieces of this many bytes, with a stop possible between two.
const READ_AT_ONCE: u64 = 4 << 20;

/// How long a wait may be without a word.
const SILENCE: Duration = Duration::from_secs(1);

/// Our directory, open, and locked if the file system can.
pub(super) struct Home {
    pub dir: OwnedFd,
    lock: File,
    pub locked: bool,
    /// The longest record that is read, in bytes.
    longest: u64,
    /// The text that was read, or written last. One that says the same in other words, as
    /// somebody else's would, is written anew.
    base: Vec<u8>,
}

/// Whether the manifest can be kept.
pub(super) enum Opened {
    Home(Box<Home>),
    /// Files can be added, the manifest not kept; said why.
    Without(Degradation),
    ReadOnly,
}

/// Opens or makes `.ai-lab` in `volume` and waits at most `limit` for its lock.
pub(super) fn open(
    volume: BorrowedFd<'_>,
    limit: Duration,
    stop: &dyn Fn() -> bool,
    degradations: &mut Vec<Degradation>,
) -> Result<Opened, VolumeError> {
    let (dir, lock) = match open_files(volume) {
        Ok(files) => files,
        Err(Errno::ROFS) => return Ok(Opened::ReadOnly),
        Err(error) => return Ok(Opened::Without(no_record(volume, Rights::Ours, error))),
    };
    let locked = take(&lock, limit, stop, degradations)?;
    Ok(Opened::Home(Box::new(Home {
        dir,
        lock,
        locked,
        longest: 0,
        base: Manifest::default().render(),
    })))
}

/// Takes the lock, for which `limit` is waited at most; whether it is ours.
fn take(
    lock: &File,
    limit: Duration,
    stop: &dyn Fn() -> bool,
    degradations: &mut Vec<Degradation>,
) -> Result<bool, VolumeError> {
    let start = Instant::now();
    let mut told = false;
    loop {
        match rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) if stop() => return Err(VolumeError::Stopped),
            Err(Errno::WOULDBLOCK) if start.elapsed() < limit => {
                if !told && start.elapsed() >= SILENCE {
                    info!(
                        "another start or `notebooks restore` is at work on the same notebooks; it \
                         is waited for, {limit:?} at most"
                    );
                    told = true;
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
            // No locks here: the manifest is merged when it is written.
            Err(_) => return Ok(false),
        }
    }
}

/// What [`open`] and [`Home::read`] would come to; nothing is made or set aside.
///
/// # Errors
/// The degradation where no manifest could be kept, or `stop`.
pub(super) fn foresee(
    volume: BorrowedFd<'_>,
    rights: Rights,
    longest: u64,
    stop: &dyn Fn() -> bool,
    degradations: &mut Vec<Degradation>,
) -> Result<Manifest, NotRead> {
    let dir = foresee_files(volume, rights);
    match dir.map_err(|error| NotRead::Told(no_record(volume, rights, error)))? {
        Some(dir) => {
            let aside = || rights.may_change(&dir);
            Ok(read(&dir, longest, aside, stop, degradations)?.0)
        }
        None => Ok(Manifest::default()),
    }
}

/// Why there is no manifest to go by.
#[derive(Debug, PartialEq)]
pub(super) enum NotRead {
    /// It must not be changed either; the degradation says why.
    Told(Degradation),
    /// The caller's `stop` said so.
    Stopped,
}

fn foresee_files(volume: BorrowedFd<'_>, rights: Rights) -> Result<Option<OwnedFd>, Errno> {
    let dir = match tree::open_dir(volume, NAME) {
        Err(Errno::NOENT) => return rights.may_change(volume).map(|()| None),
        other => other?,
    };
    match tree::look(&dir, LOCK) {
        Err(Errno::NOENT) => rights.may_change(&dir)?,
        look => {
            ours(look?)?;
            rights.may(&dir, LOCK, Access::READ_OK | Access::WRITE_OK)?;
        }
    }
    Ok(Some(dir))
}

/// What is told where no manifest can be kept, because of this.
fn no_record(volume: BorrowedFd<'_>, rights: Rights, error: Errno) -> Degradation {
    let own = "make .ai-lab in the notebooks directory a directory that the user can write";
    let (why, remedy) = match error {
        Errno::NOTDIR | Errno::LOOP => (".ai-lab is a link or no directory".into(), own),
        Errno::INVAL => (
            ".ai-lab/lock is no file, or has another name elsewhere".into(),
            "remove .ai-lab/lock from the notebooks directory",
        ),
        Errno::ACCESS | Errno::PERM if rights.may(volume, c".", Access::WRITE_OK).is_err() => {
            let uid = rights.uid();
            let why = format!(
                "uid {uid} may not write to the notebooks directory, nothing can be saved there"
            );
            let remedy = "start as root, without docker run --user, so that the volume is handed \
                          over; or as its owner, whom `ls -ldn` tells";
            (why, remedy)
        }
        Errno::NOSPC | Errno::DQUOT => (format!(".ai-lab: {error}"), "make room and start again"),
        error => (format!(".ai-lab: {error}"), own),
    };
    Degradation::new(
        format!("no record of the notebook defaults is kept: {why}; only missing ones are added"),
        remedy,
    )
}

/// The lock is written to: it must not be a device, nor a file that has its other name
/// outside of the volume.
fn ours(look: Look) -> Result<(), Errno> {
    match look.kind {
        FileType::RegularFile if look.links <= 1 => Ok(()),
        _ => Err(Errno::INVAL),
    }
}

fn open_files(volume: BorrowedFd<'_>) -> Result<(OwnedFd, File), Errno> {
    match rustix::fs::mkdirat(volume, NAME, Mode::from(0o755)) {
        // A read-only file system may say so before it says that it exists.
        Ok(()) | Err(Errno::EXIST | Errno::ROFS | Errno::ACCESS) => {}
        Err(error) => return Err(error),
    }
    let dir = match tree::open_dir(volume, NAME) {
        Err(Errno::NOENT) => {
            let error = rustix::fs::mkdirat(volume, NAME, Mode::from(0o755));
            return Err(error.err().unwrap_or(Errno::NOENT));
        }
        other => other?,
    };
    match tree::look(&dir, LOCK) {
        Err(Errno::NOENT) => {}
        look => ours(look?)?,
    }
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let lock = rustix::fs::openat(&dir, LOCK, flags, Mode::from(0o644))?;
    ours(tree::look_at(&lock)?)?;
    Ok((dir, File::from(lock)))
}

impl Home {
    /// The manifest; `Err`: written by a newer version or not readable now, and not to
    /// be touched.
    ///
    /// One that is damaged or longer than `longest` is set aside and counts as absent.
    pub fn read(
        &mut self,
        longest: u64,
        stop: &dyn Fn() -> bool,
        degradations: &mut Vec<Degradation>,
    ) -> Result<Manifest, NotRead> {
        let aside = || rustix::fs::renameat(&self.dir, MANIFEST, &self.dir, ASIDE);
        self.longest = longest;
        let (manifest, text) = read(&self.dir, longest, aside, stop, degradations)?;
        self.base = text;
        Ok(manifest)
    }

    /// Writes the manifest, durably, if it is not what is there already.
    pub fn write(&mut self, manifest: &mut Manifest) -> Result<(), Errno> {
        let mut new = manifest.render();
        if new == self.base {
            return Ok(());
        }
        if !self.locked {
            let theirs = text(&self.dir, self.longest, &|| false).ok().flatten();
            match theirs.map(|(_, text)| Manifest::parse(&text)) {
                Some(Ok(theirs)) => {
                    let base = Manifest::parse(&self.base).unwrap_or_default();
                    merge(manifest, &base, theirs);
                    new = manifest.render();
                }
                Some(Err(Unreadable::Newer)) => return Ok(()),
                _ => {}
            }
        }
        write_text(&self.dir, &new)?;
        self.base = new;
        Ok(())
    }

    /// Whether a start was killed while it had temporary files in the volume.
    pub fn was_killed(&self) -> bool {
        self.marked() == Some(true)
    }

    /// Notes that there are temporary files in the volume, or that there are none.
    pub fn mark(&mut self, busy: bool) {
        if self.marked() == Some(!busy) {
            // Without the mark, what a killed start leaves is only not tidied up.
            let _ = self.lock.set_len(u64::from(busy));
        }
    }

    /// The mark is a byte in the lock's file. `None`: without the lock, it is another's;
    /// more than that, somebody wrote it.
    fn marked(&self) -> Option<bool> {
        match tree::look_at(&self.lock).ok()?.size {
            0 if self.locked => Some(false),
            1 if self.locked => Some(true),
            _ => None,
        }
    }
}

/// The manifest in `.ai-lab`, as [`Home::read`], and its text; `aside` sets a damaged one
/// aside.
fn read(
    dir: &OwnedFd,
    longest: u64,
    aside: impl FnOnce() -> Result<(), Errno>,
    stop: &dyn Fn() -> bool,
    degradations: &mut Vec<Degradation>,
) -> Result<(Manifest, Vec<u8>), NotRead> {
    let mut long = false;
    let read = match text(dir, longest, stop) {
        Ok(Some((_, text))) => Manifest::parse_until(&text, stop).map(|manifest| (manifest, text)),
        Ok(None) => Ok(nothing()),
        Err(Errno::CANCELED) => Err(Unreadable::Stopped),
        Err(Errno::FBIG) => {
            long = true;
            Err(Unreadable::Damaged(0))
        }
        // No regular file.
        Err(Errno::INVAL | Errno::LOOP) => Err(Unreadable::Damaged(0)),
        Err(Errno::ACCESS | Errno::PERM) if is_kept_from_us(dir) => Err(Unreadable::Damaged(0)),
        // What cannot be read now may be readable the next time.
        Err(error) => {
            return Err(NotRead::Told(Degradation::new(
                format!(
                    "the record of the notebook defaults cannot be read ({error}); only \
                     missing defaults are added"
                ),
                "see what is wrong with .ai-lab/manifest.sha256 in the notebooks directory",
            )));
        }
    };
    let read = match read {
        Ok(read) => read,
        Err(Unreadable::Stopped) => return Err(NotRead::Stopped),
        Err(Unreadable::Newer) => {
            return Err(NotRead::Told(Degradation::new(
                "the record of the notebook defaults was written by a newer version of this \
                 program and is not read; only missing defaults are added",
                "start the volume with the newer image",
            )));
        }
        Err(Unreadable::Damaged(line)) => {
            let done = match aside() {
                Ok(()) => "set aside as .ai-lab/manifest.sha256.damaged".to_owned(),
                Err(error) => format!("not read ({error})"),
            };
            let what = match long {
                true => format!(
                    "is longer than these defaults can explain (more than {} MiB)",
                    longest >> 20
                ),
                false => format!("is damaged (line {line})"),
            };
            degradations.push(Degradation::new(
                format!("the record of the notebook defaults {what} and was {done}"),
                "none needed; defaults that differ from the image's now count as yours and \
                 are not updated: delete those you want anew",
            ));
            nothing()
        }
    };
    Ok(read)
}

/// Whether the record is somebody else's, who does not let us read it: a refusal may be
/// the file system's of a moment.
fn is_kept_from_us(dir: &OwnedFd) -> bool {
    let asked = rustix::fs::accessat(dir, MANIFEST, Access::READ_OK, AtFlags::empty());
    matches!(asked, Err(Errno::ACCESS | Errno::PERM))
}

fn nothing() -> (Manifest, Vec<u8>) {
    let manifest = Manifest::default();
    let text = manifest.render();
    (manifest, text)
}

/// How many bytes the manifest has; 0: there is none.
pub(super) fn length_of_record(volume: &Tree) -> u64 {
    let look = tree::open_dir(volume.top(), NAME).and_then(|dir| tree::look(dir, MANIFEST));
    look.map_or(0, |look| look.size)
}

/// The manifest in `.ai-lab`, if there is one that can be read.
pub(super) fn peek(dir: &OwnedFd, longest: u64) -> Option<Manifest> {
    let (_, text) = text(dir, longest, &|| false).ok().flatten()?;
    Manifest::parse(&text).ok()
}

/// Writes the manifest's text in `.ai-lab`, durably, as a whole or not at all.
pub(super) fn write_text(dir: impl AsFd, text: &[u8]) -> Result<(), Errno> {
    let dir = dir.as_fd();
    let temp = place::temporary(place::NEW);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(dir, &temp, flags, Mode::from(0o644))?);
    let written = file.write_all(text);
    let done = written
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        .and_then(|()| rustix::fs::fdatasync(&file))
        .and_then(|()| rustix::fs::renameat(dir, &temp, dir, MANIFEST));
    if done.is_err() {
        place::discard(dir, &temp);
    }
    done
}

/// Makes the manifest readable for all, and as old as the time `modified`.
pub(super) fn stamp(dir: impl AsFd, modified: Time) -> Result<(), Errno> {
    let (file, _) = place::open_file(dir.as_fd(), MANIFEST)?;
    rustix::fs::fchmod(&file, Mode::from(0o644))?;
    let time = Timespec {
        tv_sec: modified.0,
        tv_nsec: modified.1.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::futimens(&file, &times)
}

/// The manifest's text in `.ai-lab`, and how its file looks. `None`: there is none.
///
/// # Errors
/// EFBIG where it is longer than `longest`, ECANCELED where `stop` said so.
pub(super) fn text(
    dir: impl AsFd,
    longest: u64,
    stop: &dyn Fn() -> bool,
) -> Result<Option<(Look, Vec<u8>)>, Errno> {
    let (file, look) = match place::open_file(dir.as_fd(), MANIFEST) {
        Ok(opened) => opened,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    if look.size > longest {
        return Err(Errno::FBIG);
    }
    // No longer than a record of these defaults, which fits.
    let mut text = Vec::with_capacity(look.size as usize + 1);
    let mut rest = file.take(longest);
    loop {
        match rest.by_ref().take(READ_AT_ONCE).read_to_end(&mut text) {
            Ok(0) => return Ok(Some((look, text))),
            Ok(_) if stop() => return Err(Errno::CANCELED),
            Ok(_) => {}
            Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }
}

/// Takes over what `theirs` has learnt since `base` about paths `ours` did not touch.
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
#[path = "home_tests.rs"]
mod tests;
