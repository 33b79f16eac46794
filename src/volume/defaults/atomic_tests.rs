#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::volume::testing::{node, tree_of};

fn open(path: &Path) -> OwnedFd {
    std::fs::File::open(path).unwrap().into()
}

/// A directory with a staged temporary file in it.
struct StagedDir {
    dir: tempfile::TempDir,
    handle: OwnedFd,
    temp: CString,
    new: Content,
}

const NAME: &CStr = c"name.ipynb";

impl StagedDir {
    /// Stages "new", and writes `old`, if any, to the target.
    fn with(old: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let handle = open(dir.path());
        let source = dir.path().join("source");
        std::fs::write(&source, "new").unwrap();
        let from = File::open(&source).unwrap();
        std::fs::remove_file(source).unwrap();
        let (temp, new, _) =
            stage_file(handle.as_fd(), from, 0o644, &mut [0; BUFFER], &|| false).unwrap();
        let place = Self {
            dir,
            handle,
            temp,
            new,
        };
        if let Some(old) = old {
            place.write(old);
        }
        place
    }

    fn write(&self, text: &str) {
        let path = self.dir.path().join("name.ipynb");
        std::fs::write(path, text).unwrap();
    }

    fn install(&self, able: RenameSupport) -> Placed {
        install(self.handle.as_fd(), &self.temp, NAME, able)
    }

    fn replace(&self, able: RenameSupport, ours: &dyn Fn(Content) -> bool) -> Placed {
        let dir = self.handle.as_fd();
        let judge = OursCheck {
            ours,
            size: &|_| true,
            stop: &|| false,
        };
        replace(dir, &self.temp, NAME, self.new, able, &judge)
    }

    /// Returns the name and text of every entry.
    fn all(&self) -> Vec<(String, String)> {
        let all = tree_of(self.dir.path()).into_iter();
        all.map(|(name, text)| (String::from_utf8(name).unwrap(), text))
            .collect()
    }

    fn holds_only(&self, text: &str) {
        assert_eq!(self.all(), [("name.ipynb".to_owned(), text.to_owned())]);
    }
}

fn file(text: &str) -> Content {
    Content::File(Digest::of(text.as_bytes()))
}

const NO_RENAME: RenameSupport = RenameSupport {
    noreplace: false,
    ..RenameSupport::ALL
};
const NOTHING: RenameSupport = RenameSupport {
    noreplace: false,
    link: false,
    exchange: false,
};

#[test]
fn installs_where_nothing_is() {
    for able in [RenameSupport::ALL, NO_RENAME] {
        let place = StagedDir::with(None);
        assert_eq!(place.install(able), Placed::Done);
        place.holds_only("new");
    }
}

#[test]
fn installs_over_nothing_of_any_kind() {
    for able in [RenameSupport::ALL, NO_RENAME] {
        let place = StagedDir::with(Some("mine"));
        assert_eq!(place.install(able), Placed::Conflict);
        place.holds_only("mine");

        let place = StagedDir::with(None);
        let name = place.dir.path().join("name.ipynb");
        std::os::unix::fs::symlink("/nowhere", &name).unwrap();
        assert_eq!(place.install(able), Placed::Conflict);
        place.holds_only("-> /nowhere");

        let place = StagedDir::with(None);
        std::fs::create_dir(place.dir.path().join("name.ipynb")).unwrap();
        assert_eq!(place.install(able), Placed::Conflict);
        place.holds_only("dir");

        let place = StagedDir::with(None);
        node(&place.dir.path().join("name.ipynb"), FileType::Fifo);
        assert_eq!(place.install(able), Placed::Conflict);
        place.holds_only("special");
    }
}

#[test]
fn without_a_safe_way_it_installs_nothing() {
    let place = StagedDir::with(None);
    assert_eq!(place.install(NOTHING), Placed::FsRefused(Errno::INVAL));
    assert_eq!(place.all(), []);
}

