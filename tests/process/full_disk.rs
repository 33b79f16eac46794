//! A volume without room, without write access, or on a file system that can do little:
//! whole files or none, the start goes on and says so, and once there is room the next
//! start finishes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::support::lab::is_extra;
use crate::support::tmpfs::{Bound, Tmpfs};
use crate::support::{Image, Output};

const PAGE: u64 = 4096;

/// Sizes in bytes on both sides of what a page holds.
const SIZES: [(&str, usize); 5] = [
    ("a.ipynb", 1),
    ("b.ipynb", 4096),
    ("c.ipynb", 5000),
    ("dir/d.ipynb", 20_000),
    ("dir/e.ipynb", 300),
];

/// What a default holds in some version: nothing in it is like in the other one.
fn content(size: usize, version: u8) -> Vec<u8> {
    vec![b'0' + version; size * usize::from(version)]
}

fn offer(image: &Image, version: u8) {
    for (name, size) in SIZES {
        let path = image.path("defaults").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content(size, version)).unwrap();
    }
    let _ = fs::remove_file(image.path("defaults/start.ipynb"));
}

fn start(image: &Image, version: u8) -> Output {
    let ended = image
        .command(["true"])
        .env("AI_LAB_VERSION", &format!("{version}.0.0"))
        .run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended
}

/// Every file of the volume but ours.
fn files(top: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut todo = vec![top.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(top).unwrap().display().to_string();
            if path.is_dir() {
                todo.push(path);
            } else if !matches!(&*name, ".ai-lab/lock" | ".ai-lab/manifest.sha256")
                && !is_extra(&name)
            {
                all.insert(name, fs::read(path).unwrap());
            }
        }
    }
    all
}

fn expected(version: u8) -> BTreeMap<String, Vec<u8>> {
    let all = SIZES.iter();
    all.map(|(name, size)| ((*name).to_owned(), content(*size, version)))
        .collect()
}

fn assert_recorded(volume: &Path, changed: &str) {
    let checked = Command::new("sha256sum")
        .args(["--check", "--quiet", ".ai-lab/manifest.sha256"])
        .env("LC_ALL", "C")
        .current_dir(volume)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&checked.stdout), changed);
}

/// Whether a start brought everything in; if not, it has to have said so.
fn complete(at: &str, ended: &Output, found: bool) -> bool {
    let told = ["the volume is full: ", "could not be written: "];
    let told = told.iter().any(|part| ended.stderr.contains(part));
    let unkept = ended
        .stderr
        .contains("no record of the notebook defaults is kept");
    assert!(found || told, "{at}: nothing is said: {}", ended.stderr);
    found && !told && !unkept
}

/// First installs with `limit` 1, 2, 3 …, until one of them finds room for all.
fn first_install(limit: impl Fn(u64) -> String, plenty: &str) {
    let image = Image::new();
    offer(&image, 1);
    let volume = image.path("notebooks");
    let mut incomplete = 0;
    for room in 1.. {
        let limit = limit(room);
        let disk = Tmpfs::mount(&volume, &limit);
        let ended = start(&image, 1);
        let found = files(&volume);
        for (name, bytes) in &found {
            assert_eq!(Some(bytes), expected(1).get(name), "{limit}: {name}");
        }
        if complete(&limit, &ended, found == expected(1)) {
            assert_recorded(&volume, "");
            break;
        }
        incomplete += 1;
        disk.remount(plenty);
        let ended = start(&image, 1);
        assert!(!ended.stderr.contains("[W "), "{limit}: {}", ended.stderr);
        assert_eq!(files(&volume), expected(1), "{limit}");
        assert_recorded(&volume, "");
    }
    assert!(incomplete > 5, "{incomplete}");
}

#[test]
fn a_first_install_with_too_little_room_is_whole_files_and_finished_when_there_is_room() {
    first_install(|pages| format!("size={}", pages * PAGE), "size=16m");
}

