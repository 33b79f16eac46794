//! What goes wrong between a hub and its servers: either may end, or come too late.

use crate::support::docker::{Container, run};
use crate::support::free_port;
use crate::support::hub::Hub;

const COMPUTE: &str = "print(6 * 7)";
const TERMINATED: &str = "Jupyter server terminated with error code";

/// The hub looks after its servers every second rather than every half minute, and
/// leaves containers that have ended to be looked at.
///
/// Bob's server does not come up.
const WATCHFUL: &str = "c.Spawner.poll_interval = 1
c.DockerSpawner.remove = False
async def break_it_for_bob(spawner):
    if spawner.user.name == 'bob':
        spawner.args = ['--no-such-option']
        spawner.environment = {'AI_LAB_RESCUE': 'never'}
        spawner.http_timeout = 15
c.Spawner.pre_spawn_hook = break_it_for_bob
";

#[test]
fn a_hub_that_looks_sees_a_server_that_ends_and_says_of_one_that_never_came_up_what_it_knows() {
    let mut hub = Hub::start(WATCHFUL);
    a_server_that_crashes_is_told_in_its_log_and_seen_by_the_hub(&mut hub);
    a_server_that_does_not_come_up_is_no_riddle(&hub);
}

fn a_server_that_crashes_is_told_in_its_log_and_seen_by_the_hub(hub: &mut Hub) {
    assert_eq!(hub.ask(&["start", "alice"]), "ready");
    let container = hub.container("alice");
    // What a server that runs out of memory looks like.
    let kill = format!("kill -KILL {}", container.status()["main_pid"]);
    // The container may be gone before the engine knows how this ended.
    container.exec("root", &["sh", "-c", &kill]);
    assert_eq!(container.end(), 137);
    let log = container.logs();
    assert!(
        log.contains(&format!("{TERMINATED} 137 (signal 9)")),
        "{log}"
    );
    let seen = hub.wait_for("User alice server stopped, with exit code");
    assert!(seen.contains("ExitCode=137"), "{seen}");
    assert_eq!(hub.ask(&["servers"]), "");
    assert_eq!(hub.ask(&["start", "alice"]), "ready");
    assert_eq!(hub.ask(&["run", "alice", COMPUTE]), "42");
}

fn a_server_that_does_not_come_up_is_no_riddle(hub: &Hub) {
    // The hub knows no more than that nobody answers; the log does.
    let said = hub.ask(&["start", "bob"]);
    assert!(said.starts_with("Spawn failed: Server at http"), "{said}");
    let container = hub.container("bob");
    assert_eq!(container.exit_code(), 2);
    let log = container.logs();
    assert!(log.contains("--no-such-option"), "{log}");
    assert!(log.contains(&format!("{TERMINATED} 2")), "{log}");
}

#[test]
fn hub_and_server_find_each_other_again_whichever_of_them_ends() {
    // Published where it was before, so that the hub finds it again.
    let mut hub = Hub::start(&format!(
        "c.JupyterHub.cleanup_servers = False\n\
         c.DockerSpawner.remove = False\n\
         here = ('127.0.0.1', {})\n\
         c.DockerSpawner.extra_host_config = {{'port_bindings': {{8888: here}}}}",
        free_port()
    ));
    assert_eq!(hub.ask(&["start", "alice"]), "ready");
    let container = hub.container("alice");
    servers_outlive_their_hub(&mut hub, &container);
    a_server_waits_for_a_hub_that_comes_later(&mut hub, &container);
}

fn servers_outlive_their_hub(hub: &mut Hub, container: &Container) {
    let pid = container.status()["main_pid"].clone();
    hub.end();
    hub.begin();
    assert_eq!(hub.ask(&["servers"]), "alice");
    assert_eq!(hub.ask(&["run", "alice", COMPUTE]), "42");
    assert_eq!(container.status()["main_pid"], pid);
}

fn a_server_waits_for_a_hub_that_comes_later(hub: &mut Hub, container: &Container) {
    hub.end();
    // The machine comes up again, and the container before the hub.
    container.stop();
    container.begin();
    container.wait_for("Failed to connect to my Hub");
    // The server tries for 46 s: a hub takes its time, and is asked for meanwhile.
    hub.spawn();
    let (healthy, said) = container.exec("root", &["ai-lab-entrypoint", "healthcheck"]);
    assert!(!healthy && said.contains("starting"), "{said}");
    hub.wait_for("Adding user alice to proxy");
    assert_eq!(hub.ask(&["run", "alice", COMPUTE]), "42");
}

#[test]
fn a_missing_token_is_said_before_the_server_starts() {
    let url = "--env=JUPYTERHUB_SERVICE_URL=http://0.0.0.0:8888/user/alice/";
    let container = Container::start(&[url], &[]);
    let log = container.wait_for(" ServerApp] ");
    let missing = "JUPYTERHUB_API_TOKEN and JUPYTERHUB_CLIENT_ID are not set";
    let (before, _) = log.split_once(" ServerApp] ").unwrap();
    assert!(before.contains(missing), "{log}");
    // Who would rather not have such a server says so.
    let (code, _, stderr) = run(&[url], &["--warning-as-error"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains(missing), "{stderr}");
}

#[test]
fn who_does_nothing_is_culled() {
    let mut hub = Hub::start(
        "import sys\n\
         c.JupyterHub.services.append({'name': 'culler', 'command': [\n\
         \x20   sys.executable, '-m', 'jupyterhub_idle_culler', '--timeout=1', '--cull-every=1']})\n\
         c.JupyterHub.load_roles.append({'name': 'culler', 'services': ['culler'], 'scopes': [\n\
         \x20   'list:users', 'read:users:activity', 'read:servers', 'delete:servers']})",
    );
    assert_eq!(hub.ask(&["start", "alice"]), "ready");
    hub.wait_for("Culling server alice");
    hub.wait_for("204 DELETE /hub/api/users/alice/server");
    assert_eq!(hub.ask(&["servers"]), "");
}
