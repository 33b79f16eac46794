//! The file of the manifest in `.ai-lab`: read, set aside if it is damaged, and written.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Access, AtFlags, Mode, Timespec, Timestamps};
use rustix::io::Errno;

use crate::degradation::Degradation;
use crate::volume::defaults::atomic;
use crate::volume::defaults::atomic::{FileBytes, StagedText};
use crate::volume::defaults::manifest::{Manifest, Unreadable};
use crate::volume::tree::Time;

/// Name of the file.
pub(super) const NAME: &CStr = c"manifest.sha256";
/// Name of a damaged one that was set aside.
pub(super) const DAMAGED: &CStr = c"manifest.sha256.damaged";

/// Why no manifest was read.
#[derive(Debug, PartialEq)]
pub(super) enum NotRead {
    /// The manifest must not be changed either; the degradation says why.
    Unusable(Degradation),
    /// The caller's `stop` returned true.
    Stopped,
}

/// Reads the manifest in `.ai-lab` as [`AiLabDir::read`] does. Returns its text too. `aside` sets
/// a damaged one aside.
pub(super) fn read(
    dir: &OwnedFd,
    longest: u64,
    aside: impl FnOnce() -> Result<(), Errno>,
    stop: &dyn Fn() -> bool,
    degradations: &mut Vec<Degradation>,
) -> Result<(Manifest, Vec<u8>), NotRead> {
    let mut long = false;
    let read = match text(dir, longest, stop) {
        Ok(Some((text, _))) => Manifest::parse_until(&text, stop).map(|manifest| (manifest, text)),
        Ok(None) => Ok(empty_manifest()),
        Err(Errno::CANCELED) => Err(Unreadable::Stopped),
        Err(Errno::FBIG) => {
            long = true;
            Err(Unreadable::Damaged(0))
        }
        // It is not a regular file.
        Err(Errno::INVAL | Errno::LOOP) => Err(Unreadable::Damaged(0)),
        Err(Errno::ACCESS | Errno::PERM) if read_is_denied(dir) => Err(Unreadable::Damaged(0)),
        // The next start may be able to read it.
        Err(error) => {
            return Err(NotRead::Unusable(Degradation::new(
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
            return Err(NotRead::Unusable(Degradation::new(
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
            empty_manifest()
        }
    };
    Ok(read)
}

/// Reports whether the permissions of the manifest keep us from reading it. If not, the
/// file system may have refused it for a moment only.
fn read_is_denied(dir: &OwnedFd) -> bool {
    let asked = rustix::fs::accessat(dir, NAME, Access::READ_OK, AtFlags::empty());
    matches!(asked, Err(Errno::ACCESS | Errno::PERM))
}

fn empty_manifest() -> (Manifest, Vec<u8>) {
    let manifest = Manifest::default();
    let text = manifest.render();
    (manifest, text)
}

/// Returns the manifest in `.ai-lab`, if there is one that can be read.
pub(super) fn peek(dir: &OwnedFd, longest: u64) -> Option<Manifest> {
    let (text, _) = text(dir, longest, &|| false).ok().flatten()?;
    Manifest::parse(&text).ok()
}

/// Writes the manifest's text in `.ai-lab` as a whole or not at all, and flushes its data.
pub(super) fn write_text(dir: impl AsFd, text: &[u8]) -> Result<(), Errno> {
    StagedText::write(dir, NAME, text)?.put_in_place()
}

/// Sets the manifest's mode bits to 0644, and its atime and mtime to `modified`.
pub(super) fn stamp(dir: impl AsFd, modified: Time) -> Result<(), Errno> {
    let (file, _) = atomic::open_file(dir.as_fd(), NAME)?;
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

/// Returns the manifest's text in `.ai-lab`; `None` if there is none.
///
/// # Errors
/// EFBIG if it is longer than `longest`, ECANCELED if `stop` returned true.
pub(super) fn text(
    dir: impl AsFd,
    longest: u64,
    stop: &dyn Fn() -> bool,
) -> Result<Option<FileBytes>, Errno> {
    match atomic::read_until(dir.as_fd(), NAME, longest, stop) {
        Ok(read) => Ok(Some(read)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
