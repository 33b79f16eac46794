use super::*;
use proptest::prelude::*;

const TIMES: Times = Times {
    stop: Duration::from_secs(7),
    drain: Duration::from_millis(1500),
};

fn ended(code: i32) -> Event {
    Event::MainEnded {
        ended: Ended::Exit(code),
        again: None,
    }
}

/// Every (state, event) pair, written out: a row is state, event, next state, effects.
#[test]
fn every_state_meets_every_event() {
    use Effect::{Arm, Disarm, Exit, KillAll, KillMain, Spawn, TermAll, TermMain};
    use State::{Backoff, Done, DrainKilling, Draining, Idle, Killing, Running, Stopping};
    let events = [
        Event::Stop,
        Event::Restart,
        ended(3),
        Event::SpawnFailed { code: 127 },
        Event::NobodyLeft,
        Event::Timeout,
    ];
    let stay = |state| (state, vec![]);
    let drain = |code, asked| (Draining { code, asked }, vec![TermAll, Arm(TIMES.drain)]);
    let stopping = |again| (Stopping { again }, vec![TermMain, Arm(TIMES.stop)]);
    let killing = |again| (Killing { again }, vec![KillMain, Arm(KILL_PATIENCE)]);
    let spawn = (Running, vec![Disarm, Spawn]);
    let exit = |code| (Done, vec![Disarm, Exit(code)]);
    let kill_all = |code| (DrainKilling { code }, vec![KillAll, Arm(KILL_PATIENCE)]);
    let s = |again| Stopping { again };
    let k = |again| Killing { again };
    let b = Backoff { code: 5 };
    let d = |asked| Draining { code: 5, asked };
    let dk = DrainKilling { code: 5 };
    // columns: Stop, Restart, MainEnded, SpawnFailed, NobodyLeft, Timeout
    let table = [
        (
            Idle,
            [
                drain(0, true),
                stay(Idle),
                stay(Idle),
                stay(Idle),
                stay(Idle),
                stay(Idle),
            ],
        ),
        (
            Running,
            [
                stopping(false),
                stopping(true),
                drain(3, false),
                drain(127, false),
                stay(Running),
                stay(Running),
            ],
        ),
        (
            s(false),
            [
                killing(false),
                stay(s(false)),
                drain(3, true),
                stay(s(false)),
                stay(s(false)),
                killing(false),
            ],
        ),
        (
            s(true),
            [
                stay(s(false)),
                stay(s(true)),
                spawn.clone(),
                stay(s(true)),
                stay(s(true)),
                killing(true),
            ],
        ),
        (
            k(false),
            [
                stay(k(false)),
                stay(k(false)),
                drain(3, true),
                stay(k(false)),
                stay(k(false)),
                drain(137, true),
            ],
        ),
        (
            k(true),
            [
                stay(k(false)),
                stay(k(true)),
                spawn.clone(),
                stay(k(true)),
                stay(k(true)),
                drain(137, true),
            ],
        ),
        (
            b,
            [
                drain(5, true),
                spawn.clone(),
                stay(b),
                stay(b),
                stay(b),
                spawn,
            ],
        ),
        (
            d(false),
            [
                stay(d(true)),
                stay(d(false)),
                stay(d(false)),
                stay(d(false)),
                exit(5),
                kill_all(5),
            ],
        ),
        (
            d(true),
            [
                kill_all(5),
                stay(d(true)),
                stay(d(true)),
                stay(d(true)),
                exit(5),
                kill_all(5),
            ],
        ),
        (
            dk,
            [stay(dk), stay(dk), stay(dk), stay(dk), exit(5), exit(5)],
        ),
        (Done, [(); 6].map(|()| stay(Done))),
    ];
    for (state, row) in table {
        for (event, expected) in events.iter().zip(row) {
            assert_eq!(step(state, *event, TIMES), expected, "{state:?} {event:?}");
        }
    }
}

#[test]
fn the_restart_policy_leads_to_backoff() {
    let wait = Duration::from_secs(4);
    let event = Event::MainEnded {
        ended: Ended::Signal(11),
        again: Some(wait),
    };
    assert_eq!(
        step(State::Running, event, TIMES),
        (State::Backoff { code: 139 }, vec![Effect::Arm(wait)])
    );
}

fn any_event() -> impl Strategy<Value = Event> {
    let again = prop_oneof![Just(None), Just(Some(Duration::from_secs(60)))];
    prop_oneof![
        Just(Event::Stop),
        Just(Event::Restart),
        (0..256, again).prop_map(|(code, again)| Event::MainEnded {
            ended: Ended::Exit(code),
            again
        }),
        Just(Event::NobodyLeft),
        Just(Event::Timeout),
    ]
}

proptest! {
    /// Whatever happens: who is reaped is never signalled, who exists is never
    /// started twice, and once a stop was asked for, the exit comes within the sum
    /// of the grace periods even if nothing but the clock moves on.
    #[test]
    fn every_story_ends_in_time(events in proptest::collection::vec(any_event(), 0..40)) {
        let mut state = State::Running;
        let mut main = true;
        for event in events {
            // The world cannot tell what is not so.
            match event {
                Event::MainEnded { .. } if !main => continue,
                Event::NobodyLeft if main => continue,
                Event::MainEnded { .. } => main = false,
                _ => {}
            }
            let (next, effects) = step(state, event, TIMES);
            for effect in &effects {
                match effect {
                    Effect::TermMain | Effect::KillMain => prop_assert!(main, "{state:?} {event:?}"),
                    Effect::Spawn => {
                        prop_assert!(!main, "{state:?} {event:?}");
                        main = true;
                    }
                    _ => {}
                }
            }
            state = next;
            if state == State::Done {
                return Ok(());
            }
        }
        let mut limit = TIMES.stop + KILL_PATIENCE + TIMES.drain + KILL_PATIENCE;
        let mut armed = None;
        let mut event = Event::Stop;
        while state != State::Done {
            let (next, effects) = step(state, event, TIMES);
            state = next;
            for effect in effects {
                match effect {
                    Effect::Arm(time) => armed = Some(time),
                    Effect::Disarm => armed = None,
                    _ => {}
                }
            }
            // A time armed before the stop was asked for is at most the grace period.
            let time = armed.take().unwrap_or(match state {
                State::Stopping { .. } => TIMES.stop,
                State::Draining { .. } => TIMES.drain,
                State::Done => Duration::ZERO,
                _ => KILL_PATIENCE,
            });
            prop_assert!(time <= limit, "{state:?} waits too long");
            limit -= time;
            event = Event::Timeout;
        }
    }
}
