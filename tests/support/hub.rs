//! A real JupyterHub with its proxy, from PyPI, in a PID namespace of its own. It runs
//! `examples/jupyterhub_config.py`, with names and ports that nobody else has.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::docker::{self, Container, docker, text};
use super::{Running, Start, free_port};

/// What is installed beside the hub. Changed versions make a new venv. A newer jsonschema builds a
/// grammar in each start of a hub: a third of its time.
pub const NEWEST: &[&str] = &[
    "jupyterhub==6.1.1",
    "dockerspawner==14.0.0",
    "configurable-http-proxy==0.4.0",
    "jsonschema==4.24.1",
    "jupyterhub-idle-culler==2.0.0",
    "jupyterhub-kubespawner==7.1.0",
    "websocket-client==1.9.2",
];
/// What hubs with the long `cmd` have.
pub const OLD: &[&str] = &[
    "jupyterhub==5.2.1",
    "dockerspawner==14.0.0",
    "configurable-http-proxy==0.4.0",
    "jsonschema==4.24.1",
    "websocket-client==1.9.2",
];

/// Of the service that asks in the name of an administrator.
const TOKEN: &str = "a-token-of-the-tests";

/// A hub, its proxy, and whatever its users left.
pub struct Hub {
    venv: PathBuf,
    directory: tempfile::TempDir,
    /// What leads into the network or the mounts that the hub is in; empty: this machine's.
    enter: Vec<String>,
    running: Option<Running>,
    port: u16,
    /// How the names of its containers and volumes begin.
    pub prefix: String,
}

impl Hub {
    /// The example for one machine, with these lines after it.
    pub fn start(more: &str) -> Self {
        Self::start_version(NEWEST, more)
    }

    /// The same with other versions.
    pub fn start_version(version: &[&str], more: &str) -> Self {
        Self::start_within(version, Vec::new(), more)
    }

    /// The same on a machine with these lines in `/etc/passwd`, too. All of `/etc` is a copy: a mount
    /// on the file alone goes when another test adds a user.
    pub fn start_with_users(lines: &str, more: &str) -> Self {
        let script = "mount -t tmpfs tmpfs /mnt; cp -a /etc/. /mnt; printf %s \"$0\" >>/mnt/passwd
            mount --move /mnt /etc; exec \"$@\"";
        let enter = ["unshare", "--mount", "sh", "-ec", script, lines];
        let enter = enter.map(str::to_owned).to_vec();
        Self::start_within(NEWEST, enter, more)
    }

    fn start_within(version: &[&str], enter: Vec<String>, more: &str) -> Self {
        let prefix = docker::name();
        let image = docker::IMAGE;
        let more = format!(
            "c.DockerSpawner.image = '{image}'\n\
             volumes = {{'{prefix}-{{username}}': '/home/jupyter/notebooks'}}\n\
             c.DockerSpawner.volumes = volumes\n\
             {more}"
        );
        let example = "examples/jupyterhub_config.py";
        Self::start_example(version, example, prefix, enter, &more)
    }

