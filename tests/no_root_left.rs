//! After the drop no process is root's, and none can become it again.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Image, PROGRAM, Start, UID};

#[test]
fn every_process_has_lost_everything_of_roots() {
    let image = Image::new();
    let mut running = image.server().env("FAKE", "cleaner").start();
    running.wait_for("cleaner lives");
    running.wait_for("] ready in ");
    let processes = running.processes();
    assert!(processes.len() >= 3, "{processes:?}");
    for (pid, line) in &processes {
        for field in ["Uid", "Gid"] {
            let ids = running.status(*pid, field);
            let ids: Vec<&str> = ids.split_whitespace().collect();
            assert_eq!(ids, vec![UID.to_string(); 4], "{field} of {line}");
        }
        for field in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let caps = running.status(*pid, field);
            assert_eq!(caps, "0000000000000000", "{field} of {line}");
        }
        assert_eq!(running.status(*pid, "NoNewPrivs"), "1", "{line}");
        assert_eq!(running.status(*pid, "Groups"), "", "{line}");
    }
}

#[test]
fn a_setuid_program_gives_nothing() {
    let image = Image::new();
    let shell = image.path("venv/bin/rootshell");
    std::fs::copy("/bin/sh", &shell).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    std::fs::set_permissions(&shell, mode).unwrap();
    let ended = image
        .command(["rootshell", "-p", "-c", "id -u; id -ru"])
        .run();
    assert_eq!(ended.stdout, format!("{UID}\n{UID}\n"));
}

#[test]
fn what_pid_1_was_given_cannot_be_read_by_the_user() {
    let image = Image::new();
    let look = "cat /proc/1/environ || echo closed; cat /proc/1/mem || echo closed";
    let ended = image
        .command(["sh", "-c", look])
        .env("JUPYTER_PASSWORD", "s3cr3t")
        .run();
    assert_eq!(ended.stdout, "closed\nclosed\n", "{}", ended.stderr);
}

#[test]
fn core_dumps_are_off() {
    let image = Image::new();
    let ended = image.command(["sh", "-c", "ulimit -c; ulimit -Hc"]).run();
    assert_eq!(ended.stdout, "0\n0\n");
}

#[test]
fn groups_of_the_container_are_kept_but_roots() {
    let image = Image::new();
    let ended = Start::wrapped("setpriv")
        .args(["--groups", "0,7777", PROGRAM])
        .args(image.options())
        .args(["--", "id", "-G"])
        .run();
    assert_eq!(ended.stdout, format!("{UID} 7777\n"), "{}", ended.stderr);
}

#[test]
fn a_root_that_stays_above_is_told() {
    let image = Image::new();
    let ended = Start::plain()
        .args(image.options())
        .args(["--", "true"])
        .run();
    assert_eq!(ended.code, 0);
    let told = "stays above this process as root";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    let ended = image.command(["true"]).run();
    assert!(!ended.stderr.contains(told), "{}", ended.stderr);
}

#[test]
fn the_old_layout_stays_root_and_says_so() {
    for options in [&["--user", "root"][..], &[]] {
        let start = Start::pid1()
            .args(options)
            .args(["--", "sh", "-c", "id -u; echo $HOME"]);
        let ended = start.run();
        assert_eq!(ended.stdout, "0\n/root\n", "{}", ended.stderr);
        assert!(
            ended.stderr.contains("The server runs as root"),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn another_name_for_root_is_refused_before_anything_is_touched() {
    let image = Image::new();
    let ended = image.command(["true"]).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let before = std::fs::metadata(image.path("notebooks")).unwrap();
    // The last of two flags counts.
    let options = image.options();
    let start = Start::pid1()
        .args(options)
        .args(["--user", "00", "--", "true"]);
    let ended = start.run();
    assert_eq!(ended.code, 78, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("\"00\" is another name for root"),
        "{}",
        ended.stderr
    );
    use std::os::unix::fs::MetadataExt;
    let after = std::fs::metadata(image.path("notebooks")).unwrap();
    assert_eq!((before.uid(), UID), (after.uid(), after.uid()));
}
