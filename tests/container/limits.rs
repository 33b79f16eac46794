//! Containers that may do less than usual: the start works and tells what it costs, or
//! it ends with a remedy, and the remedy works. `docs/limits.md` is this as a table.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use crate::image::a_read_only_root_file_system_needs_no_more_than_a_tmpfs;
use crate::support::docker::{COMPAT, Container, docker_ok, run, run_image};
use crate::support::granted::{Host, Looker, SOCKET, pristine};

const READY: &str = "] ready in ";
const ID: [&str; 2] = ["id", "-u"];

/// The warnings of a log.
fn warnings(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.starts_with("[W ")).collect()
}

/// There are as many warnings as parts, and each has its part, in order.
fn warned_of(log: &str, parts: &[&str]) {
    let warnings = warnings(log);
    assert_eq!(warnings.len(), parts.len(), "{log}");
    for (warning, part) in warnings.iter().zip(parts) {
        assert!(warning.contains(part), "{part:?} is not in {warning}");
    }
}

/// Whether status, which alone may do so, names a small shared memory.
fn names_shared_memory(container: &Container) -> bool {
    let log = container.wait_for(READY);
    assert!(!log.contains("/dev/shm"), "{log}");
    let said = container.exec_ok("root", &["ai-lab-entrypoint", "status"]);
    said.contains("shared memory  64 MB in /dev/shm")
}

/// Docker's default is small for workers that share tensors.
pub fn a_small_shared_memory_is_named_by_status_alone(container: &Container) {
    assert!(names_shared_memory(container));
}

#[test]
fn a_large_shared_memory_is_not_named() {
    let container = Container::start(&["--shm-size=1g"], &[]);
    assert!(!names_shared_memory(&container));
}

/// A node as the kernel makes one for a card, with a group that only the host knows.
#[test]
fn a_graphics_card_that_the_user_cannot_use_is_named_with_what_helps() {
    let directory = tempfile::tempdir().unwrap();
    let node = directory.path().join("node");
    // /dev/null by its numbers.
    let made = std::process::Command::new("mknod")
        .args(["-m", "660", node.to_str().unwrap(), "c", "1", "3"])
        .status();
    assert!(made.unwrap().success());
    chown(&node, Some(0), Some(4321)).unwrap();
    let device = format!("--device={}:/dev/dri/renderD128", node.display());
    let container = Container::start(&[&device], &[]);
    let log = container.wait_for(READY);
    let named = "the user cannot use the graphics card /dev/dri/renderD128";
    assert!(log.contains(named), "{log}");
    let said = container.exec_ok("root", &["ai-lab-entrypoint", "status"]);
    assert!(said.contains(named), "{said}");
    let helps = ["--grant-access", "/dev/dri/renderD128"];
    let log = Container::start(&[&device], &helps).wait_for(READY);
    assert!(!log.contains("graphics card"), "{log}");
}

#[test]
fn without_the_capabilities_to_drop_root_both_ways_that_are_named_work() {
    for dropped in ["ALL", "SETUID", "SETGID"] {
        let drop = ["--cap-drop", dropped];
        let (code, stdout, stderr) = run(&drop, &ID);
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        let remedies = ["--cap-add SETUID --cap-add SETGID", "--user 1000:1000"];
        let named = format!(
            "run with {}, or start as the user with `docker run {}`",
            remedies[0], remedies[1]
        );
        assert!(stderr.contains(&named), "{stderr}");
        for remedy in remedies {
            let options: Vec<&str> = drop.into_iter().chain(remedy.split(' ')).collect();
            let (code, stdout, stderr) = run(&options, &ID);
            assert_eq!((code, stdout.as_str()), (0, "1000\n"), "{remedy}: {stderr}");
        }
    }
}

const ONLY_TO_DROP: [&str; 6] = [
    "--cap-drop",
    "ALL",
    "--cap-add",
    "SETUID",
    "--cap-add",
    "SETGID",
];

