#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::*;
use crate::volume::defaults::atomic::{BUFFER, is_temporary, stage_file};
use crate::volume::defaults::manifest::Digest;
use crate::volume::testing::{FileSystem, Mounted, node, tree_of};

const NAME: &CStr = c"name.ipynb";

/// A volume with a staged temporary file in it.
struct Volume {
    mounted: Mounted,
    handle: OwnedFd,
    ai_lab: OwnedFd,
    temp: CString,
    new: Content,
    reserved: Cell<bool>,
}

impl Volume {
    /// Stages "new", and writes `old`, if any, to the target.
    fn with(kind: FileSystem, old: Option<&str>) -> Self {
        let mounted = kind.mount();
        let open = |path: &Path| OwnedFd::from(File::open(path).unwrap());
        std::fs::create_dir(mounted.path().join(".ai-lab")).unwrap();
        let handle = open(&mounted.path());
        let source = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(source.path(), "new").unwrap();
        let from = source.reopen().unwrap();
        let staged = stage_file(handle.as_fd(), from, 0o644, &mut [0; BUFFER], &|| false);
        let (temp, new, _) = staged.unwrap();
        let volume = Self {
            ai_lab: open(&mounted.path().join(".ai-lab")),
            mounted,
            handle,
            temp,
            new,
            reserved: Cell::new(false),
        };
        if let Some(old) = old {
            std::fs::write(volume.target(), old).unwrap();
        }
        volume
    }

    fn target(&self) -> PathBuf {
        self.mounted.path().join("name.ipynb")
    }

    /// As editors save: a new file is renamed to the name.
    fn save(&self, text: &str) {
        let other = self.mounted.path().join("other");
        std::fs::write(&other, text).unwrap();
        std::fs::rename(other, self.target()).unwrap();
    }

    fn install(&self) -> Placed {
        let at = |name| At {
            dir: self.handle.as_fd(),
            name,
        };
        install(at(&self.temp), at(NAME), &|| self.reserved.set(true))
    }

    fn replace(&self, ours: &dyn Fn(Content) -> bool) -> Placed {
        self.replace_with(None, ours, &|_| true, &|| false)
    }

    fn replace_with(
        &self,
        keep: Option<At<'_>>,
        ours: &dyn Fn(Content) -> bool,
        size: &dyn Fn(u64) -> bool,
        stop: &dyn Fn() -> bool,
    ) -> Placed {
        let mut aside = Aside::default();
        let placed = Replacement {
            dir: self.handle.as_fd(),
            temp: &self.temp,
            name: NAME,
            path: NAME.to_bytes(),
            new: self.new,
            check: OursCheck { ours, size, stop },
            keep,
            ai_lab: Some(self.ai_lab.as_fd()),
            reserving: &|| self.reserved.set(true),
        }
        .run(&mut aside);
        aside.clear(self.ai_lab.as_fd(), &[Vec::new()].into());
        placed
    }

    /// Asserts that these are the only entries besides an empty `.ai-lab`.
    fn holds(&self, files: &[(&str, &str)]) {
        let all = tree_of(&self.mounted.path()).into_iter();
        let all = all.map(|(name, text)| (String::from_utf8(name).unwrap(), text));
        let all: Vec<_> = all.filter(|(name, _)| name != ".ai-lab").collect();
        let files = files.iter();
        let files = files.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        assert_eq!(all, files.collect::<Vec<_>>(), "{:?}", self.mounted.kind);
    }

    fn holds_only(&self, text: &str) {
        self.holds(&[("name.ipynb", text)]);
    }
}

fn old(content: Content) -> bool {
    content == Content::File(Digest::of(b"old"))
}

/// Entries of the kinds that the file system has.
fn makers(kind: FileSystem) -> Vec<fn(&Path)> {
    let mut all: Vec<fn(&Path)> = vec![|name| std::fs::create_dir(name).unwrap()];
    if kind != FileSystem::Exfat {
        all.push(|name| std::os::unix::fs::symlink("/nowhere", name).unwrap());
        all.push(|name| node(name, FileType::Fifo));
    }
    all
}

