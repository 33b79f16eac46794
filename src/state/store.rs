//! The directory that holds the state, and its owner.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;
use rustix::process::{getpid, getuid};

use crate::identity::{Dropped, Root, may_chown};
use crate::state::reader::{candidate_dirs, is_in_use, is_of_our_supervisor, open_directory};
use crate::state::{FILE, MAX_KIB};
use crate::sys::effects::Effects;
use crate::sys::flock;
use crate::sys::regular_file;
use crate::volume;

/// The permissions of the directory.
const MODE: u32 = 0o755;

/// Makes the directory as root and hands it to the user. Owner and mode bits are always set anew,
/// whatever the user made of them. The user removes an old state: root reads and changes no file
/// in a directory of the user.
///
/// # Errors
/// The directory cannot be made or handed over, or is used for something else. A preview does not
/// look into it.
pub fn prepare(
    root: &Root,
    directory: &Path,
    (uid, gid): (u32, u32),
    effects: Effects<'_>,
) -> io::Result<()> {
    let directory = &without_slash(directory);
    check_path(directory)?;
    if effects.is_preview() {
        effects.check_writable(directory)?;
        return match may_chown() {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(libc::EPERM)),
        };
    }
    // Another container may change the path meanwhile; the open directory stays the same.
    let handle = volume::open_as_root(root, directory)?;
    let held = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()));
    let data = fs::metadata(&held)?;
    // It may be that of a running supervisor, which must be able to write there at any time.
    if (data.uid(), data.gid(), data.mode() & 0o7777) == (uid, gid, MODE) {
        return Ok(());
    }
    if ![0, uid].contains(&data.uid()) && flock::is_taken(&File::open(&held)?) {
        return Err(io::Error::other("it belongs to a start of another user"));
    }
    if data.uid() != uid && !is_a_state_directory(&held)? {
        return Err(io::Error::other(
            "it is not the user's, and holds other files",
        ));
    }
    chown(&held, Some(0), Some(0))?;
    fs::set_permissions(&held, Permissions::from_mode(MODE))?;
    chown(&held, Some(uid), Some(gid))
}

/// Reports whether a directory holds only files that a start keeps there.
fn is_a_state_directory(directory: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let name = name.as_encoded_bytes();
        let begins = |known: &&str| name.starts_with(known.as_bytes());
        if !["state.json", ".state.json.", "settings"]
            .iter()
            .any(begins)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes whatever is at a path. A directory that is not empty is renamed instead, which takes
/// no longer for a large one.
fn remove_or_rename(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            match fs::remove_dir(path).or_else(|_| fs::rename(path, unused_name(path))) {
                // overlayfs does not rename a directory of the image (EXDEV).
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    fs::remove_dir_all(path)
                }
                done => done,
            }
        }
        done => done,
    }
}

/// Returns an unused name in the same directory as `path`.
fn unused_name(path: &Path) -> PathBuf {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".aside-{}", time.map_or(0, |time| time.as_nanos())));
    name.into()
}

/// Returns the path without a slash at its end: with one, the kernel would follow a link.
fn without_slash(directory: &Path) -> PathBuf {
    directory.components().collect()
}

/// Refuses a directory that root must not give away: one that is a link or is reached through a
/// link of another user, and one that others use, such as /tmp.
fn check_path(directory: &Path) -> io::Result<()> {
    let theirs = |place: &Path| {
        let data = fs::symlink_metadata(place);
        data.is_ok_and(|data| data.is_symlink() && (data.uid() != 0 || place == directory))
    };
    if let Some(link) = directory.ancestors().find(|place| theirs(place)) {
        let text = format!("{} is a symbolic link", link.display());
        return Err(io::Error::other(text));
    }
    match is_shared(directory) {
        true => Err(io::Error::other("it is a system directory that others use")),
        false => Ok(()),
    }
}

/// Reports whether every system has this directory.
fn is_shared(directory: &Path) -> bool {
    let real = fs::canonicalize(directory);
    real.is_ok_and(|real| real == Path::new("/") || volume::is_system_path(&real))
}

