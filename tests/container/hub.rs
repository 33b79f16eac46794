//! AI Lab under JupyterHub the short way: `c.DockerSpawner.image` and nothing else. A
//! real hub, the real DockerSpawner, `examples/jupyterhub_config.py` as it stands.

use std::time::{Duration, Instant};

use crate::quick_start::a_server_under_a_hub_has_no_database_and_its_kernels_have_all;
use crate::support::Start;
use crate::support::blocks;
use crate::support::docker::{IMAGE, Volume, docker_ok, run};
use crate::support::hub::{Hub, path};

/// What Docker gives a container between TERM and KILL.
const GRACE: Duration = Duration::from_secs(10);
const COMPUTE: &str = "print(6 * 7)";

/// What some have in their configuration, here by the names of users; alice has nothing of it.
const BY_USER: &str = "
async def as_that_user_has_it(spawner):
    match spawner.user.name:
        case 'bob':
            spawner.environment = {'PYTHON_LAZY_IMPORTS': 'none'}
        case 'guided':
            spawner.default_url = '/lab/tree/data.ipynb'
        case 'stacks':
            # As jupyterhub-deploy-docker and most tutorials have it.
            spawner.cmd = 'start-singleuser.py'
            spawner.notebook_dir = '/home/jovyan/work'
            spawner.volumes = {name: spawner.notebook_dir for name in volumes}
        case 'docker':
            spawner.volumes = {**volumes, '/var/run/docker.sock': '/var/run/docker.sock'}
            # Docker runs health checks as root.
            spawner.extra_create_kwargs = {'healthcheck': {'test': ['NONE']}}
        case 'kept':
            # It has all the time it wants to end in order.
            spawner.remove = False
            spawner.cmd = ['--stop-timeout', '50', 'jupyter-lab']
            spawner.extra_create_kwargs = {'stop_timeout': 60}
            spawner.debug = True
            spawner.args = ['--debug']
c.Spawner.pre_spawn_hook = as_that_user_has_it
";

#[test]
fn a_hub_with_an_image_serves_everybody_as_configured() {
    let hub = Hub::start(BY_USER);
    an_image_and_no_cmd_is_enough(&hub);
    let started = hub.ask(&["start", "alice", "alice/second", "bob"]);
    assert_eq!(started, "ready ready ready");
    let containers = ["alice", "bob"].map(|user| hub.container(user));
    a_server_under_a_hub_has_no_database_and_its_kernels_have_all(&hub, &containers);
    people_and_their_named_servers_do_not_meet(&hub);
    the_hub_decides_where_people_arrive(&hub);
    a_configuration_for_the_docker_stacks_works_as_it_stands(&hub);
    the_mounted_socket_works_and_no_process_is_roots(&hub);
    a_kept_container_goes_on_with_what_is_in_it(&hub);
}

fn an_image_and_no_cmd_is_enough(hub: &Hub) {
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

fn the_mounted_socket_works_and_no_process_is_roots(hub: &Hub) {
    assert_eq!(hub.ask(&["start", "docker"]), "ready");
    let container = hub.container("docker");
    let list = "import subprocess\n\
                print(subprocess.getoutput('docker ps --format {{.Names}}'))";
    let listed = hub.ask(&["run", "docker", list]);
    assert!(listed.contains(&container.name), "{listed}");
    let said = docker_ok(["top", &container.name, "-eo", "uid,pid,args"]);
    assert!(said.contains("jupyterhub-singleuser"), "{said}");
    for process in said.lines().skip(1) {
        assert!(process.trim().starts_with("1000 "), "{said}");
    }
}

fn a_kept_container_goes_on_with_what_is_in_it(hub: &Hub) {
    // It has all the time it wants to end in order.
    assert_eq!(hub.ask(&["start", "kept"]), "ready");
    let container = hub.container("kept");
    let id = || docker_ok(["inspect", "--format", "{{.Id}}", &container.name]);
    let first = id();
    let write = "open('/home/jupyter/installed', 'w').write('by me')\nprint('written')";
    assert_eq!(hub.ask(&["run", "kept", write]), "written");
    assert_eq!(hub.ask(&["stop", "kept"]), "stopped");
    assert_eq!(container.exit_code(), 0, "{}", container.logs());

    assert_eq!(hub.ask(&["start", "kept"]), "ready");
    assert_eq!(id(), first);
    let read = "print(open('/home/jupyter/installed').read())";
    assert_eq!(hub.ask(&["run", "kept", read]), "by me");
    let log = container.logs();
    assert!(log.contains("[D "), "debug is on: {log}");
}

fn the_hub_decides_where_people_arrive(hub: &Hub) {
    assert_eq!(hub.ask(&["start", "guided"]), "ready");
    let page = hub.ask(&["page", "guided"]);
    assert_eq!(page, "/user/guided/lab/tree/data.ipynb");
}

fn a_configuration_for_the_docker_stacks_works_as_it_stands(hub: &Hub) {
    assert_eq!(hub.ask(&["start", "stacks"]), "ready");
    let page = hub.ask(&["page", "stacks"]);
    assert_eq!(page, "/user/stacks/lab/tree/start.ipynb");
    let write = "import os\nopen('mine.txt', 'w').write('')\nprint(os.getcwd())";
    let place = hub.ask(&["run", "stacks", write]);
    assert_eq!(place, "/home/jovyan/work");
    let files = hub.ask(&["files", "stacks"]);
    assert!(
        files.contains("start.ipynb") && files.contains("mine.txt"),
        "{files}"
    );
    let container = hub.container("stacks");
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

/// Alice with two servers, and Bob.
fn people_and_their_named_servers_do_not_meet(hub: &Hub) {
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
