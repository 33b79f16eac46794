//! The image as people use it: the real JupyterLab, a real Docker engine, real volumes
//! and the real socket.

use crate::support::docker::{COMPAT, Container, IMAGE, Volume, docker_ok, run};
use crate::support::few;
use crate::{health, jupyters_own, lab, limits, readiness};

const WELCOME: &str = "The server for Jupyter has been started successfully.";
const READY: &str = "] ready in ";

/// With a volume, and as the image is otherwise.
#[test]
fn the_usual_container_is_what_is_promised_of_it() {
    let volume = Volume::new();
    let container = Container::as_the_image_is(IMAGE, &[&volume.option()], &[]);
    let log = container.wait_for(READY);
    a_newcomer_gets_in_with_the_default_password_and_finds_the_notebooks(&container, &log);
    the_welcome_follows_jupyters_own_ready_line_at_once(&log);
    lab::people_arrive_at_the_start_page(&log);
    orphans_are_reaped(&container);
    lab::what_is_deleted_is_gone(&container);
    lab::every_shell_beside_a_server_finds_the_venv_first_and_roots_does_not(&container);
    limits::a_small_shared_memory_is_named_by_status_alone(&container);
    readiness::another_jupyterlab_on_the_port_is_not_taken_for_ours(&container);
    jupyters_own::a_start_beside_the_containers_own_is_refused(&container);
    health::the_images_own_health_check_needs_no_option(&container);
    pip_works_for_the_user(&container);
    a_volume_keeps_what_was_changed_and_the_login_survives_a_restart(&container);
    lab::kernels_are_reached_by_sockets_that_only_the_user_gets_to(&container);
    no_process_of_root_is_left(&container);
    a_stop_ends_kernels_cleanly_with_code_0_in_the_usual_time(&container);
}

fn a_newcomer_gets_in_with_the_default_password_and_finds_the_notebooks(
    container: &Container,
    log: &str,
) {
    for part in [
        WELCOME,
        "http://localhost:49494",
        "http://<host>:49494",
        "ailab",
        "docker run --env JUPYTER_PASSWORD=<your password>",
        "Did chown -R jupyter:jupyter /home/jupyter/notebooks",
        "Switched uid/gid to jupyter/jupyter",
        "Copied notebooks from /opt/ai-lab/notebook-defaults to /home/jupyter/notebooks",
        "Disabled coredumps",
        "Changed environment variable PATH to /opt/ai-lab/jupyterenv/bin:",
        "Successfully changed the password of Jupyter server.",
    ] {
        assert!(log.contains(part), "{part:?} is missing in {log}");
    }
    container.lets(&[("wrong", "out"), ("ailab", "in")]);
    let listed = container.exec_ok(
        "jupyter",
        &[
            "stat",
            "-c",
            "%U:%G %a %n",
            "/home/jupyter/notebooks/start.ipynb",
        ],
    );
    assert_eq!(
        listed.trim(),
        "jupyter:jupyter 644 /home/jupyter/notebooks/start.ipynb"
    );
}

#[test]
fn the_predecessors_command_line_works_as_it_stands() {
    let home = "/home/jupyter";
    let line = [
        "--notebook-defaults",
        &format!("{home}/notebook-defaults"),
        "--notebooks",
        &format!("{home}/notebooks"),
        "--jupyter-server",
        &format!("{home}/jupyterenv/bin/jupyter-lab"),
        "--jupyter-core",
        &format!("{home}/jupyterenv/bin/jupyter"),
        "--home",
        home,
        "--port",
        "49494",
        "--user",
        "jupyter",
        "--group",
        "jupyter",
        "--docker-group",
        "docker",
        "--password",
        "of my own",
        "--jupyter-logfile",
        &format!("{home}/other.log"),
        "--venv",
        &format!("{home}/jupyterenv"),
    ];
    let container = Container::start(&[], &line);
    let log = container.wait_for(READY);
    assert!(log.contains("of my own"), "{log}");
    assert_eq!(container.visit(&["login", "of my own"]), "in");
    let logfile = container.exec_ok("jupyter", &["cat", "/home/jupyter/other.log"]);
    assert!(logfile.contains("is running at:"), "{logfile}");
}

#[test]
fn a_chosen_password_beats_the_default_and_its_hash_is_made_here() {
    let container = Container::start(&["--env", "JUPYTER_PASSWORD=pa$$ wörd"], &[]);
    let log = container.wait_for(READY);
    assert!(!log.contains("JUPYTER_PASSWORD=<your password>"), "{log}");
    assert!(!log.contains("wörd"), "{log}");
    container.lets(&[("ailab", "out"), ("pa$$ wörd", "in")]);
    let config = container.exec_ok(
        "jupyter",
        &["cat", "/home/jupyter/.jupyter/jupyter_server_config.json"],
    );
    assert!(
        config.contains("argon2:$argon2id$v=19$m=10240,t=10,p=8$"),
        "{config}"
    );
    // Everything the user can see of any process but PID 1, whose own is closed. What
    // `docker exec` would give to this look is emptied first.
    let seen = docker_ok([
        "exec",
        "--user=jupyter",
        "--env=JUPYTER_PASSWORD=",
        &container.name,
        "sh",
        "-c",
        "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'",
    ]);
    assert!(seen.contains("VIRTUAL_ENV="), "the server's is among them");
    assert!(!seen.contains("wörd"), "{seen}");
    assert!(!container.exec("jupyter", &["cat", "/proc/1/environ"]).0);
}

