//! What a start will be able to write, asked of the kernel by a dry run that writes
//! nothing.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatVfsMountFlags};
use rustix::io::Errno;

/// The directories that root would have handed over before the user's part began.
#[derive(Debug, Default)]
pub struct Foresight {
    handed: Vec<PathBuf>,
    alone: Vec<PathBuf>,
}

impl Foresight {
    /// Root would hand this over, and whatever is in it.
    pub fn hands_over(&mut self, directory: impl Into<PathBuf>) {
        self.handed.push(directory.into());
    }

    /// Root would hand this over, and nothing that is in it.
    pub fn hands_over_itself(&mut self, directory: impl Into<PathBuf>) {
        self.alone.push(directory.into());
    }

    /// Whether it is the user's by then.
    pub fn has(&self, directory: &Path) -> bool {
        self.handed.iter().any(|place| directory.starts_with(place))
    }

    /// Whether this process gets to what is or will be there: nobody gets to what is his
    /// through a directory that he may not enter.
    pub fn leads_to(place: &Path) -> bool {
        let above = place.ancestors().skip(1);
        let mut entered = above.map(|place| rustix::fs::access(place, Access::EXEC_OK));
        let first = entered.find(|entered| *entered != Err(Errno::NOENT));
        first.is_none_or(|entered| entered.is_ok())
    }

    /// Whether this process could make something in `directory`, or make the directory.
    ///
    /// # Errors
    /// What the kernel would say.
    pub fn writable(&self, directory: &Path) -> io::Result<()> {
        let ours = |place: &PathBuf| directory.starts_with(place) && Self::leads_to(place);
        let ours = self.handed.iter().any(ours);
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        for place in directory.ancestors() {
            // Whoever may not write there hears of that first where something is made.
            let system = rustix::fs::statvfs(place);
            if system.is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::RDONLY)) {
                return Err(Errno::ROFS.into());
            }
            match rustix::fs::access(place, wanted) {
                Err(Errno::NOENT) => {}
                // What is another's now will be the user's.
                Err(Errno::ACCESS | Errno::PERM) if ours => return Ok(()),
                Err(Errno::ACCESS | Errno::PERM)
                    if self.alone.iter().any(|handed| handed == place) && Self::leads_to(place) =>
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
        let foresight = Foresight::default();
        assert!(foresight.writable(top.path()).is_ok());
        assert!(foresight.writable(&top.path().join("a/b")).is_ok());
        assert!(foresight.writable(&file).is_err());
        assert!(foresight.writable(&file.join("x")).is_err());
    }
}