#[test]
fn a_first_install_with_too_few_inodes_is_whole_files_and_finished_when_there_are_more() {
    first_install(
        |inodes| format!("size=16m,nr_inodes={inodes}"),
        "size=16m,nr_inodes=1000",
    );
}

#[test]
fn many_files_by_several_threads_are_whole_or_not_there_and_are_counted() {
    let image = Image::new();
    let _ = fs::remove_file(image.path("defaults/start.ipynb"));
    let number = 300;
    let offered: BTreeMap<String, Vec<u8>> = (0..number)
        .map(|number: usize| {
            let name = format!("dir{}/{number}.ipynb", number % 7);
            (
                name,
                format!("{number} ")
                    .repeat(500 + number % 4000)
                    .into_bytes(),
            )
        })
        .collect();
    for (name, bytes) in &offered {
        let path = image.path("defaults").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let volume = image.path("notebooks");
    for room in ["200k", "500k", "900k"] {
        let disk = Tmpfs::mount(&volume, &format!("size={room}"));
        let ended = start(&image, 1);
        let found = files(&volume);
        for (name, bytes) in &found {
            assert!(offered.get(name) == Some(bytes), "{room}: {name}");
        }
        let told = "the volume is full: ";
        let (_, told) = ended.stderr.split_once(told).unwrap();
        let missing = told.split(' ').next().unwrap();
        assert_eq!(missing, (number - found.len()).to_string(), "{room}");
        let lock = volume.join(".ai-lab/lock");
        assert_eq!(fs::metadata(&lock).unwrap().len(), 0, "{room}");
        disk.remount("size=16m");
        let ended = start(&image, 1);
        assert!(!ended.stderr.contains("[W "), "{room}: {}", ended.stderr);
        assert!(files(&volume) == offered, "{room}");
        assert_recorded(&volume, "");
    }
}

#[test]
fn a_directory_that_finds_no_room_is_no_matter_of_rights() {
    let image = Image::new();
    fs::remove_file(image.path("defaults/start.ipynb")).unwrap();
    fs::create_dir(image.path("defaults/empty")).unwrap();
    let volume = image.path("notebooks");
    let mut full = 0;
    for inodes in 3..8 {
        let _disk = Tmpfs::mount(&volume, &format!("size=16m,nr_inodes={inodes}"));
        let ended = start(&image, 1);
        let said = |part: &str| ended.stderr.contains(part);
        let missing = !volume.join("empty").exists();
        let told = said("the volume is full: 1 notebook");
        assert_eq!(told, missing, "{}", ended.stderr);
        let wrong = said("make the notebooks directory writable");
        assert!(!wrong, "{}", ended.stderr);
        assert!(!missing || !said("Copied notebooks"), "{}", ended.stderr);
        full += u32::from(missing);
    }
    assert!(full > 0);
}

#[test]
fn where_there_is_room_for_one_of_two_that_one_is_installed() {
    let image = Image::new();
    fs::remove_file(image.path("defaults/start.ipynb")).unwrap();
    for name in ["a", "b"] {
        fs::write(image.path("defaults").join(name), vec![b'x'; 6 << 20]).unwrap();
    }
    let volume = image.path("notebooks");
    let _disk = Tmpfs::mount(&volume, "size=7m");
    let ended = start(&image, 1);
    let found: Vec<String> = files(&volume).into_keys().collect();
    assert_eq!(found, ["a"], "{}", ended.stderr);
    assert!(ended.stderr.contains("the volume is full: 1 notebook"));
}

#[test]
fn an_update_with_too_little_room_leaves_the_old_or_the_new_and_is_finished_later() {
    let image = Image::new();
    let volume = image.path("notebooks");
    let mut incomplete = 0;
    for room in 0.. {
        let disk = Tmpfs::mount(&volume, "size=16m");
        offer(&image, 1);
        start(&image, 1);
        fs::write(volume.join("b.ipynb"), "mine").unwrap();
        offer(&image, 2);
        let stat = rustix::fs::statvfs(&volume).unwrap();
        let used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize;
        let at = format!("size={}", used + room * PAGE);
        disk.remount(&at);

        let mine = |version| {
            let mut all = expected(version);
            all.insert("b.ipynb".to_owned(), b"mine".to_vec());
            all
        };
        let ended = start(&image, 2);
        let found = files(&volume);
        assert!(found.keys().eq(mine(1).keys()), "{at}: {:?}", found.keys());
        for (name, bytes) in &found {
            let whole = [mine(1), mine(2)].iter().any(|all| all[name] == *bytes);
            assert!(whole, "{at}: {name}");
        }
        if complete(&at, &ended, found == mine(2)) {
            break;
        }
        incomplete += 1;
        disk.remount("size=16m");
        let ended = start(&image, 2);
        assert!(!ended.stderr.contains("[W "), "{at}: {}", ended.stderr);
        assert_eq!(files(&volume), mine(2), "{at}");
        assert_recorded(&volume, "b.ipynb: FAILED\n");
    }
    assert!(incomplete > 5, "{incomplete}");
}

/// Everything that could have changed of everything in the volume.
fn looks(top: &Path) -> BTreeMap<String, (u64, u32, u32, u32, i64, i64)> {
    let mut all = BTreeMap::new();
    let mut todo = vec![top.to_owned()];
    while let Some(path) = todo.pop() {
        let data = fs::symlink_metadata(&path).unwrap();
        let look = (
            data.ino(),
            data.mode(),
            data.uid(),
            data.gid(),
            data.ctime(),
            data.ctime_nsec(),
        );
        all.insert(path.display().to_string(), look);
        if data.is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    all
}

#[test]
fn a_read_only_volume_is_left_alone_and_that_is_said() {
    let image = Image::new();
    let volume = image.path("notebooks");
    for installed in [true, false] {
        let disk = Tmpfs::mount(&volume, "size=16m");
        offer(&image, 1);
        if installed {
            start(&image, 1);
            offer(&image, 2);
        }
        disk.remount("ro");
        let before = looks(&volume);
        let ended = start(&image, 2);
        let said = format!("{} is read-only", volume.display());
        assert!(ended.stderr.contains(&said), "{}", ended.stderr);
        let copied = ended.stderr.contains("Copied notebooks");
        assert!(!copied, "{}", ended.stderr);
        assert_eq!(looks(&volume), before);
        disk.remount("rw");
        let ended = start(&image, 2);
        assert!(!ended.stderr.contains("read-only"), "{}", ended.stderr);
        assert_eq!(files(&volume), expected(if installed { 2 } else { 1 }));
    }
}

/// bindfs has no RENAME_NOREPLACE and no RENAME_EXCHANGE, and these options take away
/// what else a weak file system lacks.
#[test]
fn a_fuse_file_system_without_owners_and_exchange_never_loses_a_file() {
    let image = Image::new();
    offer(&image, 1);
    let options = ["--chown-ignore", "--chgrp-ignore", "--chmod-ignore"];
    let disk = Tmpfs::mount(&image.path("disk"), "size=16m");
    let user = format!("{0}:{0}", crate::support::UID);
    let owned = Command::new("chown")
        .arg(user)
        .arg(image.path("disk"))
        .status();
    assert!(owned.unwrap().success());
    let bound = Bound::mount(&image.path("disk"), &image.path("notebooks"), &options);
    let volume = image.path("notebooks");
    let ended = start(&image, 1);
    let told = "notebooks: 5 installed";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    assert!(files(&volume) == expected(1), "{}", ended.stderr);
    assert_recorded(&volume, "");
    fs::write(volume.join("b.ipynb"), "mine").unwrap();
    offer(&image, 2);
    let ended = start(&image, 2);
    let mut new = expected(2);
    new.insert("b.ipynb".to_owned(), b"mine".to_vec());
    let told = "notebooks: 0 installed, 4 updated, 1 kept (changed by you)";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    assert!(!ended.stderr.contains("not brought in"), "{}", ended.stderr);
    assert!(files(&volume) == new, "{}", ended.stderr);
    assert_recorded(&volume, "b.ipynb: FAILED\n");
    drop((bound, disk));
}
