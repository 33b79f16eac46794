//! Helpers for the tests of this module. The tests run as root, in directories of their own.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FileType, Gid, Mode, Uid};
use rustix::mount::{MountFlags, MountPropagationFlags};

use crate::volume::tree;

/// The uid of an unprivileged user.
pub const UID: u32 = 4321;
/// The gid of that user.
pub const GID: u32 = 8765;

/// Returns a path with these bytes.
pub fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Returns the uid, gid and mode bits of `path`. No link is followed.
pub fn owner(path: &Path) -> (u32, u32, u32) {
    let data = path.symlink_metadata().unwrap();
    (data.uid(), data.gid(), data.mode() & 0o7777)
}

/// Returns the ctime of `path`. No link is followed.
pub fn changed(path: &Path) -> (i64, i64) {
    let data = path.symlink_metadata().unwrap();
    (data.ctime(), data.ctime_nsec())
}

/// Waits until every further change gets a later ctime than `path` has, and the stamp of `path`
/// counts as settled.
pub fn wait_past_ctime(path: &Path) {
    let (seconds, nanos) = changed(path);
    let later = (seconds, u32::try_from(nanos).unwrap() + 60_000_000);
    let later = (
        later.0 + i64::from(later.1 / 1_000_000_000),
        later.1 % 1_000_000_000,
    );
    while tree::now() <= later {
        std::thread::yield_now();
    }
}

/// Makes a FIFO, socket or device.
pub fn node(path: &Path, kind: FileType) {
    // 1, 3 is /dev/null and 7, 250 a loop device; the other kinds have no number.
    let device = match kind {
        FileType::CharacterDevice => rustix::fs::makedev(1, 3),
        FileType::BlockDevice => rustix::fs::makedev(7, 250),
        _ => 0,
    };
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, Mode::from(0o600), device).unwrap();
}

/// Returns everything below `top`: path → type or content. No link is followed.
pub fn tree_of(top: &Path) -> BTreeMap<Vec<u8>, String> {
    fn add(top: &Path, dir: &Path, all: &mut BTreeMap<Vec<u8>, String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let data = path.symlink_metadata().unwrap();
            let what = if data.is_dir() {
                add(top, &path, all);
                "dir".to_owned()
            } else if data.is_symlink() {
                format!("-> {}", std::fs::read_link(&path).unwrap().display())
            } else if data.is_file() {
                let bytes = std::fs::read(&path).unwrap();
                String::from_utf8_lossy(&bytes).into_owned()
            } else {
                "special".to_owned()
            };
            let name = path.strip_prefix(top).unwrap().as_os_str().as_bytes();
            all.insert(name.to_vec(), what);
        }
    }
    let mut all = BTreeMap::new();
    add(top, top, &mut all);
    all
}

/// Runs `work` in a thread with the user's uid and gid, and without privileges.
pub fn as_user<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    in_a_thread(|| {
        rustix::thread::set_thread_groups(&[]).unwrap();
        let gid = Gid::from_raw(GID);
        rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
        let uid = Uid::from_raw(UID);
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        work()
    })
}

/// Runs `work` in a mount namespace of its own, whose mounts vanish with it.
pub fn with_mounts<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    in_a_thread(|| {
        let flags = rustix::thread::UnshareFlags::NEWNS;
        // SAFETY: the file table stays shared.
        #[allow(unsafe_code)]
        unsafe {
            rustix::thread::unshare_unsafe(flags).unwrap();
        }
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        work()
    })
}

/// Mounts a tmpfs of `size` (such as `1m`).
pub fn mount_tmpfs(at: &Path, size: &str) {
    let options = CString::new(format!("size={size},mode=755")).unwrap();
    rustix::mount::mount("tmpfs", at, "tmpfs", MountFlags::empty(), &*options).unwrap();
}

/// Makes the mount or directory `at` read-only, by a bind mount onto itself.
pub fn mount_read_only(at: &Path) {
    rustix::mount::mount_bind(at, at).unwrap();
    let flags = MountFlags::BIND | MountFlags::RDONLY;
    rustix::mount::mount_remount(at, flags, c"").unwrap();
}

fn in_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// A kind of file system that tests mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// tmpfs, which knows everything.
    Tmpfs,
    /// bindfs, a FUSE file system. Like NFS, it has hard links and no flags of renameat2(2).
    Bindfs,
    /// exFAT as a FUSE file system, which has no hard links either, and no case, modes or owners.
    Exfat,
}

impl FileSystem {
    pub const ALL: [Self; 3] = [Self::Tmpfs, Self::Bindfs, Self::Exfat];

    /// Mounts an empty one.
    pub fn mount(self) -> Mounted {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let at = dir.path().join("mounted");
        std::fs::create_dir(&at).unwrap();
        let below = dir.path().join("below");
        let [at, below] = [&at, &below].map(|path| path.to_str().unwrap());
        match self {
            Self::Tmpfs => {}
            Self::Bindfs => {
                std::fs::create_dir(below).unwrap();
                run("bindfs", &[below, at]);
            }
            Self::Exfat => {
                let image = std::fs::File::create(below).unwrap();
                image.set_len(8 << 20).unwrap();
                run("mkfs.exfat", &[below]);
                run("mount", &["-t", "exfat-fuse", "-o", "loop", below, at]);
            }
        }
        Mounted { dir, kind: self }
    }
}

/// A mounted file system, unmounted when it is dropped.
pub struct Mounted {
    dir: tempfile::TempDir,
    pub kind: FileSystem,
}

impl Mounted {
    pub fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("mounted")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.kind != FileSystem::Tmpfs {
            let _ = rustix::mount::unmount(self.path(), rustix::mount::UnmountFlags::DETACH);
        }
    }
}

fn run(program: &str, words: &[&str]) {
    let output = std::process::Command::new(program)
        .args(words)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {said}");
}
