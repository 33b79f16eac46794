//! The Docker socket and other granted paths in a real container: the user can use
//! them, the account files say so and nothing else, and the host's own are untouched.

use crate::support::docker::{Container, Derived, IMAGE, docker, docker_ok, run, run_image};
use crate::support::granted::{Host, Looker, SOCKET, pristine, with_line};

const GROUP: &str = "/etc/group";
const GSHADOW: &str = "/etc/gshadow";

/// A member joins a group that has none in the image.
fn joined(line: &str) -> String {
    assert!(line.ends_with(':'), "{line} has members already");
    format!("{line}jupyter")
}

fn log_has(log: &str, part: &str) {
    assert!(log.contains(part), "{part:?} is missing in {log}");
}

/// Both files, byte for byte, and who may do what with them.
fn account_files_are(looker: &Looker, group: &str, gshadow: &str) {
    assert_eq!(looker.text(GROUP), group);
    assert_eq!(looker.text(GSHADOW), gshadow);
    let words = ["stat", "-c", "%a %U:%G %n", GROUP, GSHADOW];
    let modes = looker.container.exec_ok("root", &words);
    let expected = "644 root:root /etc/group\n640 root:shadow /etc/gshadow\n";
    assert_eq!(modes, expected);
    let left = looker.container.exec_ok("root", &["ls", "-A", "/etc"]);
    for name in ["group.lock", "gshadow.lock", "group+", "gshadow+"] {
        assert!(!left.lines().any(|line| line == name), "{name} is left");
    }
}

#[test]
fn a_gid_that_is_unknown_here_becomes_the_docker_groups() {
    let host = Host::new(4242, 0o660);
    let before = host.stat();
    let mut looker = Looker::new(&[&host.option()], &[], &[SOCKET]);
    let (own, log) = looker.start();
    assert_eq!((own.says(SOCKET), own.groups()), ("usable", "4242"));
    let exec = looker.exec();
    assert_eq!((exec.says(SOCKET), exec.groups()), ("usable", "1000 4242"));
    log_has(&log, "Enabled access to /var/run/docker.sock");
    let group = with_line(&pristine(GROUP), "docker", |_| {
        "docker:x:4242:jupyter".into()
    });
    let gshadow = with_line(&pristine(GSHADOW), "docker", joined);
    account_files_are(&looker, &group, &gshadow);
    assert_eq!(host.stat(), before);
}

#[test]
fn a_gid_of_another_group_gives_membership_there() {
    let host = Host::new(100, 0o660);
    let before = host.stat();
    let mut looker = Looker::new(&[&host.option()], &[], &[SOCKET]);
    let (own, _) = looker.start();
    assert_eq!((own.says(SOCKET), own.groups()), ("usable", "100"));
    assert_eq!(looker.exec().says(SOCKET), "usable");
    let group = with_line(&pristine(GROUP), "users", joined);
    let gshadow = with_line(&pristine(GSHADOW), "users", joined);
    account_files_are(&looker, &group, &gshadow);
    assert_eq!(host.stat(), before);
}

#[test]
fn a_gid_of_the_systems_own_groups_is_for_this_starts_processes_alone() {
    let host = Host::new(42, 0o660);
    let before = host.stat();
    let mut looker = Looker::new(&[&host.option()], &[], &[SOCKET]);
    let (own, log) = looker.start();
    assert_eq!((own.says(SOCKET), own.groups()), ("usable", "42"));
    assert_eq!(looker.exec().says(SOCKET), "Permission denied");
    log_has(&log, "the system's group shadow here");
    account_files_are(&looker, &pristine(GROUP), &pristine(GSHADOW));
    assert_eq!(host.stat(), before);
}

#[test]
fn a_gid_that_is_the_users_already_changes_nothing() {
    let host = Host::new(1000, 0o660);
    let before = host.stat();
    let mut looker = Looker::new(&[&host.option()], &["--warning-as-error"], &[SOCKET]);
    let (own, _) = looker.start();
    assert_eq!((own.says(SOCKET), own.groups()), ("usable", "1000"));
    assert_eq!(looker.exec().says(SOCKET), "usable");
    account_files_are(&looker, &pristine(GROUP), &pristine(GSHADOW));
    let changed = looker.container.changed();
    assert!(!changed.contains("/etc"), "{changed}");
    assert_eq!(host.stat(), before);
}

