//! A clock that jumps holds nobody up and takes nothing away: nothing waits by the clock
//! on the wall, and whatever it shows, a start does the same.

use std::sync::{Arc, Mutex};

use super::scene::{Ended, Scene, Stage};
use crate::support::chance::{Chance, Rounds};
use crate::support::outcomes::record;
use crate::support::repeated;
use crate::support::tracees::{Fate, trace, trace_clocks};
use crate::support::tracer::Call;

const DAY: i64 = 24 * 60 * 60;

/// How far a clock jumps, in seconds. One that was never set is in 1970.
const JUMPS: [i64; 6] = [1, 3600, 4000 * DAY, -1, -3600, -20_000 * DAY];

/// Whether it waits, or makes something wait, by CLOCK_REALTIME.
fn waits_by_the_wall(call: &Call) -> bool {
    let realtime = |clock: u64| i32::try_from(clock) == Ok(libc::CLOCK_REALTIME);
    match call.number {
        libc::SYS_clock_nanosleep | libc::SYS_timerfd_create | libc::SYS_timer_create => {
            realtime(call.args[0])
        }
        libc::SYS_futex => {
            let flag = u64::from(libc::FUTEX_CLOCK_REALTIME.unsigned_abs());
            call.args[1] & flag != 0 && call.args[3] != 0
        }
        _ => false,
    }
}

#[test]
fn nothing_waits_by_the_clock_on_the_wall() {
    let scene = Scene::new();
    scene.reset();
    let found = Arc::new(Mutex::new(Vec::new()));
    let shared = found.clone();
    let (mut running, tracer) = trace(scene.start("read -r go", &[]), move |call| {
        if waits_by_the_wall(call) {
            shared.lock().unwrap().push(call.number);
        }
        Fate::Made
    });
    assert_eq!(scene.until_it_serves(&mut running), Stage::Serves);
    running.signal(15);
    assert_eq!(scene.end(&mut running).code, 0);
    tracer.join().unwrap();
    assert!(found.lock().unwrap().is_empty(), "{found:?}");
}

/// How often the clock on the wall was looked at.
#[derive(Default)]
struct Looks {
    count: usize,
    /// Looks that cannot be put forward here.
    others: Vec<i64>,
}

/// Serves until TERM; at the `nth` look at the clock on the wall it jumps.
fn run(scene: &Scene, nth: usize, jump: i64) -> (Stage, Ended, usize) {
    let looks = Arc::new(Mutex::new(Looks::default()));
    let shared = looks.clone();
    let (mut running, tracer) = trace_clocks(scene.start("read -r go", &[]), move |call| {
        let clock = i32::try_from(call.args[0]);
        let wall = [libc::CLOCK_REALTIME, libc::CLOCK_REALTIME_COARSE];
        let mut looks = shared.lock().unwrap();
        match call.number {
            libc::SYS_clock_gettime if clock.is_ok_and(|clock| wall.contains(&clock)) => {
                looks.count += 1;
                if looks.count > nth {
                    return Fate::Later(jump);
                }
            }
            #[cfg(target_arch = "x86_64")]
            libc::SYS_time => looks.others.push(call.number),
            libc::SYS_gettimeofday => looks.others.push(call.number),
            _ => {}
        }
        Fate::Made
    });
    let stage = scene.until_it_serves(&mut running);
    if stage == Stage::Serves {
        scene.assert_server_alone(&mut running);
        running.signal(15);
    }
    let ended = scene.end(&mut running);
    tracer.join().unwrap();
    let looks = looks.lock().unwrap();
    assert!(looks.others.is_empty(), "{:?}", looks.others);
    (stage, ended, looks.count)
}

#[test]
fn a_clock_that_jumps_changes_nothing_but_the_times_that_are_told() {
    let scene = Scene::new();
    scene.reset();
    let (_, ended, looks) = run(&scene, usize::MAX, 0);
    assert_eq!(ended.code, 0, "{}", ended.said);
    // Each line of the log has its time, and so have files that were looked at.
    assert!(looks > 10, "{looks}");
    // It does jump.
    scene.reset();
    let (_, ended, _) = run(&scene, 0, JUMPS[5]);
    assert!(ended.said.contains("[I 197"), "{}", ended.said);
    let rounds = Rounds::of(
        "a_clock_that_jumps_changes_nothing_but_the_times_that_are_told",
        repeated(5, 60),
    );
    rounds.run(|round, mut chance: Chance| {
        let (nth, jump) = (chance.below(looks), *chance.of(&JUMPS));
        scene.reset();
        let (stage, ended, _) = run(&scene, nth, jump);
        let what = format!("after {nth} looks the clock jumps by {jump} s");
        eprintln!("{round}: {what}: {stage:?} {}", ended.code);
        let said = &ended.said;
        assert_eq!((stage, ended.code), (Stage::Serves, 0), "{what}: {said}");
        assert!(said.contains("fault: server got TERM"), "{what}: {said}");
        let told = ["[W ", "[E ", "panicked"];
        assert!(
            !told.iter().any(|word| said.contains(word)),
            "{what}: {said}"
        );
        assert!(scene.is_whole(), "{what}");
        scene.assert_nothing_lost(&what);
        // Its clock is right again: for this one it jumped back.
        scene.assert_next_start_is_healthy(&what);
        record("the clock jumps", "all", "went on, whole");
    });
}
