//! Every single system call may fail once.

use std::sync::{Arc, Mutex};

use crate::chance::{Chance, Rounds};
use crate::errors::{fitting, name, text};
use crate::phases::{Phase, Phases};
use crate::record::record;
use crate::scene::{Ended, Scene, Stage};
use crate::support::UID;
use crate::tracees::{Fate, trace};
use crate::tracer::Call;

/// One call that ended badly.
#[derive(Debug, Clone)]
struct Fault {
    call: String,
    fate: Fate,
    /// Whether it was one of those with which the log is written.
    of_log: bool,
}

/// The call that ends badly.
#[derive(Debug, Clone, Copy)]
struct At {
    phase: Phase,
    /// Of all that can fail, or of those alone that change something.
    changes: bool,
    nth: usize,
}

/// Counts the calls of each phase that can fail, and lets one of them.
struct Failing {
    phases: Phases,
    counts: [usize; Phase::ALL.len()],
    /// The same of those that change something.
    changes: [usize; Phase::ALL.len()],
    at: At,
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
        let all = self.counts[phase as usize];
        let changing = self.changes[phase as usize];
        self.counts[phase as usize] += 1;
        self.changes[phase as usize] += usize::from(changes);
        let At {
            changes: few, nth, ..
        } = self.at;
        let reached = if few {
            changes && changing == nth
        } else {
            all == nth
        };
        if phase != self.at.phase || !reached {
            return Fate::Made;
        }
        let fate = *self.chance.of(&fates);
        // A call of the log leaves its line out, and nothing else.
        self.fault = Some(Fault {
            call: name(call),
            fate,
            of_log: is_of_log(call),
        });
        fate
    }
}

/// A start, served until TERM, in which this call fails.
fn run(
    scene: &Scene,
    at: At,
    chance: Chance,
) -> (Stage, Ended, Option<Fault>, [usize; Phase::ALL.len()]) {
    let failing = Arc::new(Mutex::new(Failing {
        phases: Phases::new(UID),
        counts: Default::default(),
        changes: Default::default(),
        at,
        chance,
        fault: None,
    }));
    let shared = failing.clone();
    let start = scene.start("read -r go", &[]);
    let (mut running, tracer) = trace(start, move |call| shared.lock().unwrap().decide(call));
    let stage = scene.until_it_serves(&mut running);
    if stage == Stage::Serves {
        scene.assert_no_zombie(&mut running);
        failing.lock().unwrap().phases.stop();
        running.signal(15);
    }
    let ended = scene.end(&mut running);
    tracer.join().unwrap();
    let failing = failing.lock().unwrap();
    (stage, ended, failing.fault.clone(), failing.counts)
}

#[test]
fn every_system_call_may_fail_once() {
    let scene = Scene::new();
    let rounds = Rounds::of("every_system_call_may_fail_once", 300);
    let places = |changes: bool| {
        let nth = |phase: Phase| 0..phase.most_calls() / if changes { 4 } else { 1 };
        let at = |phase| {
            nth(phase).map(move |nth| At {
                phase,
                changes,
                nth,
            })
        };
        let all: Vec<At> = Phase::ALL.into_iter().flat_map(at).collect();
        let order = shuffled(rounds.seed, all.len());
        order
            .into_iter()
            .map(|place| all[place])
            .collect::<Vec<_>>()
    };
    // Every second round is about what is written, which is one call of ten.
    let (all, changes) = (places(false), places(true));
    rounds.run(|round, chance| {
        let turn = usize::try_from(round / 2).unwrap();
        let at = match round % 2 {
            0 => all[turn % all.len()],
            _ => changes[turn % changes.len()],
        };
        let At { phase, nth, .. } = at;
        scene.reset();
        let (stage, ended, fault, counts) = run(&scene, at, chance);
        let Some(fault) = fault else {
            // There are not so many. If there ever are more than a round chooses from,
            // some would never fail.
            let made = counts[phase as usize];
            assert!(made < phase.most_calls(), "{phase:?}: {made} calls");
            assert_eq!((stage, ended.code), (Stage::Serves, 0), "{}", ended.said);
            return;
        };
        let what = format!(
            "{}, call {nth}: {} fails with {}",
            phase.name(),
            fault.call,
            text(fault.fate)
        );
        eprintln!("{round}: {what}: {stage:?} {}", ended.code);
        let outcome = judge(&scene, &what, (phase, stage), &ended, &fault);
        record(&text(fault.fate), phase.name(), outcome);
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
fn judge(
    scene: &Scene,
    what: &str,
    (phase, stage): (Phase, Stage),
    ended: &Ended,
    fault: &Fault,
) -> &'static str {
    let said = &ended.said;
    // Where the standard library finds no memory for a thread's own stack of signals it
    // panics, with that reason; where anything else finds none, it aborts.
    let no_stack = said.contains("alternative stack") && said.contains("Cannot allocate memory");
    let no_memory = no_stack || said.contains("memory allocation of");
    let bug = ["panicked", "which is a bug", "RUST_BACKTRACE"];
    let bug = bug.iter().any(|word| said.contains(word));
    assert!(!bug || no_stack || phase == Phase::Loader, "{what}: {said}");
    let told = ["[W ", "[E ", "lines of the log found no room"];
    let told = told.iter().any(|word| said.contains(word));
    if stage == Stage::Ended {
        assert_ne!(ended.code, 0, "{what}: {said}");
        assert!(!said.is_empty(), "{what}: silence");
        if phase == Phase::Loader || no_memory {
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

/// The numbers below `count` in an order that the seed chooses: each comes once before
/// any comes twice.
fn shuffled(seed: u64, count: usize) -> Vec<usize> {
    let mut chance = Chance::new(seed, 0);
    let mut all: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        all.swap(at, chance.below(at + 1));
    }
    all
}
