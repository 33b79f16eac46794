//! `notebooks merge` in trouble: it says what is true on a full disk, leaves nothing when it is
//! stopped, holds up no start, and tells what it finds.

use std::fs;
use std::io::PipeReader;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::FlockOperation;

use crate::merging::{MERGED, MINE, changed, lab, merging, notebook, sources};
use crate::notebook_verbs::ask;
use crate::support::lab::{Lab, is_temporary};
use crate::support::process::{children, until};
use crate::support::tmpfs::Tmpfs;
use crate::support::tracer::{Call, End, Then, follow, follow_process};
use crate::support::{Running, UID, repeated};

const WAITING: [&str; 4] = ["sh", "-c", "read -r go && exec \"$@\"", "sh"];

fn work(lab: &Lab) -> String {
    fs::read_to_string(lab.volume().join("deep/work.ipynb")).unwrap()
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(from.join("."))
        .arg(to)
        .status();
    assert!(copied.unwrap().success());
}

#[test]
fn on_a_full_disk_it_is_merged_and_recorded_or_nothing_is_changed() {
    let lab = lab();
    lab.again();
    let first = lab.image.path("first");
    fs::create_dir(&first).unwrap();
    copy(&lab.volume(), &first);
    let (mut refused, mut merged) = (0, 0);
    for room in 0.. {
        let disk = Tmpfs::mount(&lab.volume(), "size=16m");
        copy(&first, &lab.volume());
        let stat = rustix::fs::statvfs(lab.volume()).unwrap();
        let used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize;
        disk.remount(&format!("size={}", used + room * 4096));
        let ended = merging(&lab, &[]).run();
        let at = format!("room for {room} pages: {}", ended.stderr);
        if ended.code == 0 {
            assert_eq!(sources(&work(&lab)), MERGED, "{at}");
            merged += 1;
        } else {
            assert!(ended.stderr.contains("not merged: No space left"), "{at}");
            assert_eq!(work(&lab), notebook(&MINE), "{at}");
            refused += 1;
        }
        disk.remount("size=16m");
        let again = merging(&lab, &[]).run();
        let is_recorded = again.stderr.contains("there is no newer version");
        assert_eq!(is_recorded, ended.code == 0, "{at}, then {}", again.stderr);
        assert_eq!(sources(&work(&lab)), MERGED, "{at}");
        if merged == 2 {
            assert!(refused > 2, "only {refused} were refused");
            return;
        }
    }
}

#[test]
fn a_merge_that_cannot_be_recorded_is_no_failed_one() {
    let lab = lab();
    lab.again();
    let record = lab.volume().join(".ai-lab/manifest.sha256");
    let (gate, go) = std::io::pipe().unwrap();
    let mut running = merging(&lab, &WAITING).stdin(gate).start();
    let mut writes = 0;
    let end = follow(&running, go, |call| {
        let renames = call.number == libc::SYS_renameat;
        if renames && call.text(call.args[3], 64) == "manifest.sha256" {
            writes += 1;
        }
        match renames && writes == 2 {
            true => Then::Fail(libc::EIO),
            false => Then::GoOn,
        }
    });
    let (stdout, stderr) = running.everything();
    assert_eq!(end, End::Exited(1), "{stdout}{stderr}");
    assert!(
        stdout.starts_with("deep/work.ipynb: merged: 1 cell updated, 1 cell new\n"),
        "{stdout}"
    );
    let said = "deep/work.ipynb: the merge is not recorded: Input/output error (os error 5); make \
                room, or make .ai-lab in the notebooks directory writable, then merge it once more\n";
    assert_eq!(stderr, said);
    assert_eq!(sources(&work(&lab)), MERGED);
    assert!(record.exists());
    let again = merging(&lab, &[]).run();
    assert_eq!(
        again.stdout, "deep/work.ipynb: merged: no cell changed\n",
        "{}",
        again.stderr
    );
    lab.finish("2.0.0");
    assert_eq!(sources(&work(&lab)), MERGED);
}

/// Starts the verb as a process that signals end, behind `outer`. Returns its pid, too.
fn started(lab: &Lab, outer: &[&str], stdin: PipeReader) -> (Running, i32) {
    let shell = ["sh", "-c", "exec 3<&0; \"$@\" <&3 & wait", "sh"];
    let start = merging(lab, &[&shell[..], outer].concat());
    let running = start.stdin(stdin).start();
    let mut pids = Vec::new();
    until("the verb is there", || {
        pids = children(running.pid());
        !pids.is_empty()
    });
    (running, pids[0])
}

/// Sends the verb a signal before the `nth` of its calls.
fn stopped_at(lab: &Lab, nth: usize) -> (bool, End) {
    let (gate, go) = std::io::pipe().unwrap();
    let (_running, pid) = started(lab, &WAITING, gate);
    let defaults = lab.defaults("2.0.0").display().to_string();
    let (mut begun, mut count) = (false, 0);
    let end = follow_process(pid, go, |call| {
        begun |= call.opens(&defaults);
        let counts = begun && !call.only_looks();
        count += usize::from(counts);
        if counts && count == nth {
            kill(call.pid, Signal::SIGTERM).unwrap();
        }
        Then::GoOn
    });
    (count >= nth, end)
}

