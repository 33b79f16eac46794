//! After the drop no process is root's, and none can become it again.

use crate::support::{Image, PROGRAM, Start, UID};

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

/// Groups of the process, options of the start, the user's groups in the end, and the
/// groups that a warning names.
type Kept<'a> = (&'a str, &'a [&'a str], &'a str, Option<&'a str>);

#[test]
fn groups_that_the_image_gives_to_root_are_not_passed_on() {
    let image = Image::new();
    let passwd = image.path("passwd");
    std::fs::write(
        &passwd,
        "root:x:0:0::/:\nother:x:0:0::/:\nx:x:4242:4242::/:\n",
    )
    .unwrap();
    let group = image.path("group");
    let text = "disk:x:6:root\nshadow:x:42:y,other\nown:x:77:root,x\nfree:x:88:y\n";
    std::fs::write(&group, text).unwrap();
    let script = format!(
        "mount --bind {} /etc/passwd && mount --bind {} /etc/group && exec \"$@\"",
        passwd.display(),
        group.display()
    );
    let both = Some("disk (6), shadow (42); the image's /etc/group gives them to root");
    let cases: [Kept<'_>; 6] = [
        ("0,6,42", &[], "77", both),
        ("0,6,42,77,88,7777", &[], "77 88 7777", both),
        ("6,7777", &[], "77 7777", Some(": disk (6); ")),
        (
            "6,42",
            &["--keep-group", "disk", "--keep-group=42"],
            "42 6 77",
            None,
        ),
        // Who was not started with it does not get it.
        ("88", &["--keep-group", "disk"], "77 88", None),
        ("77", &[], "77", None),
    ];
    for (groups, options, expected, told) in cases {
        let start = || {
            let start = Start::wrapped("sh").args(["-c", &script, "sh", "setpriv"]);
            start
                .args(["--groups", groups, PROGRAM])
                .args(image.options())
                .args(options)
        };
        let ended = start()
            .args(["--", "sh", "-c", "id -G | tr ' ' '\\n' | sort"])
            .run();
        let expected = format!("{expected} {UID}");
        let mut expected: Vec<&str> = expected.split(' ').collect();
        expected.sort_unstable();
        let found: Vec<&str> = ended.stdout.lines().collect();
        assert_eq!(found, expected, "{groups} {options:?}: {}", ended.stderr);
        let warned = ended.stderr.contains("Groups not passed on to the user");
        assert_eq!(warned, told.is_some(), "{groups}: {}", ended.stderr);
        assert!(
            told.is_none_or(|told| ended.stderr.contains(told)),
            "{}",
            ended.stderr
        );
        let strict = start().args(["--warning-as-error", "--", "true"]).run();
        assert_eq!(strict.code, i32::from(warned), "{}", strict.stderr);
        let dry = start().arg("--dry-run").run();
        let line = dry
            .stdout
            .lines()
            .find(|line| line.contains("supplementary groups"));
        let mut planned: Vec<&str> = line.unwrap().split(' ').skip(4).collect();
        planned.push("4242");
        planned.sort_unstable();
        assert_eq!(planned, expected, "{}", dry.stdout);
        assert_eq!(
            dry.stderr.contains("Groups not passed on to the user"),
            warned
        );
    }
    for (name, problem) in [
        ("nosuch", "there is no group \"nosuch\" here"),
        ("0", "\"0\" is root's own group"),
    ] {
        let start = Start::pid1().args(image.options());
        let ended = start.args(["--keep-group", name, "--", "true"]).run();
        assert_eq!(ended.code, 78, "{}", ended.stderr);
        assert!(ended.stderr.contains(problem), "{}", ended.stderr);
    }
}

#[test]
fn a_root_that_stays_above_is_told() {
    let image = Image::new();
    let ended = Start::plain()
        .args(image.options())
        .args(["--", "true"])
        .run();
    assert_eq!(ended.code, 0);
    let told = "remains a parent process of this one, as root";
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
