//! Puts staged files in place, never over a person's file.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::volume::defaults::aside::Aside;
use crate::volume::defaults::atomic::{Fault, OLD, OursCheck, temporary};
use crate::volume::defaults::manifest::Content;
use crate::volume::defaults::rename::{At, lacks_flag, move_to, rename_over, rename_with};
use crate::volume::tree;

/// Result of placing a staged file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// The file is in place.
    Done,
    /// Someone else created, changed or deleted the file meanwhile: that stays.
    Conflict,
    /// The file system refuses it, or cannot do it without a risk for someone's file.
    FsRefused(Errno),
    /// The old file could not be read, so it may be a person's: it is back in place.
    OldUnreadable(Errno),
    /// A file that may be a person's could not be put back: it has this path.
    Displaced(Vec<u8>),
    /// The file is in place, but the old one could not be moved to where it is kept: it has this
    /// path.
    NotKept(Vec<u8>),
    /// `stop` returned true. The old file is in place; the next start removes the rest.
    Stopped,
}

/// Moves the staged file `temp` to `to` if nothing has that name. `temp` is gone afterwards
/// in every case.
pub(super) fn install(temp: At<'_>, to: At<'_>, reserving: &dyn Fn()) -> Placed {
    let placed = match move_to(temp, to, reserving) {
        Ok(()) => return Placed::Done,
        Err(Errno::EXIST) => Placed::Conflict,
        Err(error) => Placed::FsRefused(error),
    };
    temp.discard();
    placed
}

/// A replacement of the file at `path` by a staged one.
pub(super) struct Replacement<'a> {
    /// The directory of both files.
    pub dir: BorrowedFd<'a>,
    pub temp: &'a CStr,
    pub name: &'a CStr,
    pub path: &'a [u8],
    /// The content of the staged file.
    pub new: Content,
    /// Decides whether the old file is ours.
    pub check: OursCheck<'a>,
    /// The vacant name where the old file ends; if there is none, it is removed.
    pub keep: Option<At<'a>>,
    /// `.ai-lab`, for file systems that cannot exchange two files.
    pub ai_lab: Option<BorrowedFd<'a>>,
    /// As in [`move_to`].
    pub reserving: &'a dyn Fn(),
}

impl Replacement<'_> {
    /// Exchanges the two files, or moves the old one aside first where the file system cannot
    /// exchange files. Takes it back if the old file turns out not to be ours.
    pub fn run(&self, aside: &mut Aside) -> Placed {
        // From here on the temporary name may hold a person's file. It must not look like one
        // that the next start removes without reading it.
        let name = temporary(OLD);
        let other = At::new(self.dir, &name);
        let temp = At::new(self.dir, self.temp);
        if let Err(error) = rename_over(temp, other) {
            temp.discard();
            return Placed::FsRefused(error);
        }
        match rename_with(other, self.target(), RenameFlags::EXCHANGE) {
            Ok(()) => self.check_exchanged(other),
            Err(error) if lacks_flag(error) => self.move_aside(other, aside),
            Err(error) => {
                other.discard();
                refused(error)
            }
        }
    }

    fn target(&self) -> At<'_> {
        At::new(self.dir, self.name)
    }

    /// Checks the file that an exchange took out, which now has the name `old`.
    fn check_exchanged(&self, old: At<'_>) -> Placed {
        let path = tree::beside(self.path, old.name);
        let Some(back) = self.unless_ours(old) else {
            return self.end(old, path);
        };
        let is_new = OursCheck {
            ours: &|found| found == self.new,
            ..self.check
        };
        match rename_with(old, self.target(), RenameFlags::EXCHANGE) {
            Ok(()) => match is_new.is_ours(old.dir, old.name) {
                Ok(true) => {
                    old.discard();
                    back
                }
                Err(Fault::Stopped) => Placed::Stopped,
                _ => Placed::Displaced(path),
            },
            // Someone deleted our file: the person's file goes back to its name.
            Err(Errno::NOENT)
                if rename_with(old, self.target(), RenameFlags::NOREPLACE).is_ok() =>
            {
                back
            }
            _ => Placed::Displaced(path),
        }
    }

    /// Moves the old file aside, looks at it there, and puts `new` in its place. The path is
    /// vacant meanwhile; what somebody makes there stays.
    fn move_aside(&self, new: At<'_>, aside: &mut Aside) -> Placed {
        let ai_lab = self.ai_lab.ok_or(Errno::INVAL);
        let moved = ai_lab.and_then(|ai_lab| aside.take(ai_lab, self.path, self.target()));
        let (dir, path) = match moved {
            Ok(moved) => moved,
            Err(error) => {
                new.discard();
                return refused(error);
            }
        };
        let old = At::new(dir, self.name);
        let back = match self.unless_ours(old) {
            Some(back) => back,
            None => match move_to(new, self.target(), self.reserving) {
                Ok(()) => return self.end(old, path),
                Err(Errno::EXIST) => {
                    new.discard();
                    // An old file that is to be kept is a person's.
                    return match self.end(old, path) {
                        Placed::NotKept(path) => Placed::Displaced(path),
                        _ => Placed::Conflict,
                    };
                }
                Err(error) => Placed::FsRefused(error),
            },
        };
        new.discard();
        match move_to(old, self.target(), self.reserving) {
            // ENOENT: without a lock, another start has moved it back.
            Ok(()) | Err(Errno::NOENT) => back,
            Err(_) => Placed::Displaced(path),
        }
    }

    /// Returns `None` if `old` is ours, otherwise the result when it is back in its place.
    fn unless_ours(&self, old: At<'_>) -> Option<Placed> {
        match self.check.is_ours(old.dir, old.name) {
            Ok(true) => None,
            Ok(false) => Some(Placed::Conflict),
            Err(Fault::Stopped) => Some(Placed::Stopped),
            Err(fault) => Some(Placed::OldUnreadable(fault.errno())),
        }
    }

    /// Removes or keeps the old file, which has this path, once the new one is in its place.
    fn end(&self, old: At<'_>, path: Vec<u8>) -> Placed {
        let Some(kept) = self.keep else {
            old.discard();
            return Placed::Done;
        };
        match move_to(old, kept, self.reserving) {
            Ok(()) => Placed::Done,
            Err(_) => Placed::NotKept(path),
        }
    }
}

/// Returns the result if the old file could not be taken out.
fn refused(error: Errno) -> Placed {
    match error {
        Errno::NOENT => Placed::Conflict,
        error => Placed::FsRefused(error),
    }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