#[test]
fn installs_where_nothing_is() {
    for kind in FileSystem::ALL {
        let volume = Volume::with(kind, None);
        assert_eq!(volume.install(), Placed::Done, "{kind:?}");
        volume.holds_only("new");
        assert_eq!(volume.reserved.get(), kind == FileSystem::Exfat);
    }
}

#[test]
fn installs_over_nothing_of_any_kind() {
    for kind in FileSystem::ALL {
        let volume = Volume::with(kind, Some("mine"));
        assert_eq!(volume.install(), Placed::Conflict);
        volume.holds_only("mine");
        for make in makers(kind) {
            let volume = Volume::with(kind, None);
            make(&volume.target());
            let mut before = tree_of(&volume.mounted.path());
            assert_eq!(volume.install(), Placed::Conflict);
            before.remove(volume.temp.to_bytes());
            assert_eq!(tree_of(&volume.mounted.path()), before, "{kind:?}");
        }
    }
}

#[test]
fn a_name_that_is_taken_when_it_is_to_be_reserved_stays_taken() {
    for text in ["mine", ""] {
        let volume = Volume::with(FileSystem::Exfat, None);
        let at = |name| At {
            dir: volume.handle.as_fd(),
            name,
        };
        let placed = install(at(&volume.temp), at(NAME), &|| volume.save(text));
        assert_eq!(placed, Placed::Conflict);
        volume.holds_only(text);
    }
}

#[test]
fn replaces_what_is_ours() {
    for kind in FileSystem::ALL {
        let volume = Volume::with(kind, Some("old"));
        assert_eq!(volume.replace(&old), Placed::Done, "{kind:?}");
        volume.holds_only("new");
    }
}

#[test]
fn the_old_file_is_kept_where_the_caller_wants_it() {
    for kind in FileSystem::ALL {
        let volume = Volume::with(kind, Some("old"));
        let keep = At {
            dir: volume.handle.as_fd(),
            name: c"kept.ipynb",
        };
        let replace = |volume: &Volume| volume.replace_with(Some(keep), &old, &|_| true, &|| false);
        assert_eq!(replace(&volume), Placed::Done);
        volume.holds(&[("kept.ipynb", "old"), ("name.ipynb", "new")]);
    }
}

#[test]
fn an_old_file_that_cannot_be_kept_there_is_named() {
    for kind in FileSystem::ALL {
        let volume = Volume::with(kind, Some("old"));
        let keep = At {
            dir: volume.handle.as_fd(),
            name: c".ai-lab",
        };
        let placed = volume.replace_with(Some(keep), &old, &|_| true, &|| false);
        let Placed::NotKept(path) = placed else {
            panic!("{kind:?}: {placed:?}");
        };
        let path = volume.mounted.path().join(String::from_utf8(path).unwrap());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "old");
        assert_eq!(std::fs::read_to_string(volume.target()).unwrap(), "new");
    }
}

#[test]
fn takes_back_what_was_edited_meanwhile() {
    for kind in FileSystem::ALL {
        let volume = Volume::with(kind, Some("edited"));
        assert_eq!(volume.replace(&old), Placed::Conflict);
        volume.holds_only("edited");
    }
}

#[test]
fn takes_back_whatever_came_out() {
    for kind in FileSystem::ALL {
        for make in makers(kind) {
            let volume = Volume::with(kind, None);
            make(&volume.target());
            let mut before = tree_of(&volume.mounted.path());
            assert_eq!(volume.replace(&old), Placed::Conflict);
            before.remove(volume.temp.to_bytes());
            assert_eq!(tree_of(&volume.mounted.path()), before, "{kind:?}");
        }
    }
}

/// Runs `work` without capabilities: only then do mode bits keep root from reading a file.
fn without_capabilities<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let alone = || {
        let none = rustix::thread::CapabilitySet::empty();
        let sets = rustix::thread::CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        };
        rustix::thread::set_capabilities(None, sets).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(alone).join().unwrap())
}

