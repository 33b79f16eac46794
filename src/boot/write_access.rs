//! Previews which directories a start will be able to write: a dry run asks the kernel and
//! writes nothing.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatVfsMountFlags};
use rustix::io::Errno;

/// The directories that root would have handed over before the user phase.
#[derive(Debug, Default)]
pub struct WriteAccess {
    with_content: Vec<PathBuf>,
    without_content: Vec<PathBuf>,
}

impl WriteAccess {
    /// Adds a directory that root would hand over with its content.
    pub fn add_tree(&mut self, directory: impl Into<PathBuf>) {
        self.with_content.push(directory.into());
    }

    /// Adds a directory that root would hand over without its content.
    pub fn add_single(&mut self, directory: impl Into<PathBuf>) {
        self.without_content.push(directory.into());
    }

    /// Reports whether `directory` is in one that would be handed over with its content.
    pub fn has(&self, directory: &Path) -> bool {
        self.with_content
            .iter()
            .any(|place| directory.starts_with(place))
    }

    /// Reports whether this process can reach `place`, which may not exist yet. An owner cannot
    /// reach a file through a directory that the owner may not enter.
    pub fn is_reachable(place: &Path) -> bool {
        let above = place.ancestors().skip(1);
        let mut entered = above.map(|place| rustix::fs::access(place, Access::EXEC_OK));
        let first = entered.find(|entered| *entered != Err(Errno::NOENT));
        first.is_none_or(|entered| entered.is_ok())
    }

    /// Checks whether this process could make a file in `directory`, or make the directory.
    ///
    /// # Errors
    /// The error that the kernel would return.
    pub fn writable(&self, directory: &Path) -> io::Result<()> {
        let ours = |place: &PathBuf| directory.starts_with(place) && Self::is_reachable(place);
        let ours = self.with_content.iter().any(ours);
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        for place in directory.ancestors() {
            // For a new file the kernel reports EROFS before missing rights; access(2) may not.
            let system = rustix::fs::statvfs(place);
            if system.is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::RDONLY)) {
                return Err(Errno::ROFS.into());
            }
            match rustix::fs::access(place, wanted) {
                Err(Errno::NOENT) => {}
                // Another user's now, but handed over by then.
                Err(Errno::ACCESS | Errno::PERM) if ours => return Ok(()),
                Err(Errno::ACCESS | Errno::PERM)
                    if self.without_content.iter().any(|handed| handed == place)
                        && Self::is_reachable(place) =>
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_decides_and_what_is_above_where_nothing_is_there() {
        let top = tempfile::tempdir().unwrap();
        let file = top.path().join("file");
        std::fs::write(&file, "").unwrap();
        let foresight = WriteAccess::default();
        assert!(foresight.writable(top.path()).is_ok());
        assert!(foresight.writable(&top.path().join("a/b")).is_ok());
        assert!(foresight.writable(&file).is_err());
        assert!(foresight.writable(&file.join("x")).is_err());
    }
}
