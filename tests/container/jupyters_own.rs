//! What Jupyter's own configuration files say about where the server listens and works wins
//! over the image, and every server of Jupyter's is one.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use crate::support::docker::{Container, Derived, IMAGE, mounted, run};
use crate::support::few;

const READY: &str = "] ready in ";
const CONFIG: &str = "/home/jupyter/.jupyter/jupyter_server_config.py";

/// The TCP addresses on which something listens in a container, as the kernel writes them.
fn listening(container: &Container) -> Vec<String> {
    let tables = container.exec_ok("root", &["cat", "/proc/net/tcp", "/proc/net/tcp6"]);
    let lines = tables.lines().map(|line| line.split_whitespace().collect());
    let listens = |line: &Vec<&str>| line.get(3) == Some(&"0A");
    let mut found: Vec<String> = lines
        .filter(listens)
        .map(|line| line[1].to_owned())
        .collect();
    found.sort();
    found
}

/// 127.0.0.1 and 0.0.0.0 in the byte order of this machine, and port 49494.
const LOOPBACK: &str = "0100007F:C156";
const EVERYWHERE: &str = "00000000:C156";

#[test]
fn who_restricts_the_address_never_listens_everywhere() {
    // How each is read: in the unit tests of `jupyter_config::python`.
    for text in few(
        1,
        &[
            "import os\nc['ServerApp']['ip'] = os.environ.get('NOWHERE', '127.0.0.1')\n",
            "c.ServerApp.ip = '127.0.0.1'\n",
            "if True:\n    c.ServerApp.ip = '127.0.0.1'\n",
            "c.update({'ServerApp': {'ip': '127.0.0.1'}})\n",
        ],
    ) {
        let (_file, mount) = mounted(text, CONFIG);
        let container = Container::start(&[&mount], &[]);
        container.wait_for(READY);
        assert_eq!(listening(&container), [LOOPBACK], "{text}");
    }
    // Only Jupyter knows what another file sets, and whether a condition is met.
    let (_site, site) = mounted("c.ServerApp.ip = '127.0.0.1'\n", "/etc/corp/site.py");
    for (text, everywhere) in few(
        2,
        &[
            ("load_subconfig('/etc/corp/site.py')\n", false),
            ("if False:\n    c.ServerApp.ip = '127.0.0.1'\n", true),
            ("if False:\n    c.ServerApp.port = 9999\n", true),
        ],
    ) {
        let (_file, mount) = mounted(text, CONFIG);
        let container = Container::start(&[&site, &mount], &[]);
        container.wait_for(READY);
        let found = listening(&container);
        match everywhere {
            true => assert!(found.contains(&EVERYWHERE.to_owned()), "{text}: {found:?}"),
            false => assert_eq!(found, [LOOPBACK], "{text}"),
        }
    }
    // A flag is a choice, too, and it is told who won.
    let (_file, mount) = mounted("c.ServerApp.ip = '127.0.0.1'\n", CONFIG);
    let container = Container::start(&[&mount], &["--ip=0.0.0.0"]);
    let log = container.wait_for(READY);
    let told = format!("--ip wins over ServerApp.ip in {CONFIG}:1");
    assert!(log.contains(&told), "{log}");
    assert_eq!(listening(&container), [EVERYWHERE]);
}

#[test]
fn port_base_url_and_root_directory_of_a_file_are_in_force() {
    let text = "c.ServerApp.port = 8899\nc.ServerApp.base_url = '/deep/down'\n\
                c.ServerApp.root_dir = '/home/jupyter'\n";
    let (_file, mount) = mounted(text, CONFIG);
    let container = Container::start(&[&mount], &[]);
    let log = container.wait_for(READY);
    assert!(log.contains("http://localhost:8899/deep/down/lab"), "{log}");
    let said = container.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
    assert_eq!(
        said,
        "healthy: http://127.0.0.1:8899/deep/down/api answers\n"
    );
    let listed = container.exec_ok("jupyter", &["jupyter", "server", "list"]);
    assert!(listed.contains(":: /home/jupyter\n"), "{listed}");
    // A variable is a choice.
    let container = Container::start(&[&mount, "--env=JUPYTER_PORT=8900"], &[]);
    let log = container.wait_for(READY);
    assert!(log.contains("http://localhost:8900/deep/down/lab"), "{log}");
    assert!(
        log.contains("environment variable JUPYTER_PORT wins over ServerApp.port"),
        "{log}"
    );
}

#[test]
fn what_cannot_work_is_said_before_the_server_starts() {
    let (file, key) = mounted("key", "/tls/key.pem");
    let roots_alone = Permissions::from_mode(0o600);
    file.as_file().set_permissions(roots_alone).unwrap();
    let (_cert, cert) = mounted("cert", "/tls/cert.pem");
    let tls = "c.ServerApp.certfile = '/tls/cert.pem'\nc.ServerApp.keyfile = '/tls/key.pem'\n";
    let (_file, config) = mounted(tls, CONFIG);
    let (code, _, stderr) = run(&[&key, &cert, &config], &["jupyter-lab"]);
    assert_eq!(code, 78, "{stderr}");
    let told = format!(
        "settings: ServerApp.keyfile (from {CONFIG}:2): /tls/key.pem cannot be read: Permission denied"
    );
    assert!(stderr.contains(&told), "{stderr}");
    assert!(!stderr.contains("certfile"), "{stderr}");
    let (code, _, stderr) = run(&[], &["jupyter-lab", "--notebook-dir=/nowhere"]);
    assert_eq!(code, 78, "{stderr}");
    assert!(stderr.contains("/nowhere is not a directory"), "{stderr}");
    assert!(!stderr.contains("Traceback"), "{stderr}");
}

