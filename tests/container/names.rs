//! Each uid has a name: with a line in `/etc/passwd` where root starts the container, and from the
//! image's own service of names elsewhere. ssh refuses to run without one.

use crate::support::docker::{Container, Derived, IMAGE, docker_ok, mounted, run, run_image};
use crate::support::few;

/// What asks for the name of its own uid. Each says one line.
const WHO: &str = r#"set -e
    whoami
    python3 -c 'import getpass; print(getpass.getuser())'
    cd /tmp; rm -rf of-a-test; git init -q of-a-test; cd of-a-test
    git -c user.email=a@b.c commit -q --allow-empty -m x; git log -1 --format=%an
    ssh -G localhost 2>/dev/null | sed -n 's/^user //p'
    bash --noprofile --norc -ic 'printf "%s\n" "${PS1@P}"' 2>/dev/null | sed 's/.*/I have a name/'
    bash -ic 'x="\u"; printf "%s\n" "${x@P}"' 2>/dev/null
    id >/dev/null; groups >/dev/null; getent passwd "$(whoami)" | cut -d: -f6
"#;

/// What [`WHO`] says if the name is this one.
fn all(name: &str) -> String {
    format!("{name}\n{name}\n{name}\n{name}\nI have a name\n{name}\n/home/jupyter\n")
}

#[test]
fn without_root_a_uid_has_a_name_everywhere() {
    let read_only = ["--read-only", "--tmpfs=/tmp"];
    for (user, more) in few(
        2,
        &[
            ("1234:0", &read_only[..]),
            (
                "1234:5678",
                &["--cap-drop=ALL", "--security-opt=no-new-privileges"],
            ),
            ("1234", &[]),
            // The first user of a Mac.
            ("501:20", &[]),
        ],
    ) {
        let user = format!("--user={user}");
        let options = [&[user.as_str(), "--network=none"], *more].concat();
        let (code, stdout, stderr) = run(&options, &["--", "sh", "-c", WHO]);
        let uid = user[7..].split(':').next().unwrap();
        let expected = all(&format!("jupyter-{uid}"));
        assert_eq!((code, stdout), (0, expected), "{user}: {stderr}");
        assert!(!stderr.contains("has no name"), "{stderr}");
    }
}

#[test]
fn root_enters_the_name_of_a_uid_that_is_asked_for() {
    let container = Container::start(
        &["--network=none"],
        &[
            "--user",
            "1234",
            "--",
            "sh",
            "-c",
            "id -un; echo up; exec sleep 1000",
        ],
    );
    let log = container.wait_for("up\n");
    assert!(
        log.contains("Switched uid/gid to jupyter-1234/jupyter\n"),
        "{log}"
    );
    let line = "jupyter-1234:*:1234:1000:jupyter-1234:/home/jupyter:/bin/bash\n";
    let passwd = String::from_utf8(container.file("/etc/passwd")).unwrap();
    assert!(passwd.ends_with(line), "{passwd}");
    for user in ["1234", "jupyter-1234"] {
        assert_eq!(
            container.exec_ok(user, &["sh", "-c", WHO]),
            all("jupyter-1234")
        );
    }
    // A restart finds it, and does not enter it twice.
    container.stop();
    container.begin();
    container.wait_for_nth("up\n", 2);
    assert_eq!(
        String::from_utf8(container.file("/etc/passwd")).unwrap(),
        passwd
    );

    let (code, stdout, stderr) = run(&["--network=none"], &["--user", "1234", "--dry-run"]);
    assert_eq!(code, 0, "{stderr}");
    let promised = "enter jupyter-1234 in /etc/passwd (1234:1000)\n";
    assert!(stdout.contains(promised), "{stdout}");
}

/// The user that a start entered is not called `jupyter`, and not in its group.
#[test]
fn a_login_shell_of_any_uid_has_the_venv() {
    let command = ["--user", "1234", "--group", "5678", "--"];
    let look = ["bash", "-lc", "command -v python3"];
    let (_, stdout, stderr) = run(&["--network=none"], &[&command[..], &look].concat());
    assert_eq!(stdout, "/opt/ai-lab/jupyterenv/bin/python3\n", "{stderr}");
}

/// On a laptop: `docker run --user $(id -u):$(id -g)`. HOME is the image's, where this uid writes
/// nothing; what HOME has is still read.
#[test]
fn git_config_global_works_where_home_cannot_be_written() {
    let (_file, option) = mounted("[user]\n\tname = Ann\n", "/home/jupyter/.gitconfig");
    let script = "set -e
        git config --global user.email a@b.c
        cd /tmp; git init -q of-a-test; cd of-a-test; git commit -q --allow-empty -m x
        git log -1 --format='%an %ae'";
    let options = ["--user=1001:1001", "--network=none", &option];
    let (code, stdout, stderr) = run(&options, &["--", "sh", "-c", script]);
    assert_eq!((code, stdout.as_str()), (0, "Ann a@b.c\n"), "{stderr}");
    assert!(
        stderr.contains("(remedy: leave out `docker run --user`"),
        "{stderr}"
    );
    // Where HOME can be written, git's file is there.
    let script = "git config --global user.email a@b.c; ls ~/.gitconfig";
    let (_, stdout, stderr) = run(&["--network=none"], &["--", "sh", "-c", script]);
    assert_eq!(stdout, "/home/jupyter/.gitconfig\n", "{stderr}");
}