#[test]
fn with_those_two_capabilities_alone_each_loss_is_told() {
    let host = Host::new(4242, 0o660);
    let notebooks = host.dir.path().join("notebooks");
    fs::create_dir(&notebooks).unwrap();
    fs::write(notebooks.join("theirs.txt"), "").unwrap();
    let volume = format!("--volume={}:/home/jupyter/notebooks", notebooks.display());
    let socket = host.option();
    let options = [&ONLY_TO_DROP[..], &[&socket, &volume]].concat();
    let mut looker = Looker::new(&options, &[], &[SOCKET]);
    let (own, log) = looker.start();
    assert_eq!((own.says(SOCKET), own.groups()), ("usable", "4242"));
    warned_of(
        &log,
        &[
            "could not hand over to 1000:1000 2 entries",
            "/etc/group is not changed (Operation not permitted",
            "/run/ai-lab cannot be given to jupyter",
            "The capability bounding set was kept",
            "no record of the notebook defaults is kept",
            "could not write 4 entries",
        ],
    );
    assert!(log.contains("--cap-add CHOWN"), "{log}");
    // All of it is true, and nothing is half done.
    assert_eq!(fs::metadata(notebooks.join("theirs.txt")).unwrap().uid(), 0);
    assert_eq!(looker.text("/etc/group"), pristine("/etc/group"));
    assert_eq!(looker.text("/etc/gshadow"), pristine("/etc/gshadow"));
    assert_eq!(looker.exec().says(SOCKET), "Permission denied");
    let status = looker
        .container
        .exec_ok("jupyter", &["cat", "/proc/1/status"]);
    assert!(status.contains("CapBnd:\t00000000000000c0"), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    // The state is elsewhere, and is found there.
    let healthy = ["ai-lab-entrypoint", "healthcheck"];
    assert_eq!(
        looker.container.exec_ok("root", &healthy),
        "healthy: the command runs\n"
    );
}

#[test]
fn with_two_more_only_what_root_cannot_enter_is_lost() {
    let host = Host::new(4242, 0o660);
    let socket = host.option();
    let more = ["--cap-add", "CHOWN", "--cap-add", "SETPCAP"];
    let options = [&ONLY_TO_DROP[..], &more, &[&socket]].concat();
    let mut looker = Looker::new(&options, &["--warning-as-error"], &[SOCKET]);
    let (own, _) = looker.start();
    let exec = looker.exec();
    assert_eq!((own.says(SOCKET), exec.says(SOCKET)), ("usable", "usable"));
    // The state directory is the user's by now, and root needs it again.
    looker.container.stop();
    looker.start();

    let closed = host.dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::write(closed.join("theirs.txt"), "").unwrap();
    chown(&closed, Some(1234), None).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let volume = format!(
        "--volume={}:/home/jupyter/notebooks",
        host.dir.path().display()
    );
    let options = [&ONLY_TO_DROP[..], &more, &[&volume]].concat();
    let (code, stdout, stderr) = run(&options, &ID);
    assert_eq!((code, stdout.as_str()), (0, "1000\n"), "{stderr}");
    assert!(
        warnings(&stderr)[0].contains("could not hand over to 1000:1000"),
        "{stderr}"
    );
    assert_eq!(fs::metadata(closed.join("theirs.txt")).unwrap().uid(), 0);
}

#[test]
fn without_root_the_socket_needs_a_group_of_the_container() {
    let host = Host::new(4242, 0o660);
    let socket = host.option();
    for (options, expected) in [
        (&["--user", "jupyter", &socket][..], "Permission denied"),
        (
            &["--user", "jupyter", "--group-add", "4242", &socket],
            "usable",
        ),
    ] {
        let mut looker = Looker::new(options, &[], &[SOCKET]);
        assert_eq!(looker.start().0.says(SOCKET), expected, "{options:?}");
    }
}

#[test]
fn no_new_privileges_of_the_engine_cost_nothing() {
    let options = ["--security-opt", "no-new-privileges"];
    // Anything lost would end the start.
    let container = Container::start(&options, &["--warning-as-error"]);
    container.wait_for(READY);
    assert_eq!(container.visit(&["login", "ailab"]), "in");
    assert_eq!(container.stop(), 0);
}

#[test]
fn a_read_only_root_without_memory_ends_with_the_option_that_mends_it() {
    let container = Container::start(&["--read-only", "--ipc=none"], &[]);
    assert_eq!(container.end(), 1);
    let log = container.logs();
    let named = "(remedy: run with --tmpfs /tmp, ";
    assert!(log.contains(named), "{log}");
    assert!(
        log.contains("Jupyter server terminated with error code 1"),
        "{log}"
    );

    // The engine's /dev/shm is enough.
    let container = Container::start(&["--read-only"], &[]);
    let log = container.wait_for(READY);
    assert!(log.contains("go to /dev/shm/ai-lab-home-1000"), "{log}");
    assert_eq!(container.visit(&["run", "ailab", "print('up')"]), "up");

    let container = Container::start(&["--read-only", "--tmpfs", "/tmp"], &[]);
    let log = container.wait_for(READY);
    assert_eq!(container.visit(&["login", "ailab"]), "in");
    assert_eq!(container.visit(&["save", "ailab", "x.txt"]), "x.txt");
    let ours = log
        .lines()
        .filter(|line| line.contains(" ai-lab] ") && line.starts_with("[W "));
    let ours: Vec<&str> = ours.collect();
    assert_eq!(ours.len(), 2, "HOME and the logfile: {ours:?}");
    assert!(ours[0].contains("go to /tmp/ai-lab-home-1000 and end with the container"));
    assert!(
        ours[1].contains("jupyter-server.log cannot be written"),
        "{ours:?}"
    );
    let healthy = container.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
    assert!(healthy.starts_with("healthy: http"), "{healthy}");
    a_read_only_root_file_system_needs_no_more_than_a_tmpfs(&container);
}

#[test]
fn every_other_user_is_told_what_root_would_have_done() {
    let started = |uid| format!("started as uid {uid} rather than root");
    let home = "new files go to /tmp/ai-lab-home-1234 and end with the container";
    let script = "id -u; id -g; touch /home/jupyter/notebooks/mine && echo written";
    let command = ["sh", "-c", script];
    let (code, stdout, stderr) = run(&["--user", "jupyter"], &command);
    assert_eq!(
        (code, stdout.as_str()),
        (0, "1000\n1000\nwritten\n"),
        "{stderr}"
    );
    warned_of(&stderr, &[&started(1000)]);

    for user in ["1234", "1234:0"] {
        let (code, stdout, stderr) = run(&["--user", user], &command);
        assert_eq!((code, stdout.as_str()), (1, "1234\n0\n"), "{stderr}");
        warned_of(
            &stderr,
            &[
                &started(1234),
                home,
                "no record of the notebook defaults is kept",
                "could not write 4 entries",
            ],
        );
        // With a volume that this user can write only HOME is left to tell.
        let notebooks = tempfile::tempdir().unwrap();
        chown(notebooks.path(), Some(1234), Some(0)).unwrap();
        let volume = format!(
            "--volume={}:/home/jupyter/notebooks",
            notebooks.path().display()
        );
        let (code, stdout, stderr) = run(&["--user", user, &volume], &command);
        assert_eq!(
            (code, stdout.as_str()),
            (0, "1234\n0\nwritten\n"),
            "{stderr}"
        );
        warned_of(&stderr, &[&started(1234), home]);
        assert!(notebooks.path().join("start.ipynb").exists());
    }
}

/// Lets unshare(1) be the first process, in a user namespace of the container's own.
const UNSHARE: [&str; 6] = [
    "--security-opt",
    "seccomp=unconfined",
    "--cap-add",
    "SYS_ADMIN",
    "--entrypoint",
    "unshare",
];

#[test]
fn a_user_namespace_needs_the_ids_and_says_so() {
    let range = [
        "--user",
        "--map-users",
        "0:0:2000",
        "--map-groups",
        "0:0:2000",
    ];
    let command = [&range[..], &["ai-lab-entrypoint", "--", "id", "-u"]].concat();
    let (code, stdout, stderr) = run(&UNSHARE, &command);
    assert_eq!((code, stdout.as_str()), (0, "1000\n"), "{stderr}");

    let few = [
        "--user",
        "--map-users",
        "0:0:500",
        "--map-groups",
        "0:0:2000",
    ];
    for (range, lacks) in [
        (&["--user", "--map-root-user"][..], "it has no uid 1000"),
        (&few, "it has no uid 1000"),
    ] {
        let command = [range, &["ai-lab-entrypoint", "--", "id", "-u"]].concat();
        let (code, stdout, stderr) = run(&UNSHARE, &command);
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        let error = stderr.lines().find(|line| line.starts_with("[E ")).unwrap();
        for part in [lacks, "/etc/subuid", "--map-users", "without root"] {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
    }
    // Without root, in that same namespace.
    let command = [
        "--user",
        "--map-user=1234",
        "ai-lab-entrypoint",
        "--",
        "id",
        "-u",
    ];
    let (code, stdout, stderr) = run(&UNSHARE, &command);
    assert_eq!((code, stdout.as_str()), (0, "1234\n"), "{stderr}");
}

#[test]
fn under_dockers_own_init_everything_works_and_init_is_told() {
    let (code, stdout, stderr) = run(&["--init"], &["sh", "-c", "id -u; exit 7"]);
    assert_eq!((code, stdout.as_str()), (7, "1000\n"), "{stderr}");
    warned_of(
        &stderr,
        &["docker-init remains a parent process of this one, as root"],
    );

    // Docker's own health checks begin as root, and would be seen at times.
    let container = Container::start(&["--init", "--no-healthcheck"], &[]);
    container.wait_for(READY);
    let healthy = container.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
    assert!(healthy.starts_with("healthy: http"), "{healthy}");
    let said = docker_ok(["top", &container.name, "-eo", "uid,pid,comm"]);
    let root = said
        .lines()
        .skip(1)
        .filter(|line| line.trim().starts_with("0 "));
    assert_eq!(root.count(), 1, "only the init that was asked for: {said}");
    assert_eq!(container.stop(), 0);
}

const AS_UBUNTU: [&str; 4] = ["--user", "ubuntu", "--entrypoint", ""];

#[test]
fn sudo_gives_its_place_to_the_entrypoint() {
    let line = [
        "sudo",
        "-E",
        "ai-lab-entrypoint",
        "--",
        "sh",
        "-c",
        "id -u; cat /proc/1/comm",
    ];
    let (code, stdout, stderr) = run_image(COMPAT, &AS_UBUNTU, &line);
    assert_eq!(
        (code, stdout.as_str()),
        (0, "1000\nai-lab-entrypoi\n"),
        "{stderr}"
    );
    warned_of(&stderr, &[]);
    // KubeSpawner's default: sudo itself refuses. Without sudo the same line works.
    let options = [&AS_UBUNTU[..], &["--security-opt", "no-new-privileges"]].concat();
    let (code, stdout, stderr) = run_image(COMPAT, &options, &line);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert!(stderr.contains("no new privileges"), "{stderr}");
    let (code, stdout, stderr) = run_image(COMPAT, &options, &line[2..]);
    assert_eq!(
        (code, stdout.as_str()),
        (0, "1001\nai-lab-entrypoi\n"),
        "{stderr}"
    );
    assert!(
        stderr.contains("started as uid 1001 rather than root"),
        "{stderr}"
    );
}