/// The directory that holds the state.
#[derive(Debug, Clone)]
pub struct StateDirectory {
    pub(super) directory: PathBuf,
}

impl StateDirectory {
    /// Finds the first directory that can be written: `wanted`, or one of the user's own. A preview
    /// takes those of a running supervisor, too: a start would not run beside it.
    ///
    /// # Errors
    /// The error of the last directory that was tried.
    pub fn open(_: &Dropped, wanted: &Path, effects: Effects<'_>) -> io::Result<Self> {
        let uid = getuid().as_raw();
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        let is_free = |place: &PathBuf| effects.is_preview() || !is_in_use(place, uid);
        for directory in candidate_dirs(wanted, uid)
            .into_iter()
            .filter(|place| !is_shared(place) && is_free(place))
        {
            let make = || DirBuilder::new().mode(0o700).create(&directory);
            match effects.make(make) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    last = error;
                    continue;
                }
                _ => {}
            }
            if directory != wanted {
                let owner = fs::symlink_metadata(&directory).map(|data| data.uid());
                // In /dev/shm and /tmp another user may have made it: then it is not ours.
                if !owner.map_or(effects.is_preview(), |owner| owner == uid) {
                    continue;
                }
                if let Err(error) = effects.make(|| ensure_own_dir(&directory, make)) {
                    last = error;
                    continue;
                }
            }
            let keeper = Self { directory };
            match effects.make_in(&keeper.directory, || keeper.take(uid)) {
                Ok(()) => return Ok(keeper),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Returns the path of the directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes the directory for this process, and removes an old state. That of the supervisor that
    /// runs this process as its command is for both.
    fn take(&self, uid: u32) -> io::Result<()> {
        if holds_another_file(&self.directory) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let directory = open_directory(&self.directory).ok();
        let is_taken = directory.as_ref().is_some_and(flock::is_taken);
        if is_taken && !is_of_our_supervisor(&self.directory, uid) {
            return Err(io::Error::from(io::ErrorKind::ResourceBusy));
        }
        self.check_writable()?;
        directory.map(flock::take);
        Ok(())
    }

    fn check_writable(&self) -> io::Result<()> {
        remove_or_rename(&self.directory.join(FILE))?;
        let probe = self.temporary();
        // A full file system still accepts an empty file, but not this one.
        let written = create(&probe)?.write_all(&[b' '; 4096]);
        fs::remove_file(probe)?;
        written
    }

    fn temporary(&self) -> PathBuf {
        self.directory.join(format!(".{FILE}.{}", getpid()))
    }

    /// Writes the text of the state completely, or not at all.
    ///
    /// # Errors
    /// The error of write(2) or rename(2).
    pub fn write(&self, text: &[u8]) -> io::Result<()> {
        let (temporary, path) = (self.temporary(), self.directory.join(FILE));
        create(&temporary)?.write_all(text)?;
        match fs::rename(&temporary, &path) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                remove_or_rename(&path)?;
                fs::rename(temporary, path)
            }
            done => done,
        }
    }
}

/// Reports whether a directory has a file of a person's, such as a project's, where the state would
/// be. What is no JSON or has the fields of a state is a supervisor's.
pub fn holds_another_file(directory: &Path) -> bool {
    let path = directory.join(FILE);
    let Ok(file) = regular_file::open_regular(&path, OFlags::NOFOLLOW) else {
        return false;
    };
    let is_state = |text: Vec<u8>| {
        // A power cut may have damaged a supervisor's.
        let value = serde_json::from_slice::<serde_json::Value>(&text);
        value.is_err()
            || ["version", "program", "pid"]
                .iter()
                .all(|key| value.as_ref().is_ok_and(|value| value.get(key).is_some()))
    };
    !regular_file::read_limited(file, MAX_KIB).is_ok_and(is_state)
}

fn create(path: &Path) -> io::Result<File> {
    remove_or_rename(path)?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    Ok(file)
}

