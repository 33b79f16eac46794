//! Hostile ground: a volume and what is outside of it, on one file system.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::tmpfs::Tmpfs;
use super::{Image, Start};

/// What can be where something else is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing {
    /// A link with this text; `@` stands for the path of what is outside.
    Link(&'static str),
    /// Another name of a file outside.
    HardLink(&'static str),
    Fifo,
    Socket,
    CharacterDevice,
    BlockDevice,
    /// Not empty.
    Directory,
    File,
}

pub const THINGS: [Thing; 20] = [
    Thing::Link("@/shadow"),
    Thing::Link("@/open"),
    Thing::Link("@/dir"),
    Thing::Link("@/absent"),
    Thing::Link("@/absent/deeper"),
    Thing::Link("../outside/shadow"),
    Thing::Link("../outside/dir"),
    Thing::Link("../../outside/dir"),
    Thing::Link("sub/../../outside/dir"),
    Thing::Link("/proc/self/root@/shadow"),
    Thing::Link("/proc/self/cwd"),
    Thing::Link("loop"),
    Thing::HardLink("shadow"),
    Thing::HardLink("open"),
    Thing::Fifo,
    Thing::Socket,
    Thing::CharacterDevice,
    Thing::BlockDevice,
    Thing::Directory,
    Thing::File,
];

/// An image whose volume is next to root's own files.
pub struct Ground {
    // Unmounted before the directory around it is removed.
    _memory: Tmpfs,
    pub image: Image,
}

impl Ground {
    pub fn new() -> Self {
        let image = Image::new();
        let memory = Tmpfs::mount(&image.path("memory"), "size=256m");
        let ground = Self {
            _memory: memory,
            image,
        };
        let outside = ground.outside("");
        fs::create_dir_all(outside.join("dir")).unwrap();
        for (name, mode) in [
            ("shadow", 0o600),
            ("open", 0o666),
            ("program", 0o4755),
            ("dir/start.ipynb", 0o644),
            ("dir/b.ipynb", 0o666),
            ("dir/manifest.sha256", 0o666),
            ("dir/lock", 0o666),
        ] {
            fs::write(outside.join(name), "root's").unwrap();
            fs::set_permissions(outside.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        // What the user could write, if something led there.
        let all = fs::Permissions::from_mode(0o777);
        fs::set_permissions(outside.join("dir"), all).unwrap();
        fs::create_dir(ground.volume("")).unwrap();
        ground
    }

    pub fn outside(&self, name: &str) -> PathBuf {
        below(self.image.path("memory/outside"), name)
    }

    pub fn volume(&self, name: &str) -> PathBuf {
        below(self.image.path("memory/notebooks"), name)
    }

    /// Empties the volume.
    pub fn clear(&self) {
        fs::remove_dir_all(self.volume("")).unwrap();
        fs::create_dir(self.volume("")).unwrap();
    }

    /// A start with these defaults.
    pub fn start(&self, defaults: &str, version: &str) -> Start {
        Start::pid1()
            .args(self.image.options())
            .args(["--notebooks", self.volume("").to_str().unwrap()])
            .args([
                "--notebook-defaults",
                self.image.path(defaults).to_str().unwrap(),
            ])
            .args(["--", "true"])
            .env("AI_LAB_VERSION", version)
    }

    /// Puts a thing there.
    pub fn put(&self, thing: Thing, at: &Path) {
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        let node = |kind, device| mknodat(CWD, at, kind, Mode::from(0o666), device).unwrap();
        match thing {
            Thing::Link(text) => {
                let outside = self.outside("").display().to_string();
                symlink(text.replace('@', &outside), at).unwrap();
            }
            Thing::HardLink(name) => fs::hard_link(self.outside(name), at).unwrap(),
            Thing::Fifo => node(FileType::Fifo, 0),
            Thing::Socket => drop(UnixListener::bind(at).unwrap()),
            Thing::CharacterDevice => node(FileType::CharacterDevice, makedev(1, 3)),
            Thing::BlockDevice => node(FileType::BlockDevice, makedev(7, 250)),
            Thing::Directory => {
                fs::create_dir(at).unwrap();
                fs::write(at.join("mine"), "mine").unwrap();
            }
            Thing::File => fs::write(at, "mine").unwrap(),
        }
    }
}

fn below(top: PathBuf, name: &str) -> PathBuf {
    if name.is_empty() { top } else { top.join(name) }
}

/// What can be told of an inode, with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub mode: u32,
    pub owner: (u32, u32),
    pub inode: (u64, u64, u64),
    pub modified: (i64, i64),
    pub changed: (i64, i64),
    pub content: Vec<u8>,
}

pub fn look(path: &Path) -> Seen {
    let data = fs::symlink_metadata(path).unwrap();
    let content = if data.is_symlink() {
        fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()
    } else if data.is_file() {
        fs::read(path).unwrap()
    } else {
        Vec::new()
    };
    Seen {
        mode: data.mode(),
        owner: (data.uid(), data.gid()),
        inode: (data.ino(), data.nlink(), data.rdev()),
        modified: (data.mtime(), data.mtime_nsec()),
        changed: (data.ctime(), data.ctime_nsec()),
        content,
    }
}

/// Everything at and below `top`. No link is followed.
pub fn snapshot(top: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut all = BTreeMap::new();
    let mut todo = vec![top.to_owned()];
    while let Some(path) = todo.pop() {
        let seen = look(&path);
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            let list = fs::read_dir(&path).unwrap();
            todo.extend(list.map(|entry| entry.unwrap().path()));
        }
        all.insert(path, seen);
    }
    all
}