#[test]
fn replaces_what_is_ours() {
    let place = StagedDir::with(Some("old"));
    let placed = place.replace(RenameSupport::ALL, &|content| content == file("old"));
    assert_eq!(placed, Placed::Done);
    place.holds_only("new");
}

#[test]
fn swaps_back_what_was_edited_meanwhile() {
    let place = StagedDir::with(Some("edited"));
    let placed = place.replace(RenameSupport::ALL, &|content| content == file("old"));
    assert_eq!(placed, Placed::Conflict);
    place.holds_only("edited");
}

#[test]
fn swaps_back_whatever_came_out() {
    for make in [
        (|name: &Path| std::fs::create_dir(name).unwrap()) as fn(&Path),
        |name| std::os::unix::fs::symlink("mine", name).unwrap(),
        |name| node(name, FileType::Fifo),
    ] {
        let place = StagedDir::with(None);
        make(&place.dir.path().join("name.ipynb"));
        let before = tree_of(place.dir.path());
        let ours = |content| content == file("old");
        assert_eq!(place.replace(RenameSupport::ALL, &ours), Placed::Conflict);
        let mut after = before;
        after.remove(place.temp.to_bytes());
        assert_eq!(tree_of(place.dir.path()), after);
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
    let place = StagedDir::with(Some("old"));
    let path = place.dir.path().join("name.ipynb");
    let closed = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(&path, closed).unwrap();
    let placed = without_capabilities(|| place.replace(RenameSupport::ALL, &|_| true));
    assert_eq!(placed, Placed::OldUnreadable(Errno::ACCESS));
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&path, open).unwrap();
    place.holds_only("old");
}

#[test]
fn what_was_written_between_the_swaps_is_kept_too() {
    let place = StagedDir::with(Some("edited"));
    let placed = place.replace(RenameSupport::ALL, &|content| {
        // Someone saves now, as editors do: a new file is renamed to the name.
        let other = place.dir.path().join("other");
        std::fs::write(&other, "saved").unwrap();
        std::fs::rename(other, place.dir.path().join("name.ipynb")).unwrap();
        content == file("old")
    });
    let Placed::Displaced(stray) = placed else {
        panic!("{placed:?}");
    };
    assert!(is_temporary(stray.to_bytes(), OLD));
    let stray = stray.to_str().unwrap().to_owned();
    let expected = [
        (stray, "saved".to_owned()),
        ("name.ipynb".to_owned(), "edited".to_owned()),
    ];
    assert_eq!(place.all(), expected);
}

#[test]
fn an_edit_comes_back_where_the_name_was_deleted_between_the_swaps() {
    let place = StagedDir::with(Some("edited"));
    let placed = place.replace(RenameSupport::ALL, &|content| {
        std::fs::remove_file(place.dir.path().join("name.ipynb")).unwrap();
        content == file("old")
    });
    assert_eq!(placed, Placed::Conflict);
    place.holds_only("edited");
}

#[test]
fn replaces_nothing_that_was_deleted_meanwhile() {
    let place = StagedDir::with(None);
    let placed = place.replace(RenameSupport::ALL, &|_| panic!("nothing came out"));
    assert_eq!(placed, Placed::Conflict);
    assert_eq!(place.all(), []);
}

#[test]
fn without_exchange_it_replaces_nothing() {
    let able = RenameSupport {
        exchange: false,
        ..RenameSupport::ALL
    };
    let place = StagedDir::with(Some("old"));
    let placed = place.replace(able, &|_| panic!("nothing came out"));
    assert_eq!(placed, Placed::FsRefused(Errno::INVAL));
    place.holds_only("old");
}

#[test]
fn a_stop_leaves_nothing_staged() {
    let dir = tempfile::tempdir().unwrap();
    let source = tempfile::NamedTempFile::new().unwrap();
    source.as_file().set_len(1 << 20).unwrap();
    let from = File::open(source.path()).unwrap();
    let staged = stage_file(
        open(dir.path()).as_fd(),
        from,
        0o644,
        &mut [0; BUFFER],
        &|| true,
    );
    assert_eq!(staged.unwrap_err(), Fault::Stopped);
    assert_eq!(tree_of(dir.path()).len(), 0);
}