#[test]
fn the_mounted_socket_is_usable_by_the_user() {
    let before = std::fs::metadata("/var/run/docker.sock").unwrap();
    let container = Container::start(
        &["--volume", "/var/run/docker.sock:/var/run/docker.sock"],
        &[],
    );
    let log = container.wait_for(READY);
    assert!(
        log.contains("Enabled access to /var/run/docker.sock"),
        "{log}"
    );
    let listed = container.exec_ok("jupyter", &["docker", "ps", "--format", "{{.Names}}"]);
    assert!(listed.contains(&container.name), "{listed}");
    // The server's own processes, not only new ones of `docker exec`.
    let gid = container.exec_ok("jupyter", &["stat", "-Lc", "%g", "/var/run/docker.sock"]);
    let groups = container.exec_ok("jupyter", &["grep", "^Groups:", "/proc/1/status"]);
    assert!(
        groups.split_whitespace().any(|group| group == gid.trim()),
        "{groups} {gid}"
    );
    let after = std::fs::metadata("/var/run/docker.sock").unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!(
        (before.uid(), before.gid(), before.mode(), before.ctime()),
        (after.uid(), after.gid(), after.mode(), after.ctime())
    );
    // Another start of the same container comes through all of it again.
    docker_ok(["restart", &container.name]);
    container.wait_for_nth(READY, 2);
    container.exec_ok("jupyter", &["docker", "ps"]);
}

fn no_process_of_root_is_left(container: &Container) {
    let said = docker_ok(["top", &container.name, "-eo", "uid,pid,args"]);
    // Docker's own health checks begin as root, and are seen at times.
    let is_check = |line: &&str| line.contains("healthcheck") || line.contains("runc");
    let lines = said.lines().skip(1);
    let processes: Vec<&str> = lines.filter(|line| !is_check(line)).collect();
    assert!(processes.len() >= 3, "{said}");
    for process in processes {
        assert!(process.trim().starts_with("1000 "), "{said}");
    }
}

fn a_stop_ends_kernels_cleanly_with_code_0_in_the_usual_time(container: &Container) {
    let runtime = "/home/jupyter/.local/share/jupyter/runtime";
    let files = container.exec_ok("jupyter", &["ls", runtime]);
    assert!(files.contains("kernel-"), "{files}");
    // 137: we killed it after --stop-timeout, or Docker killed us.
    assert_eq!(container.stop(), 0, "{}", container.logs());
    let left = container.changed();
    assert!(!left.contains("kernel-"), "{left}");
}

/// The time of day of a line of the log, in milliseconds: `[I 2026-01-31 23:59:59.999 …`.
fn time_of_day(line: &str) -> i64 {
    let time = line.split_whitespace().nth(2).unwrap();
    let digits: Vec<i64> = time
        .split([':', '.'])
        .map(|part| part.parse().unwrap())
        .collect();
    ((digits[0] * 60 + digits[1]) * 60 + digits[2]) * 1000 + digits[3]
}

fn the_welcome_follows_jupyters_own_ready_line_at_once(log: &str) {
    let at = |part| log.find(part).unwrap_or_else(|| panic!("{part}: {log}"));
    assert!(at("is running at:") < at(WELCOME) && at(WELCOME) < at(READY));
    let time = |part| time_of_day(log.lines().find(|line| line.contains(part)).unwrap());
    // By the clock of both. Unasked, a probe comes after 0.5, 1, 2, 4 … 15 s.
    let late = (time(READY) - time("is running at:")).rem_euclid(24 * 60 * 60 * 1000);
    assert!(late < 1000, "{late} ms: {log}");
}

fn orphans_are_reaped(container: &Container) {
    container.exec_ok(
        "jupyter",
        &["sh", "-c", "for i in 1 2 3 4 5; do (true &) ; done"],
    );
    container.until("no zombie", || {
        let states = container.exec_ok(
            "jupyter",
            &["sh", "-c", "grep -h ^State: /proc/[0-9]*/status"],
        );
        (!states.contains('Z')).then_some(())
    });
}

fn a_volume_keeps_what_was_changed_and_the_login_survives_a_restart(container: &Container) {
    let file = "/home/jupyter/notebooks/start.ipynb";
    container.exec_ok("jupyter", &["sh", "-c", &format!("echo mine >{file}")]);
    let config = "/home/jupyter/.jupyter/jupyter_server_config.json";
    let before = container.exec_ok("jupyter", &["cat", config]);
    docker_ok(["restart", &container.name]);
    let log = container.wait_for_nth(READY, 2);
    assert_eq!(container.exec_ok("jupyter", &["cat", file]), "mine\n");
    assert_eq!(container.exec_ok("jupyter", &["cat", config]), before);
    assert_eq!(
        log.matches("Successfully changed the password").count(),
        1,
        "{log}"
    );
}

