//! A start that is killed at any system call of bringing in the defaults leaves the old
//! state or the new one, and the next start finishes the job.
//!
//! Exhaustive: each test runs the program as often as it makes system calls between
//! opening the defaults and having brought them in, and kills it before the first, the
//! second, … the last of them. Calls that are known to change nothing (reading, looking)
//! are not counted: a kill before one leaves what a kill before the next one leaves.
//!
//! In the same way each call, now also those that look, is made to fail as on a broken
//! disk: that start goes on without it, and the next one finishes the job.

use std::fs;

use crate::support::file_systems::Kind;
use crate::support::lab::{Files, Lab, change, changed, first, second, third, updated};
use crate::support::tracer;
use crate::support::tracer::End;

/// How many system calls that may change something bringing in makes at the very least.
const FEWEST: usize = 30;

/// Kills at every call in turn.
fn at_every_call(lab: &Lab, version: &str, before: impl Fn(), after: impl Fn(&str)) {
    for nth in (1..).step_by(lab.kind.step(5)) {
        before();
        match lab.kill(version, nth, |call| !call.only_looks()) {
            End::Killed => after(&format!("killed before change {nth}")),
            ended => {
                assert_eq!(ended, End::Exited(0));
                assert!(nth > FEWEST, "only {nth} changes were seen");
                after("not killed");
                return;
            }
        }
    }
}

#[test]
fn a_first_install_killed_anywhere_leaves_whole_files_and_is_finished_by_the_next_start() {
    kill_first_installs(Kind::Tmpfs);
}

pub fn kill_first_installs(kind: Kind) {
    let lab = Lab::on(kind, "unmodified");
    let new = lab.possible(first());
    lab.offer("1.0.0", &new);
    let clear = || lab.clear();
    at_every_call(&lab, "1.0.0", clear, |at| {
        lab.assert_old_or_new(at, &[&new], &Files::new());
        lab.finish("1.0.0");
        lab.assert_finished(at, &new, "");
    });
}

/// A lab with what the first image brought and a person changed; that it is kept, and
/// what of it is the person's.
fn used(kind: Kind, update: &'static str) -> (Lab, Files, Files) {
    let lab = Lab::on(kind, update);
    for (version, files) in [("1.0.0", first()), ("2.0.0", second()), ("3.0.0", third())] {
        lab.offer(version, &lab.possible(files));
    }
    lab.clear();
    lab.finish("1.0.0");
    let theirs = change(&lab.volume());
    lab.keep();
    let old = lab.possible(changed());
    (lab, old, theirs)
}

const CHANGED: &str = "mine.ipynb: FAILED\n";

#[test]
fn an_update_killed_anywhere_keeps_what_is_the_users_and_is_finished_by_the_next_start() {
    kill_updates(Kind::Tmpfs);
}

pub fn kill_updates(kind: Kind) {
    let (lab, old, theirs) = used(kind, "unmodified");
    let new = lab.possible(second());
    let again = || lab.again();
    at_every_call(&lab, "2.0.0", again, |at| {
        lab.assert_old_or_new(at, &[&old, &new], &theirs);
        lab.finish("2.0.0");
        lab.assert_finished(at, &updated(&new, &theirs), CHANGED);
    });
}

#[test]
fn what_a_killed_update_brought_is_not_taken_for_the_users_by_a_later_image() {
    let (lab, old, theirs) = used(Kind::Tmpfs, "unmodified");
    let new = third();
    let again = || lab.again();
    at_every_call(&lab, "2.0.0", again, |at| {
        lab.assert_old_or_new(at, &[&old, &second()], &theirs);
        lab.finish("3.0.0");
        lab.assert_finished(at, &updated(&new, &theirs), CHANGED);
    });
}

