//! Where the state is kept: the directory, and who may write there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{getpid, getuid};

use super::{FILE, State, places};
use crate::identity::{Dropped, Root, may_chown};

/// Makes the directory as root, removes an old state, lets `fill` write what is root's,
/// and hands the directory to the user.
///
/// While root works in it, it is root's: root without CAP_DAC_OVERRIDE cannot write in
/// a directory of the user's, as it is after an earlier start.
///
/// # Errors
/// The directory cannot be made or handed over, or something else is in its place.
pub fn prepare(
    _: &Root,
    directory: &Path,
    uid: u32,
    gid: u32,
    fill: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let directory = &plain(directory);
    judge(directory)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)?;
    let handle = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_DIRECTORY)
        .open(directory)?;
    let hand_to = |uid, gid| std::os::unix::fs::fchown(&handle, Some(uid), Some(gid));
    hand_to(0, 0)?;
    match rustix::fs::unlinkat(&handle, FILE, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    // What could not be written does not keep the user from writing.
    let filled = fill();
    hand_to(uid, gid)?;
    filled
}

/// The path without a slash at its end, with which a link is followed.
fn plain(directory: &Path) -> PathBuf {
    directory.components().collect()
}

/// Root gives nothing away that a link of somebody else's leads to, nor what others
/// use, such as /tmp.
fn judge(directory: &Path) -> io::Result<()> {
    let theirs = |place: &Path| {
        let data = fs::symlink_metadata(place);
        data.is_ok_and(|data| data.is_symlink() && (data.uid() != 0 || place == directory))
    };
    if let Some(link) = directory.ancestors().find(|place| theirs(place)) {
        let text = format!("{} is a symbolic link", link.display());
        return Err(io::Error::other(text));
    }
    match is_shared(directory) {
        true => Err(io::Error::other("it is the system's, and others use it")),
        false => Ok(()),
    }
}

/// Whether a directory is one of those that every system has.
fn is_shared(directory: &Path) -> bool {
    const SHARED: [&str; 12] = [
        "/", "/dev", "/dev/shm", "/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/var",
        "/var/tmp",
    ];
    let real = fs::canonicalize(directory);
    real.is_ok_and(|real| SHARED.iter().any(|shared| real == Path::new(shared)))
}

/// Whether [`prepare`] could do it; nothing is changed.
///
/// # Errors
/// As [`prepare`].
pub fn foresee_preparing(
    _: &Root,
    directory: &Path,
    writable: &dyn Fn(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let directory = &plain(directory);
    judge(directory)?;
    writable(directory)?;
    match may_chown() {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::EPERM)),
    }
}

/// Where the state is kept.
#[derive(Debug, Clone)]
pub struct Keeper {
    pub(super) directory: PathBuf,
}

impl Keeper {
    /// Finds the first directory that can be written: `wanted`, or one of our own.
    ///
    /// # Errors
    /// The reason of the last one.
    pub fn open(_: &Dropped, wanted: &Path) -> io::Result<Self> {
        let uid = getuid().as_raw();
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for directory in places(wanted, uid)
            .into_iter()
            .filter(|place| !is_shared(place))
        {
            let made = DirBuilder::new().mode(0o700).create(&directory);
            match made {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    last = error;
                    continue;
                }
                _ => {}
            }
            // One that somebody else made in a place that all can write is not ours.
            let owner = fs::symlink_metadata(&directory).map(|data| (data.is_dir(), data.uid()));
            if directory != wanted && !matches!(owner, Ok((true, owner)) if owner == uid) {
                continue;
            }
            let keeper = Self { directory };
            match keeper.try_out() {
                Ok(()) => return Ok(keeper),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The directory that [`Self::open`] would find; nothing is made.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn foresee(
        _: &Dropped,
        wanted: &Path,
        writable: &dyn Fn(&Path) -> io::Result<()>,
    ) -> io::Result<PathBuf> {
        let uid = getuid().as_raw();
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for directory in places(wanted, uid)
            .into_iter()
            .filter(|place| !is_shared(place))
        {
            let ours = match fs::symlink_metadata(&directory) {
                Ok(data) => data.is_dir() && data.uid() == uid,
                Err(_) => true,
            };
            if directory != wanted && !ours {
                continue;
            }
            match writable(&directory) {
                Ok(()) => return Ok(directory),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The directory that was found.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn try_out(&self) -> io::Result<()> {
        let _ = fs::remove_file(self.directory.join(FILE));
        let probe = self.temporary();
        // A file system that is full lets an empty file be made, but not this one.
        let written = create(&probe)?.write_all(&[b' '; 4096]);
        fs::remove_file(probe)?;
        written
    }

    fn temporary(&self) -> PathBuf {
        self.directory.join(format!(".{FILE}.{}", getpid()))
    }

    /// Writes the state: whole, or not at all.
    ///
    /// # Errors
    /// write(2)'s and rename(2)'s.
    pub fn write(&self, state: &State) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(state)?;
        text.push(b'\n');
        let temporary = self.temporary();
        create(&temporary)?.write_all(&text)?;
        fs::rename(temporary, self.directory.join(FILE))
    }
}

fn create(path: &Path) -> io::Result<File> {
    let _ = fs::remove_file(path);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn root_hands_the_directory_over_and_removes_the_old_state() {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("a/b");
        let root = Root::detect().unwrap();
        let fill = || {
            let data = fs::metadata(&directory)?;
            assert_eq!(
                (data.uid(), data.gid()),
                (0, 0),
                "root's while root is in it"
            );
            fs::write(directory.join("root's"), "")
        };
        prepare(&root, &directory, 1234, 5678, fill).unwrap();
        fs::write(directory.join(FILE), "old").unwrap();
        prepare(&root, &directory, 1234, 5678, fill).unwrap();
        assert!(directory.join("root's").exists());
        let data = fs::metadata(&directory).unwrap();
        assert_eq!((data.uid(), data.gid()), (1234, 5678));
        assert!(!directory.join(FILE).exists());
        let link = base.path().join("link");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        assert!(prepare(&root, &link, 1234, 5678, fill).is_err());
        let slash = PathBuf::from(format!("{}/", link.display()));
        assert!(prepare(&root, &slash, 1234, 5678, fill).is_err());
        // A link of the user's on the way, and a directory that is everybody's.
        let way = base.path().join("way");
        std::os::unix::fs::symlink(base.path(), &way).unwrap();
        std::os::unix::fs::lchown(&way, Some(1234), None).unwrap();
        assert!(prepare(&root, &way.join("a/b"), 1234, 5678, fill).is_err());
        let all = Path::new("/var/tmp");
        assert!(prepare(&root, all, 1234, 5678, fill).is_err());
        assert_eq!(fs::metadata(all).unwrap().uid(), 0);
    }
}
