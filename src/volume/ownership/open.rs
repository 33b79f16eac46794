//! The path to the volume: opened step by step, and made where it is missing.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::trust::{MOST_LINKS, names};
use crate::volume::tree;
use crate::volume::{VolumeError, shown};

/// The treatment of missing directories of the path.
#[derive(Debug, Clone, Copy)]
pub(in crate::volume) enum Missing {
    /// They are made, for this user and group.
    Make { uid: u32, gid: u32 },
    /// The first one is an error.
    Fail,
}

/// Opens the volume. Makes missing directories as `missing` says, and returns whether it did.
///
/// The user may be able to write to a directory of the path (`/home/jupyter/notebooks`), and may
/// have put a link to `/etc` there in the container's last run. So a link is followed only if
/// root made it in a directory where no one else can replace it.
pub(in crate::volume) fn open_volume(
    path: &Path,
    missing: Missing,
) -> Result<(OwnedFd, bool), VolumeError> {
    let mut way = PathBuf::from(if path.is_absolute() { "/" } else { "" });
    let fail = |way: &Path, error| VolumeError::open(path, way, error);
    let start = |absolute: bool| {
        let flags = tree::HANDLE_FLAGS | OFlags::DIRECTORY;
        let from = if absolute { "/" } else { "." };
        rustix::fs::open(from, flags, Mode::empty()).map_err(|e| fail(Path::new(from), e))
    };
    let mut dir = start(path.is_absolute())?;
    let mut rest = names(path);
    let mut created = false;
    let mut links = 0;
    while let Some(step) = rest.pop() {
        let name = CString::new(step.as_bytes()).map_err(|_| fail(&way, Errno::INVAL))?;
        let parent = way.clone();
        way.push(&step);
        let handle = match (tree::open_handle(&dir, &name), missing) {
            (Err(Errno::NOENT), Missing::Make { uid, gid }) => {
                match rustix::fs::mkdirat(&dir, &name, Mode::from(0o755)) {
                    Ok(()) => {
                        created = true;
                        let made = tree::open_dir(&dir, &name).map_err(|e| fail(&way, e))?;
                        // If this fails, the walk fails in the same way and reports it.
                        let _ = tree::chown_handle(made.as_fd(), uid, gid);
                        made
                    }
                    // Another process was faster; the owner of its directory is not changed here.
                    Err(Errno::EXIST) => {
                        tree::open_handle(&dir, &name).map_err(|e| fail(&way, e))?
                    }
                    Err(error) => return Err(fail(&way, error)),
                }
            }
            (Err(Errno::NOENT), Missing::Fail) if tree::is_read_only(&dir) => {
                return Err(fail(&way, Errno::ROFS));
            }
            (Err(Errno::NOENT), Missing::Fail) => {
                // The error that mkdir(2) would give.
                let wanted = Access::WRITE_OK | Access::EXEC_OK;
                let may = rustix::fs::accessat(&dir, c".", wanted, AtFlags::EACCESS);
                return Err(fail(&way, may.err().unwrap_or(Errno::NOENT)));
            }
            (other, _) => other.map_err(|e| fail(&way, e))?,
        };
        let stat = tree::stat_fd(&handle).map_err(|e| fail(&way, e))?;
        if stat.kind == FileType::Directory {
            dir = handle;
            continue;
        }
        let above = tree::stat_fd(&dir).map_err(|e| fail(&way, e))?;
        let by = [0, stat.uid].contains(&above.uid).then_some(stat.uid);
        let (directory, at) = (path.to_owned(), shown(way.as_os_str().as_bytes()));
        match stat.kind {
            FileType::Symlink => {
                let firm = above.mode & 0o022 == 0 || above.mode & 0o1000 != 0;
                if stat.uid != 0 || above.uid != 0 || !firm {
                    return Err(VolumeError::Link { directory, at, by });
                }
                links += 1;
                if links > MOST_LINKS {
                    return Err(fail(&way, Errno::LOOP));
                }
                let target =
                    rustix::fs::readlinkat(&handle, c"", Vec::new()).map_err(|e| fail(&way, e))?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                way = parent;
                if target.is_absolute() {
                    dir = start(true)?;
                    way = PathBuf::from("/");
                }
                rest.extend(names(&target));
            }
            _ => return Err(VolumeError::InTheWay { directory, at, by }),
        }
    }
    let dir = match tree::open_dir(&dir, c".") {
        Ok(dir) => dir,
        // Root may be unable to list it (squashed, or without CAP_DAC_OVERRIDE) and still stat
        // it and hand it over; the walk reports that it goes no further.
        Err(Errno::ACCESS | Errno::PERM) => dir,
        Err(error) => return Err(fail(&way, error)),
    };
    let root = tree::stat_fd(start(true)?).map_err(|e| fail(&way, e))?;
    let here = tree::stat_fd(&dir).map_err(|e| fail(&way, e))?;
    if root.inode == here.inode && root.same_mount(&here) {
        return Err(VolumeError::IsRootDirectory);
    }
    Ok((dir, created))
}
