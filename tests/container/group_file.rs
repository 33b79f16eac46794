//! `/etc/group` in a real container, in every shape in which it is met: it is changed
//! as asked, or not at all with a warning, and never damaged.

use std::os::unix::fs::MetadataExt;

use crate::support::few;
use crate::support::granted::{Host, Looker, SOCKET, pristine, with_line};

const GROUP: &str = "/etc/group";
const GSHADOW: &str = "/etc/gshadow";

fn moved(text: &str) -> String {
    with_line(text, "docker", |_| "docker:x:4242:jupyter".into())
}

/// The start's own processes have access, later ones not, and the log says so.
fn only_the_processes(looker: &mut Looker, why: &str) {
    let (own, log) = looker.start();
    assert_eq!((own.says(SOCKET), own.groups()), ("usable", "4242"));
    assert_eq!(looker.exec().says(SOCKET), "Permission denied");
    let warning = log.lines().find(|line| line.starts_with("[W "));
    let warning = warning.unwrap_or_else(|| panic!("no warning in {log}"));
    assert!(warning.contains(why), "{warning}");
    assert!(warning.contains("docker exec --user jupyter"), "{warning}");
}

/// What a start adds to `/etc` beside its two files.
fn traces(looker: &Looker) -> Vec<String> {
    let names = looker.container.exec_ok("root", &["ls", "-A", "/etc"]);
    let ours = ["group", "gshadow", ".ai-lab", ".pwd"];
    let ours = |name: &&str| ours.iter().any(|start| name.starts_with(start));
    names.lines().filter(ours).map(str::to_owned).collect()
}

#[test]
fn a_read_only_etc_stays_as_it_is_and_the_processes_have_access() {
    let host = Host::new(4242, 0o660);
    let options = [&host.option(), "--read-only", "--tmpfs", "/tmp"];
    let mut looker = Looker::new(&options, &[], &[SOCKET]);
    only_the_processes(&mut looker, "Read-only file system");
    assert_eq!(looker.text(GROUP), pristine(GROUP));
}

#[test]
fn a_mounted_account_file_is_left_to_whoever_mounted_it() {
    for (mounted, other) in [(GROUP, GSHADOW), (GSHADOW, GROUP)] {
        let host = Host::new(4242, 0o660);
        let theirs = host.dir.path().join("theirs");
        std::fs::write(&theirs, pristine(mounted)).unwrap();
        let stat = || {
            let data = std::fs::metadata(&theirs).unwrap();
            (data.ino(), data.mode(), data.ctime(), data.ctime_nsec())
        };
        let before = stat();
        let option = format!("--volume={}:{mounted}", theirs.display());
        let options = [&host.option(), option.as_str()];
        let mut looker = Looker::new(&options, &[], &[SOCKET]);
        only_the_processes(&mut looker, "is a bind mount");
        assert_eq!(stat(), before);
        assert_eq!(looker.text(mounted), pristine(mounted));
        // Nor is the other half done, or anything remembered that never was.
        assert_eq!(looker.text(other), pristine(other));
        let left = traces(&looker).join(" ");
        assert!(!left.contains(".ai-lab") && !left.contains('+'), "{left}");
    }
}

#[test]
fn odd_but_legal_files_change_in_one_line() {
    let image = pristine(GROUP);
    let many: String = (0..8000)
        .map(|number| format!("team-{number}:x:{}:\n", 100_000 + number))
        .collect();
    let large = image.replacen("bin:", &format!("{many}bin:"), 1);
    assert!(large.len() > 150_000, "{}", large.len());
    let nis = format!("{image}-root\n+docker:::\n+@staff:::\n+\n");
    let comments = format!("# who is who\n#old:x:4242:\n\n{image}#docker:x:4242:\n");
    let unended = image.trim_end().to_owned();
    let doubles = format!("{image}one:x:4242:\ntwo:x:4242:somebody\n");
    let second = doubles.replace("two:x:4242:", "two:x:4242:jupyter,");
    // A group that must be new, where the last line has no end.
    let without = unended.replace("docker:x:999:\n", "");
    let all = [
        ("200 kB", &large, moved(&large)),
        ("NIS", &nis, moved(&nis)),
        (
            "no docker, no final newline",
            &without,
            format!("{without}\ndocker:x:4242:jupyter\n"),
        ),
        (
            "duplicate gids",
            &doubles,
            doubles.replace("one:x:4242:", "one:x:4242:jupyter"),
        ),
        ("a member of the second of them", &second, second.clone()),
        // The unit tests of `group_file` have these.
        ("comments", &comments, moved(&comments)),
        ("no final newline", &unended, moved(&unended)),
    ];
    for (name, text, expected) in few(5, &all) {
        let host = Host::new(4242, 0o660);
        let flags = ["--warning-as-error"];
        let mut looker = Looker::new(&[&host.option()], &flags, &[SOCKET]);
        looker.container.put(GROUP, text.as_bytes(), 0o644);
        let (own, _) = looker.start();
        assert_eq!(own.says(SOCKET), "usable", "{name}");
        assert!(own.groups().contains("4242"), "{name}: {}", own.groups());
        assert!(
            looker.text(GROUP) == *expected,
            "{name}: {}",
            looker.text(GROUP)
        );
        assert_eq!(looker.exec().says(SOCKET), "usable", "{name}");
    }
}

