//! AI Lab under SwarmSpawner, with `examples/swarm.py` and Docker's own swarm mode: a
//! swarm of one machine, and one of two.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::support::blocks::blocks;
use crate::support::docker::{Container, IMAGE, docker, docker_ok, name, text};
use crate::support::hub::{Hub, NEWEST, alone};
use crate::support::{Start, free_port};

/// This engine as a swarm; afterwards it is what it was.
struct Swarm {
    begun: bool,
    network: String,
    /// The second machine.
    worker: Option<Child>,
}

impl Swarm {
    /// A swarm of this machine and of one that has no other containers.
    fn of_two_machines() -> Self {
        let mut node = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/swarm-node"));
        node.arg(IMAGE).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut worker = node.spawn().unwrap();
        let mut line = String::new();
        let said = worker.stdout.take().unwrap();
        BufReader::new(said).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let mut swarm = Self::begin();
        swarm.worker = Some(worker);
        swarm
    }

    fn begin() -> Self {
        let state = docker_ok(["info", "--format", "{{.Swarm.LocalNodeState}}"]);
        let begun = state.trim() != "active";
        if begun {
            docker_ok(["swarm", "init", "--advertise-addr", "127.0.0.1"]);
        }
        let swarm = Self {
            begun,
            network: name(),
            worker: None,
        };
        let create = ["network", "create", "--driver", "overlay", "--attachable"];
        docker_ok(create.into_iter().chain([swarm.network.as_str()]));
        swarm
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        docker(["network", "rm", &self.network]);
        if let Some(mut worker) = self.worker.take() {
            drop(worker.stdin.take());
            let _ = worker.wait();
            docker(["network", "rm", "docker_gwbridge"]);
        }
        if self.begun {
            docker(["swarm", "leave", "--force"]);
            docker(["network", "rm", "docker_gwbridge"]);
        }
    }
}

/// Services of this user and the volume; they go away.
struct Belongings {
    service: String,
    volume: String,
}

impl Belongings {
    fn service(&self, format: &str) -> String {
        docker_ok(["service", "inspect", "--format", format, &self.service])
    }

    /// The container of the service's only task.
    fn container(&self) -> String {
        let label = format!("label=com.docker.swarm.service.name={}", self.service);
        let words = ["ps", "--all", "--quiet", "--filter", &label];
        docker_ok(words).trim().to_owned()
    }
}

impl Drop for Belongings {
    fn drop(&mut self) {
        docker(["service", "rm", &self.service]);
        let container = self.container();
        if !container.is_empty() {
            docker(["rm", "--force", &container]);
        }
        docker(["volume", "rm", "--force", &self.volume]);
    }
}

/// A hub in a swarm, a person's service and her volume.
struct HubInSwarm {
    // They go away in this order.
    hub: Hub,
    hers: Belongings,
    _place: Container,
    user: String,
}

impl HubInSwarm {
    /// The hub's process is here, its network that of a container called hub.
    fn start(swarm: &Swarm, more: &str) -> Self {
        let network = format!("--network={}", swarm.network);
        let options = [network.as_str(), "--network-alias=hub", "--no-healthcheck"];
        let place = Container::start(&options, &["sleep", "3600"]);
        let inspect = |format| docker_ok(["inspect", "--format", format, &place.name]);
        let names = inspect("{{.ResolvConfPath}}");
        let enter = [
            "nsenter",
            &format!(
                "--net={}",
                inspect("{{.NetworkSettings.SandboxKey}}").trim()
            ),
            "unshare",
            "--mount",
            "sh",
            "-euc",
            "mount --bind \"$1\" /etc/resolv.conf; shift; exec \"$@\"",
            "sh",
            names.trim(),
        ]
        .map(str::to_owned);

        let user = format!("alice{}", std::process::id());
        let prefix = name();
        let hers = Belongings {
            service: format!("{prefix}-{user}"),
            volume: format!("ai-lab-{user}"),
        };
        let more = format!(
            "c.SwarmSpawner.image = '{IMAGE}'\n\
             c.SwarmSpawner.network_name = '{}'\n{more}",
            swarm.network
        );
        let hub = Hub::start_example(NEWEST, "examples/swarm.py", prefix, enter.to_vec(), &more);
        Self {
            hub,
            hers,
            _place: place,
            user,
        }
    }

