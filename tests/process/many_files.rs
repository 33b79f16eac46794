//! A volume of many files, a million in a long run: people see that the start goes on, and the next start
//! costs one look at each entry.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{FileType, Mode, mknodat};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::support::process::{send, until};
use crate::support::terminal::Terminal;
use crate::support::tmpfs::Tmpfs;
use crate::support::tracer::{End, Then, stop_before_each};
use crate::support::{Image, Start, UID, repeated};

/// Files of one directory.
const FILES: usize = 1000;

/// Root's files, as a volume has them that somebody copied as root.
fn fill(volume: &Path, directories: usize) {
    for directory in 0..directories {
        let path = volume.join(directory.to_string());
        fs::create_dir(&path).unwrap();
        let dir = File::open(path).unwrap();
        for file in 0..FILES {
            let mode = Mode::from(0o644);
            mknodat(&dir, file.to_string(), FileType::RegularFile, mode, 0).unwrap();
        }
    }
}

/// Calls `each` for every entry of the volume.
fn every(volume: &Path, directories: usize, mut each: impl FnMut(&fs::Metadata)) {
    for directory in 0..directories {
        let path = volume.join(directory.to_string());
        each(&fs::symlink_metadata(&path).unwrap());
        for entry in fs::read_dir(path).unwrap() {
            each(&entry.unwrap().metadata().unwrap());
        }
    }
}

#[test]
fn many_files_change_hands_and_people_see_that_it_goes_on() {
    let directories = repeated(200, 1000);
    let image = Image::new();
    let volume = image.path("notebooks");
    let _tmpfs = Tmpfs::mount(&volume, "size=16m,nr_inodes=1100000");
    fill(&volume, directories);
    let mut running = image.command(["true"]).start();
    let pid = running.pid();
    until("the first of them changes hands", || {
        fs::metadata(&volume).unwrap().uid() == UID
    });
    // Not a wait for something: a machine that takes five seconds to do it.
    send(pid, libc::SIGSTOP);
    thread::sleep(Duration::from_secs(5));
    send(pid, libc::SIGCONT);
    let line = running.wait_for("looking at the owners of the notebooks: ");
    let (_, number) = line.split_once("notebooks: ").unwrap();
    let number: usize = number.strip_suffix(" so far").unwrap().parse().unwrap();
    assert!(number < directories * FILES, "{line}");
    running.wait_for("Did chown -R ");
    assert_eq!(running.end(), 0);
    let mut count = 0;
    every(&volume, directories, |data| {
        assert_eq!((data.uid(), data.gid()), (UID, UID));
        count += 1;
    });
    assert_eq!(count, directories * (FILES + 1));
}

#[test]
fn a_terminal_shows_a_bar_that_goes_away() {
    let image = Image::new();
    let defaults = image.path("defaults");
    for file in 0..3 * FILES {
        File::create(defaults.join(file.to_string())).unwrap();
    }
    let terminal = Terminal::new();
    let mut running = image.command(["true"]).start_on(&terminal);
    let pid = running.pid();
    let begun = image.path("notebooks/.ai-lab");
    until("the defaults are looked at", || begun.exists());
    // A machine that takes its time, as above.
    send(pid, libc::SIGSTOP);
    thread::sleep(Duration::from_millis(300));
    send(pid, libc::SIGCONT);
    let line = running.wait_for("Copied notebooks from ");
    let bar = line.rsplit_once("\x1b[K");
    let (before, after) = bar.unwrap_or_else(|| panic!("done before it was held: {line:?}"));
    let drawn = before.rsplit_once("bringing in the notebooks [");
    let drawn = drawn.and_then(|(_, rest)| rest.split_once("] "));
    let is_bar =
        |bar: &str| bar.len() == 24 && bar.trim_start_matches('#').trim_end_matches('.').is_empty();
    assert!(drawn.is_some_and(|(bar, _)| is_bar(bar)), "{line:?}");
    assert!(before.contains(" of 60"), "{line:?}");
    assert!(
        after.starts_with("\x1b[") || after.starts_with("[I "),
        "{line:?}"
    );
    assert_eq!(running.end(), 0);
}

/// How often a start makes each system call that has to do with files, until it has
/// settled the owners and opens the defaults.
fn calls(image: &Image) -> BTreeMap<i64, usize> {
    let mut calls = BTreeMap::new();
    let defaults = image.path("defaults").display().to_string();
    // With one processor the thread that is traced does everything.
    let mut one = CpuSet::new();
    let all = sched_getaffinity(None).unwrap();
    one.set((0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).unwrap());
    sched_setaffinity(None, &one).unwrap();
    let start = Start::plain().args(image.options()).args(["--", "true"]);
    let end = stop_before_each(start, |call| {
        if call.opens(&defaults) {
            return Then::LetGo;
        }
        if call.number == libc::SYS_execve {
            // All before is the shell's that waited for the tracer.
            calls.clear();
        } else if !call.is_internal() {
            *calls.entry(call.number).or_default() += 1;
        }
        Then::GoOn
    });
    sched_setaffinity(None, &all).unwrap();
    assert_eq!(end, End::Exited(0));
    calls
}

#[test]
fn what_is_the_users_already_costs_one_look_each_and_is_left_as_it_is() {
    // Ten times as many would take a tracer a minute.
    const DIRECTORIES: usize = 100;
    let image = Image::new();
    let volume = image.path("notebooks");
    let _tmpfs = Tmpfs::mount(&volume, "size=16m,nr_inodes=110000");
    let start = || assert_eq!(image.command(["true"]).run().code, 0);
    start();
    let without = calls(&image);
    fill(&volume, DIRECTORIES);
    start();
    let changed = || {
        let mut changed = Vec::with_capacity(DIRECTORIES * (FILES + 1));
        every(&volume, DIRECTORIES, |data| {
            changed.push((data.ino(), data.ctime(), data.ctime_nsec()))
        });
        changed
    };
    let before = changed();
    let with = calls(&image);
    assert_eq!(changed(), before);
    // One for each entry, and what it takes to list a directory. A few more or less are
    // those of the log.
    let expected = BTreeMap::from([
        (libc::SYS_statx, DIRECTORIES * (FILES + 1)),
        (libc::SYS_openat, DIRECTORIES),
        (libc::SYS_getdents64, 2 * DIRECTORIES),
        // Now and then it asks whether to stop.
        (libc::SYS_read, DIRECTORIES * FILES / 1024),
    ]);
    for (call, count) in with {
        let more = count.saturating_sub(without.get(&call).copied().unwrap_or(0));
        let expected = expected.get(&call).copied().unwrap_or(0);
        assert!(
            more.abs_diff(expected) < 50,
            "system call {call}: {more} times more, not {expected}"
        );
    }
}
