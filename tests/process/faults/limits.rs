//! Limits that are real: descriptors, processes, memory, room on the disk, and a disk
//! that becomes read-only. Whether PID 1 ever met them is seen at its calls.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use super::phases::{Phase, Phases};
use super::scene::{Ended, Scene, Stage};
use crate::support::chance::{Chance, Rounds};
use crate::support::outcomes::record;
use crate::support::tracees::{Fate, Refused, trace};
use crate::support::{UID, repeated};

/// Nothing came of it.
const WHOLE: &str = "went on, whole";

const STARTS_PROCESS: [i64; 5] = [
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_execve,
    libc::SYS_fork,
    libc::SYS_vfork,
];

#[derive(Debug, Clone)]
enum Limit {
    Descriptors(usize),
    Processes(usize),
    /// In MiB.
    Memory(usize),
    /// So many pages are free.
    Room(u64),
    /// The disk becomes read-only before this call.
    ReadOnly(Phase, usize),
}

impl Limit {
    fn choose(chance: &mut Chance) -> Self {
        match chance.below(5) {
            0 => Self::Descriptors(3 + chance.below(40)),
            1 => Self::Processes(chance.below(8)),
            2 => Self::Memory(4 + chance.below(120)),
            3 => Self::Room(chance.below(24).try_into().unwrap()),
            _ => {
                let phase = *chance.of(&Phase::ALL[1..]);
                Self::ReadOnly(phase, chance.below(phase.most_calls()))
            }
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Descriptors(_) => "RLIMIT_NOFILE",
            Self::Processes(_) => "RLIMIT_NPROC",
            Self::Memory(_) => "RLIMIT_AS",
            Self::Room(_) => "a disk with little room",
            Self::ReadOnly(..) => "a disk that becomes read-only",
        }
    }

    /// What prlimit(1) sets, if it is its to set.
    fn option(&self) -> Option<String> {
        match self {
            Self::Descriptors(most) => Some(format!("--nofile={most}")),
            Self::Processes(most) => Some(format!("--nproc={most}")),
            Self::Memory(most) => Some(format!("--as={}", most << 20)),
            Self::Room(_) | Self::ReadOnly(..) => None,
        }
    }

    /// Whether one of these calls of PID 1 met it.
    fn is_met(&self, refused: &Refused) -> bool {
        refused.iter().any(|(number, error)| match self {
            Self::Descriptors(_) => *error == libc::EMFILE,
            // A look at a pipe that is empty ends with this, too.
            Self::Processes(_) => *error == libc::EAGAIN && STARTS_PROCESS.contains(number),
            Self::Memory(_) => *error == libc::ENOMEM,
            Self::Room(_) => *error == libc::ENOSPC,
            Self::ReadOnly(..) => *error == libc::EROFS,
        })
    }
}

#[test]
fn limits_may_be_anything() {
    let scene = Scene::new();
    let rounds = Rounds::of("limits_may_be_anything", repeated(6, 120));
    rounds.run(|round, mut chance| {
        let limit = Limit::choose(&mut chance);
        scene.reset();
        if let Limit::Room(pages) = &limit {
            let used = scene.used();
            scene.remount(&format!("size={}", used + pages * 4096));
        }
        let (stage, ended, refused) = match (&limit, limit.option()) {
            (Limit::ReadOnly(phase, nth), _) => becoming_read_only(&scene, *phase, *nth),
            (_, Some(option)) => traced(&scene, &["prlimit", &option], |_, _| true),
            (_, None) => traced(&scene, &[], |_, _| true),
        };
        eprintln!("{round}: {limit:?}: {stage:?} {}", ended.code);
        scene.remount("rw,size=16m");
        let what = format!("{limit:?}");
        let mut outcome = judge(&scene, &what, &limit, stage, &ended);
        if !limit.is_met(&refused) {
            // A limit of processes may have been met by the server or a hook alone.
            assert!(limit.option().is_some() || outcome == WHOLE, "{what}");
            if outcome == WHOLE {
                outcome = "PID 1 did not meet it";
            }
        }
        record(limit.name(), "all", outcome);
        scene.assert_nothing_lost(&what);
        scene.assert_next_start_is_healthy(&what);
    });
}

