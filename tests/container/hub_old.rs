//! AI Lab under JupyterHub the long way: a derived image and a `cmd` of thirty words, as
//! existing hubs have them, to the letter, with the hub and the spawner of their time.

use std::fs;

use crate::support::docker::{COMPAT, Container, docker_ok, run_image};
use crate::support::hub::{Hub, OLD, alone};

const CMD: &str = r#"["sudo","-E","python3","/home/jupyter/entrypoint.py","--notebook-defaults","/home/jupyter/notebook-defaults","--notebooks","/home/jupyter/notebooks","--home","/home/jupyter","--jupyter-server","/home/jupyter/jupyterenv/bin/jupyterhub-singleuser","--port","8000","--user","jupyter","--group","jupyter","--docker-group","docker","--password","ailab","--jupyter-logfile","/home/jupyter/jupyter-server.log","--venv","/home/jupyter/jupyterenv"]"#;
/// The first words, which lead to the predecessor's script.
const SCRIPT: &str = r#""sudo","-E","python3","/home/jupyter/entrypoint.py""#;

const COMPUTE: &str = "print(6 * 7)";

/// The image as such hubs derive it. It stays, for the other test and for the next time.
struct Derived(&'static str);

impl Derived {
    fn build() -> Self {
        let context = tempfile::tempdir().unwrap();
        let lines = format!(
            "FROM {COMPAT}\n\
             USER root\n\
             RUN /home/jupyter/jupyterenv/bin/python3 -m pip install jupyterhub==5.2.1\n\
             USER ubuntu\n\
             ENTRYPOINT []\n"
        );
        fs::write(context.path().join("Dockerfile"), lines).unwrap();
        let tag = "ai-lab:test-compat-old-hub";
        // The second one finds the layers of the first.
        let _alone = alone("derived");
        let place = context.path().to_str().unwrap();
        docker_ok(["build", "--quiet", "--tag", tag, place]);
        Self(tag)
    }

    /// A hub that uses it with this `cmd`, and keeps the containers.
    fn hub(&self, cmd: &str, more: &str) -> Hub {
        let image = self.0;
        Hub::start_version(
            OLD,
            &format!(
                "c.DockerSpawner.image = '{image}'\n\
                 c.DockerSpawner.cmd={cmd}\n\
                 c.DockerSpawner.remove = False\n\
                 no_health_check = {{'healthcheck': {{'test': ['NONE']}}}}\n\
                 c.DockerSpawner.extra_create_kwargs = no_health_check\n\
                 {more}"
            ),
        )
    }
}

/// No process of the container is root's, nor ubuntu's.
fn no_root_left(container: &Container) {
    let said = docker_ok(["top", &container.name, "-eo", "uid,pid,args"]);
    assert!(said.contains("jupyterhub-singleuser"), "{said}");
    for process in said.lines().skip(1) {
        assert!(process.trim().starts_with("1000 "), "{said}");
    }
}

#[test]
fn old_configurations_work_as_they_stand() {
    let image = Derived::build();
    let renamed = CMD.replace(SCRIPT, r#""ai-lab-entrypoint""#);
    assert_ne!(renamed, CMD);
    // Without sudo nobody makes ubuntu root, so such a container starts as root itself.
    let as_root = "no_health_check['user'] = 'root'";
    for (cmd, more, has_script) in [(CMD, "", true), (&renamed, as_root, false)] {
        let hub = image.hub(cmd, more);
        assert_eq!(hub.ask(&["start", "alice"]), "ready");
        assert_eq!(hub.ask(&["run", "alice", COMPUTE]), "42");
        let container = hub.container("alice");
        no_root_left(&container);
        let log = container.logs();
        assert!(log.contains("Switched uid/gid to jupyter/jupyter"), "{log}");
        assert!(
            log.contains("single-user server extension version 5.2.1"),
            "{log}"
        );
        let file = container.exec_ok("jupyter", &["cat", "/home/jupyter/jupyter-server.log"]);
        assert!(file.contains("is running at:"), "{file}");
        if has_script {
            leave_traps(&container);
        }
        assert_eq!(hub.ask(&["stop", "alice"]), "stopped");
        let log = container.logs();
        assert!(log.contains("received signal 15, stopping"), "{log}");
        assert_eq!(hub.ask(&["start", "alice"]), "ready");
        if has_script {
            what_users_leave_behind_is_not_what_root_imports(&container);
        }
    }
}

/// Whatever Python imports of these says who it ran as.
const TRAP: &str = "import os\n\
                    with open(f'/tmp/trapped-{os.getuid()}', 'a') as said: print(__name__, file=said)\n";

/// Wherever the two users can write and Python may look: beside the script, in the working
/// directory, and in both homes.
fn leave_traps(container: &Container) {
    let plant = |user: &str, place: &str| {
        let write = format!(
            "mkdir -p {place} && for name in os sys site sitecustomize usercustomize encodings; \
             do printf %s \"$1\" > {place}/$name.py || exit; done; \
             echo 'import usercustomize' > {place}/trap.pth"
        );
        container.exec_ok(user, &["sh", "-c", &write, "sh", TRAP]);
    };
    let packages = ".local/lib/python3.13/site-packages";
    plant("jupyter", "/home/jupyter");
    plant("jupyter", "/home/jupyter/notebooks");
    plant("jupyter", &format!("/home/jupyter/{packages}"));
    plant("ubuntu", &format!("/home/ubuntu/{packages}"));
    let replace = "rm -f /home/jupyter/entrypoint.py || mv /home/jupyter/entrypoint.py /tmp";
    assert!(!container.exec("jupyter", &["sh", "-c", replace]).0);
}

/// After another start.
fn what_users_leave_behind_is_not_what_root_imports(container: &Container) {
    let trapped = || container.exec_ok("root", &["sh", "-c", "echo /tmp/trapped-*"]);
    let said = trapped();
    assert!(
        !said.contains("trapped-0") && !said.contains("trapped-1001"),
        "{said}"
    );
    // They are traps indeed.
    let open = ["env", "HOME=/home/ubuntu"];
    let python = ["python3", "-c", "pass"];
    container.exec_ok("ubuntu", &[&open[..], &python].concat());
    assert!(trapped().contains("trapped-1001"), "{}", trapped());
}

/// An error makes Python import what shows it, from the script's directory first.
#[test]
fn an_error_of_the_old_script_imports_nothing_of_the_users() {
    let script = "for name in traceback warnings linecache tokenize; do
             printf %s \"$1\" >/home/jupyter/$name.py
         done
         chown jupyter /home/jupyter/*.py
         rm /usr/local/bin/ai-lab-entrypoint
         python3 /home/jupyter/entrypoint.py true
         echo /tmp/trapped-*";
    let line = ["sh", "-c", script, "sh", TRAP];
    let (_, stdout, stderr) = run_image(COMPAT, &["--user=root"], &line);
    assert!(stderr.contains("FileNotFoundError"), "{stderr}");
    assert!(!stdout.contains("trapped-0"), "{stdout}");
}