/// An administrator's look into a container of somebody else.
#[test]
fn docker_exec_has_a_name_as_any_uid() {
    let container = Container::start(&["--network=none"], &["sleep", "1000"]);
    container.wait_for("] prepared in ");
    let said = container.exec_ok("4321:5432", &["sh", "-c", WHO]);
    assert_eq!(said, all("jupyter-4321"));
}

/// A user could otherwise choose the name that root or a daemon finds for a uid.
#[test]
fn only_a_process_itself_has_a_name_that_is_in_no_file() {
    let ask = "getent passwd 1234; getent passwd jupyter-1234; getent group 1234";
    for user in ["--user=root", "--user=4321"] {
        let options = ["--entrypoint=sh", "--network=none", user];
        let (code, stdout, _) = run(&options, &["-c", ask]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{user}");
    }
    // What the files have comes first, and what is no name counts for nothing.
    let options = ["--entrypoint=sh", "--network=none"];
    for (more, name) in [
        (&["--user=1000", "--env=USER=eve"][..], "jupyter"),
        (&["--user=0", "--env=USER=eve"], "root"),
        (&["--user=1234", "--env=USER=../x:0"], "jupyter-1234"),
        (&["--user=1234", "--env=USER=alice"], "alice"),
    ] {
        let (code, stdout, stderr) = run(&[&options[..], more].concat(), &["-c", "whoami"]);
        assert_eq!(
            (code, stdout),
            (0, format!("{name}\n")),
            "{more:?} {stderr}"
        );
    }
    // A program with more rights than its caller does not believe the caller.
    let image = Derived::new(&format!(
        "FROM {IMAGE}\nRUN cp /usr/bin/id /usr/local/bin/other-id && \
         chgrp users /usr/local/bin/other-id && chmod 2755 /usr/local/bin/other-id"
    ));
    let more = ["--user=1234:1234", "--env=USER=alice"];
    let options = [&options[..], &more].concat();
    let (code, stdout, stderr) = run_image(&image.0, &options, &["-c", "id -un; other-id -un"]);
    assert_eq!(
        (code, stdout.as_str()),
        (0, "alice\njupyter-1234\n"),
        "{stderr}"
    );
}

/// Images for OpenShift let group root write `/etc/passwd`, but not replace it.
#[test]
fn where_group_root_can_write_the_file_a_start_without_root_appends_its_line() {
    let image = Derived::new(&format!(
        "FROM {IMAGE}\nRUN chmod g+w /etc/passwd && sed -i 's/ ai_lab//' /etc/nsswitch.conf"
    ));
    let options = ["--user=1234:0", "--network=none"];
    let (code, stdout, stderr) = run_image(&image.0, &options, &["--", "sh", "-c", WHO]);
    assert_eq!((code, stdout), (0, all("jupyter-1234")), "{stderr}");
    let (code, stdout, stderr) = run_image(&image.0, &options, &["--dry-run"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains("enter jupyter-1234 in /etc/passwd (1234:0)\n"),
        "{stdout}"
    );
}

/// In another image, which has neither: the environment does what it can, and the log says once
/// what stays.
#[test]
fn where_nothing_can_be_done_it_is_said_once() {
    let (_file, option) = mounted(
        "passwd: files\ngroup: files\nhosts: files dns\n",
        "/etc/nsswitch.conf",
    );
    let options = ["--user=1234", "--network=none", &option];
    let script = "id -un; python3 -c 'import getpass; print(getpass.getuser())'; ssh -G localhost";
    let (_, stdout, stderr) = run(&options, &["--", "sh", "-c", script]);
    assert_eq!(stdout, "1234\njupyter-1234\n", "{stderr}");
    let told = "uid 1234 has no name in /etc/passwd (Permission denied (os error 13)): ssh and whoami refuse";
    assert_eq!(stderr.matches(told).count(), 1, "{stderr}");
    assert!(stderr.contains("No user exists for uid 1234"), "{stderr}");
}

/// The service is root's alone, as are all programs.
#[test]
fn the_service_of_names_can_be_changed_by_root_alone() {
    let script = "stat -c '%a %U:%G' /etc/nsswitch.conf /usr/lib/*/libnss_ai_lab.so.2";
    let options = ["--rm", "--entrypoint=sh"];
    let said = docker_ok([&["run"], &options[..], &[IMAGE, "-c", script]].concat());
    assert_eq!(said, "644 root:root\n755 root:root\n");
}
