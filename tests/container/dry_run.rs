//! `--dry-run` changes nothing, and a start does what it printed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use crate::support::docker::{Container, docker, docker_ok, name, run, text};
use crate::support::granted::{Host, SOCKET};

const NOTEBOOKS: &str = "/home/jupyter/notebooks";

/// Everything about everything below a directory: also the times of the last change.
fn hash(directory: &Path) -> String {
    let script = "find . -printf '%p %i %y %m %U %G %n %s %T@ %C@ %l\\n' | sort; \
                  find . -type f -exec sha256sum {} + | sort";
    let mut command = Command::new("sh");
    let output = command
        .args(["-c", script])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// What a dry run prints, in a container whose whole file system is compared: before and
/// after it each name with its inode, owner, mode, size, times of the last change and, for
/// what is not the image's own, its digest.
fn planned(options: &[&str], words: &[&str]) -> String {
    // What sort cannot hold goes where nobody looks.
    const SCRIPT: &str = r#"
        look() {
            find / /dev /dev/shm /home/jupyter/notebooks -xdev \( -path /proc -o -path /proof \) -prune \
                -o -type d -printf '%p %i %m %U %G %T@ %C@\n' \
                -o -printf '%p %i %y %m %U %G %n %s %T@ %C@ %l\n' | sort -T /proof
            find /etc /home/jupyter /root /run /tmp /var \( -name jupyterenv -o -name docker.sock \) -prune \
                -o -type f -exec sha256sum {} + | sort -T /proof
        }
        # What Docker did to begin it may be seen a moment later.
        until look >/proof/before && look | cmp --silent - /proof/before; do :; done
        ai-lab-entrypoint --dry-run "$@" || exit
        look >/proof/after
        [ "$(wc -l </proof/before)" -gt 30000 ] && diff /proof/before /proof/after >&2"#;
    let name = name();
    let output = docker(
        ["run", "--rm", "--name", &name, "--tmpfs=/proof"]
            .iter()
            .chain(options)
            .chain(&[
                "--entrypoint=sh",
                crate::support::docker::IMAGE,
                "-c",
                SCRIPT,
                "sh",
            ])
            .chain(words),
    );
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of a plan under a heading.
fn under<'a>(plan: &'a str, heading: &str) -> Vec<&'a str> {
    let mut lines = plan.lines().skip_while(|line| *line != heading);
    assert_eq!(lines.next(), Some(heading), "{plan}");
    let lines = lines.map_while(|line| line.strip_prefix("  "));
    lines.collect()
}

#[test]
fn a_start_does_what_was_printed_before_and_nothing_was_changed_by_that() {
    let host = Host::new(4242, 0o660);
    let volume = host.dir.path().join("volume");
    fs::create_dir_all(volume.join("deep")).unwrap();
    // A default that only root may read, until the start hands it over.
    let theirs = volume.join("data.ipynb");
    fs::write(&theirs, "not the default").unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o600)).unwrap();
    for (file, owner) in [("mine.txt", 1000), ("theirs.txt", 4711), ("deep/er.txt", 0)] {
        fs::write(volume.join(file), "text").unwrap();
        chown(volume.join(file), Some(owner), Some(owner)).unwrap();
    }
    fs::write(volume.join("start.ipynb"), "my own").unwrap();
    let mount = format!("--volume={}:{NOTEBOOKS}", volume.display());
    let socket = host.option();
    let options = [&*mount, &socket, "--env=JUPYTER_PASSWORD=a secret of mine"];

    let before = hash(host.dir.path());
    let plan = planned(&options, &[]);
    assert_eq!(hash(host.dir.path()), before);
    assert!(!plan.contains("a secret"), "{plan}");

    let owners: Vec<_> = fs::read_dir(&volume).unwrap().collect();
    assert_eq!(owners.len(), 5);
    let container = Container::start(&options, &[]);
    container.wait_for("] ready in ");

    // Owners: what was named, and only that, changed hands.
    let owned = under(&plan, "owners");
    assert_eq!(
        owned[0],
        format!("hand over to jupyter:jupyter: 6 of 7 in {NOTEBOOKS}")
    );
    let named: BTreeSet<String> = owned[1..]
        .iter()
        .map(|line| line.trim().to_owned())
        .collect();
    let others = [
        "",
        "/data.ipynb",
        "/deep",
        "/deep/er.txt",
        "/start.ipynb",
        "/theirs.txt",
    ];
    assert_eq!(
        named,
        others.map(|path| format!("{NOTEBOOKS}{path}")).into()
    );
    assert_eq!(fs::metadata(volume.join("theirs.txt")).unwrap().uid(), 1000);

    // Access: the group file's lines.
    let group = container.exec_ok("root", &["cat", "/etc/group"]);
    let access = under(&plan, "access");
    assert_eq!(access[0], format!("enable access to {SOCKET}"));
    let [gone, come] = ["-", "+"].map(|sign| {
        let start = format!("/etc/group: {sign} ");
        let line = access.iter().find_map(|line| line.strip_prefix(&start));
        line.unwrap().to_owned()
    });
    let has = |line: &str| group.lines().any(|known| known == line);
    assert!(has(&come) && !has(&gone), "{access:?}: {group}");
    let groups = container.exec_ok("root", &["grep", "^Groups", "/proc/1/status"]);
    let groups = groups.trim().trim_start_matches("Groups:").trim();
    assert!(
        access.contains(&&*format!("supplementary groups: {groups}")),
        "{access:?}"
    );

    // Notebooks: two are new, two are the user's.
    let notebooks = under(&plan, "notebooks");
    let log = container.logs();
    assert!(
        log.contains("notebooks: 2 installed, 0 updated, 2 kept"),
        "{log}"
    );
    for line in &notebooks[..4] {
        let (what, file) = line.split_once(": ").unwrap();
        let kept = fs::read_to_string(volume.join(file)).unwrap();
        let kept = ["my own", "not the default"].contains(&&*kept);
        assert_eq!(
            what,
            if kept {
                "keep (changed by you)"
            } else {
                "install"
            }
        );
    }
    assert!(volume.join(".ai-lab/manifest.sha256").exists());
    assert_eq!(
        notebooks[4],
        format!("record them in {NOTEBOOKS}/.ai-lab/manifest.sha256")
    );

    // Password and files are where they were to be.
    let written = under(&plan, "password")[0].strip_prefix("write its hash to ");
    let written = container.exec_ok("root", &["cat", written.unwrap()]);
    assert!(written.contains("argon2"), "{written}");
    let files = under(&plan, "files").join(" ");
    for path in files.split(' ').filter(|word| word.starts_with('/')) {
        container.exec_ok("root", &["test", "-s", path]);
    }

    // The server: its words, its directory, its variables.
    let pid = container.status()["main_pid"].to_string();
    let of = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        let text = container.exec_ok("jupyter", &["cat", &path]);
        let words = text.trim_end_matches('\0').split('\0');
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let server = under(&plan, "server");
    assert_eq!(server[0], format!("in {NOTEBOOKS}"));
    // Its first word is the interpreter's, of the script that was named.
    let run = of("cmdline")[1..].join(" ");
    assert_eq!(server[1].replace('\'', ""), run);
    let environment = of("environ");
    for line in under(&plan, "variables") {
        match line.split_once(' ').unwrap() {
            ("set", variable) => assert!(environment.iter().any(|has| has == variable), "{line}"),
            (_, name) => {
                let start = format!("{name}=");
                assert!(
                    !environment.iter().any(|has| has.starts_with(&start)),
                    "{line}"
                );
            }
        }
    }
}

