//! Whatever is in the volume, a start costs bounded time and memory: it reads no more of it
//! than the defaults make necessary, and nothing twice.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, mknodat, openat};

use crate::support::tmpfs::{Bound, Tmpfs};
use crate::support::{Image, Output, PROGRAM, Start, UID, repeated};

/// No file system reads it while a test waits, and no disk has it.
const ENDLESS: u64 = 15 << 40;

/// The content of the one default.
const DEFAULT: &str = "{}";
const DIGEST: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// A volume that notes when something of it is read.
struct Volume {
    _memory: Tmpfs,
    image: Image,
}

impl Volume {
    fn new() -> Self {
        let image = Image::new();
        let options = "size=1g,nr_inodes=500000,strictatime";
        let memory = Tmpfs::mount(&image.path("notebooks"), options);
        chown(image.path("notebooks"), Some(UID), Some(UID)).unwrap();
        Self {
            _memory: memory,
            image,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.image.path("notebooks").join(name)
    }

    /// A file of the user's that is older than any stamp that could be mistaken.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        fs::write(&path, text).unwrap();
        chown(&path, Some(UID), Some(UID)).unwrap();
        settle(&path);
        path
    }

    /// One that has no end.
    fn endless(&self, name: &str) -> PathBuf {
        let path = self.write(name, "");
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(ENDLESS)
            .unwrap();
        settle(&path);
        path
    }

    fn record(&self, lines: &str) {
        self.write(
            ".ai-lab/manifest.sha256",
            &format!("# ai-lab notebooks 1\n{lines}# end\n"),
        );
    }

    fn start(&self) -> Output {
        let ended = self.image.command(["true"]).run();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended
    }
}

/// Waits until what is done from now on has another time than what was done to `path`.
fn settle(path: &Path) {
    let data = fs::metadata(path).unwrap();
    let changed = Duration::new(
        data.ctime().try_into().unwrap(),
        data.ctime_nsec().try_into().unwrap(),
    );
    let later = SystemTime::UNIX_EPOCH + changed + Duration::from_millis(60);
    crate::support::process::until("the clock goes on", || SystemTime::now() > later);
}

fn read_at(path: &Path) -> (i64, i64) {
    let data = fs::symlink_metadata(path).unwrap();
    (data.atime(), data.atime_nsec())
}

#[test]
fn a_file_without_end_at_a_defaults_path_is_not_read() {
    type Case = (&'static str, &'static str, fn(&Volume));
    let cases: [Case; 9] = [
        ("of an image whose cells are known", "1 kept", |volume| {
            let digest = "ab".repeat(32);
            volume.record(&format!("{digest}  start.ipynb\n"));
            let notebook = r#""notebook":{"cells":[]}"#;
            let cells = format!(r#"{{"path":"start.ipynb","sha256":"{digest}",{notebook}}}"#);
            volume.write(".ai-lab/cells.jsonl", &cells);
        }),
        ("never used", "1 kept", |_| {}),
        ("brought in before", "1 kept", |volume| {
            fs::remove_file(volume.at("start.ipynb")).unwrap();
            volume.start();
        }),
        ("brought in, with nothing noted of it", "1 kept", |volume| {
            volume.record(&format!("{DIGEST}  start.ipynb\n"));
        }),
        ("of another image, with nothing noted", "1 kept", |volume| {
            volume.record(&format!("{}  start.ipynb\n", "ab".repeat(32)));
        }),
        ("pending, and the start was killed", "1 kept", |volume| {
            volume.record(&format!("# pending {DIGEST}  start.ipynb\n"));
            volume.write(".ai-lab/lock", "x");
        }),
        ("said to be as long as it is", "1 kept", |volume| {
            let seen = format!("# seen {ENDLESS} 1.0 1.0 1 / -\n");
            volume.record(&format!("{DIGEST}  start.ipynb\n{seen}"));
        }),
        ("no default any more", "1 installed", |volume| {
            fs::rename(volume.at("start.ipynb"), volume.at("gone")).unwrap();
            volume.record(&format!("{DIGEST}  gone\n"));
        }),
        ("no default, pending", "1 installed", |volume| {
            fs::rename(volume.at("start.ipynb"), volume.at("gone")).unwrap();
            volume.record(&format!("# pending {DIGEST}  gone\n"));
        }),
    ];
    for (case, told, prepare) in cases {
        let volume = Volume::new();
        volume.endless("start.ipynb");
        prepare(&volume);
        let path = match told {
            "1 kept" => volume.endless("start.ipynb"),
            _ => volume.at("gone"),
        };
        let before = read_at(&path);
        for told in [told, &told.replace("1 installed", "1 current")] {
            let ended = volume.start();
            assert!(ended.stderr.contains(told), "{case}: {}", ended.stderr);
            assert_eq!(read_at(&path), before, "{case}: {}", ended.stderr);
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), ENDLESS, "{case}");
    }
}