#[test]
fn what_would_need_a_guess_is_not_touched() {
    let image = pristine(GROUP);
    let twice = format!("{image}docker:x:998:\n");
    let damaged = image.replace("docker:x:999:\n", "docker:x\n");
    for (text, why) in [(twice, "listed more than once"), (damaged, "is damaged")] {
        let host = Host::new(4242, 0o660);
        let mut looker = Looker::new(&[&host.option()], &[], &[SOCKET]);
        looker.container.put(GROUP, text.as_bytes(), 0o644);
        let (own, log) = looker.start();
        assert_eq!((own.says(SOCKET), own.groups()), ("usable", "4242"));
        assert!(log.contains("Only the processes of this start get group docker"));
        assert!(log.contains(why), "{log}");
        assert_eq!(looker.text(GROUP), text);
        assert_eq!(looker.text(GSHADOW), pristine(GSHADOW));
    }
}

#[test]
fn locks_of_the_dead_are_taken_over_and_what_they_left_is_removed() {
    let host = Host::new(4242, 0o660);
    let mut looker = Looker::new(&[&host.option()], &["--warning-as-error"], &[SOCKET]);
    for (name, content) in [
        ("group.lock", &b"99999"[..]),
        // Of this program itself, before the container was killed.
        ("gshadow.lock", b"1\0"),
        (".pwd.lock", b""),
        ("group+", b"root:x:0:\nhal"),
        ("gshadow+", b""),
    ] {
        let path = format!("/etc/{name}");
        looker.container.put(&path, content, 0o600);
    }
    looker.start();
    assert_eq!(looker.exec().says(SOCKET), "usable");
    assert_eq!(looker.text(GROUP), moved(&pristine(GROUP)));
    let expected = [
        ".ai-lab-grants",
        ".pwd.lock",
        "group",
        "group-",
        "gshadow",
        "gshadow-",
    ];
    assert_eq!(traces(&looker), expected);
}

#[test]
fn a_lock_that_nobody_can_judge_is_respected() {
    let host = Host::new(4242, 0o660);
    let mut looker = Looker::new(&[&host.option()], &[], &[SOCKET]);
    looker.container.put("/etc/gshadow.lock", b"", 0o600);
    only_the_processes(&mut looker, "another program holds the lock");
    assert_eq!(looker.text(GROUP), pristine(GROUP));
    assert_eq!(looker.text(GSHADOW), pristine(GSHADOW));
    let left = traces(&looker);
    assert!(left.iter().any(|name| name == "gshadow.lock"), "{left:?}");
    assert!(!left.iter().any(|name| name == "group.lock"), "{left:?}");
}

/// Written in place, a file is half there for a moment: a kill would keep it so.
#[test]
fn a_new_file_takes_the_place_of_the_old_one_which_is_never_written_to() {
    let host = Host::new(4242, 0o660);
    let mut looker = Looker::new(&[&host.option()], &[], &[SOCKET]);
    looker.start();
    let before = looker.text(GROUP);
    let words = ["ln", GROUP, "/etc/held"];
    looker.container.exec_ok("root", &words);
    looker.container.stop();
    host.change(4343, 0o660);
    looker.start();
    assert_eq!(looker.text("/etc/held"), before);
    assert_eq!(looker.text(GROUP), before.replace("4242", "4343"));
}