#[test]
fn gid_0_gives_access_and_says_what_it_means() {
    let host = Host::new(0, 0o660);
    let before = host.stat();
    let mut looker = Looker::new(&[&host.option()], &[], &[SOCKET]);
    let (own, log) = looker.start();
    assert_eq!((own.says(SOCKET), own.groups()), ("usable", "0"));
    let told = "belongs to gid 0: jupyter gets group root, with whatever that group can use";
    log_has(&log, told);
    assert!(!log.contains("group root, which"), "{log}");
    let exec = looker.exec();
    assert_eq!((exec.says(SOCKET), exec.groups()), ("usable", "0 1000"));
    let group = with_first_line(&pristine(GROUP), "root:x:0:jupyter");
    let gshadow = with_first_line(&pristine(GSHADOW), "root:*::jupyter");
    account_files_are(&looker, &group, &gshadow);
    assert_eq!(host.stat(), before);

    // Later starts say so again; one without the socket takes it back.
    looker.container.stop();
    let (own, log) = looker.start();
    assert_eq!((own.says(SOCKET), own.groups()), ("usable", "0"));
    log_has(&log, told);
    looker.container.stop();
    host.change(4242, 0o660);
    let (own, log) = looker.start();
    assert_eq!((own.says(SOCKET), own.groups()), ("usable", "4242"));
    log_has(&log, "Took jupyter out of group root");
    assert_eq!(looker.exec().groups(), "1000 4242");
    let group = with_line(&pristine(GROUP), "docker", |_| {
        "docker:x:4242:jupyter".into()
    });
    let gshadow = with_line(&pristine(GSHADOW), "docker", joined);
    account_files_are(&looker, &group, &gshadow);
}

fn with_first_line(text: &str, line: &str) -> String {
    let (_, rest) = text.split_once('\n').unwrap();
    format!("{line}\n{rest}")
}

/// Docker Desktop's socket, with a real engine behind it.
#[test]
fn the_engine_behind_a_socket_of_gid_0_answers_the_server_and_docker_exec() {
    let host = Host::of_the_engine(0);
    let options = [&host.option(), "--no-healthcheck"];
    let container = Container::start(&options, &[]);
    container.wait_for("The server for Jupyter has been started successfully.");
    let list = ["docker", "ps", "--format", "{{.Names}}"];
    let said = container.exec_ok("jupyter", &list);
    assert!(said.contains(&container.name), "{said}");
    let code = format!(
        "import subprocess; print(subprocess.getoutput('{}'))",
        list.join(" ")
    );
    let said = container.visit(&["run", "ailab", &code]);
    assert!(said.contains(&container.name), "{said}");
    let promised = run(&options, &["--dry-run"]).1;
    assert!(
        promised.contains("/etc/group: + root:x:0:jupyter\n"),
        "{promised}"
    );
}

/// Such as an image for OpenShift, where a random uid of group root is to change its own files.
#[test]
fn what_group_root_can_write_besides_is_named() {
    let image = Derived::new(&format!(
        "FROM {IMAGE}\nRUN chmod g+w /etc/passwd && chmod -R g+w /usr/local/bin"
    ));
    let host = Host::new(0, 0o660);
    let options = [&host.option(), "--network=none"];
    let (code, _, stderr) = run_image(&image.0, &options, &["true"]);
    assert_eq!(code, 0, "{stderr}");
    let told = "gives to the user, can write /etc/passwd, /usr/local/bin, /usr/local/bin/";
    log_has(&stderr, told);
}

