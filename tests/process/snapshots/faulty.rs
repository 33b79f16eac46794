//! A system that refuses what it never should: each call is made to fail, or to do
//! nothing and to say that it did.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};

use super::golden::lived_in;
use super::volume::used;
use crate::support::tracer::{Call, Then, follow};
use crate::support::{Image, PROGRAM, Running, Start, UID};

/// What a call says that is not made and yet no failure.
const DONE: i32 = 0;

/// A start as PID 1 that waits for the tracer; `by` becomes it.
fn start_by(image: &Image, by: &[&str], options: &[&str]) -> Start {
    let gate = image.path("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = format!("read -r go <{} && exec \"$@\"", gate.display());
    Start::wrapped("sh")
        .args(["-c", &script, "sh"])
        .args(by)
        .arg(PROGRAM)
        .args(image.options())
        .args(options)
        .args(["--", "true"])
        .env("AI_LAB_VERSION", "2.0.0")
}

/// Each call that `refuse` names ends with the error that it says.
fn faulty(
    name: &str,
    make: impl Fn(&Image) -> Start,
    refuse: impl Fn(&Call) -> Option<i32> + Copy,
) {
    lived_in(name, make, |running: &mut Running, image| {
        // Opened for both, it waits for nobody, and lasts until it was read.
        let mut gate = File::options();
        let gate = gate
            .read(true)
            .write(true)
            .open(image.path("gate"))
            .unwrap();
        follow(running, &gate, |call| {
            refuse(call).map_or(Then::GoOn, Then::Fail)
        });
        running.end()
    });
}

fn usual(image: &Image) -> Start {
    start_by(image, &[], &[])
}

fn control(call: &Call, what: i32) -> bool {
    call.number == libc::SYS_prctl && i32::try_from(call.args[0]) == Ok(what)
}

#[test]
fn a_kernel_that_does_not_drop_root() {
    faulty("drop-refused", usual, |call| {
        let become_user = call.number == libc::SYS_setresuid && call.args[0] == u64::from(UID);
        become_user.then_some(libc::EIO)
    });
    faulty("drop-keeps-bounding-set", usual, |call| {
        control(call, libc::PR_CAPBSET_DROP).then_some(libc::EIO)
    });
    faulty("limits-refused", usual, |call| {
        call.limits(libc::RLIMIT_CORE).then_some(libc::EIO)
    });
    faulty("drop-ignored", usual, |call| {
        let become_user = call.number == libc::SYS_setresuid && call.args[0] == u64::from(UID);
        become_user.then_some(DONE)
    });
    faulty("drop-undone", usual, |call| {
        (call.number == libc::SYS_setuid).then_some(DONE)
    });
    let ids = [format!("--reuid={UID}"), format!("--regid={UID}")];
    let by = ["setpriv", &ids[0], &ids[1], "--clear-groups", "--"];
    let without_root = |image: &Image| start_by(image, &by, &[]);
    faulty("drop-dumpable", without_root, |call| {
        control(call, libc::PR_SET_DUMPABLE).then_some(DONE)
    });
}

#[test]
fn neither_signals_nor_random_bytes() {
    faulty("signals-refused", usual, |call| {
        (call.number == libc::SYS_signalfd4).then_some(libc::ENOSYS)
    });
    let with_password = |image: &Image| start_by(image, &[], &["--password", "ailab"]);
    faulty("random-refused", with_password, |call| {
        let ours = call.number == libc::SYS_getrandom && call.args[2] == 0;
        ours.then_some(libc::EIO)
    });
}

/// A volume of an earlier start's, whose default has changed in the image.
fn outdated(image: &Image) -> Start {
    used(image);
    fs::write(image.path("defaults/start.ipynb"), "{\"new\": 1}").unwrap();
    usual(image)
}

fn is_record(call: &Call, name: u64) -> bool {
    call.text(name, 32) == "manifest.sha256"
}

#[test]
fn a_volume_that_fails() {
    faulty("record-unreadable", outdated, |call| {
        call.opens("manifest.sha256").then_some(libc::EIO)
    });
    faulty("record-refused", outdated, |call| {
        let looks = call.number == libc::SYS_statx && is_record(call, call.args[1]);
        looks.then_some(libc::EACCES)
    });
    faulty("record-unwritable", usual, |call| {
        let renames = [libc::SYS_renameat, libc::SYS_renameat2].contains(&call.number);
        (renames && is_record(call, call.args[3])).then_some(libc::EACCES)
    });
    faulty("volume-not-flushed", outdated, |call| {
        (call.number == libc::SYS_fsync).then_some(libc::EIO)
    });
    faulty("volume-without-exchange", outdated, |call| {
        let [exchange, noreplace] = [libc::RENAME_EXCHANGE, libc::RENAME_NOREPLACE].map(u64::from);
        match (call.number, call.args[4]) {
            (libc::SYS_renameat2, flag) if flag == exchange => Some(libc::EINVAL),
            (libc::SYS_renameat2, flag) if flag == noreplace => Some(libc::EXDEV),
            _ => None,
        }
    });
}

/// What a start left that was killed while it put a newer default in place of one that
/// somebody wrote to.
#[test]
fn what_a_killed_start_left() {
    super::golden::start("volume-stray", |image| {
        used(image);
        let stray = image.path("notebooks/.ai-lab.old-0123456789abcdef");
        fs::write(&stray, "mine").unwrap();
        fs::set_permissions(&stray, fs::Permissions::from_mode(0o644)).unwrap();
        chown(&stray, Some(UID), Some(UID)).unwrap();
        fs::write(image.path("notebooks/.ai-lab/lock"), "x").unwrap();
        Start::pid1().args(image.options()).args(["--", "true"])
    });
}
