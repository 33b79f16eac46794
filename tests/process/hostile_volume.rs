//! Whatever is in the volume: nothing outside of it changes, nothing of a person's is
//! lost, the start goes on and says what it left.

use std::ffi::{CStr, OsStr};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};

use crate::support::ground::{Ground, THINGS, Thing, look, snapshot};
use crate::support::{Image, UID, repeated};

/// Where a thing can be: at a default, at what a default lies under, at what is ours,
/// and where nothing is expected.
const PLACES: [&str; 13] = [
    "start.ipynb",
    "link.ipynb",
    "dir",
    "dir/b.ipynb",
    "empty",
    ".ai-lab",
    ".ai-lab/lock",
    ".ai-lab/manifest.sha256",
    ".ai-lab/manifest.sha256.damaged",
    ".ai-lab/cells.jsonl",
    ".ai-lab/kept",
    "0 What is new.md",
    "theirs",
];

/// Two versions of defaults: `defaults-1` and `defaults-2`.
fn offer(image: &Image) {
    for version in ["1", "2"] {
        let top = image.path(&format!("defaults-{version}"));
        fs::create_dir_all(top.join("dir")).unwrap();
        fs::create_dir(top.join("empty")).unwrap();
        fs::write(top.join("start.ipynb"), version).unwrap();
        fs::write(top.join("dir/b.ipynb"), version).unwrap();
        let target = ["start.ipynb", "dir/b.ipynb"][usize::from(version == "2")];
        symlink(target, top.join("link.ipynb")).unwrap();
    }
}

/// What the log has to say about a thing in a place.
fn report(thing: Thing, place: &str) -> Option<&'static str> {
    let link = matches!(thing, Thing::Link(_));
    let file = matches!(thing, Thing::File | Thing::HardLink(_));
    match place {
        "start.ipynb" | "dir/b.ipynb" if !file => Some("something else is in the way"),
        "link.ipynb" if !link => Some("something else is in the way"),
        "dir" | "empty" if thing != Thing::Directory => Some("something else is in the way"),
        ".ai-lab" if thing != Thing::Directory => {
            Some("no record of the notebook defaults is kept")
        }
        ".ai-lab/lock" if thing != Thing::File => {
            Some("no record of the notebook defaults is kept")
        }
        ".ai-lab/manifest.sha256" => Some("the record of the notebook defaults is damaged"),
        _ => None,
    }
}

#[test]
fn nothing_outside_changes_whatever_is_anywhere_in_the_volume() {
    let ground = Ground::new();
    offer(&ground.image);
    let real = [
        "/etc/shadow",
        "/etc/passwd",
        "/proc/sys/kernel/core_pattern",
    ];
    let real_before = real.map(|path| look(Path::new(path)));
    for (thing, place) in THINGS
        .into_iter()
        .flat_map(|thing| PLACES.map(|place| (thing, place)))
        .step_by(repeated(7, 1))
    {
        // A volume that was never used, and one with what an earlier image brought.
        for used in [false, true] {
            let at = format!("{thing:?} at {place}, used: {used}");
            ground.clear();
            if used {
                let ended = ground.start("defaults-1", "1.0.0").run();
                assert_eq!(ended.code, 0, "{at}: {}", ended.stderr);
            }
            let path = ground.volume(place);
            if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(&path).unwrap();
            } else {
                let _ = fs::remove_file(&path);
            }
            ground.put(thing, &path);
            let before = snapshot(&ground.outside(""));
            let was = look(&path);
            let mut ended = ground.start("defaults-2", "2.0.0").run();
            assert_eq!(ended.code, 0, "{at}: {}", ended.stderr);
            if let Some(told) = report(thing, place) {
                assert!(ended.stderr.contains(told), "{at}: {}", ended.stderr);
            }
            if matches!(thing, Thing::HardLink(_)) {
                let told = "did not hand over files that have links outside the volume";
                assert!(ended.stderr.contains(told), "{at}: {}", ended.stderr);
            }
            if matches!(thing, Thing::CharacterDevice | Thing::BlockDevice) {
                let told = "did not hand over device nodes";
                assert!(ended.stderr.contains(told), "{at}: {}", ended.stderr);
            }
            // Another start meets what this one made of it.
            ended = ground.start("defaults-2", "2.0.0").run();
            assert_eq!(ended.code, 0, "{at}: {}", ended.stderr);

            let mut after = snapshot(&ground.outside(""));
            let aside = ground.volume(".ai-lab/manifest.sha256.damaged");
            if place == ".ai-lab/manifest.sha256" {
                // Set aside, whatever it is; renaming stamps an inode.
                assert_eq!(look(&aside).content, was.content, "{at}");
                for (path, seen) in &mut after {
                    seen.changed = before[path].changed;
                }
            } else if !(thing == Thing::Directory && matches!(place, "dir" | "empty" | ".ai-lab")) {
                let is = look(&path);
                assert_eq!((is.inode, is.content), (was.inode, was.content), "{at}");
            }
            assert_eq!(after, before, "{at}");
        }
    }
    assert_eq!(real.map(|path| look(Path::new(path))), real_before);
}