/// Makes a path a directory of the user with its mode bits set: an earlier process of the user
/// may have left a file there, or a directory without rights.
fn ensure_own_dir(directory: &Path, make: impl Fn() -> io::Result<()>) -> io::Result<()> {
    if !fs::symlink_metadata(directory)?.is_dir() {
        fs::remove_file(directory)?;
        make()?;
    }
    fs::set_permissions(directory, Permissions::from_mode(0o700))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn root_hands_the_directory_over_and_leaves_the_files_in_it() {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("a/b");
        let root = Root::detect().unwrap();
        let prepare = |directory: &Path| prepare(&root, directory, (1234, 5678), Effects::Make);
        let user = |directory: &Path| {
            let data = fs::metadata(directory).unwrap();
            assert_eq!((data.uid(), data.gid()), (1234, 5678));
            assert_eq!(data.mode() & 0o7777, 0o755);
        };
        prepare(&directory).unwrap();
        user(&directory);
        fs::write(directory.join(FILE), "old").unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o0)).unwrap();
        prepare(&directory).unwrap();
        user(&directory);
        // The user's file is for the user to remove.
        assert!(directory.join(FILE).exists());
        let link = base.path().join("link");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        assert!(prepare(&link).is_err());
        let slash = PathBuf::from(format!("{}/", link.display()));
        assert!(prepare(&slash).is_err());
        // A directory of root with another file is refused; one with only a start's files is not.
        let full = base.path().join("full");
        fs::create_dir(&full).unwrap();
        fs::write(full.join("tool"), "").unwrap();
        assert!(prepare(&full).is_err());
        assert_eq!(fs::metadata(&full).unwrap().uid(), 0);
        fs::rename(full.join("tool"), full.join("settings.toml")).unwrap();
        prepare(&full).unwrap();
        user(&full);
        // A link of the user in the path, and a directory that all users share.
        let way = base.path().join("way");
        std::os::unix::fs::symlink(base.path(), &way).unwrap();
        std::os::unix::fs::lchown(&way, Some(1234), None).unwrap();
        assert!(prepare(&way.join("a/b")).is_err());
        let all = Path::new("/var/tmp");
        assert!(prepare(all).is_err());
        assert_eq!(fs::metadata(all).unwrap().uid(), 0);
    }

    #[test]
    fn whatever_is_at_the_states_place_makes_room() {
        let base = tempfile::tempdir().unwrap();
        let keeper = StateDirectory {
            directory: base.path().to_owned(),
        };
        let (path, temporary) = (base.path().join(FILE), keeper.temporary());
        for place in [&path, &temporary] {
            let full = || fs::create_dir_all(place.join("a/b")).unwrap();
            let socket = || drop(std::os::unix::net::UnixListener::bind(place).unwrap());
            let fifo = || nix::unistd::mkfifo(place, nix::sys::stat::Mode::S_IRWXU).unwrap();
            let link = || std::os::unix::fs::symlink("/etc", place).unwrap();
            let obstacles: [&dyn Fn(); 5] = [
                &full,
                &|| fs::create_dir(place).unwrap(),
                &socket,
                &fifo,
                &link,
            ];
            for obstacle in obstacles {
                let _ = fs::remove_file(&path);
                obstacle();
                keeper.write(b"state").unwrap();
                assert_eq!(fs::read(&path).unwrap(), b"state");
            }
        }
        for (text, is_another) in [
            (r#"{"scenes": []}"#, true),
            (r#"{"version": 2, "program": "9", "pid": 1}"#, false),
            // After a power cut.
            (r#"{"version": 2, "pro"#, false),
            ("", false),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(holds_another_file(base.path()), is_another, "{text}");
        }
        // Directories that were not empty are still there.
        let names = fs::read_dir(base.path()).unwrap().flatten();
        let kept = names.filter(|entry| entry.path().join("a/b").is_dir());
        assert_eq!(kept.count(), 2);
    }
}