#[test]
fn a_merge_that_gets_term_while_it_writes_goes_on_to_its_end() {
    let lab = lab();
    lab.again();
    // To write this and to check what it replaces takes much longer than to send a signal.
    let output = format!(
        "[{{\"output_type\":\"stream\",\"name\":\"stdout\",\"text\":\"{}\"}}]",
        "x".repeat(4 << 20)
    );
    let mine = notebook(&MINE).replacen("[]", &output, 1);
    let deep = lab.volume().join("deep");
    fs::write(deep.join("work.ipynb"), &mine).unwrap();
    let (gate, _go) = std::io::pipe().unwrap();
    let (mut running, pid) = started(&lab, &["env"], gate);
    until("it writes", || {
        let mut names = fs::read_dir(&deep)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        names.any(|name| is_temporary(name.to_str().unwrap()))
    });
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    let (stdout, stderr) = running.everything();
    assert!(
        stdout.starts_with("deep/work.ipynb: merged: "),
        "{stdout}{stderr}"
    );
    let files = lab.seen();
    assert_eq!(sources(&files["deep/work.ipynb"]), MERGED);
    assert!(files[".ai-lab/kept/1.0.0/deep/work.ipynb"] == mine);
    let names: Vec<_> = files.keys().filter(|name| is_temporary(name)).collect();
    assert!(
        names.is_empty() && files[".ai-lab/lock"].is_empty(),
        "{names:?}"
    );
}

#[test]
fn a_merge_that_is_stopped_anywhere_leaves_nothing_behind() {
    let lab = lab();
    let (mut undone, mut done) = (0, 0);
    for nth in (1..).step_by(repeated(4, 1)) {
        lab.again();
        let (reached, end) = stopped_at(&lab, nth);
        let files = lab.seen();
        let at = format!("stopped before change {nth}: {end:?}");
        let merged = sources(&files["deep/work.ipynb"]) == MERGED;
        assert!(
            merged || files["deep/work.ipynb"] == notebook(&MINE),
            "{at}"
        );
        assert!(
            !files.keys().any(|name| is_temporary(name)),
            "{at}: {files:#?}"
        );
        assert_eq!(files[".ai-lab/lock"], "", "{at}");
        let kept = files.keys().any(|name| name.contains("/kept/"));
        assert_eq!(kept, merged, "{at}: {files:#?}");
        let ended = [End::Exited(0), End::Signalled(libc::SIGTERM)].contains(&end);
        assert!(ended, "{at}");
        (undone, done) = (undone + usize::from(!merged), done + usize::from(merged));
        if !reached {
            assert!(undone > 0 && done > 5, "{undone} {done}");
            return;
        }
    }
}

#[test]
fn a_merge_does_not_hold_the_lock_while_it_compares() {
    let lab = lab();
    lab.again();
    let lock = fs::File::open(lab.volume().join(".ai-lab/lock")).unwrap();
    let (gate, go) = std::io::pipe().unwrap();
    let running = merging(&lab, &WAITING).stdin(gate).start();
    let (mut mine, mut free, mut writes) = (false, 0, false);
    let reads_mine = |call: &Call| call.opens("work.ipynb");
    let mut opened = 0;
    let end = follow(&running, go, |call| {
        opened += usize::from(reads_mine(call));
        // The image's, then mine.
        mine |= opened == 2;
        writes |= mine && call.number == libc::SYS_mkdirat;
        if mine
            && !writes
            && rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            rustix::fs::flock(&lock, FlockOperation::Unlock).unwrap();
            free += 1;
        }
        Then::GoOn
    });
    assert_eq!(end, End::Exited(0));
    assert!(writes && free > 0, "{writes} {free}");
}

#[test]
fn what_it_finds_of_a_killed_start_is_told() {
    let (image, running) = changed();
    let stray = image.path("notebooks/.ai-lab.old-0123456789abcdef");
    fs::write(&stray, "mine").unwrap();
    std::os::unix::fs::chown(&stray, Some(UID), Some(UID)).unwrap();
    fs::write(image.path("notebooks/.ai-lab/lock"), "x").unwrap();
    let (code, stdout, stderr) = ask(&running, &image, &["notebooks", "merge", "work.ipynb"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("work.ipynb: merged: "), "{stdout}");
    let told = ".ai-lab.old-0123456789abcdef is a file of yours that was in the place of a default \
                notebook";
    assert!(stderr.starts_with(told), "{stderr}");
}

#[test]
fn a_thousand_cells_that_all_differ_are_merged_in_seconds() {
    let lab = Lab::new("unmodified");
    let cell = |version: &str, at: usize| format!("{version}{at} = '{}'", version.repeat(1500));
    let cells = |version: &str, count: usize| {
        let all: Vec<String> = (0..count).map(|at| cell(version, at)).collect();
        notebook(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for (version, text) in [("1.0.0", cells("a", 1000)), ("2.0.0", cells("b", 1001))] {
        let defaults = lab.defaults(version).join("deep");
        fs::create_dir_all(&defaults).unwrap();
        fs::write(defaults.join("work.ipynb"), text).unwrap();
    }
    lab.clear();
    lab.finish("1.0.0");
    fs::write(lab.volume().join("deep/work.ipynb"), cells("c", 999)).unwrap();
    // The limit of a run of the tests.
    let ended = merging(&lab, &[]).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(sources(&work(&lab)).contains(&cell("c", 7)));
}
