//! Every single system call may fail once.

use std::sync::{Arc, Mutex};

use super::errors::{all_errors, fitting, name, text};
use super::phases::{Phase, Phases};
use super::scene::{Ended, Scene, Stage};
use crate::support::chance::{Chance, Rounds};
use crate::support::file_systems::Kind;
use crate::support::outcomes::record;
use crate::support::tracees::{Fate, trace};
use crate::support::tracer::Call;
use crate::support::{UID, repeated};

/// One call that ended badly.
#[derive(Debug, Clone)]
struct Fault {
    call: String,
    fate: Fate,
    phase: Phase,
    /// Whether it was one of those with which the log is written.
    of_log: bool,
}

/// The calls of which one ends badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Among {
    All(Phase),
    /// Those alone that change something, which is one call of four.
    Changing(Phase),
    /// The first after the loader that can end with this error: for some errors there are
    /// but few.
    Ending(i32),
}

impl Among {
    /// From how many of them a round chooses.
    fn most(self) -> usize {
        match self {
            Self::All(phase) => phase.most_calls(),
            Self::Changing(phase) => phase.most_calls() / 3,
            Self::Ending(_) => 8,
        }
    }
}

/// How many calls of each phase can fail, and how many of those change something.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    all: [usize; Phase::ALL.len()],
    changing: [usize; Phase::ALL.len()],
}

/// Counts the calls that can fail, and lets one of them.
struct Failing {
    phases: Phases,
    counts: Counts,
    among: Among,
    /// How many of those come before the one that fails.
    left: usize,
    chance: Chance,
    fault: Option<Fault>,
}

impl Failing {
    fn decide(&mut self, call: &Call) -> Fate {
        let phase = self.phases.of(call);
        let fates = fitting(call);
        if fates.is_empty() {
            return Fate::Made;
        }
        let changes = !call.only_looks() && !is_of_log(call) && phase != Phase::Loader;
        self.counts.all[phase as usize] += 1;
        self.counts.changing[phase as usize] += usize::from(changes);
        let fitting: Vec<Fate> = match self.among {
            Among::All(of) if of == phase => fates,
            Among::Changing(of) if of == phase && changes => fates,
            Among::Ending(error) if phase != Phase::Loader => {
                let ends = |fate: &Fate| *fate == Fate::Fails(error);
                fates.into_iter().filter(ends).collect()
            }
            _ => Vec::new(),
        };
        if fitting.is_empty() || self.fault.is_some() {
            return Fate::Made;
        }
        if self.left > 0 {
            self.left -= 1;
            return Fate::Made;
        }
        let fate = *self.chance.of(&fitting);
        // A call of the log leaves its line out, and nothing else.
        self.fault = Some(Fault {
            call: name(call),
            fate,
            phase,
            of_log: is_of_log(call),
        });
        fate
    }
}

/// A start, served until TERM, in which the call after so many of these fails.
fn run(
    scene: &Scene,
    (among, nth): (Among, usize),
    chance: Chance,
) -> (Stage, Ended, Option<Fault>, Counts) {
    let failing = Arc::new(Mutex::new(Failing {
        phases: Phases::new(UID),
        counts: Counts::default(),
        among,
        left: nth,
        chance,
        fault: None,
    }));
    let shared = failing.clone();
    let start = scene.start("read -r go", &[]);
    let (mut running, tracer) = trace(start, move |call| shared.lock().unwrap().decide(call));
    let stage = scene.until_it_serves(&mut running);
    if stage == Stage::Serves {
        scene.assert_server_alone(&mut running);
        failing.lock().unwrap().phases.stop();
        running.signal(15);
    }
    let ended = scene.end(&mut running);
    tracer.join().unwrap();
    let failing = failing.lock().unwrap();
    (stage, ended, failing.fault.clone(), failing.counts)
}

/// If there were more than a round chooses from, some would never fail. How many there are
/// beside a running server is a matter of time.
#[test]
fn rounds_choose_from_every_call_of_a_start() {
    let scene = Scene::new();
    scene.reset();
    let none = (Among::All(Phase::Loader), usize::MAX);
    let (_, ended, _, counts) = run(&scene, none, Chance::new(0, 0));
    assert_eq!(ended.code, 0, "{}", ended.said);
    for phase in [Phase::Loader, Phase::Root, Phase::User] {
        let all = counts.all[phase as usize];
        let changing = counts.changing[phase as usize];
        assert!(all < Among::All(phase).most(), "{phase:?}: {counts:?}");
        let most = Among::Changing(phase).most();
        assert!(changing < most, "{phase:?}: {counts:?}");
    }
}

#[test]
fn every_system_call_may_fail_once() {
    let rounds = Rounds::of("every_system_call_may_fail_once", repeated(10, 300));
    fail_once(Kind::Tmpfs, rounds);
}

