//! A clock that jumps holds nobody up: nothing waits by the clock on the wall.

use std::sync::{Arc, Mutex};

use crate::scene::{Scene, Stage};
use crate::tracees::{Fate, trace};
use crate::tracer::Call;

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
