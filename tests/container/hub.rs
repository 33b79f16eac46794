//! AI Lab under JupyterHub the short way: `c.DockerSpawner.image` and nothing else. A
//! real hub, the real DockerSpawner, `examples/jupyterhub_config.py` as it stands.

use std::time::{Duration, Instant};

use crate::support::Start;
use crate::support::blocks;
use crate::support::docker::{IMAGE, Volume, docker_ok, run};
use crate::support::hub::{Hub, path};

/// What Docker gives a container between TERM and KILL.
const GRACE: Duration = Duration::from_secs(10);
const COMPUTE: &str = "print(6 * 7)";

#[test]
fn an_image_and_no_cmd_is_enough() {
    let hub = Hub::start("");
    assert_eq!(hub.ask(&["start", "alice"]), "ready");
    assert_eq!(
        hub.ask(&["page", "alice"]),
        "/user/alice/lab/tree/start.ipynb"
    );
    assert_eq!(hub.ask(&["run", "alice", COMPUTE]), "42");

    let container = hub.container("alice");
    let healthy = container.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
    assert!(healthy.starts_with("healthy"), "{healthy}");
    let status = container.status();
    assert_eq!(status["mode"], "hub", "{status}");
    let log = container.logs();
    let warned = |line: &str| line.starts_with("[W ") && line.contains(" ai-lab] ");
    assert!(!log.lines().any(warned), "{log}");

    let start = Instant::now();
    assert_eq!(hub.ask(&["stop", "alice"]), "stopped");
    let took = start.elapsed();
    println!("stopped by the hub in {took:.2?}");
    assert!(took < GRACE, "Docker had to kill: {took:?}");
    assert_eq!(hub.ask(&["servers"]), "");
}

/// The page's own lines, in a clean clone, with the newest hub and in a network of their
/// own: theirs are the ports of everybody.
#[test]
fn the_lines_of_the_page_start_a_hub() {
    let mut blocks = blocks::blocks("docs/jupyterhub.md").into_iter();
    let block = blocks.find(|block| block.first_line() == "scripts/image");
    let text = block.unwrap().text;
    let (build, hub) = text.rsplit_once('\n').unwrap();
    let build = build.replace("scripts/image", &format!("scripts/image {IMAGE}"));
    let directory = tempfile::tempdir().unwrap();
    let script = format!(
        "git clone --quiet --no-hardlinks {top} {here}/clone; cd {here}/clone\n\
         mkdir target; cp -r {top}/target/images target; {build}\n\
         exec unshare --net --pid --fork --kill-child sh -ec 'ip link set lo up; {any}; exec {hub}'",
        // The bridge's address, at which containers would find the hub, is there, too.
        any = "ip route add local 0.0.0.0/0 dev lo",
        top = path("").display(),
        here = directory.path().display(),
    );
    let mut running = Start::script("/bin/bash")
        .args(["-euc", &script])
        // What is imported is compiled then; most of it is not.
        .env("PIP_NO_COMPILE", "1")
        .start();
    running.wait_for("JupyterHub is now running at http://127.0.0.1:8000");
    // With the first process of its namespace the hub ends, and its proxy.
    running.signal(libc::SIGKILL);
    running.end();
}

#[test]
fn the_mounted_socket_works_and_no_process_is_roots() {
    // Docker runs health checks as root.
    let hub = Hub::start(
        "volumes['/var/run/docker.sock'] = '/var/run/docker.sock'\n\
         c.DockerSpawner.extra_create_kwargs = {'healthcheck': {'test': ['NONE']}}",
    );
    assert_eq!(hub.ask(&["start", "alice"]), "ready");
    let container = hub.container("alice");
    let list = "import subprocess\n\
                print(subprocess.getoutput('docker ps --format {{.Names}}'))";
    let listed = hub.ask(&["run", "alice", list]);
    assert!(listed.contains(&container.name), "{listed}");
    let said = docker_ok(["top", &container.name, "-eo", "uid,pid,args"]);
    assert!(said.contains("jupyterhub-singleuser"), "{said}");
    for process in said.lines().skip(1) {
        assert!(process.trim().starts_with("1000 "), "{said}");
    }
}

#[test]
fn a_kept_container_goes_on_with_what_is_in_it() {
    // It has all the time it wants to end in order.
    let hub = Hub::start(
        "c.DockerSpawner.remove = False\n\
         c.DockerSpawner.cmd = ['--stop-timeout', '50', 'jupyter-lab']\n\
         c.DockerSpawner.extra_create_kwargs = {'stop_timeout': 60}\n\
         c.DockerSpawner.debug = True\n\
         c.DockerSpawner.args = ['--debug']",
    );
    assert_eq!(hub.ask(&["start", "alice"]), "ready");
    let container = hub.container("alice");
    let id = || docker_ok(["inspect", "--format", "{{.Id}}", &container.name]);
    let first = id();
    let write = "open('/home/jupyter/installed', 'w').write('by me')\nprint('written')";
    assert_eq!(hub.ask(&["run", "alice", write]), "written");
    assert_eq!(hub.ask(&["stop", "alice"]), "stopped");
    assert_eq!(container.exit_code(), 0, "{}", container.logs());

    assert_eq!(hub.ask(&["start", "alice"]), "ready");
    assert_eq!(id(), first);
    let read = "print(open('/home/jupyter/installed').read())";
    assert_eq!(hub.ask(&["run", "alice", read]), "by me");
    let log = container.logs();
    assert!(log.contains("[D "), "debug is on: {log}");
}