#[test]
fn every_system_call_may_fail_once_without_exchange() {
    let test = "every_system_call_may_fail_once_without_exchange";
    fail_once(Kind::Bindfs, Rounds::of(test, repeated(3, 150)));
}

#[test]
fn every_system_call_may_fail_once_without_links() {
    let test = "every_system_call_may_fail_once_without_links";
    fail_once(Kind::Exfat, Rounds::of(test, repeated(3, 150)));
}

fn fail_once(kind: Kind, rounds: Rounds) {
    let scene = Scene::on(kind);
    let seed = rounds.seed;
    let places = |among: Vec<Among>| {
        let nth = |among: Among| (0..among.most()).map(move |nth| (among, nth));
        shuffled(seed, among.into_iter().flat_map(nth).collect())
    };
    let kinds = [
        places(Phase::ALL.map(Among::All).into()),
        places(Phase::ALL.map(Among::Changing).into()),
        places(all_errors().into_iter().map(Among::Ending).collect()),
    ];
    rounds.run(|round, chance| {
        let turn = usize::try_from(round).unwrap();
        let kind = &kinds[turn % kinds.len()];
        let at = kind[turn / kinds.len() % kind.len()];
        scene.reset();
        let (stage, ended, fault, _) = run(&scene, at, chance);
        let Some(fault) = fault else {
            // There are not so many.
            assert_eq!((stage, ended.code), (Stage::Serves, 0), "{}", ended.said);
            return;
        };
        let what = format!(
            "{}, {at:?}: {} fails with {}",
            fault.phase.name(),
            fault.call,
            text(fault.fate)
        );
        eprintln!("{round}: {what}: {stage:?} {}", ended.code);
        let outcome = judge(&scene, &what, stage, &ended, &fault);
        record(&text(fault.fate), fault.phase.name(), outcome);
        scene.assert_nothing_lost(&what);
        scene.assert_next_start_is_healthy(&what);
    });
}

/// Whether it writes a line of the log, or asks whether there is room for one.
fn is_of_log(call: &Call) -> bool {
    let writes = [libc::SYS_write, libc::SYS_ioctl].contains(&call.number);
    let polls = [libc::SYS_poll, libc::SYS_ppoll].contains(&call.number);
    polls || writes && name(call).contains("(pipe:")
}

/// Whether exit code and log tell the truth; the outcome.
fn judge(scene: &Scene, what: &str, stage: Stage, ended: &Ended, fault: &Fault) -> &'static str {
    let said = &ended.said;
    let loading = fault.phase == Phase::Loader;
    // Where the standard library finds no memory for a thread's own stack of signals it
    // panics, with that reason; where anything else finds none, it aborts.
    let no_stack = said.contains("alternative stack") && said.contains("Cannot allocate memory");
    let no_memory = no_stack || said.contains("memory allocation of");
    let bug = ["panicked", "which is a bug", "RUST_BACKTRACE"];
    let bug = bug.iter().any(|word| said.contains(word));
    assert!(!bug || no_stack || loading, "{what}: {said}");
    let told = ["[W ", "[E ", "lines of the log found no room"];
    let told = told.iter().any(|word| said.contains(word));
    if stage == Stage::Ended {
        assert_ne!(ended.code, 0, "{what}: {said}");
        // Without its first memory the C library's loader crashes.
        if loading && ended.code == 139 {
            return "the loader ended by SIGSEGV";
        }
        assert!(!said.is_empty(), "{what}: silence");
        if loading || no_memory {
            return "ended, and told";
        }
        // Before there is a log, it is told without.
        let early = said.contains("signals cannot be received");
        let told = told || early || said.starts_with("settings: ");
        assert!(told, "{what}: silence: {said}");
        if let Fate::Fails(error) = fault.fate {
            let cause = std::io::Error::from_raw_os_error(error).to_string();
            let cause = cause.split(" (os error").next().unwrap();
            // Not what the kernel said counts there, but what came of it.
            let checked = early || said.contains("privileges were not dropped");
            // Where there is no memory for a thread the C library says EAGAIN.
            let checked = checked || said.contains("a thread for the log cannot be started");
            assert!(
                said.contains(cause) || checked,
                "{what}: no {cause}: {said}"
            );
        }
        return "ended, and told";
    }
    let stopped = said.contains("fault: server got TERM") || fault.of_log;
    let fine = ended.code == 0 && stopped && scene.is_whole();
    assert!(
        fine || told && !fault.of_log,
        "{what}: silence: {} {said}",
        ended.code
    );
    assert!(ended.is_explained(), "{what}: why {}? {said}", ended.code);
    match told {
        true => "went on, and told",
        false => "went on, whole",
    }
}

/// These in an order that the seed chooses: each comes once before any comes twice.
fn shuffled<T>(seed: u64, mut all: Vec<T>) -> Vec<T> {
    let mut chance = Chance::new(seed, 0);
    for at in (1..all.len()).rev() {
        all.swap(at, chance.below(at + 1));
    }
    all
}
