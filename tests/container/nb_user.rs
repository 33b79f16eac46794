//! `NB_USER`, `NB_UID` and `NB_GID`: the server is a person with a name and a home of their own,
//! as dockerspawner's SystemUserSpawner and the users of the Jupyter Docker Stacks ask for.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use tempfile::TempDir;

use crate::support::docker::{
    Container, Derived, IMAGE, Volume, docker_ok, mounted, run, run_image,
};
use crate::support::few;
use crate::support::hub::Hub;

const UID: u32 = 1234;
const GID: u32 = 4321;

/// A home of this machine with a file of root's in it, and its mount.
fn home(owner: (u32, u32)) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("of-root"), "").unwrap();
    chown(dir.path(), Some(owner.0), Some(owner.1)).unwrap();
    let mount = format!("--volume={}:/home/alice", dir.path().display());
    (dir, mount)
}

const ALICE: [&str; 4] = [
    "--env=NB_USER=alice",
    "--env=NB_UID=1234",
    "--env=NB_GID=4321",
    "--no-healthcheck",
];

/// What needs a name, a home and the venv. git and ssh ask for the uid's name.
const WORKS: &str = "set -e
    id -un; id -u; id -gn; echo $HOME $USER; pwd
    python3 -c 'import getpass; print(getpass.getuser())'
    cd /tmp; git init -q x; cd x; git -c user.email=a@b.c commit -q --allow-empty -m x
    git log -1 --format=%an; ssh -G localhost | grep '^user '
    cd $VIRTUAL_ENV/lib/python3*/site-packages; touch x ~/mine; ls ~/notebooks/start.ipynb";

#[test]
fn a_person_has_a_name_a_home_and_the_venv() {
    let (dir, mount) = home((UID, GID));
    // As a terminal's, which has the system's PATH first.
    for shell in ["-c", "-lc"] {
        let options = [&ALICE[..], &[&mount, "--network=none"]].concat();
        let (code, stdout, stderr) = run(&options, &["--", "bash", shell, WORKS]);
        assert_eq!(code, 0, "{stdout}{stderr}");
        let lines: Vec<&str> = stdout.lines().collect();
        let expected = [
            "alice",
            "1234",
            "alice",
            "/home/alice alice",
            "/",
            "alice",
            "alice",
            "user alice",
            "/home/alice/notebooks/start.ipynb",
        ];
        assert_eq!(lines, expected, "{stderr}");
        let top = fs::metadata(dir.path()).unwrap();
        assert_eq!((top.uid(), top.gid()), (UID, GID));
        // What is in a home is only its owner's to give away.
        assert_eq!(fs::metadata(dir.path().join("of-root")).unwrap().uid(), 0);
        assert_eq!(fs::metadata(dir.path().join("mine")).unwrap().uid(), UID);
    }
}

#[test]
fn their_home_is_what_they_see_in_the_browser() {
    let (dir, mount) = home((UID, GID));
    let container = Container::start(&[&ALICE[..], &[&mount]].concat(), &[]);
    let log = container.wait_for("The server for Jupyter has been started successfully.");
    assert!(log.contains("Switched uid/gid to alice/alice\n"), "{log}");
    assert!(!log.contains("Did chown"), "{log}");
    // Where people arrive is there.
    let page = "http://localhost:49494/lab/tree/notebooks/start.ipynb\n";
    assert!(log.contains(page), "{log}");
    assert_eq!(container.visit(&["save", "ailab", "mine.txt"]), "mine.txt");
    assert_eq!(
        fs::metadata(dir.path().join("mine.txt")).unwrap().uid(),
        UID
    );
    assert!(dir.path().join("notebooks/start.ipynb").is_file());
    assert_eq!(container.exec_ok("alice", &["id", "-u"]), "1234\n");
    let packages = "import numpy, sys; print(sys.prefix)";
    let said = container.exec_ok("alice", &["python3", "-c", packages]);
    assert_eq!(said, "/opt/ai-lab/jupyterenv\n");
    // A later start of the same container finds the account.
    assert_eq!(container.stop(), 0);
    container.begin();
    container.wait_for_nth("] ready in ", 2);
    assert_eq!(container.exec_ok("alice", &["id", "-gn"]), "alice\n");
}