#[test]
fn a_volume_that_is_itself_a_link_is_followed_only_where_root_made_it() {
    let ground = Ground::new();
    let before = snapshot(&ground.outside(""));
    // HOME is the user's: what it has may be of the container's last run.
    let way = ground.image.path("home/notebooks");
    symlink(ground.outside("dir"), &way).unwrap();
    let start = |way: &Path| {
        let way = ["--notebooks", way.to_str().unwrap(), "--", "true"];
        let start = crate::support::Start::pid1().args(ground.image.options());
        start.args(way).run()
    };
    let ended = start(&way);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let told = "is a symbolic link that root did not make or that others can replace";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    assert_eq!(snapshot(&ground.outside("")), before);
    let way = ground.image.path("memory/way");
    symlink(ground.volume(""), &way).unwrap();
    let ended = start(&way);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(look(&ground.volume("start.ipynb")).owner, (UID, UID));
}

/// Otherwise every later start would end, and only an operator could mend it.
#[test]
fn a_user_who_puts_something_in_place_of_the_volume_still_has_a_server() {
    let ground = Ground::new();
    let (real, way) = (
        ground.image.path("home/real"),
        ground.image.path("home/way"),
    );
    fs::create_dir(&real).unwrap();
    chown(&real, Some(UID), Some(UID)).unwrap();
    fs::write(real.join("of-root"), "").unwrap();
    let run = |options: &[&str]| {
        let way = ["--notebooks", way.to_str().unwrap()];
        let start = crate::support::Start::pid1().args(ground.image.options());
        start.args(way).args(options).args(["--", "true"]).run()
    };
    for is_link in [true, false] {
        let _ = fs::remove_file(&way);
        match is_link {
            true => symlink(&real, &way).unwrap(),
            false => fs::write(&way, "").unwrap(),
        }
        std::os::unix::fs::lchown(&way, Some(UID), Some(UID)).unwrap();
        for options in [&["--dry-run"][..], &[], &["--volume-owner", "keep"]] {
            let ended = run(options);
            assert_eq!(ended.code, 0, "{}", ended.stderr);
            let told = match is_link {
                true => format!("] {}, on the way to the notebooks", way.display()),
                false => format!("create the notebooks directory {}: ", way.display()),
            };
            assert!(ended.stderr.contains(&told), "{}", ended.stderr);
        }
        assert_eq!(run(&["--volume-owner", "adopt"]).code, 1);
    }
    assert_eq!(look(&real.join("start.ipynb")).owner, (UID, UID));
    assert_eq!(look(&real.join("of-root")).owner, (0, 0));
    // Others who could write there would choose whom the server runs as.
    chown(ground.image.path("home"), Some(UID + 1), None).unwrap();
    assert_eq!(run(&[]).code, 1);
}

