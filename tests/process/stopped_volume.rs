//! A stop ends a start within a second, whatever of a hostile volume it is at.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, mknodat, openat};

use crate::support::process::{send, until};
use crate::support::tmpfs::Tmpfs;
use crate::support::tracer::{Call, End, Then, stop_before_each};
use crate::support::{Image, Running, Start, UID, repeated};

const TERM: i32 = 15;
const ENDLESS: u64 = 15 << 40;
const DIGEST: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// An image whose defaults and volume note when something is read.
struct Ground {
    _memory: [Tmpfs; 2],
    image: Image,
}

impl Ground {
    fn new() -> Self {
        let image = Image::new();
        let options = "size=1g,nr_inodes=700000,strictatime";
        let memory = ["notebooks", "defaults"].map(|name| {
            let path = image.path(name);
            Tmpfs::mount(&path, options)
        });
        fs::write(image.path("defaults/start.ipynb"), "{}").unwrap();
        let volume = image.path("notebooks");
        chown(&volume, Some(UID), Some(UID)).unwrap();
        fs::create_dir(volume.join(".ai-lab")).unwrap();
        Self {
            _memory: memory,
            image,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.image.path("notebooks").join(name)
    }

    fn endless(&self, name: &str) -> PathBuf {
        let path = self.image.path(name);
        File::create(&path).unwrap().set_len(ENDLESS).unwrap();
        chown(&path, Some(UID), Some(UID)).unwrap();
        path
    }

    fn record(&self, lines: &str) {
        let text = format!("# ai-lab notebooks 1\n{lines}# end\n");
        fs::write(self.at(".ai-lab/manifest.sha256"), text).unwrap();
    }

    fn was_killed(&self) {
        fs::write(self.at(".ai-lab/lock"), "x").unwrap();
    }

    fn start(&self) -> Running {
        self.image.command(["echo", "ran"]).start()
    }
}

/// Asks a start to stop as soon as it is at what is meant.
fn stops(mut running: Running, is_there: impl FnMut() -> bool) {
    let pid = running.pid();
    until("it is at it", is_there);
    let begun = Instant::now();
    send(pid, TERM);
    let code = running.end();
    let took = begun.elapsed();
    let (stdout, stderr) = running.everything();
    assert_eq!((code, stdout.as_str()), (128 + TERM, ""), "{stderr}");
    assert!(took < Duration::from_secs(1), "{took:?}: {stderr}");
}

/// Asks a start to stop right before the system call that `is_it` picks.
fn stops_before(ground: &Ground, mut is_it: impl FnMut(&Call) -> bool) {
    let options = ground.image.options();
    let start = Start::plain().args(options).args(["--", "echo", "ran"]);
    let mut asked = None;
    let end = stop_before_each(start, |call| {
        if !is_it(call) {
            return Then::GoOn;
        }
        kill(call.pid, Signal::SIGTERM).unwrap();
        asked = Some(Instant::now());
        Then::LetGo
    });
    let took = asked.unwrap().elapsed();
    assert_eq!(end, End::Exited(128 + TERM));
    assert!(took < Duration::from_secs(1), "{took:?}");
}

fn was_read(path: &Path) -> impl FnMut() -> bool + use<> {
    let seen = |path: &Path| {
        let data = fs::metadata(path).unwrap();
        (data.atime(), data.atime_nsec())
    };
    let (path, before) = (path.to_owned(), seen(path));
    move || seen(&path) != before
}

fn is_users(path: &Path) -> bool {
    fs::symlink_metadata(path).unwrap().uid() == UID
}

#[test]
fn while_directories_in_each_other_are_walked() {
    let ground = Ground::new();
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = openat(CWD, ground.at(""), flags, Mode::empty()).unwrap();
    for _ in 0..150_000 {
        mkdirat(&dir, c"d", Mode::from(0o755)).unwrap();
        dir = openat(&dir, c"d", flags, Mode::empty()).unwrap();
    }
    stops(ground.start(), || is_users(&ground.at("d")));
}

#[test]
fn while_a_directory_of_many_directories_is_listed() {
    let ground = Ground::new();
    let top = File::open(ground.at("")).unwrap();
    for number in 0..300_000 {
        mkdirat(&top, number.to_string(), Mode::from(0o755)).unwrap();
    }
    // In its second piece.
    let mut listed = 0;
    stops_before(&ground, |call| {
        listed += usize::from(call.number == libc::SYS_getdents64);
        listed == 2
    });
    let entered = fs::read_dir(ground.at("")).unwrap();
    let entered = entered.filter(|entry| is_users(&entry.as_ref().unwrap().path()));
    // `.ai-lab` may be one of them.
    assert!(entered.count() < 2);
}

#[test]
fn while_a_file_that_may_be_the_default_is_read() {
    let ground = Ground::new();
    ground.endless("defaults/endless");
    let file = ground.endless("notebooks/endless");
    stops(ground.start(), was_read(&file));
}

#[test]
fn while_the_default_is_read() {
    let ground = Ground::new();
    let default = ground.endless("defaults/endless");
    let file = ground.endless("notebooks/endless");
    File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(5)
        .unwrap();
    fs::write(&file, "short").unwrap();
    // The record says that it was brought in, so that the image's has to be known.
    ground.record(&format!("{DIGEST}  endless\n# seen 7 1.0 1.0 1 / -\n"));
    stops(ground.start(), was_read(&default));
}

#[test]
fn while_what_came_out_of_a_replacement_is_read() {
    let ground = Ground::new();
    ground.endless("defaults/endless");
    ground.was_killed();
    ground.record(&format!("{DIGEST}  start.ipynb\n"));
    let file = ground.endless("notebooks/.ai-lab.old-0123456789abcdef");
    stops(ground.start(), was_read(&file));
    assert!(file.exists());
}

#[test]
fn while_what_a_killed_start_left_is_removed() {
    let most = repeated(20_000, 100_000);
    let ground = Ground::new();
    let top = File::open(ground.at("")).unwrap();
    for number in 0..most {
        let name = format!(".ai-lab.new-{number:016x}");
        mknodat(&top, name, FileType::RegularFile, Mode::from(0o644), 0).unwrap();
    }
    drop(top);
    ground.was_killed();
    let removes = |call: &Call| call.number == libc::SYS_unlinkat;
    stops_before(&ground, removes);
    let left = fs::read_dir(ground.at("")).unwrap().count();
    assert!(left > most / 2, "{left}");
    // It is not forgotten.
    assert_eq!(fs::read(ground.at(".ai-lab/lock")).unwrap(), b"x");
    let mut running = ground.start();
    assert_eq!(running.end(), 0);
    // `.ai-lab` and the default.
    assert_eq!(fs::read_dir(ground.at("")).unwrap().count(), 2);
}

#[test]
fn while_the_kept_copies_of_what_was_run_are_read() {
    let ground = Ground::new();
    let notebook = |source: usize, more: &str| {
        format!(
            r#"{{"nbformat": 4, "cells": [{{"cell_type": "code", "source": "{source}"}}]}}{more}"#
        )
    };
    let names: Vec<String> = (0..200).map(|number| format!("{number}.ipynb")).collect();
    let offer = |source| {
        for name in &names {
            let path = ground.image.path("defaults").join(name);
            fs::write(path, notebook(source, "")).unwrap();
        }
    };
    offer(1);
    assert_eq!(ground.start().end(), 0);
    offer(2);
    let record = ground.at(".ai-lab/manifest.sha256");
    let mut kept = String::new();
    for name in &names {
        fs::write(ground.at(name), notebook(1, "  ")).unwrap();
        for number in 0..3 {
            let path = ground.at(&format!(".ai-lab/kept/{number}/{name}"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            File::create(path).unwrap().set_len(60 << 20).unwrap();
            kept += &format!("# kept {DIGEST}  {number}/{name}\n");
        }
    }
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text + &kept).unwrap();
    let first = ground.at(".ai-lab/kept/0/0.ipynb");
    stops(ground.start(), was_read(&first));
}

#[test]
fn while_a_long_record_is_read() {
    let ground = Ground::new();
    // So many defaults explain it.
    let defaults = File::open(ground.image.path("defaults")).unwrap();
    for number in 0..100_000 {
        let name = number.to_string();
        mknodat(&defaults, name, FileType::RegularFile, Mode::from(0o644), 0).unwrap();
    }
    drop(defaults);
    let mut lines = String::new();
    for number in 0..1_400_000 {
        lines += &format!("{DIGEST}  {number:06}\n");
    }
    ground.record(&lines);
    let record = "manifest.sha256";
    stops_before(&ground, |call| call.opens(record));
}

#[test]
fn while_what_the_record_names_is_looked_for() {
    let ground = Ground::new();
    // Each of them is two thousand directories down.
    let mut lines = String::new();
    for number in 0..1000 {
        let path = format!("{}{number:04}", "d/".repeat(2000));
        lines += &format!("{DIGEST}  {path}\n");
    }
    let deep = "d/".repeat(2000);
    fs::create_dir_all(ground.at(&deep)).unwrap();
    ground.record(&lines);
    let record = "manifest.sha256";
    let mut opened = false;
    let mut looked = 0;
    stops_before(&ground, |call| {
        opened |= call.opens(record);
        looked += usize::from(opened && call.opens("d"));
        looked > 10
    });
}

#[test]
fn while_the_defaults_are_listed() {
    let ground = Ground::new();
    let defaults = File::open(ground.image.path("defaults")).unwrap();
    for number in 0..300_000 {
        let name = number.to_string();
        mknodat(&defaults, name, FileType::RegularFile, Mode::from(0o644), 0).unwrap();
    }
    let mut listing = false;
    let path = ground.image.path("defaults").display().to_string();
    stops_before(&ground, |call| {
        listing |= call.opens(&path);
        listing && call.number == libc::SYS_getdents64
    });
}

#[test]
fn while_a_disk_takes_its_time_to_flush() {
    let ground = Ground::new();
    for number in 1..16 {
        fs::write(ground.image.path(&format!("defaults/{number}")), "{}").unwrap();
    }
    let options = ground.image.options();
    let start = Start::plain().args(options).args(["--", "echo", "ran"]);
    let mut recorded = false;
    let mut asked = None;
    let end = stop_before_each(start, |call| {
        // The record comes first.
        recorded |= call.number == libc::SYS_fdatasync;
        let flushes = [libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_syncfs];
        if recorded && flushes.contains(&call.number) {
            if call.number == libc::SYS_fsync && asked.is_none() {
                kill(call.pid, Signal::SIGTERM).unwrap();
                asked = Some(Instant::now());
            }
            std::thread::sleep(Duration::from_millis(400));
        }
        Then::GoOn
    });
    let took = asked.unwrap().elapsed();
    assert_eq!(end, End::Exited(128 + TERM));
    assert!(took < Duration::from_secs(1), "{took:?}");
    // Nothing is left behind, and the next start goes on.
    assert_eq!(fs::read_dir(ground.at("")).unwrap().count(), 1);
    let mut running = ground.start();
    running.wait_for("16 installed");
    assert_eq!(running.end(), 0);
    assert_eq!(fs::read(ground.at(".ai-lab/lock")).unwrap(), b"");
}

#[test]
fn while_it_waits_for_another_start() {
    let ground = Ground::new();
    let lock = File::create(ground.at(".ai-lab/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut running = ground.start();
    running.wait_for("on the same notebooks; it is waited for");
    stops(running, || true);
}