#[test]
fn without_group_permissions_the_command_that_is_named_mends_it() {
    for (mode, shown) in [(0o600, "-rw-------"), (0o755, "-rwxr-xr-x")] {
        let host = Host::new(4242, mode);
        let before = host.stat();
        let mut looker = Looker::new(&[&host.option()], &[], &[SOCKET]);
        let (own, log) = looker.start();
        assert_eq!((own.says(SOCKET), own.groups()), ("Permission denied", ""));
        log_has(
            &log,
            &format!("No rw permissions for group in {shown} {SOCKET}."),
        );
        assert!(!log.contains("Enabled access"), "{log}");
        account_files_are(&looker, &pristine(GROUP), &pristine(GSHADOW));
        assert_eq!(host.stat(), before);

        let remedy = format!("docker run --rm -v {SOCKET}:{SOCKET} debian chmod g+rw {SOCKET}");
        log_has(&log, &format!("(remedy: {remedy})"));
        // This host has its socket elsewhere, and its Debian under another name.
        let here = format!("-v {}:{SOCKET}", host.path().display());
        let remedy = remedy
            .replace(&format!("-v {SOCKET}:{SOCKET}"), &here)
            .replace(" debian ", " debian:trixie-slim ");
        docker_ok(remedy.split(' ').skip(1));
        looker.container.stop();
        let (own, _) = looker.start();
        assert_eq!((own.says(SOCKET), own.groups()), ("usable", "4242"));
        assert_eq!(looker.exec().says(SOCKET), "usable");
    }
}

#[test]
fn what_is_not_a_socket_is_told_and_gives_nothing() {
    // What Docker makes of a path that the host does not have, and a plain file.
    let host = Host::new(4242, 0o660);
    let directory = host.dir.path().join("absent");
    let file = host.dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    std::os::unix::fs::chown(&file, Some(0), Some(4242)).unwrap();
    for path in [directory, file] {
        let option = format!("--volume={}:{SOCKET}", path.display());
        let (code, stdout, stderr) = run(&[&option], &["id", "-G"]);
        assert_eq!((code, stdout.as_str()), (0, "1000\n"), "{stderr}");
        log_has(
            &stderr,
            "No access is given to /var/run/docker.sock: it is not a socket",
        );
    }
}

#[test]
fn an_absent_socket_and_a_dangling_link_are_passed_over_in_silence() {
    let (code, stdout, stderr) = run(&[], &["--warning-as-error", "--", "id", "-G"]);
    assert_eq!((code, stdout.as_str()), (0, "1000\n"), "{stderr}");
    assert!(!stderr.contains("docker.sock"), "{stderr}");

    let host = Host::new(4242, 0o660);
    let option = format!("--volume={}:/host", host.dir.path().display());
    let link = host.dir.path().join("link");
    std::os::unix::fs::symlink("/nowhere", &link).unwrap();
    let flags = ["--docker-socket", "/host/link", "--warning-as-error"];
    let command = [&flags[..], &["--", "id", "-G"]].concat();
    let (code, stdout, stderr) = run(&[&option], &command);
    assert_eq!((code, stdout.as_str()), (0, "1000\n"), "{stderr}");
    assert!(!stderr.contains("/host/link"), "{stderr}");

    // A link that leads somewhere is as good as the socket.
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("sock", &link).unwrap();
    let before = host.stat();
    let mut looker = Looker::new(&[&option], &flags[..2], &["/host/link"]);
    let (own, _) = looker.start();
    let seen = (own.says("/host/link"), own.groups());
    assert_eq!(seen, ("usable", "4242"));
    assert_eq!(looker.exec().says("/host/link"), "usable");
    assert_eq!(host.stat(), before);
}