    /// She logs in and saves a file.
    fn is_used(&self) {
        let Self { hub, user, .. } = self;
        assert_eq!(hub.ask(&["start", user]), "ready");
        let page = format!("/user/{user}/lab/tree/start.ipynb");
        assert_eq!(hub.ask(&["page", user]), page);
        let save = "open('mine.txt', 'w').write('')\nprint(6 * 7)";
        assert_eq!(hub.ask(&["run", user, save]), "42");
    }

    /// She has stopped her server. Her files are there again.
    fn is_used_again(&self) {
        let Self { hub, user, .. } = self;
        assert_eq!(hub.ask(&["start", user]), "ready");
        assert!(hub.ask(&["files", user]).contains("mine.txt"));
    }
}

#[test]
fn a_service_is_started_used_and_stopped() {
    // A machine has one swarm.
    let _alone = alone("swarm");
    let swarm = Swarm::begin();
    let lab = HubInSwarm::start(&swarm, "");
    lab.is_used();
    let HubInSwarm {
        hub, hers, user, ..
    } = &lab;

    let task = "{{json .Spec.TaskTemplate.ContainerSpec.Args}} \
                {{.Spec.TaskTemplate.RestartPolicy.Condition}} {{.Spec.EndpointSpec.Mode}}";
    assert_eq!(hers.service(task).trim(), "[\"jupyter-lab\"] none dnsrr");
    let container = Container {
        name: hers.container(),
    };
    let said = container.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
    assert!(said.starts_with("healthy"), "{said}");

    assert_eq!(hub.ask(&["stop", user]), "stopped");
    // The hub does not wait for the task; Docker ends it in order.
    assert_eq!(container.end(), 0, "{}", container.logs());
    let gone = docker(["service", "inspect", &hers.service]);
    assert!(text(&gone).contains("no such service"), "{}", text(&gone));
    lab.is_used_again();
}

#[test]
fn a_server_runs_on_another_machine_than_the_hub() {
    let _alone = alone("swarm");
    let swarm = Swarm::of_two_machines();
    let placed = "c.SwarmSpawner.extra_placement_spec = {'constraints': ['node.role==worker']}";
    let lab = HubInSwarm::start(&swarm, placed);
    lab.is_used();
    assert_eq!(lab.hers.container(), "", "this machine runs the server");
    assert_eq!(lab.hub.ask(&["stop", &lab.user]), "stopped");
    lab.is_used_again();
}

/// A secret of the swarm; it goes away.
struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        docker(["secret", "rm", &self.0]);
    }
}

const PORTS: &str = "{{range .Spec.EndpointSpec.Ports}}{{.PublishedPort}} {{.TargetPort}}{{end}}";

#[test]
fn a_secret_is_the_password_of_a_single_service() {
    let _alone = alone("swarm");
    let _swarm = Swarm::begin();
    let secret = Secret(name());
    let service = Belongings {
        service: name(),
        volume: name(),
    };
    let published = free_port();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("password.txt"), "of the swarm\n").unwrap();
    // What the page tells, with names that nobody else has.
    let mut blocks = blocks("docs/jupyterhub.md").into_iter();
    let block = blocks.find(|block| block.text.starts_with("docker secret create"));
    let told = block.unwrap().text;
    let script = told
        .replace("--name ai-lab ", &format!("--name {} ", service.service))
        .replace("49494:49494", &format!("{published}:49494"))
        .replace("ai-lab-password", &secret.0)
        .replace("ai-lab:dev", IMAGE);
    let words = ["-c", "cd \"$1\" && eval \"$2\"", "sh"];
    let place = directory.path().to_str().unwrap();
    let made = Start::plain_of("sh")
        .args(words)
        .args([place, &script])
        .run();
    assert_eq!(made.code, 0, "{}{}", made.stdout, made.stderr);
    let container = Container {
        name: service.container(),
    };
    container.wait_for("] ready in ");
    let port = docker_ok(["service", "inspect", "--format", PORTS, &service.service]);
    assert_eq!(port.trim(), format!("{published} 49494"));
    // In the container's own network: the way through the published port is the kernel's
    // IPVS, which not every machine has.
    let pid = docker_ok(["inspect", "--format", "{{.State.Pid}}", &container.name]);
    let visitor = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/visitor.py");
    let login = |password: &str| {
        let words = ["--target", pid.trim(), "--net", "--", "python3", visitor];
        let visit = ["http://127.0.0.1:49494", "login", password];
        let told = Start::plain_of("nsenter").args(words).args(visit).run();
        told.stdout + &told.stderr
    };
    assert_eq!(login("of the swarm").trim(), "in");
    assert_eq!(login("ailab").trim(), "out");
}
