#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::group_access::replacement::{Replacement, read, replace_all};

const FILES: &[&str] = &["group", "gshadow"];

const NOW: Duration = Duration::ZERO;

#[test]
fn the_lock_is_that_of_the_shadow_suite() {
    let etc = tempfile::tempdir().unwrap();
    let lock = Lock::take(etc.path(), FILES).unwrap();
    assert!(etc.path().join("gshadow.lock").exists());
    let pid = std::process::id().to_string();
    let text = fs::read_to_string(etc.path().join("group.lock")).unwrap();
    assert_eq!(text, pid);
    // The kernel lists the record lock.
    let inode = fs::metadata(etc.path().join(".pwd.lock")).unwrap().ino();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let ours = locks
        .lines()
        .find(|line| line.contains(&format!(":{inode} ")));
    let ours = ours.unwrap();
    assert!(ours.contains("POSIX") && ours.contains("WRITE") && ours.ends_with("0 EOF"));
    drop(lock);
    let left: Vec<_> = fs::read_dir(etc.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only .pwd.lock stays: {left:?}");
}

#[test]
fn a_lock_file_is_taken_over_only_from_the_dead() {
    let etc = tempfile::tempdir().unwrap();
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let path = etc.path().join("gshadow.lock");
    let pid = child.id();
    fs::write(&path, format!("{pid}\0")).unwrap();
    let error = Lock::take_within(etc.path(), FILES, NOW).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(path.exists());
    assert!(!etc.path().join("group.lock").exists(), "given back");
    drop(child.stdin.take());
    child.wait().unwrap();
    Lock::take(etc.path(), FILES).unwrap();

    // Our own pid, from before the container's restart.
    fs::write(&path, std::process::id().to_string()).unwrap();
    Lock::take(etc.path(), FILES).unwrap();

    // A lock file without a pid is not stale: its holder is unknown.
    fs::write(&path, "").unwrap();
    Lock::take_within(etc.path(), FILES, NOW).unwrap_err();
}

#[test]
fn a_held_record_lock_is_respected() {
    let etc = tempfile::tempdir().unwrap();
    let path = etc.path().join(".pwd.lock");
    // A record lock belongs to a process, so another process has to hold it. perl-base is part of
    // every Debian.
    let script = "use Fcntl; open(F, '>', $ARGV[0]); \
        my $l = pack('s s x![q] q q l x![q]', F_WRLCK, 0, 0, 0, 0); \
        fcntl(F, F_SETLK, $l) or die; \
        $| = 1; print 'held'; <STDIN>";
    let mut child = Command::new("perl")
        .args(["-e", script])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 4];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut held)
        .unwrap();
    let error = Lock::take_within(etc.path(), FILES, NOW).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    drop(child.stdin.take());
    child.wait().unwrap();
    Lock::take_within(etc.path(), FILES, NOW).unwrap();
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    Replacement::prepare(path, bytes, mode)?.rename_over()
}

#[test]
fn a_file_is_replaced_with_mode_and_owner_kept() {
    let etc = tempfile::tempdir().unwrap();
    let path = etc.path().join("gshadow");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&path, Some(0), Some(42)).unwrap();
    // A killed editor left this behind.
    fs::write(etc.path().join("gshadow+"), "half").unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    replace(&path, b"new", 0o600).unwrap();
    let data = fs::metadata(&path).unwrap();
    assert_eq!(
        (data.mode() & 0o7777, data.uid(), data.gid()),
        (0o640, 0, 42)
    );
    assert_ne!(data.ino(), inode, "renamed into place");
    assert_eq!(read(&path).unwrap().unwrap(), b"new");
    assert!(!etc.path().join("gshadow+").exists());
}

#[test]
fn links_and_pipes_are_not_read() {
    let etc = tempfile::tempdir().unwrap();
    let (file, link) = (etc.path().join("f"), etc.path().join("l"));
    fs::write(&file, "text").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    read(&link).unwrap_err();
    read(Path::new("/dev/null")).unwrap_err();
    assert_eq!(read(&etc.path().join("none")).unwrap(), None);
}

/// Runs itself again in a mount namespace of its own, because it mounts.
#[test]
fn a_mounted_file_is_left_to_whoever_mounted_it() {
    const NAME: &str = "group_access::lock::tests::a_mounted_file_is_left_to_whoever_mounted_it";
    const CHILD: &str = "AI_LAB_TEST_MOUNTED";
    let Some(etc) = std::env::var_os(CHILD) else {
        let etc = tempfile::tempdir().unwrap();
        for name in ["group", "theirs"] {
            fs::write(etc.path().join(name), name).unwrap();
        }
        let script = r#"mount --bind "$1/theirs" "$1/group"
            mkdir "$1/etc"; mount -t tmpfs none "$1/etc"; exec "$2" --exact "$3""#;
        let output = Command::new("unshare")
            .args(["-m", "sh", "-e", "-c", script, "sh"])
            .arg(etc.path())
            .arg(std::env::current_exe().unwrap())
            .arg(NAME)
            .env(CHILD, etc.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{output:?}"
        );
        return;
    };
    let etc = PathBuf::from(etc);
    for path in [etc.join("group"), etc.join("etc/group")] {
        let error = replace(&path, b"new", 0o644).unwrap_err();
        assert!(error.to_string().ends_with(" is a bind mount"));
    }
    assert_eq!(fs::read(etc.join("theirs")).unwrap(), b"theirs");
}

#[test]
fn of_several_files_all_are_replaced_or_none() {
    let etc = tempfile::tempdir().unwrap();
    let path = |name| etc.path().join(name);
    for name in ["first", "second"] {
        fs::write(path(name), "old").unwrap();
    }
    let prepare = |name| Replacement::prepare(&path(name), b"new", 0o644).unwrap();
    let both = vec![prepare("first"), prepare("second")];
    fs::remove_file(path("second")).unwrap();
    fs::create_dir(path("second")).unwrap();
    replace_all(both).unwrap_err();
    assert_eq!(fs::read(path("first")).unwrap(), b"old");
    assert_eq!(
        fs::read_dir(etc.path()).unwrap().count(),
        2,
        "no copy stays"
    );
    fs::remove_dir(path("second")).unwrap();
    replace_all(vec![prepare("first"), prepare("second")]).unwrap();
    for name in ["first", "second"] {
        assert_eq!(fs::read(path(name)).unwrap(), b"new");
    }
}
