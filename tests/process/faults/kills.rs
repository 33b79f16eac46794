//! Whoever is killed or held up, at whatever moment.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::phases::{Phase, Phases};
use super::scene::{Ended, LIMIT, Scene, Stage};
use crate::support::chance::{Chance, Rounds};
use crate::support::file_systems::Kind;
use crate::support::outcomes::record;
use crate::support::process::{children, until};
use crate::support::tracees::{Fate, trace};
use crate::support::tracer::Call;
use crate::support::{Running, UID, repeated};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// PID 1 of the container.
    First,
    /// Its child: a hook or the server.
    Child,
    /// The server's child.
    Kernel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    Signal(Signal),
    /// Held up, and let go as soon as that is seen.
    Pause,
    /// Held up for good; then somebody stops the container.
    Freeze,
}

const VICTIMS: [Victim; 3] = [Victim::First, Victim::Child, Victim::Kernel];
const BLOWS: [Blow; 5] = [
    Blow::Signal(Signal::SIGKILL),
    Blow::Signal(Signal::SIGTERM),
    Blow::Signal(Signal::SIGSEGV),
    Blow::Pause,
    Blow::Freeze,
];

impl Blow {
    fn signal(self) -> Signal {
        match self {
            Self::Signal(signal) => signal,
            Self::Pause | Self::Freeze => Signal::SIGSTOP,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Signal(signal) => signal.to_string(),
            Self::Pause => "SIGSTOP, then SIGCONT".into(),
            Self::Freeze => "SIGSTOP, then a stop".into(),
        }
    }
}

/// Who was hit.
#[derive(Debug, Clone)]
struct Hit {
    pid: i32,
    /// `PID 1`, `hook`, `server` or `kernel`.
    who: &'static str,
    phase: Phase,
}

struct Killing {
    phases: Phases,
    /// How many calls each phase has.
    counts: [usize; Phase::ALL.len()],
    first: i32,
    at: (Phase, usize),
    victim: Victim,
    signal: Signal,
    hit: Option<Hit>,
}

impl Killing {
    fn decide(&mut self, call: &Call) -> Fate {
        let phase = self.phases.of(call);
        let now = self.counts[phase as usize];
        self.counts[phase as usize] += 1;
        let (wanted, nth) = self.at;
        // If nobody is there yet, the first one who comes is hit.
        let reached = phase as usize > wanted as usize || phase == wanted && now >= nth;
        if reached && self.hit.is_none() {
            self.hit = self.strike(phase);
        }
        Fate::Made
    }

    fn strike(&self, phase: Phase) -> Option<Hit> {
        let below = |pids: Vec<i32>| pids.into_iter().flat_map(children).collect::<Vec<_>>();
        let pids = match self.victim {
            Victim::First => vec![self.first],
            Victim::Child => below(vec![self.first]),
            Victim::Kernel => below(below(vec![self.first])),
        };
        let pid = *pids.first()?;
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let who = match self.victim {
            Victim::First => "PID 1",
            Victim::Kernel if line.contains("jupyter-lab") => "kernel",
            Victim::Kernel => return None,
            // Also on its way to become one.
            Victim::Child if phase as usize <= Phase::User as usize => "hook",
            Victim::Child => "server",
        };
        let program = fs::read_link(format!("/proc/{pid}/exe"));
        let ours = program.is_ok_and(|program| program.ends_with("ai-lab-entrypoint"));
        if self.signal == Signal::SIGSTOP && ours {
            return None; // who is traced cannot be held up
        }
        kill(Pid::from_raw(pid), self.signal).ok()?;
        Some(Hit { pid, who, phase })
    }
}

fn state(pid: i32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("State:"));
    line.unwrap_or("X").trim().to_owned()
}

/// A start, with a blow at this moment, and a stop.
fn run(
    scene: &Scene,
    at: (Phase, usize),
    (victim, blow): (Victim, Blow),
) -> (Ended, Option<Hit>, bool) {
    let killing = Arc::new(Mutex::new(Killing {
        phases: Phases::new(UID),
        counts: Default::default(),
        first: 0,
        at,
        victim,
        signal: blow.signal(),
        hit: None,
    }));
    let shared = killing.clone();
    let start = scene.start("read -r go", &[]);
    let (mut running, tracer) = trace(start, move |call| {
        let mut killing = shared.lock().unwrap();
        if killing.first == 0 {
            killing.first = call.pid.as_raw();
        }
        killing.decide(call)
    });
    let hit = || killing.lock().unwrap().hit.clone();
    let mut held = blow.signal() == Signal::SIGSTOP;
    let asked = loop {
        if let Some(hit) = hit().filter(|_| held) {
            held = false;
            if release(&mut running, hit.pid, blow) {
                running.signal(15);
                break true;
            }
        }
        match scene.look(&mut running) {
            Some(Stage::Ended) => break false,
            Some(Stage::Serves) => {
                scene.assert_server_alone(&mut running);
                let mut killing = killing.lock().unwrap();
                killing.phases.stop();
                // The blow may have ended it just now.
                if let Some(pid) = running.living() {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
                }
                break true;
            }
            None => {}
        }
    };
    // The blow may come during the stop.
    let deadline = Instant::now() + LIMIT;
    while !running.has_ended() {
        assert!(
            Instant::now() < deadline,
            "it does not end: {:#?}",
            running.all_heard()
        );
        let _ = scene.look(&mut running);
        if let Some(hit) = hit().filter(|_| held && blow == Blow::Pause) {
            held = false;
            release(&mut running, hit.pid, blow);
        }
    }
    let ended = scene.end(&mut running);
    tracer.join().unwrap();
    let killing = killing.lock().unwrap();
    (ended, killing.hit.clone(), asked)
}

