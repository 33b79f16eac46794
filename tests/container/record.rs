//! The settings that root's verbs believe: the server's user cannot replace them in a real
//! container, and those of another container are none.

use crate::support::docker::{Container, IMAGE, docker, docker_ok};

const RECORD: &str = "/run/ai-lab-settings.toml";
const FORGED: &str = "server.stop_timeout = 3.0";
const SHOW: [&str; 3] = ["ai-lab-entrypoint", "config", "show"];

/// An image that was made of a container; it is removed.
struct Committed(String);

impl Committed {
    fn of(container: &Container) -> Self {
        let name = format!("{}-committed", container.name);
        docker_ok(["commit", &container.name, &name]);
        Self(name)
    }
}

impl Drop for Committed {
    fn drop(&mut self) {
        docker(["rmi", "--force", &self.0]);
    }
}

fn started(image: &str, options: &[&str], words: &[&str]) -> Container {
    let command = ["--", "sh", "-c", "echo it runs; exec sleep 1000"];
    let container = Container::start_image(image, options, &[words, &command].concat());
    container.wait_for("it runs");
    container
}

/// A record of PID 1 that its user likes better than root's.
fn forged(container: &Container) -> String {
    let stat = container.exec_ok("jupyter", &["cat", "/proc/1/stat"]);
    let start = stat.rsplit(')').next().unwrap().split_whitespace().nth(19);
    let mark = format!("# By process 1, started at tick {}.", start.unwrap());
    format!(
        "# The settings of the running start. Each start writes this file again.\n{mark}\n{FORGED}\n"
    )
}

#[test]
fn the_user_cannot_replace_what_root_believes() {
    let container = started(IMAGE, &[], &["--stop-timeout", "6"]);
    let shown = |user| container.exec_ok(user, &SHOW);
    let before = shown("root");
    assert!(before.contains("server.stop_timeout = 6.0"), "{before}");
    assert_eq!(shown("jupyter"), before, "the user may read it");
    let forged = forged(&container);
    for attempt in [
        "mv /run/ai-lab /run/ai-lab.old",
        "mv /run/ai-lab-settings.toml /run/ai-lab/",
        "rm -f /run/ai-lab-settings.toml",
        "ln -sf /run/ai-lab/settings.toml /run/ai-lab-settings.toml",
        "cp /run/ai-lab/settings.toml /run/ai-lab-settings.toml",
        "mv /run /run.old",
    ] {
        let script = format!(
            "cd /run/ai-lab && mkdir -p settings && printf %s '{forged}' > settings.toml && \
             cp settings.toml settings/entrypoint.toml && {attempt}"
        );
        let (ok, said) = container.exec("jupyter", &["sh", "-c", &script]);
        assert!(!ok, "{attempt}: {said}");
        assert_eq!(shown("root"), before, "{attempt}");
        assert_eq!(shown("jupyter"), before, "{attempt}");
    }
    // Nor does it take the place of one that is lost.
    container.exec_ok("root", &["rm", RECORD]);
    let said = shown("root");
    assert!(!said.contains(FORGED), "{said}");
    assert!(said.contains("which root does not read"), "{said}");
}

#[test]
fn what_an_earlier_container_left_behind_is_of_no_start() {
    let first = started(IMAGE, &[], &["--stop-timeout", "3"]);
    // As earlier versions wrote it, too.
    let script =
        format!("mkdir /run/ai-lab/settings && cp {RECORD} /run/ai-lab/settings/entrypoint.toml");
    first.exec_ok("root", &["sh", "-c", &script]);
    let image = Committed::of(&first);
    let next = started(&image.0, &[], &["--stop-timeout", "6"]);
    let shown = next.exec_ok("root", &SHOW);
    assert!(shown.contains("server.stop_timeout = 6.0"), "{shown}");
    // A start without root cannot write that of root anew.
    let options = ["--user=1234:0"];
    let other = started(&image.0, &options, &["--stop-timeout", "5"]);
    let shown = other.exec_ok("1234:0", &SHOW);
    assert!(shown.contains("server.stop_timeout = 5.0"), "{shown}");
    let shown = other.exec_ok("root", &SHOW);
    let believed = ["3.0", "5.0"].map(|time| format!("server.stop_timeout = {time}"));
    assert!(!believed.iter().any(|time| shown.contains(time)), "{shown}");
    assert!(shown.contains("`docker exec --user 1234`"), "{shown}");
}

#[test]
fn where_root_cannot_keep_a_record_that_is_told() {
    let open = tempfile::tempdir().unwrap();
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(open.path(), all).unwrap();
    let volume = format!("--volume={}:/run", open.path().display());
    for (options, why) in [
        (
            &["--read-only", "--tmpfs=/tmp"][..],
            "Read-only file system",
        ),
        (&[volume.as_str()], "/run can be written by everyone"),
    ] {
        let container = started(IMAGE, options, &["--stop-timeout", "6"]);
        let logs = container.logs();
        let told = format!("the settings are not kept in {RECORD}: {why}");
        assert!(logs.contains(&told), "{logs}");
        let shown = container.exec_ok("jupyter", &SHOW);
        assert!(shown.contains("server.stop_timeout = 6.0"), "{shown}");
        let shown = container.exec_ok("root", &SHOW);
        assert!(shown.contains("which root does not read"), "{shown}");
        assert!(shown.contains("server.stop_timeout = 7.0"), "{shown}");
        container.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
    }
    let container = started(IMAGE, &["--tmpfs=/run"], &["--stop-timeout", "6"]);
    let shown = container.exec_ok("root", &SHOW);
    assert!(shown.contains("server.stop_timeout = 6.0"), "{shown}");
}

#[test]
fn a_state_that_only_a_flag_names_is_found_by_dockers_health_check() {
    let options = ["--health-interval=1s", "--health-retries=1"];
    let words = ["--state-dir", "/var/lib/state of mine"];
    let container = started(IMAGE, &options, &words);
    container.until("Docker says healthy", || {
        (container.described()["State"]["Health"]["Status"] == "healthy").then_some(())
    });
}

#[test]
fn whatever_the_user_leaves_in_its_place_the_container_starts_again() {
    let container = started(IMAGE, &[], &["--warning-as-error"]);
    for obstacle in [
        "rm -f state.json; mkdir -p state.json/a .state.json.1/b",
        "rm -rf state.json .state.json.1; mkfifo state.json .state.json.1",
        "rm -f state.json .state.json.1; ln -s /etc/passwd state.json; ln -s /etc .state.json.1",
        "rm -f state.json; mkdir state.json; chmod 0 .",
    ] {
        let script = format!("cd /run/ai-lab && {obstacle}");
        container.exec_ok("jupyter", &["sh", "-c", &script]);
        docker_ok(["restart", "--time=5", &container.name]);
        container.until(&format!("it is healthy after {obstacle}"), || {
            let words = ["exec", &container.name, "ai-lab-entrypoint", "healthcheck"];
            docker(words).status.success().then_some(())
        });
        let kind = container.exec_ok("root", &["stat", "-c", "%F", "/run/ai-lab/state.json"]);
        assert_eq!(kind.trim(), "regular file", "{obstacle}");
    }
}