#[test]
fn without_a_limit_none_is_met() {
    let scene = Scene::new();
    scene.reset();
    let (stage, ended, refused) = traced(&scene, &[], |_, _| true);
    assert_eq!((stage, ended.code), (Stage::Serves, 0), "{}", ended.said);
    let all = [
        Limit::Descriptors(0),
        Limit::Processes(0),
        Limit::Memory(0),
        Limit::Room(0),
        Limit::ReadOnly(Phase::Root, 0),
    ];
    for limit in all {
        assert!(!limit.is_met(&refused), "{limit:?}: {refused:?}");
    }
}

struct Freezing {
    phases: Phases,
    counts: [usize; Phase::ALL.len()],
}

/// Serves until TERM, and calls `at` before every call until it says that it is done.
fn traced(
    scene: &Scene,
    limits: &[&str],
    mut at: impl FnMut(Phase, usize) -> bool + Send + 'static,
) -> (Stage, Ended, Refused) {
    let freezing = Arc::new(Mutex::new(Freezing {
        phases: Phases::new(UID),
        counts: Default::default(),
    }));
    let shared = freezing.clone();
    let mut done = false;
    let (mut running, tracer) = trace(scene.start("read -r go", limits), move |call| {
        let mut freezing = shared.lock().unwrap();
        let phase = freezing.phases.of(call);
        let now = freezing.counts[phase as usize];
        freezing.counts[phase as usize] += 1;
        done = done || at(phase, now);
        Fate::Made
    });
    let stage = scene.until_it_serves(&mut running);
    if stage == Stage::Serves {
        scene.assert_server_alone(&mut running);
        freezing.lock().unwrap().phases.stop();
        running.signal(15);
    }
    let ended = scene.end(&mut running);
    (stage, ended, tracer.join().unwrap())
}

/// The disk becomes read-only as soon as it can: while a file is open for writing, the
/// kernel refuses.
fn becoming_read_only(scene: &Scene, phase: Phase, nth: usize) -> (Stage, Ended, Refused) {
    let disk = scene.memory();
    traced(scene, &[], move |now, count| {
        let reached = now as usize > phase as usize || now == phase && count >= nth;
        reached && {
            let mut mount = Command::new("mount");
            mount.args(["-o", "remount,ro"]).arg(&disk);
            mount.stderr(Stdio::null()).status().unwrap().success()
        }
    })
}

/// Whether exit code and log tell the truth; the outcome.
fn judge(scene: &Scene, what: &str, limit: &Limit, stage: Stage, ended: &Ended) -> &'static str {
    let Ended { code, said } = ended;
    let no_memory = said.contains("memory allocation of")
        || said.contains("annot allocate memory")
        || said.contains("failed to map segment");
    let bug = ["panicked", "which is a bug"];
    let bug = bug.iter().any(|word| said.contains(word));
    assert!(!bug || no_memory, "{what}: {said}");
    let told = ["[W ", "[E "].iter().any(|word| said.contains(word));
    let loader = limit.option().is_some() && !said.contains(" ai-lab] ");
    match stage {
        Stage::Ended => {
            assert_ne!(*code, 0, "{what}: {said}");
            // With too little to load it, the kernel kills it before it is there.
            let unloaded = loader && (!said.is_empty() || *code == 139);
            let told = said.contains("[E ") || no_memory || unloaded;
            assert!(told, "{what}: {code} {said}");
            "ended, and told"
        }
        Stage::Serves => {
            let whole = *code == 0 && scene.is_whole();
            assert!(whole || told, "{what}: silence: {code} {said}");
            assert!(ended.is_explained(), "{what}: why {code}? {said}");
            if told { "went on, and told" } else { WHOLE }
        }
    }
}
