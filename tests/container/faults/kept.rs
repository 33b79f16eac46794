//! A volume that somebody has used, before and after a fault of a container.

use crate::support::docker::{Container, Volume, run};
use crate::support::process::{children, state, until};

/// What a start says that serves.
pub const READY: &str = "] ready in ";

const NOTEBOOKS: &str = "/home/jupyter/notebooks";
const DEFAULTS: &str = "/opt/ai-lab/notebook-defaults";

/// What a person has: a file, and a notebook with the name of a default.
const MINE: &str = "mine.txt";
const THEIRS: &str = "start.ipynb";

pub struct Kept(Volume);

impl Kept {
    pub fn new() -> Self {
        let volume = Volume::new();
        let container = Container::create(&[&volume.option()], &[]);
        for name in [MINE, THEIRS] {
            let place = format!("{NOTEBOOKS}/{name}");
            container.put(&place, name.as_bytes(), 0o644);
        }
        Self(volume)
    }

    /// The option that mounts it as the notebooks.
    pub fn option(&self) -> String {
        self.0.option()
    }

    /// What a person has is there byte for byte, and no default is half there.
    pub fn assert_nothing_lost(&self, at: &str) {
        let lines = self.differences(at);
        let half = lines.iter().find(|line| line.ends_with(" differ"));
        assert!(half.is_none(), "{at}: {lines:?}");
    }

    /// A start without a fault serves, without a warning, and leaves every default there,
    /// what a person has, and nothing else.
    pub fn assert_next_start_is_healthy(&self, at: &str) {
        let container = Container::start(&[&self.option()], &[]);
        let log = container.wait_for(READY);
        let warns = |line: &str| line.starts_with("[W ") && line.contains(" ai-lab] ");
        assert!(!log.lines().any(warns), "{at}: {log}");
        assert_healthy(&container, at);
        assert_eq!(container.stop(), 0, "{at}: {}", container.logs());
        drop(container);
        let expected = format!("Only in .: {MINE}");
        assert_eq!(self.differences(at), [expected], "{at}");
    }

    /// The lines of diff(1) between the defaults and the volume, apart from what a person has
    /// in a default's place.
    fn differences(&self, at: &str) -> Vec<String> {
        let script = format!(
            "cd {NOTEBOOKS} && cat {MINE} {THEIRS} && echo \
             && diff -rq --exclude=manifest.sha256 --exclude=lock \
              --exclude=cells.jsonl --exclude=.gitignore --exclude={THEIRS} {DEFAULTS} ."
        );
        let options = [&*self.option(), "--entrypoint", "sh"];
        let (_, said, wrong) = run(&options, &["-c", &script]);
        assert_eq!(wrong, "", "{at}");
        let (theirs, lines) = said.split_once('\n').unwrap();
        assert_eq!(theirs, format!("{MINE}{THEIRS}"), "{at}");
        lines.lines().map(str::to_owned).collect()
    }
}

/// It answers, and PID 1 has one child: the server. Nobody waits to be reaped.
pub fn assert_healthy(container: &Container, at: &str) {
    let said = container.exec_ok("jupyter", &["ai-lab-entrypoint", "healthcheck"]);
    assert!(said.starts_with("healthy: http"), "{at}: {said}");
    let server = container.status()["main_pid"].as_i64().unwrap();
    let first = container.inspect("{{.State.Pid}}").parse().unwrap();
    until("PID 1 has one child, the server", || {
        let [child] = children(first)[..] else {
            return false;
        };
        state(child).is_some_and(|state| !state.starts_with('Z')) && number_inside(child) == server
    });
}

/// The number that this process has in its own PID namespace.
fn number_inside(pid: i32) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let number = line.and_then(|line| line.split_whitespace().last()?.parse().ok());
    number.unwrap_or(0)
}