#[test]
fn setuid_files_do_not_become_the_users_programs() {
    let ground = Ground::new();
    let program = ground.volume("program");
    fs::copy("/bin/true", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).unwrap();
    let ended = ground.start("defaults", "1.0.0").run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let after = fs::metadata(&program).unwrap();
    assert_eq!((after.uid(), after.mode() & 0o7777), (UID, 0o755));
}

#[test]
fn names_that_are_no_text_are_handed_over_and_no_line_of_the_log_is_forged() {
    let ground = Ground::new();
    let names: [&[u8]; 5] = [
        b"\xff\xfe\x80 latin",
        b"two\nlines",
        b"x\n[E 2026-01-01 00:00:00.000 ai-lab] forged",
        b"\x1b[31mred\r\x07",
        &[b'n'; 255],
    ];
    for name in names {
        let name = OsStr::from_bytes(name);
        fs::write(ground.volume("").join(name), "x").unwrap();
    }
    // These are told by their names.
    let device = ground
        .volume("")
        .join(OsStr::from_bytes(b"a\n[E forged\x1b[2J\xff"));
    ground.put(Thing::CharacterDevice, &device);
    let default = b"w\n[E forged too\x1b[2J\xff.ipynb";
    let default = OsStr::from_bytes(default);
    fs::write(ground.image.path("defaults").join(default), "{}").unwrap();
    ground.put(Thing::Fifo, &ground.volume("").join(default));
    let ended = ground.start("defaults", "1.0.0").run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("did not hand over device nodes: 1"),
        "{}",
        ended.stderr
    );
    for line in ended.stderr.lines() {
        assert!(!line.starts_with("[E"), "{line:?}");
        assert!(!line.contains(['\x1b', '\r', '\x07']), "{line:?}");
    }
    for name in names {
        let data = fs::metadata(ground.volume("").join(OsStr::from_bytes(name))).unwrap();
        assert_eq!((data.uid(), data.gid()), (UID, UID), "{name:?}");
    }
}

/// The directory `depth` levels of `name` down; made where it is missing.
fn deep(top: &Path, name: &CStr, depth: usize) -> OwnedFd {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = rustix::fs::open(top, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        let _ = rustix::fs::mkdirat(&dir, name, Mode::from(0o755));
        dir = rustix::fs::openat(&dir, name, flags, Mode::empty()).unwrap();
    }
    dir
}

#[test]
fn paths_longer_than_any_system_call_takes_are_handed_over() {
    let ground = Ground::new();
    // 4,000 bytes in 2,000 levels, and 20 times that in 400.
    let long = std::ffi::CString::new([b'l'; 200]).unwrap();
    let bottoms = [(c"d", 2000), (&*long, 400)];
    for (name, depth) in bottoms {
        let bottom = deep(&ground.volume(""), name, depth);
        rustix::fs::mknodat(
            &bottom,
            "leaf",
            rustix::fs::FileType::RegularFile,
            0o600.into(),
            0,
        )
        .unwrap();
        symlink(ground.outside("shadow"), ground.volume("link")).ok();
    }
    let before = snapshot(&ground.outside(""));
    let ended = ground.start("defaults", "1.0.0").run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for (name, depth) in bottoms {
        let bottom = deep(&ground.volume(""), name, depth);
        let leaf = rustix::fs::statat(&bottom, "leaf", AtFlags::SYMLINK_NOFOLLOW).unwrap();
        assert_eq!((leaf.st_uid, leaf.st_gid), (UID, UID));
    }
    assert_eq!(snapshot(&ground.outside("")), before);
}

/// Makes a file immutable as long as this lives.
struct Immutable<'a>(&'a Path);

impl<'a> Immutable<'a> {
    fn new(path: &'a Path) -> Self {
        let done = Command::new("chattr").arg("+i").arg(path).status().unwrap();
        assert!(done.success(), "chattr +i {}", path.display());
        Self(path)
    }
}

impl Drop for Immutable<'_> {
    fn drop(&mut self) {
        let _ = Command::new("chattr").arg("-i").arg(self.0).status();
    }
}