#[test]
fn what_cannot_be_read_is_not_taken_for_an_edit() {
    for kind in [FileSystem::Tmpfs, FileSystem::Bindfs] {
        let mut volume = Volume::with(kind, Some("old"));
        let closed = std::fs::Permissions::from_mode(0o000);
        std::fs::set_permissions(volume.target(), closed).unwrap();
        let placed = without_capabilities(|| {
            // A Cell is of one thread.
            let volume = &mut volume;
            volume.replace(&|_| true)
        });
        assert_eq!(placed, Placed::OldUnreadable(Errno::ACCESS), "{kind:?}");
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(volume.target(), open).unwrap();
        volume.holds_only("old");
    }
}

/// Someone saves when the old file was taken out, and before it can be put back.
#[test]
fn what_is_saved_while_an_edit_is_looked_at_is_kept_too() {
    for kind in FileSystem::ALL {
        let volume = Volume::with(kind, Some("edited"));
        let placed = volume.replace(&|content| {
            volume.save("saved");
            old(content)
        });
        let Placed::Displaced(path) = placed else {
            panic!("{kind:?}: {placed:?}");
        };
        let path = String::from_utf8(path).unwrap();
        let aside = volume.mounted.path().join(&path);
        let texts = [volume.target(), aside].map(|path| std::fs::read_to_string(path).unwrap());
        match kind {
            FileSystem::Tmpfs => {
                assert!(is_temporary(path.as_bytes(), OLD));
                assert_eq!(texts, ["edited", "saved"]);
            }
            _ => {
                assert!(path.starts_with(".ai-lab/moved/") && path.ends_with("/name.ipynb"));
                assert_eq!(texts, ["saved", "edited"]);
            }
        }
    }
}

/// Someone saves when the old file, which is ours, was taken out.
#[test]
fn what_is_saved_while_the_path_is_vacant_stays() {
    for kind in [FileSystem::Bindfs, FileSystem::Exfat] {
        let volume = Volume::with(kind, Some("old"));
        let placed = volume.replace(&|content| {
            volume.save("saved");
            old(content)
        });
        assert_eq!(placed, Placed::Conflict);
        volume.holds_only("saved");
    }
}

#[test]
fn an_edit_comes_back_where_the_name_was_deleted_between_the_swaps() {
    let volume = Volume::with(FileSystem::Tmpfs, Some("edited"));
    let placed = volume.replace(&|content| {
        std::fs::remove_file(volume.target()).unwrap();
        old(content)
    });
    assert_eq!(placed, Placed::Conflict);
    volume.holds_only("edited");
}

#[test]
fn replaces_nothing_that_was_deleted_meanwhile() {
    for kind in FileSystem::ALL {
        let volume = Volume::with(kind, None);
        let placed = volume.replace(&|_| panic!("nothing came out"));
        assert_eq!(placed, Placed::Conflict);
        volume.holds(&[]);
    }
}

#[test]
fn without_a_directory_for_old_files_it_replaces_nothing_that_cannot_be_exchanged() {
    let volume = Volume::with(FileSystem::Bindfs, Some("old"));
    std::fs::write(volume.mounted.path().join(".ai-lab/moved"), "in the way").unwrap();
    let placed = volume.replace(&|_| panic!("nothing came out"));
    assert_eq!(placed, Placed::FsRefused(Errno::NOTDIR));
    volume.holds(&[(".ai-lab/moved", "in the way"), ("name.ipynb", "old")]);
}

#[test]
fn what_has_another_size_than_ours_is_not_read() {
    for kind in FileSystem::ALL {
        let volume = Volume::with(kind, Some("mine, and longer"));
        let ours = |_| panic!("it was read");
        let placed = volume.replace_with(None, &ours, &|size| size == 3, &|| false);
        assert_eq!(placed, Placed::Conflict);
        volume.holds_only("mine, and longer");
    }
}

#[test]
fn a_stop_while_it_is_read_leaves_what_was_there() {
    let long = "m".repeat(2 * BUFFER);
    for kind in FileSystem::ALL {
        let volume = Volume::with(kind, Some(&long));
        let placed = volume.replace_with(None, &|_| true, &|_| true, &|| true);
        assert_eq!(placed, Placed::Stopped);
        volume.holds_only(&long);
    }
}