#[test]
fn a_start_changes_nothing_that_was_not_printed() {
    let host = Host::new(4242, 0o660);
    let options = [&*host.option(), "--env=JUPYTER_PASSWORD=a secret of mine"];
    let words = ["--", "true"];
    let plan = planned(&options, &words);
    let container = Container::start(&options, &words);
    assert_eq!(container.end(), 0, "{}", container.logs());
    let changed = docker_ok(["diff", &container.name]);
    let changed: Vec<&str> = changed.lines().map(|line| &line[2..]).collect();
    // A directory has changed where something in it has.
    let inside = |path: &str| {
        let below = format!("{path}/");
        changed.iter().any(|other| other.starts_with(&below))
    };
    let changed: BTreeSet<&str> = changed
        .iter()
        .copied()
        .filter(|path| !inside(path))
        .collect();
    let password = "/home/jupyter/.jupyter/jupyter_server_config.json";
    let expected = [
        "/etc/.ai-lab-grants",
        "/etc/group",
        "/etc/gshadow",
        password,
        "/run/ai-lab-settings.toml",
        "/run/ai-lab/state.json",
    ];
    // Docker makes the place for the socket.
    let ours = changed.iter().filter(|path| **path != "/run/docker.sock");
    assert!(ours.eq(&expected), "{changed:?}");
    let printed = |path: &&str| plan.contains(*path);
    assert!(expected.iter().all(printed), "{plan}");
}

#[test]
fn what_would_end_a_start_ends_a_dry_run_too() {
    let (code, stdout, stderr) = run(&["--cap-drop=ALL"], &["--dry-run"]);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert!(stderr.contains("cannot become uid 1000"), "{stderr}");
    let (code, stdout, _) = run(&["--user=1234"], &["--dry-run", "--", "id", "-u"]);
    assert_eq!(code, 0);
    assert!(
        stdout.ends_with("command\n  id -u\nnothing was changed\n"),
        "{stdout}"
    );
    // What a start goes on without, and what is not shown.
    let token = "--jupyter-arg=--IdentityProvider.token=planted";
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let volume = format!("--volume={}:{NOTEBOOKS}", closed.path().display());
    let (code, stdout, stderr) = run(&[&volume], &[token, "--volume-owner=keep", "--dry-run"]);
    assert!(stderr.contains("Permission denied"), "{stderr}");
    let (real, ..) = run(&[&volume], &[token, "--volume-owner=keep"]);
    assert_eq!((code, real), (126, 126), "{stderr}");
    assert!(
        stderr.contains("the working directory /home/jupyter/notebooks cannot be"),
        "{stderr}"
    );
    // Handed over, it can be entered.
    let (code, _, stderr) = run(&[&volume], &["--dry-run"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(!stdout.contains("planted"), "{stdout}");
    assert!(stdout.contains("--IdentityProvider.token=…"), "{stdout}");
}