#[test]
fn without_root_it_works_and_tells_the_consequences() {
    // What differs between them is told in `limits`.
    for user in few(1, &["1234", "1234:0", "jupyter"]) {
        let container = Container::start(&["--user", user], &[]);
        container.wait_for(READY);
        assert_eq!(container.visit(&["login", "ailab"]), "in", "--user {user}");
        assert_eq!(container.stop(), 0, "--user {user}");
    }
}

pub fn a_read_only_root_file_system_needs_no_more_than_a_tmpfs(container: &Container) {
    assert_eq!(container.visit(&["login", "ailab"]), "in");
    container.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
    assert_eq!(container.stop(), 0);
}

fn pip_works_for_the_user(container: &Container) {
    let pip = "/opt/ai-lab/jupyterenv/bin/pip";
    let said = container.exec_ok(
        "jupyter",
        &[pip, "uninstall", "--yes", "--quiet", "ipywidgets"],
    );
    assert!(!said.to_lowercase().contains("error"), "{said}");
}

#[test]
fn every_tutorial_runs_from_top_to_bottom_without_the_network() {
    let listed = docker_ok([
        "run",
        "--rm",
        "--entrypoint",
        "ls",
        IMAGE,
        "/opt/ai-lab/notebook-defaults",
    ]);
    let notebooks: Vec<&str> = listed
        .split_whitespace()
        .filter(|name| name.ends_with(".ipynb"))
        .collect();
    assert!(notebooks.len() >= 4, "{listed}");
    for notebook in notebooks {
        let script = format!("cd /home/jupyter/notebooks && jupyter execute {notebook}");
        let (code, stdout, stderr) = run(&["--network", "none"], &["sh", "-c", &script]);
        assert_eq!(code, 0, "{notebook}: {stdout}{stderr}");
    }
}

#[test]
fn the_docker_tutorial_runs_with_the_socket_too() {
    let script = "cd /home/jupyter/notebooks && jupyter execute docker.ipynb";
    let socket = "--volume=/var/run/docker.sock:/var/run/docker.sock";
    let (code, stdout, stderr) = run(&[socket], &["sh", "-c", script]);
    assert_eq!(code, 0, "{stdout}{stderr}");
}

#[test]
fn the_image_has_the_documented_layout() {
    let format = "{{json .Config.Entrypoint}} {{json .Config.Cmd}} {{json .Config.Volumes}} \
                  {{json .Config.ExposedPorts}} {{.Config.Healthcheck.Interval}}";
    let said = docker_ok(["image", "inspect", "--format", format, IMAGE]);
    assert_eq!(
        said.trim(),
        "[\"/usr/local/bin/ai-lab-entrypoint\"] [\"jupyter-lab\"] {\"/home/jupyter/notebooks\":{}} \
         {\"49494/tcp\":{}} 5s"
    );
}

#[test]
fn the_venv_is_its_groups_all_over_and_nobody_but_root_owns_it() {
    let odd = "find /opt/ai-lab/jupyterenv ! -type l \\( ! -user root -o ! -group jupyter \
               -o ! -perm -g+w -o -type d ! -perm -g+s \\) -ls";
    let (code, stdout, stderr) = run(&["--entrypoint=sh"], &["-c", odd]);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
}

#[test]
fn the_old_line_of_hub_configurations_works_and_leaves_no_root_above() {
    let home = "/home/jupyter";
    let line = [
        "sudo",
        "-E",
        "python3",
        "/home/jupyter/entrypoint.py",
        "--notebook-defaults",
        &format!("{home}/notebook-defaults"),
        "--notebooks",
        &format!("{home}/notebooks"),
        "--home",
        home,
        "--jupyter-server",
        &format!("{home}/jupyterenv/bin/jupyter-lab"),
        "--port",
        "49494",
        "--user",
        "jupyter",
        "--group",
        "jupyter",
        "--docker-group",
        "docker",
        "--password",
        "ailab",
        "--jupyter-logfile",
        &format!("{home}/jupyter-server.log"),
        "--venv",
        &format!("{home}/jupyterenv"),
    ];
    let options = ["--user", "ubuntu", "--entrypoint", "", "--no-healthcheck"];
    let container = Container::start_image(COMPAT, &options, &line);
    // Its lines are those of the predecessor.
    container.wait_for(" entrypoint.py: ready in ");
    assert_eq!(container.visit(&["login", "ailab"]), "in");
    let said = docker_ok(["top", &container.name, "-eo", "uid,pid,args"]);
    for process in said.lines().skip(1) {
        assert!(process.trim().starts_with("1000 "), "{said}");
    }
    assert_eq!(container.stop(), 0);
}