/// A new volume is the person's, whether it is all of the home or a part.
#[test]
fn new_volumes_are_theirs() {
    let (whole, part) = (Volume::new(), Volume::new());
    let whole = format!("--volume={}:/home/alice", whole.0);
    let part = format!("--volume={}:/home/alice/work", part.0);
    let options = [&ALICE[..], &[&whole, &part, "--network=none"]].concat();
    let script = "touch ~/mine ~/work/mine; stat -c %u ~ ~/work; ls ~/notebooks/start.ipynb";
    let (code, stdout, stderr) = run(&options, &["--", "sh", "-c", script]);
    let expected = "1234\n1234\n/home/alice/notebooks/start.ipynb\n";
    assert_eq!((code, stdout.as_str()), (0, expected), "{stderr}");
}

/// Whatever HOME names, root gives nothing away that was there, and follows no link of a person's.
#[test]
fn nothing_that_is_there_is_given_away() {
    let script = "stat -c %u /usr/local /etc /home; id -u";
    for home in ["/usr/local", "/etc", "/home"] {
        let variable = format!("--env=HOME={home}");
        let options = [&ALICE[..], &["--network=none", &variable]].concat();
        let (code, stdout, stderr) = run(&options, &["--", "sh", "-c", script]);
        assert_eq!(
            (code, stdout.as_str()),
            (0, "0\n0\n0\n1234\n"),
            "{home}: {stderr}"
        );
    }
    let (dir, mount) = home((UID, GID));
    fs::create_dir(dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", dir.path().join("notebooks")).unwrap();
    let options = [&ALICE[..], &[&mount, "--network=none"]].concat();
    let (code, stdout, stderr) = run(&options, &["--", "echo", "ran"]);
    assert_eq!((code, stdout.as_str()), (0, "ran\n"), "{stderr}");
}

/// The ids were asked for: another owner of the notebooks stays, and is not adopted.
#[test]
fn nobody_else_is_adopted() {
    let (dir, mount) = home((2000, 2000));
    let mount = mount.replace("/home/alice", "/home/jupyter/notebooks");
    let options = ["--env=NB_UID=1234", &mount, "--network=none"];
    let (code, stdout, stderr) = run(&options, &["--", "id", "-u"]);
    assert_eq!((code, stdout.as_str()), (0, "1234\n"), "{stderr}");
    assert_eq!(fs::metadata(dir.path()).unwrap().uid(), 2000);
    let (code, _, stderr) = run(&options, &["--volume-owner", "adopt", "--", "true"]);
    assert_eq!(code, 78, "{stderr}");
}

#[test]
fn a_flag_wins_and_says_so() {
    let options = ["--env=NB_USER=alice", "--network=none"];
    let (code, stdout, stderr) = run(&options, &["--user", "jupyter", "--", "id", "-un"]);
    assert_eq!((code, stdout.as_str()), (0, "jupyter\n"), "{stderr}");
    assert!(
        stderr.contains("NB_USER has no effect: --user names the user"),
        "{stderr}"
    );
}

/// People of the Docker Stacks give the image's own user their numbers.
#[test]
fn numbers_alone_are_those_of_the_images_user() {
    let numbers = ["--env=NB_UID=501", "--env=NB_GID=20", "--network=none"];
    let script = "id -un; id -u; id -g; echo $HOME; ls ~/notebooks/start.ipynb";
    let (code, stdout, stderr) = run(&numbers, &["--", "sh", "-c", script]);
    let expected = "jupyter\n501\n20\n/home/jupyter\n/home/jupyter/notebooks/start.ipynb\n";
    assert_eq!((code, stdout.as_str()), (0, expected), "{stderr}");
}

#[test]
fn what_is_no_account_is_an_error_and_nothing_is_started() {
    // The unit tests of `settings::nb_user` have the other ones; these need accounts.
    for (variable, problem) in few(
        4,
        &[
            ("NB_USER=daemon", "is a system account"),
            ("NB_UID=33", "is the number of a system account"),
            ("NB_GID=42", "is the system's group shadow"),
            ("NB_UID=me", "is not a number from 1"),
            ("NB_USER=root", "cannot be the name of an ordinary user"),
            ("NB_USER=a:b", "cannot be the name of an ordinary user"),
            ("NB_UID=0", "is not a number from 1"),
            ("NB_GID=-1", "is not a number from 1"),
        ],
    ) {
        let (code, stdout, stderr) = run(&["--env", variable], &["--", "echo", "ran"]);
        assert_eq!((code, stdout.as_str()), (78, ""), "{variable}: {stderr}");
        let (name, _) = variable.split_once('=').unwrap();
        assert!(stderr.contains(problem), "{variable}: {stderr}");
        assert!(
            stderr.contains(&format!("environment variable {name}")),
            "{stderr}"
        );
    }
}

/// Such as compat's `ubuntu`, who has sudo. The image's own user has nothing but the lab.
#[test]
fn a_uid_that_is_somebody_elses_is_told() {
    let image = Derived::new(&format!("FROM {IMAGE}\nRUN useradd --uid 2000 bob"));
    for &(name, uid, is_told) in few(
        2,
        &[
            ("alice", 2000, true),
            ("bob", 2000, false),
            ("alice", 1000, false),
            ("alice", 1234, false),
        ],
    ) {
        let variables = [
            format!("--env=NB_USER={name}"),
            format!("--env=NB_UID={uid}"),
        ];
        let options = [&*variables[0], &*variables[1], "--network=none"];
        for command in [&["--", "id", "-un"][..], &["--dry-run"]] {
            let (code, stdout, stderr) = run_image(&image.0, &options, command);
            assert_eq!(code, 0, "{stderr}");
            assert!(stdout.contains(name), "{stdout}");
            let told = "the uid of NB_UID, 2000, is bob in this container";
            assert_eq!(stderr.contains(told), is_told, "{name} {uid}: {stderr}");
            assert!(!stderr.contains("is jupyter in this container"), "{stderr}");
        }
    }
}

/// A relative part of JUPYTER_CONFIG_PATH is one of the directory in which Jupyter works, which is
/// a person's home, and not the notebooks in it.
#[test]
fn password_set_looks_where_the_server_does() {
    let (dir, mount) = home((UID, GID));
    fs::create_dir(dir.path().join("conf")).unwrap();
    let text = r#"{"PasswordIdentityProvider": {"hashed_password": "sha1::0"}}"#;
    fs::write(dir.path().join("conf/jupyter_server_config.json"), text).unwrap();
    let config = "--env=JUPYTER_CONFIG_PATH=conf";
    let container = Container::start(&[&ALICE[..], &[&mount, config]].concat(), &[]);
    container.wait_for("The server for Jupyter has been started successfully.");
    let script = "printf chosen | ai-lab-entrypoint password set";
    let said = container.exec_ok("alice", &["sh", "-c", script]);
    assert!(
        said.contains("another file of Jupyter's configuration"),
        "{said}"
    );
}

/// `/etc` cannot be changed, and an image has no service of names: the person works, and is told
/// what does not.
#[test]
fn without_a_name_the_person_works_all_the_same() {
    let (_dir, mount) = home((UID, GID));
    let options = [
        &ALICE[..],
        &[&mount, "--read-only", "--tmpfs=/tmp", "--tmpfs=/run"],
    ];
    let options = options.concat();
    let script = "id -un; echo $USER $HOME; touch ~/mine";
    let (code, stdout, stderr) = run(&options, &["--", "sh", "-c", script]);
    let expected = "alice\nalice /home/alice\n";
    assert_eq!((code, stdout.as_str()), (0, expected), "{stderr}");
    assert!(!stderr.contains("has no name"), "{stderr}");
    let (_file, files) = mounted("passwd: files\n", "/etc/nsswitch.conf");
    let options = [&options[..], &[&files]].concat();
    let script = "id -u; echo $USER $HOME; touch ~/mine";
    let (code, stdout, stderr) = run(&options, &["--", "sh", "-c", script]);
    let expected = "1234\nalice /home/alice\n";
    assert_eq!((code, stdout.as_str()), (0, expected), "{stderr}");
    assert!(
        stderr.contains("uid 1234 has no name in /etc/passwd (Read-only file system"),
        "{stderr}"
    );
}

#[test]
fn a_dry_run_says_what_a_start_would_do() {
    let options = [&ALICE[..], &["--network=none"]].concat();
    let (code, stdout, stderr) = run(&options, &["--dry-run"]);
    assert_eq!(code, 0, "{stderr}");
    for part in [
        "enter alice in /etc/passwd (1234:4321)",
        "enter alice in /etc/group (1234:4321)",
        "make /home/alice",
        "run as alice (uid 1234)",
        "/home/alice/notebooks",
        "--ServerApp.root_dir=/home/alice",
    ] {
        assert!(
            stdout.contains(part),
            "{part:?} is missing in {stdout}{stderr}"
        );
    }
}

/// An adopted owner has a name, and a restart adopts again.
#[test]
fn an_adopted_owner_has_a_name() {
    let (dir, mount) = home((UID, GID));
    let mount = mount.replace("/home/alice", "/home/jupyter/notebooks");
    let container = Container::start(&[&mount, "--no-healthcheck"], &[]);
    let ready = |times| container.wait_for_nth("] ready in ", times);
    ready(1);
    let who = "whoami; cd /tmp; rm -rf x; git init -q x; cd x
        git -c user.email=a@b.c commit -q --allow-empty -m x; git log -1 --format=%an";
    let said = container.exec_ok(&UID.to_string(), &["sh", "-ec", who]);
    assert_eq!(said, "jupyter-1234\njupyter-1234\n");
    assert_eq!(container.stop(), 0);
    container.begin();
    let log = ready(2);
    assert_eq!(log.matches("Adopted the owner of ").count(), 2, "{log}");
    assert!(!log.contains("Did chown"), "{log}");
    let root = fs::metadata(dir.path().join("of-root")).unwrap();
    assert_eq!(root.uid(), 0, "what is not theirs stays");
}

/// With and without root, dockerspawner's class for the users of the system.
#[test]
fn a_hub_spawns_system_users() {
    let homes = tempfile::tempdir().unwrap();
    let home = |user: &str| homes.path().join(user);
    let mut lines = String::new();
    for user in ["alice", "bob"] {
        fs::create_dir(home(user)).unwrap();
        chown(home(user), Some(UID), Some(GID)).unwrap();
        let line = format!("{user}:x:{UID}:{GID}::{}:/bin/sh\n", home(user).display());
        lines.push_str(&line);
    }
    let more = format!(
        "c.JupyterHub.spawner_class = 'dockerspawner.SystemUserSpawner'\n\
         volumes.clear()\n\
         async def root_for_alice(spawner):\n\
         \x20   spawner.run_as_root = spawner.user.name == 'alice'\n\
         c.Spawner.pre_spawn_hook = root_for_alice\n\
         c.SystemUserSpawner.host_homedir_format_string = '{}/{{username}}'",
        homes.path().display()
    );
    let hub = Hub::start_with_users(&lines, &more);
    for (user, as_root) in [("alice", true), ("bob", false)] {
        assert_eq!(hub.ask(&["start", user]), "ready");
        let code = "import os; open('mine.txt', 'w').close(); print(os.getcwd(), os.getuid())";
        let said = hub.ask(&["run", user, code]);
        assert_eq!(said, format!("/home/{user} {UID}"), "as root: {as_root}");
        let mine = fs::metadata(home(user).join("mine.txt")).unwrap();
        assert_eq!(mine.uid(), UID);
        let container = hub.container(user);
        let started_as = container.inspect("{{.Config.User}}");
        assert_eq!(started_as.starts_with("0"), as_root, "{started_as}");
        let said = docker_ok(["top", &container.name, "-eo", "uid,pid,args"]);
        for process in said.lines().skip(1) {
            assert!(process.trim().starts_with("1234 "), "{said}");
        }
        let who = "import subprocess as s; print(s.getoutput(\"whoami; ssh -G x 2>/dev/null | grep '^user '\"))";
        let named = format!("{user}\nuser {user}");
        assert_eq!(hub.ask(&["run", user, who]), named);
        if as_root {
            assert_eq!(container.exec_ok("1234", &["whoami"]), "alice\n");
        }
    }
}