#[test]
fn an_update_that_puts_new_files_beside_changed_ones_can_be_killed_anywhere() {
    let (lab, old, theirs) = used(Kind::Tmpfs, "beside");
    let mut new = second();
    new.insert("mine.2.0.0.ipynb", "c 2");
    let again = || lab.again();
    at_every_call(&lab, "2.0.0", again, |at| {
        lab.assert_old_or_new(at, &[&old, &new], &theirs);
        lab.finish("2.0.0");
        lab.assert_finished(at, &updated(&new, &theirs), CHANGED);
    });
}

#[test]
fn a_start_that_tidies_up_after_a_killed_one_can_itself_be_killed_anywhere() {
    let (lab, old, theirs) = used(Kind::Tmpfs, "unmodified");
    let new = second();
    lab.again();
    // Some files are in place, one came out and is under a temporary name, some wait.
    let mut exchanged = 0;
    let end = lab.kill("2.0.0", 1, |call| {
        exchanged += usize::from(call.number == libc::SYS_renameat2);
        exchanged >= 2 && call.number == libc::SYS_unlinkat
    });
    assert_eq!(end, End::Killed);
    let left = lab.seen();
    let temporary = |prefix: &str| left.keys().any(|name| name.contains(prefix));
    assert!(
        temporary(".ai-lab.old-") && temporary(".ai-lab.new-"),
        "{left:#?}"
    );
    lab.keep();
    let again = || lab.again();
    at_every_call(&lab, "2.0.0", again, |at| {
        lab.assert_old_or_new(at, &[&old, &new], &theirs);
        lab.finish("2.0.0");
        lab.assert_finished(at, &updated(&new, &theirs), CHANGED);
    });
}

/// Lets every call in turn fail with EIO.
fn failing_at_every_call(lab: &Lab, version: &str, before: impl Fn(), after: impl Fn(&str)) {
    for nth in (1..).step_by(lab.kind.step(19)) {
        before();
        let counts = |call: &tracer::Call| !call.is_internal();
        let (failed, end) = lab.stop_at(version, nth, counts, || tracer::Then::Fail(libc::EIO));
        assert_eq!(end, End::Exited(0), "with call {nth} failing");
        if !failed {
            assert!(nth > FEWEST, "only {nth} calls were seen");
            return;
        }
        after(&format!("call {nth} failed"));
    }
}

#[test]
fn a_first_install_on_a_disk_that_fails_anywhere_is_finished_by_the_next_start() {
    let lab = Lab::new("unmodified");
    let new = first();
    lab.offer("1.0.0", &new);
    let clear = || lab.clear();
    failing_at_every_call(&lab, "1.0.0", clear, |at| {
        lab.assert_old_or_new(at, &[&new], &Files::new());
        lab.finish("1.0.0");
        lab.assert_finished(at, &new, "");
    });
}

#[test]
fn an_update_on_a_disk_that_fails_anywhere_keeps_what_is_the_users_and_is_finished_later() {
    fail_updates(Kind::Tmpfs);
}

pub fn fail_updates(kind: Kind) {
    let (lab, old, theirs) = used(kind, "unmodified");
    let (volume, new) = (lab.volume(), lab.possible(second()));
    let again = || lab.again();
    failing_at_every_call(&lab, "2.0.0", again, |at| {
        lab.assert_old_or_new(at, &[&old, &new], &theirs);
        // A replaced file that could not be removed may be somebody's as far as the next
        // start knows: it is left, told, and here done with as the remedy says.
        let ended = lab.start("2.0.0").run();
        for (name, content) in lab.seen() {
            if name.contains(".ai-lab.old-") || name.contains(".ai-lab/moved/") {
                assert!(ended.stderr.contains(&name), "{at}: {}", ended.stderr);
                assert!(old.values().any(|old| *old == content), "{at}: {content}");
                fs::remove_file(volume.join(name)).unwrap();
                let _ = fs::remove_dir_all(volume.join(".ai-lab/moved"));
            }
        }
        lab.finish("2.0.0");
        lab.assert_finished(at, &updated(&new, &theirs), CHANGED);
    });
}