    /// Any example, in the network that `enter` leads into.
    pub fn start_example(
        version: &[&str],
        example: &str,
        prefix: String,
        enter: Vec<String>,
        more: &str,
    ) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("ai-lab-test-")
            .tempdir()
            .unwrap();
        let [port, hub_port, proxy_port] = [(); 3].map(|()| free_port());
        let example = path(example);
        let scopes = "['admin:users', 'admin:servers', 'list:users']";
        let config = format!(
            "load_subconfig({example:?})\n\
             c = get_config()\n\
             c.JupyterHub.bind_url = 'http://127.0.0.1:{port}'\n\
             c.JupyterHub.hub_port = {hub_port}\n\
             c.ConfigurableHTTPProxy.api_url = 'http://127.0.0.1:{proxy_port}'\n\
             c.JupyterHub.services.append({{'name': 'the-tests', 'api_token': '{TOKEN}'}})\n\
             c.JupyterHub.load_roles.append(\n\
             \x20   {{'name': 'the-tests', 'services': ['the-tests'], 'scopes': {scopes}}})\n\
             c.DockerSpawner.prefix = '{prefix}'\n\
             c.Spawner.http_timeout = 120\n\
             {more}\n"
        );
        fs::write(directory.path().join("config.py"), config).unwrap();
        let mut hub = Self {
            venv: venv(version),
            directory,
            enter,
            running: None,
            port,
            prefix,
        };
        hub.begin();
        hub
    }

    /// Starts the hub, which is not running, and waits until it answers.
    pub fn begin(&mut self) {
        self.spawn();
        self.wait_for("JupyterHub is now running at");
    }

    /// Starts the hub, which is not running.
    pub fn spawn(&mut self) {
        let directory = self.directory.path().display();
        let running = Start::of_the_machine("env")
            .args(&self.enter)
            .args(["env", &format!("--chdir={directory}")])
            .arg(self.venv.join("bin/jupyterhub").to_str().unwrap())
            .args(["--config", "config.py"])
            .start();
        self.running = Some(running);
    }

    /// Ends the hub in order.
    pub fn end(&mut self) {
        let mut running = self.running.take().unwrap();
        running.signal(libc::SIGTERM);
        running.end();
    }

    /// Waits until the hub's log says this.
    pub fn wait_for(&mut self, part: &str) -> String {
        self.running.as_mut().unwrap().wait_for(part)
    }

    /// A person at the browser, or an administrator: see `hub_visitor.py`.
    pub fn ask(&self, words: &[&str]) -> String {
        let output = Command::new("env")
            .args(&self.enter)
            .arg(self.venv.join("bin/python"))
            .arg(path("tests/support/hub_visitor.py"))
            .arg(format!("http://127.0.0.1:{}", self.port))
            .arg(TOKEN)
            .args(words)
            .output()
            .unwrap();
        text(&output).trim().to_owned()
    }

    /// The address of a user's default server, for a browser.
    pub fn page(&self, user: &str) -> String {
        format!("http://127.0.0.1:{}/user/{user}/", self.port)
    }

    /// The container of a user's default server. It is removed when this goes away.
    pub fn container(&self, user: &str) -> Container {
        let name = format!("{}-{user}", self.prefix);
        Container { name }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(mut running) = self.running.take()
        {
            // Its servers are kept for what the test still wants to say about them.
            running.signal(libc::SIGKILL);
            eprintln!("log of the hub:\n{}", running.everything().1);
        }
        self.running = None;
        let begins = format!("name=^{}-", self.prefix);
        let words = ["ps", "--all", "--quiet", "--filter", &begins];
        for id in text(&docker(words)).split_whitespace() {
            docker(["rm", "--force", "--volumes", id]);
        }
        let words = ["volume", "ls", "--quiet", "--filter", &begins];
        for name in text(&docker(words)).split_whitespace() {
            docker(["volume", "rm", "--force", name]);
        }
    }
}

/// A file of this project.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// One test at a time, also of other processes, until this is dropped.
pub fn alone(name: &str) -> File {
    let place = path("target/hub");
    fs::create_dir_all(&place).unwrap();
    let lock = File::create(place.join(format!("{name}.lock"))).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    lock
}

/// The venv with these packages; it is made once, for all tests and all runs.
pub fn venv(packages: &[&str]) -> PathBuf {
    made(packages, |place| {
        run(uv()
            .args(["venv", "--quiet", "--clear", "--python", "python3"])
            .arg(place));
        run(uv()
            .args(["pip", "install", "--quiet", "--system-certs", "--python"])
            .arg(place.join("bin/python"))
            .args(packages));
    })
}

/// uv, which takes a tenth of the time that pip takes, and has a cache for all tests.
pub fn uv() -> Command {
    let place = made(&["uv"], |place| {
        let venv = ["-m", "venv", "--clear"];
        run(Command::new("python3").args(venv).arg(place));
        let install = ["install", "--quiet", "--disable-pip-version-check", "uv"];
        run(Command::new(place.join("bin/pip")).args(install));
    });
    let mut uv = Command::new(place.join("bin/uv"));
    uv.env("UV_CACHE_DIR", path(CACHE));
    uv
}

/// The cache of uv, below the project's directory.
pub const CACHE: &str = "target/hub/cache";

/// The directory that `make` makes with these packages, unless it is there.
fn made(packages: &[&str], make: impl FnOnce(&Path)) -> PathBuf {
    let name = packages[0].replace("==", "-");
    let _alone = alone(&name);
    let place = path("target/hub").join(&name);
    let complete = place.join("complete");
    let wanted = packages.join("\n");
    if !fs::read_to_string(&complete).is_ok_and(|installed| installed == wanted) {
        make(&place);
        fs::write(complete, wanted).unwrap();
    }
    place
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
}
