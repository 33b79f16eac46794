#![allow(clippy::unwrap_used)]

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::volume::testing::{node, tree_of};

fn open(path: &Path) -> OwnedFd {
    std::fs::File::open(path).unwrap().into()
}

fn file(text: &str) -> Content {
    Content::File(Digest::of(text.as_bytes()))
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
fn a_file_that_grows_while_it_is_read_is_not_read_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("name.ipynb");
    std::fs::write(&path, "m".repeat(BUFFER)).unwrap();
    let grow = || {
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(&[b'm'; 2 * BUFFER]).unwrap();
        false
    };
    let read = digest(open(dir.path()).as_fd(), c"name.ipynb", &grow).unwrap();
    assert_eq!(read.size, BUFFER as u64 + 1);
    assert!(read.file_stat.is_none());
}
