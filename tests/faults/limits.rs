//! Limits that are real: descriptors, processes, memory, room on the disk, and a disk
//! that becomes read-only.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::chance::{Chance, Rounds};
use crate::phases::{Phase, Phases};
use crate::record::record;
use crate::scene::{Ended, Scene, Stage};
use crate::support::UID;
use crate::tracees::{Fate, trace};

/// Nothing came of it.
const WHOLE: &str = "went on, whole";

#[derive(Debug, Clone)]
enum Limit {
    /// `prlimit` with this option.
    Process(String),
    /// So many pages are free.
    Room(u64),
    /// The disk becomes read-only before this call.
    ReadOnly(Phase, usize),
}

impl Limit {
    fn choose(chance: &mut Chance) -> Self {
        let process = |name: &str, value: usize| Self::Process(format!("--{name}={value}"));
        match chance.below(5) {
            0 => process("nofile", 3 + chance.below(40)),
            1 => process("nproc", chance.below(8)),
            2 => process("as", (4 + chance.below(120)) << 20),
            3 => Self::Room(chance.below(24).try_into().unwrap()),
            _ => {
                let phase = *chance.of(&Phase::ALL[1..]);
                Self::ReadOnly(phase, chance.below(phase.most_calls()))
            }
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Process(option) if option.starts_with("--nofile") => "RLIMIT_NOFILE",
            Self::Process(option) if option.starts_with("--nproc") => "RLIMIT_NPROC",
            Self::Process(_) => "RLIMIT_AS",
            Self::Room(_) => "a disk with little room",
            Self::ReadOnly(..) => "a disk that becomes read-only",
        }
    }
}

#[test]
fn limits_may_be_anything() {
    let scene = Scene::new();
    let rounds = Rounds::of("limits_may_be_anything", 15);
    rounds.run(|round, mut chance| {
        let limit = Limit::choose(&mut chance);
        scene.reset();
        let mut met = true;
        let (stage, ended) = match &limit {
            Limit::Process(option) => serve(&scene, &["prlimit", option]),
            Limit::Room(pages) => {
                let used = scene.used();
                scene.remount(&format!("size={}", used + pages * 4096));
                serve(&scene, &[])
            }
            Limit::ReadOnly(phase, nth) => {
                let (stage, ended);
                (stage, ended, met) = becoming_read_only(&scene, *phase, *nth);
                (stage, ended)
            }
        };
        eprintln!("{round}: {limit:?}: {stage:?} {}", ended.code);
        scene.remount("rw,size=16m");
        let what = format!("{limit:?}");
        let mut outcome = judge(&scene, &what, &limit, stage, &ended);
        if !met {
            assert_eq!(outcome, WHOLE, "{what}: {}", ended.said);
            outcome = "it never became read-only";
        }
        record(limit.name(), "all", outcome);
        scene.assert_nothing_lost(&what);
        scene.assert_next_start_is_healthy(&what);
    });
}

/// Serves until TERM.
fn serve(scene: &Scene, limits: &[&str]) -> (Stage, Ended) {
    let mut running = scene.start(":", limits).start();
    let stage = scene.until_it_serves(&mut running);
    if stage == Stage::Serves {
        scene.assert_no_zombie(&mut running);
        running.signal(15);
    }
    (stage, scene.end(&mut running))
}

struct Freezing {
    phases: Phases,
    counts: [usize; Phase::ALL.len()],
}

/// Calls `at` before every call until it says that it is done.
fn traced(
    scene: &Scene,
    mut at: impl FnMut(Phase, usize) -> bool + Send + 'static,
) -> (Stage, Ended) {
    let freezing = Arc::new(Mutex::new(Freezing {
        phases: Phases::new(UID),
        counts: Default::default(),
    }));
    let shared = freezing.clone();
    let mut done = false;
    let (mut running, tracer) = trace(scene.start("read -r go", &[]), move |call| {
        let mut freezing = shared.lock().unwrap();
        let phase = freezing.phases.of(call);
        let now = freezing.counts[phase as usize];
        freezing.counts[phase as usize] += 1;
        done = done || at(phase, now);
        Fate::Made
    });
    let stage = scene.until_it_serves(&mut running);
    if stage == Stage::Serves {
        freezing.lock().unwrap().phases.stop();
        running.signal(15);
    }
    let ended = scene.end(&mut running);
    tracer.join().unwrap();
    (stage, ended)
}

/// The disk becomes read-only as soon as it can: while a file is open for writing, the
/// kernel refuses. Last of all whether it ever did.
fn becoming_read_only(scene: &Scene, phase: Phase, nth: usize) -> (Stage, Ended, bool) {
    let disk = scene.memory();
    let is_so = Arc::new(AtomicBool::new(false));
    let became = is_so.clone();
    let (stage, ended) = traced(scene, move |now, count| {
        let reached = now as usize > phase as usize || now == phase && count >= nth;
        reached && {
            let mut mount = Command::new("mount");
            mount.args(["-o", "remount,ro"]).arg(&disk);
            let done = mount.stderr(Stdio::null()).status().unwrap().success();
            became.store(done, Ordering::Relaxed);
            done
        }
    });
    (stage, ended, is_so.load(Ordering::Relaxed))
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
    let loader = matches!(limit, Limit::Process(_)) && !said.contains(" ai-lab] ");
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