#[test]
fn the_hub_decides_where_people_arrive() {
    let hub = Hub::start("c.DockerSpawner.default_url = '/lab/tree/data.ipynb'");
    assert_eq!(hub.ask(&["start", "alice"]), "ready");
    let page = hub.ask(&["page", "alice"]);
    assert_eq!(page, "/user/alice/lab/tree/data.ipynb");
}

/// As jupyterhub-deploy-docker and most tutorials have it.
#[test]
fn a_configuration_for_the_docker_stacks_works_as_it_stands() {
    let hub = Hub::start(
        "notebook_dir = '/home/jovyan/work'\n\
         c.DockerSpawner.cmd = 'start-singleuser.py'\n\
         c.DockerSpawner.notebook_dir = notebook_dir\n\
         c.DockerSpawner.volumes = {name: notebook_dir for name in volumes}",
    );
    assert_eq!(hub.ask(&["start", "alice"]), "ready");
    let page = hub.ask(&["page", "alice"]);
    assert_eq!(page, "/user/alice/lab/tree/start.ipynb");
    let write = "import os\nopen('mine.txt', 'w').write('')\nprint(os.getcwd())";
    let place = hub.ask(&["run", "alice", write]);
    assert_eq!(place, "/home/jovyan/work");
    let files = hub.ask(&["files", "alice"]);
    assert!(
        files.contains("start.ipynb") && files.contains("mine.txt"),
        "{files}"
    );
    let container = hub.container("alice");
    let log = container.logs();
    let warned = |line: &str| line.starts_with("[W ") && line.contains(" ai-lab] ");
    assert!(!log.lines().any(warned), "{log}");
    let restored = ["ai-lab-entrypoint", "notebooks", "status"];
    let status = container.exec_ok("jupyter", &restored);
    assert!(status.contains("/home/jovyan/work"), "{status}");
}

#[test]
fn a_hubs_directory_is_that_of_the_notebooks_if_a_volume_is_there() {
    let volume = Volume::new();
    let planned = |place: &str, directory: &str, more: &[&str]| {
        let mount = format!("--volume={}:{place}", volume.0);
        let directory = format!("--env=JUPYTERHUB_ROOT_DIR={directory}");
        let hub = [
            "--network=none",
            "--env=JUPYTERHUB_SERVICE_URL=http://0.0.0.0:8888/user/a/",
            &mount,
            &directory,
        ];
        let (code, plan, log) = run(&[&hub, more].concat(), &["--dry-run"]);
        assert_eq!(code, 0, "{plan}{log}");
        plan
    };
    let work = "/home/jovyan/work";
    let theirs = planned(work, work, &[]);
    assert!(
        theirs.contains("install: start.ipynb") && theirs.contains(work),
        "{theirs}"
    );
    let below = planned("/home/jovyan", work, &[]);
    assert!(below.contains("in /home/jovyan/work\n"), "{below}");
    // Nobody asked to give these to the person.
    for (place, directory) in [
        ("/home/jovyan", "/"),
        ("/data/set", "/opt"),
        ("/home/jupyter", "/home/jupyter"),
    ] {
        let plan = planned(place, directory, &[]);
        assert!(
            plan.contains("in /home/jupyter/notebooks\n"),
            "{directory}: {plan}"
        );
    }
    let host = "--volume=/srv:/home/jovyan/host";
    let shared = planned("/data", "/home/jovyan/host", &[host]);
    assert!(shared.contains("in /home/jupyter/notebooks\n"), "{shared}");
    let named = planned(work, work, &["--env=NOTEBOOKS=/home/jupyter/nb"]);
    assert!(named.contains("in /home/jupyter/nb\n"), "{named}");
    let first = planned("/home/jovyan", "/home/jupyter", &[]);
    assert!(first.contains("in /home/jupyter/notebooks\n"), "{first}");
}

#[test]
fn people_and_their_named_servers_do_not_meet() {
    let hub = Hub::start("");
    let started = hub.ask(&["start", "alice", "alice/second", "bob"]);
    assert_eq!(started, "ready ready ready");
    assert_eq!(hub.ask(&["servers"]), "alice alice/second bob");
    let write = "open('hers.txt', 'w').write('')\nprint('written')";
    assert_eq!(hub.ask(&["run", "alice", write]), "written");
    // Her volume is one, whichever of her servers has it; his is another.
    assert!(hub.ask(&["files", "alice/second"]).contains("hers.txt"));
    let his = hub.ask(&["files", "bob"]);
    assert!(
        his.contains("start.ipynb") && !his.contains("hers.txt"),
        "{his}"
    );
    assert_eq!(hub.ask(&["peek", "bob", "bob"]), "200");
    assert_eq!(hub.ask(&["peek", "bob", "alice"]), "403");
    // Stopping one of them is not stopping the other.
    assert_eq!(hub.ask(&["stop", "alice"]), "stopped");
    assert_eq!(hub.ask(&["servers"]), "alice/second bob");
    assert_eq!(hub.ask(&["run", "alice/second", COMPUTE]), "42");
}
