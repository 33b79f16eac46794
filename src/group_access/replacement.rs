//! Replaces the account files atomically, as the shadow suite does: with a temporary file beside each.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::identity::syscall::may_chown;
use crate::sys::dir;
use crate::sys::dir::is_read_only;
use crate::sys::regular_file::open_regular;

/// A file that is removed when this value is dropped.
#[derive(Debug)]
pub(super) struct RemovedOnDrop(pub PathBuf);

impl Drop for RemovedOnDrop {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Returns the bytes of a file; `None` if it does not exist. Follows no link.
///
/// # Errors
/// It cannot be read, or is not a regular file.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = match open_regular(path, OFlags::NOFOLLOW) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// A temporary file with the new content, beside the file to replace. Removed when dropped.
#[derive(Debug)]
pub struct Replacement {
    path: PathBuf,
    new: RemovedOnDrop,
}

impl Replacement {
    /// Checks that [`Self::prepare`] would succeed, without writing.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn can_prepare(path: &Path) -> io::Result<()> {
        refuse_mounts(path)?;
        if is_read_only(parent(path)) {
            return Err(io::Error::from_raw_os_error(libc::EROFS));
        }
        match fs::symlink_metadata(path) {
            Ok(old) if (old.uid(), old.gid()) != (0, 0) && !may_chown() => {
                Err(io::Error::from_raw_os_error(libc::EPERM))
            }
            _ => Ok(()),
        }
    }

    /// Writes `bytes` to a temporary file beside `path`, with the mode and owner of `path`. A new
    /// file gets `mode` and belongs to root. The caller must hold the lock.
    ///
    /// # Errors
    /// A read-only file system; an owner that we may not set (no CAP_CHOWN); or a bind mount at
    /// `path` or its directory, which is not ours to change.
    pub fn prepare(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Self> {
        refuse_mounts(path)?;
        // shadow(5) uses the same name for a temporary file: `group+`.
        let mut name = path.as_os_str().to_owned();
        name.push("+");
        let new = RemovedOnDrop(name.into());
        let mut file = create(&new.0, 0o600)?;
        match fs::symlink_metadata(path) {
            Ok(old) => {
                std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
                file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
            }
            Err(_) => file.set_permissions(fs::Permissions::from_mode(mode))?,
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        let path = path.to_owned();
        Ok(Self { path, new })
    }

    /// Renames the temporary file over the old one, atomically.
    ///
    /// # Errors
    /// As rename(2).
    pub fn rename_over(self) -> io::Result<()> {
        fs::rename(&self.new.0, &self.path)?;
        // The rename is done, even if this file system cannot flush a directory.
        let _ = File::open(parent(&self.path)).and_then(|directory| directory.sync_all());
        Ok(())
    }
}

/// Renames all temporary files over the old ones, in this order. If one cannot be replaced, such as
/// a bind mount before Linux 5.8, those before it get their old content again.
///
/// # Errors
/// As rename(2).
pub fn replace_all(replacements: Vec<Replacement>) -> io::Result<()> {
    let mut replaced: Vec<(PathBuf, Option<Vec<u8>>)> = Vec::new();
    for replacement in replacements {
        let path = replacement.path.clone();
        match read(&path).and_then(|old| replacement.rename_over().map(|()| old)) {
            Ok(old) => replaced.push((path, old)),
            Err(error) => {
                for (path, old) in replaced.iter().rev() {
                    let old = old.as_ref().map(|old| Replacement::prepare(path, old, 0));
                    old.map_or(Ok(()), |old| old.and_then(Replacement::rename_over))?;
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Checks that neither a path nor its directory is a bind mount.
///
/// # Errors
/// Names the mount.
pub fn refuse_mounts(path: &Path) -> io::Result<()> {
    match [path, parent(path)]
        .into_iter()
        .find(|path| dir::is_mount(path))
    {
        Some(mount) => {
            let text = format!("{} is a bind mount", mount.display());
            Err(io::Error::other(text))
        }
        None => Ok(()),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Creates an empty file, after removing one that a killed editor left under this name.
pub(super) fn create(path: &Path, mode: u32) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}