#[test]
fn immutable_files_stay_and_are_reported() {
    let image = Image::new();
    offer(&image);
    let start = |version: &str| {
        let defaults = image.path(&format!("defaults-{version}"));
        let start = crate::support::Start::pid1().args(image.options()).args([
            "--notebook-defaults",
            defaults.to_str().unwrap(),
            "--",
            "true",
        ]);
        let ended = start.env("AI_LAB_VERSION", version).run();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.stderr
    };
    start("1");
    let [default, roots] =
        ["notebooks/start.ipynb", "notebooks/roots"].map(|name| image.path(name));
    fs::write(&roots, "root's").unwrap();
    let immutable = [Immutable::new(&default), Immutable::new(&roots)];
    let before = [look(&default), look(&roots)];
    let told = start("2");
    for part in [
        format!(
            "could not hand over to {UID}:{UID} 1 entry, first {}",
            roots.display()
        ),
        "could not write 1 entry, first start.ipynb".to_owned(),
    ] {
        assert!(told.contains(&part), "{part:?} is missing in {told}");
    }
    assert_eq!([look(&default), look(&roots)], before);
    assert_eq!(
        fs::read_to_string(image.path("notebooks/dir/b.ipynb")).unwrap(),
        "2"
    );
    drop(immutable);
    let told = start("2");
    assert!(told.contains("1 updated"), "{told}");
    assert_eq!(fs::metadata(&roots).unwrap().uid(), UID);
}

#[test]
fn directories_that_are_swapped_for_links_all_the_time_lead_nowhere() {
    let ground = Ground::new();
    // Each of these is a directory of root's with a double outside; the user may write
    // to the doubles, so that the user phase could be led there, too.
    let names = ["many", "dir", ".ai-lab"];
    for name in names {
        for top in [ground.volume(name), ground.outside(name)] {
            fs::create_dir_all(top.join("below")).unwrap();
            fs::set_permissions(&top, fs::Permissions::from_mode(0o777)).unwrap();
            for number in 0..300 {
                let path = top.join(format!("below/{number}"));
                fs::write(&path, "root's").unwrap();
                chown(&path, Some(0), Some(0)).unwrap();
            }
        }
        symlink(ground.outside(name), ground.volume(&format!("{name}.link"))).unwrap();
        fs::create_dir_all(ground.image.path("defaults/dir")).unwrap();
        fs::write(ground.image.path("defaults/dir/b.ipynb"), "{}").unwrap();
    }
    let before = snapshot(&ground.outside(""));
    let (over, swaps, turn) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(()));
    let swapper = || {
        while !over.load(Ordering::Relaxed) {
            let _turn = turn.lock();
            for name in names {
                let (dir, link) = (ground.volume(name), ground.volume(&format!("{name}.link")));
                let flags = RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(CWD, &dir, CWD, &link, flags).unwrap();
            }
            swaps.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(swapper);
        // A busy machine may start everything before it swaps anything: that does not count.
        let (mut rounds, mut counted) = (0, 0);
        while counted < 40 {
            rounds += 1;
            assert!(rounds < 400, "only {counted} starts had swaps");
            let begun = swaps.load(Ordering::Relaxed);
            let ended = ground.start("defaults", "1.0.0").run();
            let swapped = swaps.load(Ordering::Relaxed) - begun;
            assert_eq!(ended.code, 0, "{}", ended.stderr);
            counted += usize::from(swapped > 10);
            let same = snapshot(&ground.outside("")) == before;
            assert!(same, "changed outside in round {rounds}: {}", ended.stderr);
            // Root's again, so that there is something to hand over.
            let _turn = turn.lock();
            let mut again = Command::new("chown");
            again.args(["-RPh", "0:0"]).arg(ground.volume(""));
            assert!(again.status().unwrap().success());
        }
    });
    assert_eq!(snapshot(&ground.outside("")), before);
}

/// Says that it is over, however a test ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
