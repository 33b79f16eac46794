//! The changes that a start makes, and that a dry run only previews.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::io::Errno;

use crate::sys::dir::is_read_only;

/// What becomes of a change that a start has decided on.
#[derive(Debug, Clone, Copy)]
pub enum Effects<'a> {
    /// It is made.
    Make,
    /// It is not made: a dry run only asks the kernel whether it could be.
    Preview(&'a WriteAccess),
}

impl Effects<'_> {
    /// Reports whether nothing is changed.
    pub fn is_preview(self) -> bool {
        matches!(self, Self::Preview(_))
    }

    /// Makes a change. A preview takes it for made.
    ///
    /// # Errors
    /// Those of the change.
    pub fn make(self, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::Make => change(),
            Self::Preview(_) => Ok(()),
        }
    }

    /// Makes a change in a directory. A preview checks that files can be made there.
    ///
    /// # Errors
    /// Those of the change.
    pub fn make_in(
        self,
        directory: &Path,
        change: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        match self {
            Self::Make => change(),
            Self::Preview(access) => access.check(directory),
        }
    }

    /// Checks that this process can make files in a directory, or make the directory.
    ///
    /// # Errors
    /// The error that the kernel would return.
    pub fn check_writable(self, directory: &Path) -> io::Result<()> {
        match self {
            Self::Make => WriteAccess::default().check(directory),
            Self::Preview(access) => access.check(directory),
        }
    }

    /// Reports whether a preview cannot read a file only because it is not handed over yet.
    pub fn would_hand_over(self, path: &Path) -> bool {
        self.is_preview() && self.check_writable(path).is_ok()
    }

    /// Reports whether a directory is one that the user would have been given by now, in a preview.
    pub fn is_given(self, directory: &Path) -> bool {
        match self {
            Self::Make => false,
            Self::Preview(access) => access.has(directory) && is_reachable(directory),
        }
    }
}

/// The directories that root would have handed over to the user by now.
#[derive(Debug, Default)]
pub struct WriteAccess {
    with_content: Vec<PathBuf>,
    without_content: Vec<PathBuf>,
}

impl WriteAccess {
    /// Adds a directory that is handed over with its content.
    pub fn add_tree(&mut self, directory: impl Into<PathBuf>) {
        self.with_content.push(directory.into());
    }

    /// Adds a directory that is handed over without its content.
    pub fn add_single(&mut self, directory: impl Into<PathBuf>) {
        self.without_content.push(directory.into());
    }

    /// Reports whether `directory` is in one that is handed over with its content.
    pub fn has(&self, directory: &Path) -> bool {
        self.with_content
            .iter()
            .any(|place| directory.starts_with(place))
    }

    fn check(&self, directory: &Path) -> io::Result<()> {
        let ours = |place: &PathBuf| directory.starts_with(place) && is_reachable(place);
        let ours = self.with_content.iter().any(ours);
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        for place in directory.ancestors() {
            // For a new file the kernel reports EROFS before missing rights; access(2) may not.
            if is_read_only(place) {
                return Err(Errno::ROFS.into());
            }
            match rustix::fs::access(place, wanted) {
                Err(Errno::NOENT) => {}
                // Another user's now, but handed over by then.
                Err(Errno::ACCESS | Errno::PERM) if ours => return Ok(()),
                Err(Errno::ACCESS | Errno::PERM)
                    if self.without_content.iter().any(|handed| handed == place)
                        && is_reachable(place) =>
                {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
                Ok(()) if place.is_dir() => return Ok(()),
                Ok(()) => return Err(Errno::NOTDIR.into()),
            }
        }
        Err(Errno::NOENT.into())
    }
}

/// Reports whether this process can reach `place`, which may not exist yet. An owner cannot reach a
/// file through a directory that the owner may not enter.
fn is_reachable(place: &Path) -> bool {
    let above = place.ancestors().skip(1);
    let mut entered = above.map(|place| rustix::fs::access(place, Access::EXEC_OK));
    let first = entered.find(|entered| *entered != Err(Errno::NOENT));
    first.is_none_or(|entered| entered.is_ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_decides_and_what_is_above_where_nothing_is_there() {
        let top = tempfile::tempdir().unwrap();
        let file = top.path().join("file");
        std::fs::write(&file, "").unwrap();
        let access = WriteAccess::default();
        for effects in [Effects::Make, Effects::Preview(&access)] {
            assert!(effects.check_writable(top.path()).is_ok());
            assert!(effects.check_writable(&top.path().join("a/b")).is_ok());
            assert!(effects.check_writable(&file).is_err());
            assert!(effects.check_writable(&file.join("x")).is_err());
        }
    }

    #[test]
    fn a_preview_makes_no_change_and_takes_it_for_made_where_it_could_be() {
        let top = tempfile::tempdir().unwrap();
        let access = WriteAccess::default();
        let preview = Effects::Preview(&access);
        let change = || panic!("a preview changes something");
        assert!(preview.make(change).is_ok());
        assert!(preview.make_in(top.path(), change).is_ok());
        assert!(preview.make_in(&top.path().join("a/b"), change).is_ok());
        let file = top.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(preview.make_in(&file, change).is_err());
        let made = || Err(io::Error::other("made"));
        assert_eq!(Effects::Make.make(made).unwrap_err().to_string(), "made");
        let made = Effects::Make.make_in(top.path(), made);
        assert_eq!(made.unwrap_err().to_string(), "made");
    }
}