const HEALTHY: &str = "healthy: http://127.0.0.1:49494/api answers\n";

/// Whoever prepares something in a script of their own ends it so.
#[test]
fn a_start_that_takes_its_commands_place_is_asked_and_one_beside_it_is_refused() {
    let line = ["bash", "-c", "true; exec ai-lab-entrypoint jupyter-lab"];
    let container = Container::start(&[], &line);
    container.wait_for(READY);
    let check = || container.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
    assert_eq!(check(), HEALTHY);
    a_start_beside_the_containers_own_is_refused(&container);
    assert_eq!(container.stop(), 0);
}

pub fn a_start_beside_the_containers_own_is_refused(container: &Container) {
    for user in ["jupyter", "root"] {
        let (ok, said) = container.exec(user, &["ai-lab-entrypoint", "--", "true"]);
        assert!(
            !ok && said.contains("has a start already"),
            "{user}: {said}"
        );
        let check = container.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
        assert_eq!(check, HEALTHY, "{user}");
    }
}

#[test]
fn a_long_runtime_directory_costs_no_kernel() {
    let long = format!(
        "--env=JUPYTER_RUNTIME_DIR=/home/jupyter/notebooks/{}",
        "x".repeat(40)
    );
    let container = Container::start(&[&long], &[]);
    container.wait_for(READY);
    assert_eq!(container.visit(&["run", "ailab", "print(6 * 7)"]), "42");
}

#[test]
fn a_directory_that_a_hub_wants_and_that_is_not_there_is_named() {
    let hub = [
        "--env=JUPYTERHUB_SERVICE_URL=http://127.0.0.1:8888/user/a/",
        "--env=JUPYTERHUB_API_TOKEN=x",
        "--env=JUPYTERHUB_CLIENT_ID=x",
        "--env=JUPYTERHUB_ROOT_DIR=/home/jupyter/assignments",
    ];
    let (code, _, stderr) = run(&hub, &[]);
    assert_eq!(code, 78, "{stderr}");
    let told = "(from JUPYTERHUB_ROOT_DIR): /home/jupyter/assignments is not a directory";
    assert!(stderr.contains(told), "{stderr}");
    // A lab has no hub that could want it.
    let text = "import os\nc.ServerApp.root_dir = os.path.expanduser('~')\n";
    let (_file, config) = mounted(text, CONFIG);
    Container::start(&[&config, hub[3]], &[]).wait_for(READY);
}

#[test]
fn kubeflow_says_where_it_is() {
    let prefix = "--env=NB_PREFIX=/notebook/data/lab";
    let container = Container::start(&[prefix], &[]);
    let log = container.wait_for(READY);
    assert!(
        log.contains("http://localhost:8888/notebook/data/lab/lab"),
        "{log}"
    );
    let said = container.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
    assert_eq!(
        said,
        "healthy: http://127.0.0.1:8888/notebook/data/lab/api answers\n"
    );
    drop(container);
    let container = Container::start(&[prefix], &["--port=49494"]);
    container.wait_for("http://localhost:49494/notebook/data/lab/lab");
}

#[test]
fn every_server_of_jupyters_is_one() {
    let image = Derived::new(&format!(
        "FROM {IMAGE}\n\
         RUN umask 002 && /home/jupyter/jupyterenv/bin/pip install --quiet --no-cache-dir notebook nbclassic\n"
    ));
    for (command, name) in [
        (&["jupyter", "notebook"][..], "Jupyter Notebook"),
        (&["jupyter-notebook", "--debug"], "Jupyter Notebook"),
        (&["jupyter", "nbclassic"], "Jupyter NbClassic"),
        (&["python", "-m", "notebook"], "Jupyter Notebook"),
        (&["python3", "-m", "jupyterlab"], "JupyterLab"),
        (&["jupyter", "server"], "Jupyter Server"),
        (&["/home/jupyter/jupyterenv/bin/jupyter-lab"], "JupyterLab"),
    ] {
        let container = Container::start_image(&image.0, &[], command);
        let log = container.wait_for(READY);
        assert!(log.contains("http://localhost:49494"), "{command:?}: {log}");
        assert_eq!(container.visit(&["login", "ailab"]), "in", "{command:?}");
        let status = container.exec_ok("root", &["ai-lab-entrypoint", "status"]);
        let runs = status.lines().find(|line| line.starts_with("runs"));
        assert!(runs.unwrap().ends_with(name), "{command:?}: {status}");
        assert_eq!(container.stop(), 0, "{command:?}");
    }
}