#[test]
fn staged_files_have_their_mode_whatever_the_umask() {
    for mode in [0o644, 0o775] {
        let dir = tempfile::tempdir().unwrap();
        let from = File::open("/dev/null").unwrap();
        let (temp, content, _) = stage_file(
            open(dir.path()).as_fd(),
            from,
            mode,
            &mut [0; BUFFER],
            &|| false,
        )
        .unwrap();
        assert_eq!(content, file(""));
        let data = dir.path().join(temp.to_str().unwrap()).metadata().unwrap();
        assert_eq!(data.permissions().mode() & 0o7777, mode);
    }
}

#[test]
fn only_regular_files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let handle = open(dir.path());
    let at = |name: &str| dir.path().join(name);
    node(&at("fifo"), FileType::Fifo);
    node(&at("socket"), FileType::Socket);
    node(&at("device"), FileType::CharacterDevice);
    std::os::unix::fs::symlink("/etc/passwd", at("link")).unwrap();
    std::fs::create_dir(at("dir")).unwrap();
    for name in [c"fifo", c"socket", c"device", c"link", c"dir"] {
        let read = digest(handle.as_fd(), name, &|| false);
        assert_eq!(read.unwrap_err(), Fault::Source(Errno::INVAL), "{name:?}");
    }
}

#[test]
fn names_are_told_apart() {
    let name = temporary(NEW);
    assert!(is_temporary(name.to_bytes(), NEW));
    assert!(!is_temporary(name.to_bytes(), OLD));
    assert_ne!(name, temporary(NEW));
    for other in [
        &b".ai-lab.new-"[..],
        b".ai-lab.new-notes.txt",
        b".ai-lab.new-0123456789abcdef0",
        b"ai-lab.new-0123456789abcdef",
    ] {
        assert!(!is_temporary(other, NEW));
    }
}

#[test]
fn what_has_another_size_than_ours_is_not_read() {
    let place = StagedDir::with(Some("mine, and longer"));
    let read = Cell::new(false);
    let judge = OursCheck {
        ours: &|_| {
            read.set(true);
            true
        },
        size: &|size| size == 3,
        stop: &|| false,
    };
    let dir = place.handle.as_fd();
    let placed = replace(
        dir,
        &place.temp,
        NAME,
        place.new,
        RenameSupport::ALL,
        &judge,
    );
    assert_eq!(placed, Placed::Conflict);
    assert!(!read.get());
    place.holds_only("mine, and longer");
}

#[test]
fn a_stop_while_it_is_read_leaves_what_was_there() {
    let long = "m".repeat(2 * BUFFER);
    let place = StagedDir::with(Some(&long));
    let judge = OursCheck {
        ours: &|_| true,
        size: &|_| true,
        stop: &|| true,
    };
    let dir = place.handle.as_fd();
    let placed = replace(
        dir,
        &place.temp,
        NAME,
        place.new,
        RenameSupport::ALL,
        &judge,
    );
    assert_eq!(placed, Placed::Stopped);
    place.holds_only(&long);
}

#[test]
fn a_file_that_grows_while_it_is_read_is_not_read_for_ever() {
    let place = StagedDir::with(Some(&"m".repeat(BUFFER)));
    let grow = || {
        let path = place.dir.path().join("name.ipynb");
        let mut file = File::options().append(true).open(path).unwrap();
        file.write_all(&[b'm'; 2 * BUFFER]).unwrap();
        false
    };
    let read = digest(place.handle.as_fd(), NAME, &grow).unwrap();
    assert_eq!(read.size, BUFFER as u64 + 1);
    assert!(read.file_stat.is_none());
}