#[test]
fn a_file_as_long_as_the_default_is_read_once() {
    for used in [false, true] {
        let volume = Volume::new();
        if used {
            volume.start();
        }
        let mine = volume.write("start.ipynb", "{ ");
        let before = read_at(&mine);
        let kept = || {
            let ended = volume.start();
            assert!(ended.stderr.contains("1 kept"), "{}", ended.stderr);
        };
        kept();
        let after = read_at(&mine);
        assert_ne!(after, before, "used: {used}");
        kept();
        kept();
        assert_eq!(read_at(&mine), after, "used: {used}");
        // What changes is read again, and an equal one is the image's.
        let mine = volume.write("start.ipynb", DEFAULT);
        let ended = volume.start();
        assert!(ended.stderr.contains("1 current"), "{}", ended.stderr);
        let after = read_at(&mine);
        volume.start();
        assert_eq!(read_at(&mine), after, "used: {used}");
        let check = std::process::Command::new("sha256sum")
            .args(["-c", "--strict", ".ai-lab/manifest.sha256"])
            .current_dir(volume.at(""))
            .output()
            .unwrap();
        assert!(check.status.success(), "{check:?}");
    }
}

#[test]
fn many_files_that_the_record_calls_long_are_not_read_one_after_the_other() {
    const FILES: usize = 1000;
    let volume = Volume::new();
    let mut lines = String::new();
    let long = 60_u64 << 20;
    for number in 0..FILES {
        let name = format!("{number:04}");
        fs::write(volume.image.path("defaults").join(&name), "small").unwrap();
        let file = File::create(volume.at(&name)).unwrap();
        file.set_len(long).unwrap();
        chown(volume.at(&name), Some(UID), Some(UID)).unwrap();
        lines += &format!("{DIGEST}  {name}\n# seen {long} 1.0 1.0 1 / -\n");
    }
    volume.record(&lines);
    let before = read_at(&volume.at("0500"));
    let ended = volume.start();
    let told = format!("{FILES} kept");
    assert!(ended.stderr.contains(&told), "{}", ended.stderr);
    assert_eq!(read_at(&volume.at("0500")), before, "{}", ended.stderr);
}

#[test]
fn what_a_killed_start_left_is_removed_however_much_it_is() {
    let all = repeated(20_000, 100_000);
    let volume = Volume::new();
    volume.start();
    let top = File::open(volume.at("")).unwrap();
    let make = |prefix: &str, number: usize| {
        let name = format!(".ai-lab.{prefix}-{number:016x}");
        mknodat(&top, name, FileType::RegularFile, Mode::from(0o644), 0).unwrap();
    };
    (0..all).for_each(|number| make("new", number));
    (0..all).for_each(|number| make("old", number));
    let ours = volume.write(".ai-lab.old-00000000000fffff", DEFAULT);
    let endless = volume.endless(".ai-lab.old-0000000000ffffff");
    volume.write(".ai-lab/lock", "x");
    let before = read_at(&endless);
    let ended = volume.start();
    let told = format!("{} files are yours and were in the place", all + 1);
    assert_eq!(ended.stderr.matches(&told).count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.len() < 10_000, "{}", ended.stderr.len());
    assert!(!ours.exists());
    assert_eq!(read_at(&endless), before);
    let left = fs::read_dir(volume.at("")).unwrap().map(Result::unwrap);
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    // With `.ai-lab` and the default.
    assert_eq!(left.len(), all + 3);
    // It is said once.
    let ended = volume.start();
    assert!(
        !ended.stderr.contains("changes that were saved"),
        "{}",
        ended.stderr
    );
}

/// Makes so many directories in each other; the innermost one.
fn nest(top: &Path, depth: usize) -> OwnedFd {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = openat(CWD, top, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&dir, c"d", Mode::from(0o755)).unwrap();
        dir = openat(&dir, c"d", flags, Mode::empty()).unwrap();
    }
    dir
}

#[test]
fn a_hundred_and_fifty_thousand_directories_in_each_other_are_handed_over() {
    let volume = Volume::new();
    let innermost = nest(&volume.at(""), 150_000);
    // Where that is refused it is counted, and said of the first.
    let refused = Start::wrapped("setpriv")
        .args(["--bounding-set=-chown", PROGRAM])
        .args(volume.image.options())
        .args(["--", "true"])
        .run();
    assert_eq!(refused.code, 0, "{}", refused.stderr);
    let told = "could not hand over to 4242:4242 150000 entries, first ";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
    assert!(refused.stderr.len() < 10_000, "{}", refused.stderr.len());
    let ended = volume.start();
    assert_eq!(rustix::fs::fstat(&innermost).unwrap().st_uid, UID);
    assert!(ended.stderr.contains("Did chown -R"), "{}", ended.stderr);
}