/// Once it is held up: lets it go, or says that it is frozen.
fn release(running: &mut Running, pid: i32, blow: Blow) -> bool {
    until("it is held up or gone", || {
        running.has_ended()
            || ["T", "Z", "X"]
                .iter()
                .any(|held| state(pid).starts_with(held))
    });
    if blow == Blow::Pause {
        let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
    }
    blow == Blow::Freeze && !running.has_ended()
}

#[test]
fn anyone_may_be_killed_or_held_up_at_any_moment() {
    let test = "anyone_may_be_killed_or_held_up_at_any_moment";
    kill_or_hold(Kind::Tmpfs, Rounds::of(test, repeated(8, 200)));
}

#[test]
fn anyone_may_be_killed_or_held_up_without_exchange() {
    let test = "anyone_may_be_killed_or_held_up_without_exchange";
    kill_or_hold(Kind::Bindfs, Rounds::of(test, repeated(3, 100)));
}

#[test]
fn anyone_may_be_killed_or_held_up_without_links() {
    let test = "anyone_may_be_killed_or_held_up_without_links";
    kill_or_hold(Kind::Exfat, Rounds::of(test, repeated(3, 100)));
}

fn kill_or_hold(kind: Kind, rounds: Rounds) {
    let scene = Scene::on(kind);
    rounds.run(|round, mut chance: Chance| {
        let phase = *chance.of(&Phase::ALL[1..]);
        let at = (phase, chance.below(2 * phase.most_calls()));
        let victim = *chance.of(&VICTIMS);
        let blows = match victim {
            Victim::First => &BLOWS[..3],
            _ => &BLOWS[..],
        };
        let blow = *chance.of(blows);
        scene.reset();
        let (ended, hit, asked) = run(&scene, at, (victim, blow));
        let Some(hit) = hit else {
            let Ended { code, said } = &ended;
            let whole = *code == 0 && said.contains("fault: server got TERM");
            assert!(whole && scene.is_whole(), "nobody was hit: {code} {said}");
            record(
                "none: nobody was there to be hit",
                phase.name(),
                "went on, whole",
            );
            return;
        };
        let what = format!(
            "{} gets {} at call {} of {}",
            hit.who,
            blow.name(),
            at.1,
            phase.name()
        );
        eprintln!("{round}: {what}, in {}: {}", hit.phase.name(), ended.code);
        let outcome = judge(&what, &hit, blow, asked, &ended);
        record(
            &format!("{} to {}", blow.name(), hit.who),
            hit.phase.name(),
            outcome,
        );
        scene.assert_nothing_lost(&what);
        scene.assert_next_start_is_healthy(&what);
    });
}

/// Whether exit code and log tell the truth; the outcome.
fn judge(what: &str, hit: &Hit, blow: Blow, asked: bool, ended: &Ended) -> &'static str {
    let Ended { code, said } = ended;
    let bug = ["panicked", "which is a bug", "RUST_BACKTRACE"];
    assert!(
        !bug.iter().any(|word| said.contains(word)),
        "{what}: {said}"
    );
    let number = blow.signal() as i32;
    let in_order = *code == 0 && said.contains("fault: server got TERM");
    let by_signal = |number: i32| {
        *code == 128 + number && said.contains(&format!("error code {code} (signal {number})"))
    };
    let stopped = *code == 143 && said.contains("stopped by signal 15 before anything");
    match (hit.who, blow) {
        ("PID 1", Blow::Signal(Signal::SIGKILL)) => {
            // What some versions of unshare(1) make of it.
            let unshare = said.contains("unshare: sigprocmask unblock failed");
            assert!(*code == 137 || unshare, "{what}: {code} {said}");
            return "killed";
        }
        // Before its handlers exist the server dies of TERM.
        ("PID 1", Blow::Signal(Signal::SIGTERM)) => {
            // A second one goes straight to KILL, be it the first that came unexpected.
            let again = (asked || hit.phase == Phase::Stop) && by_signal(9);
            let ended = in_order || stopped || by_signal(15) || again;
            assert!(ended, "{what}: {code} {said}");
            return "stopped in order";
        }
        ("hook", Blow::Signal(_)) if !in_order => {
            let told = said.contains(&format!("failed with signal {number}"));
            assert!(*code == 1 && told, "{what}: {code} {said}");
            return "the start ended, and told";
        }
        ("hook", Blow::Freeze) if !in_order => {
            assert!(stopped || by_signal(15), "{what}: {code} {said}");
            return "stopped in order";
        }
        ("server", Blow::Signal(_)) if !in_order => {
            assert!(by_signal(number), "{what}: {code} {said}");
            return "ended with the server's code, and told";
        }
        // Held up during the stop, it is killed after the grace period.
        ("server" | "kernel", Blow::Freeze) if !in_order => {
            let at_stop = hit.phase == Phase::Stop && by_signal(9);
            assert!(at_stop || by_signal(15), "{what}: {code} {said}");
            return "stopped within the grace period, and told";
        }
        _ => {}
    }
    assert!(in_order, "{what}: {code} {said}");
    assert!(asked || hit.who == "server", "{what}: {said}");
    "went on"
}
