//! Limits that are real: descriptors, processes, memory, room on the disk, and a disk
//! that becomes read-only. Whether PID 1 ever met them is seen at its calls.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::chance::{Chance, Rounds};
use crate::phases::{Phase, Phases};
use crate::record::record;
use crate::scene::{Ended, Scene, Stage};
use crate::support::UID;
use crate::tracees::{Fate, Refused, trace};

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
    /// `prlimit` with this option, and how a call ends that meets it.
    Process(String, i32),
    /// So many pages are free.
    Room(u64),
    /// The disk becomes read-only before this call.
    ReadOnly(Phase, usize),
}

impl Limit {
    fn choose(chance: &mut Chance) -> Self {
        let process = |name: &str, value: usize, error| {
            let option = format!("--{name}={value}");
            Self::Process(option, error)
        };
        match chance.below(5) {
            0 => process("nofile", 3 + chance.below(40), libc::EMFILE),
            1 => process("nproc", chance.below(8), libc::EAGAIN),
            2 => process("as", (4 + chance.below(120)) << 20, libc::ENOMEM),
            3 => Self::Room(chance.below(24).try_into().unwrap()),
            _ => {
                let phase = *chance.of(&Phase::ALL[1..]);
                Self::ReadOnly(phase, chance.below(phase.most_calls()))
            }
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Process(_, libc::EMFILE) => "RLIMIT_NOFILE",
            Self::Process(_, libc::EAGAIN) => "RLIMIT_NPROC",
            Self::Process(..) => "RLIMIT_AS",
            Self::Room(_) => "a disk with little room",
            Self::ReadOnly(..) => "a disk that becomes read-only",
        }
    }

    /// Whether one of these calls met it.
    fn is_met(&self, refused: &Refused) -> bool {
        refused.iter().any(|(number, error)| match self {
            // A look at a pipe that is empty ends with this, too.
            Self::Process(_, libc::EAGAIN) => {
                *error == libc::EAGAIN && STARTS_PROCESS.contains(number)
            }
            Self::Process(_, with) => error == with,
            Self::Room(_) => *error == libc::ENOSPC,
            Self::ReadOnly(..) => *error == libc::EROFS,
        })
    }
}

#[test]
fn limits_may_be_anything() {
    let scene = Scene::new();
    let rounds = Rounds::of("limits_may_be_anything", 120);
    rounds.run(|round, mut chance| {
        let limit = Limit::choose(&mut chance);
        scene.reset();
        let (stage, ended, refused) = match &limit {
            Limit::Process(option, _) => traced(&scene, &["prlimit", option], |_, _| true),
            Limit::Room(pages) => {
                let used = scene.used();
                scene.remount(&format!("size={}", used + pages * 4096));
                traced(&scene, &[], |_, _| true)
            }
            Limit::ReadOnly(phase, nth) => becoming_read_only(&scene, *phase, *nth),
        };
        eprintln!("{round}: {limit:?}: {stage:?} {}", ended.code);
        scene.remount("rw,size=16m");
        let what = format!("{limit:?}");
        let mut outcome = judge(&scene, &what, &limit, stage, &ended);
        if outcome == WHOLE && !limit.is_met(&refused) {
            outcome = "the limit was not met";
        }
        record(limit.name(), "all", outcome);
        scene.assert_nothing_lost(&what);
        scene.assert_next_start_is_healthy(&what);
    });
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
        scene.assert_no_zombie(&mut running);
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
    let loader = matches!(limit, Limit::Process(..)) && !said.contains(" ai-lab] ");
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