#[test]
fn a_record_longer_than_the_defaults_explain_is_set_aside_unread() {
    let volume = Volume::new();
    let lines = 240 << 20;
    let mut record = String::with_capacity(lines + 100);
    for number in 0.. {
        if record.len() > lines {
            break;
        }
        record += &format!("{DIGEST}  {number:020}\n");
    }
    volume.record(&record);
    drop(record);
    let limited = |more: &[&str]| {
        let limit = "ulimit -v 524288; exec \"$0\" \"$@\"";
        let start = Start::wrapped("sh").args(["-c", limit, PROGRAM]);
        let ended = start
            .args(volume.image.options())
            .args(more)
            .args(["--", "true"])
            .run();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.stderr
    };
    let told = "is longer than these defaults can explain (more than 4 MiB) and was set aside";
    let stderr = limited(&["--dry-run"]);
    assert!(stderr.contains(told), "{stderr}");
    let stderr = limited(&[]);
    assert!(stderr.contains(told), "{stderr}");
    assert!(stderr.contains("1 installed"), "{stderr}");
    let aside = fs::metadata(volume.at(".ai-lab/manifest.sha256.damaged")).unwrap();
    assert!(aside.len() > lines as u64);
    let stderr = limited(&[]);
    assert!(!stderr.contains("record"), "{stderr}");
    assert!(stderr.contains("1 current"), "{stderr}");
}

#[test]
fn what_the_record_names_in_any_number_is_told_in_a_hundred_lines() {
    let volume = Volume::new();
    let mut lines = String::new();
    for number in 0..1000 {
        volume.write_quick(&format!("{number:04}"));
        lines += &format!("{DIGEST}  {number:04}\n");
    }
    volume.record(&lines);
    let stderr = volume.start().stderr;
    let told = stderr.matches("is no longer a default; it stays").count();
    assert_eq!(told, 100, "{stderr}");
    assert!(stderr.contains("and 900 more"), "{stderr}");
}

impl Volume {
    fn write_quick(&self, name: &str) {
        fs::write(self.at(name), DEFAULT).unwrap();
    }
}

#[test]
fn a_chown_that_the_file_system_ignores_is_said_once_and_not_called_done() {
    let image = Image::new();
    fs::create_dir(image.path("disk")).unwrap();
    let options = ["-o", "dev,suid,allow_other", "--chown-ignore"];
    let _bound = Bound::mount(&image.path("disk"), &image.path("notebooks"), &options);
    for number in 0..50 {
        fs::write(image.path(&format!("disk/{number}")), "").unwrap();
    }
    for _ in 0..2 {
        let stderr = image.command(["true"]).run().stderr;
        let told = "the file system of the notebooks ignores chown; entries that keep their \
                    owner: 51, first ";
        assert_eq!(stderr.matches("ignores chown").count(), 1, "{stderr}");
        assert!(stderr.contains(told), "{stderr}");
        assert!(stderr.contains("uid=4242,gid=4242"), "{stderr}");
        assert!(!stderr.contains("Did chown"), "{stderr}");
    }
    // Where it is heeded nothing of this is said.
    let other = Image::new();
    let stderr = other.command(["true"]).run().stderr;
    assert!(stderr.contains("Did chown -R"), "{stderr}");
}

/// bindfs tells the mtime for the ctime: a server whose clock is hours behind ours.
#[test]
fn links_are_judged_by_the_clock_of_the_file_system() {
    let hours = |number: u64| SystemTime::now() - Duration::from_secs(3600 * number);
    // The server's now is two hours ago.
    for (changed, handed_over) in [(hours(3), true), (hours(1), false)] {
        let image = Image::new();
        let disk = image.path("disk");
        fs::create_dir(&disk).unwrap();
        fs::write(disk.join("one"), "").unwrap();
        fs::hard_link(disk.join("one"), disk.join("two")).unwrap();
        let set = |path: &Path, time| File::open(path).unwrap().set_modified(time).unwrap();
        set(&disk.join("one"), changed);
        set(&disk, hours(2));
        let options = ["-o", "dev,suid,allow_other", "--ctime-from-mtime"];
        let _bound = Bound::mount(&disk, &image.path("notebooks"), &options);
        let start = image.command(["true"]);
        let stderr = start.run().stderr;
        let uid = fs::metadata(disk.join("one")).unwrap().uid();
        assert_eq!(uid == UID, handed_over, "{stderr}");
        let told = stderr.contains("did not hand over files that have links outside");
        assert_eq!(told, !handed_over, "{stderr}");
    }
}

#[test]
fn what_a_start_records_about_notebooks_is_not_read_without_end() {
    let volume = Volume::new();
    volume.record(&format!("{}  start.ipynb\n", "ab".repeat(32)));
    volume.write("start.ipynb", "changed");
    let cells = volume.endless(".ai-lab/cells.jsonl");
    let news = volume.endless("0 What is new.md");
    let before = [read_at(&cells), read_at(&news)];
    let ended = volume.start();
    assert!(ended.stderr.contains("1 kept"), "{}", ended.stderr);
    assert_eq!([read_at(&cells), read_at(&news)], before);
}