#[test]
fn another_start_of_the_container_follows_the_socket_and_withdraws_the_rest() {
    let (group, gshadow) = (pristine(GROUP), pristine(GSHADOW));
    let host = Host::new(100, 0o660);
    let mut looker = Looker::new(&[&host.option()], &[], &[SOCKET]);
    let (own, _) = looker.start();
    assert_eq!((own.says(SOCKET), own.groups()), ("usable", "100"));
    assert_eq!(
        looker.text(GROUP),
        with_line(&group, "users", joined),
        "the first start"
    );

    looker.container.stop();
    host.change(4242, 0o660);
    let before = host.stat();
    let (own, log) = looker.start();
    assert_eq!((own.says(SOCKET), own.groups()), ("usable", "4242"));
    let exec = looker.exec();
    assert_eq!((exec.says(SOCKET), exec.groups()), ("usable", "1000 4242"));
    log_has(&log, "Took jupyter out of group users");
    let moved = with_line(&group, "docker", |_| "docker:x:4242:jupyter".into());
    let joined_docker = with_line(&gshadow, "docker", joined);
    account_files_are(&looker, &moved, &joined_docker);
    assert_eq!(host.stat(), before);

    // The engine takes the permission away: no group for it, and none left over.
    looker.container.stop();
    host.change(4242, 0o600);
    let (own, log) = looker.start();
    assert_eq!((own.says(SOCKET), own.groups()), ("Permission denied", ""));
    assert_eq!(looker.exec().groups(), "1000");
    log_has(&log, "Took jupyter out of group docker");
    let empty = with_line(&group, "docker", |_| "docker:x:4242:".into());
    account_files_are(&looker, &empty, &gshadow);
}

#[test]
fn several_paths_each_get_the_group_that_opens_them() {
    let host = Host::new(4242, 0o660);
    let other = Host::new(4343, 0o660);
    let device = host.device("node", 4444);
    let before = (
        host.stat(),
        other.stat(),
        std::fs::metadata(&device).unwrap(),
    );
    let (engine, render) = ("/run/other.sock", "/dev/dri/renderD128");
    let options = [
        host.option(),
        format!("--volume={}:{engine}", other.path().display()),
        format!("--device={}:{render}", device.display()),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let flags = ["--grant-access", engine, "--grant-access", render];
    let paths = [SOCKET, engine, render];
    let mut looker = Looker::new(&options, &flags, &paths);
    let (own, log) = looker.start();
    let exec = looker.exec();
    for path in paths {
        assert_eq!((own.says(path), exec.says(path)), ("usable", "usable"));
        log_has(&log, &format!("Enabled access to {path}"));
    }
    assert_eq!(own.groups(), "4242 4343 4444");
    assert_eq!(exec.groups(), "1000 4242 4343 4444");
    let group = with_line(&pristine(GROUP), "docker", |_| {
        "docker:x:4242:jupyter".into()
    });
    let added = "ai-lab-4343:x:4343:jupyter\nai-lab-4444:x:4444:jupyter\n";
    let gshadow = with_line(&pristine(GSHADOW), "docker", joined);
    let shadowed = "ai-lab-4343:!::jupyter\nai-lab-4444:!::jupyter\n";
    account_files_are(&looker, &(group + added), &(gshadow + shadowed));
    use std::os::unix::fs::MetadataExt;
    let after = std::fs::metadata(&device).unwrap();
    let times = |data: &std::fs::Metadata| (data.ctime(), data.ctime_nsec(), data.gid());
    assert_eq!((host.stat(), other.stat()), (before.0, before.1));
    assert_eq!(times(&after), times(&before.2));
}

#[test]
fn an_image_made_of_a_used_container_finds_its_way_on_another_host() {
    let host = Host::new(100, 0o660);
    let mut first = Looker::new(&[&host.option()], &[], &[SOCKET]);
    first.start();
    first.container.stop();
    let image = crate::support::docker::name();
    docker_ok(["commit", &first.container.name, &image]);
    let container = Container::start_image(
        &image,
        &["--entrypoint", "ai-lab-entrypoint"],
        &["--", "sh", "-c", "id -G; echo up; exec sleep 1000"],
    );
    let log = container.wait_for("up\n");
    let groups = container.exec_ok("jupyter", &["id", "-G"]);
    let text = String::from_utf8(container.file(GROUP)).unwrap();
    drop(container);
    docker(["rmi", &image]);
    assert_eq!(groups, "1000\n", "no socket here: {log}");
    assert_eq!(text, pristine(GROUP));
}
