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

/// Covers every (state, event) pair: a row holds a state, and the next state and effects per event.
#[test]
fn every_state_meets_every_event() {
    use Effect::{Arm, Disarm, Exit, KillAll, KillMain, Spawn, TermAll, TermMain};
    use RunState::{Backoff, Done, DrainKilling, Draining, Idle, Killing, Running, Stopping};
    let events = [
        Event::Stop,
        Event::Restart,
        ended(3),
        Event::NobodyLeft,
        Event::Timeout,
    ];
    let stay = |state| (state, vec![]);
    let drain = |code, asked| (Draining { code, asked }, vec![TermAll, Arm(TIMES.drain)]);
    let stopping = |again| (Stopping { again }, vec![TermMain, Arm(TIMES.stop)]);
    let killing = |again| (Killing { again }, vec![KillMain, Arm(KILL_TIMEOUT)]);
    let spawn = (Running, vec![Disarm, Spawn]);
    let at_once = |code| (Backoff { code }, vec![Arm(Duration::ZERO)]);
    let exit = |code| (Done, vec![Disarm, Exit(code)]);
    let kill_all = |code| (DrainKilling { code }, vec![KillAll, Arm(KILL_TIMEOUT)]);
    let s = |again| Stopping { again };
    let k = |again| Killing { again };
    let b = Backoff { code: 5 };
    let d = |asked| Draining { code: 5, asked };
    let dk = DrainKilling { code: 5 };
    // columns: Stop, Restart, MainEnded, NobodyLeft, Timeout
    let table = [
        (
            Idle,
            [
                drain(0, true),
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
                killing(false),
            ],
        ),
        (
            s(true),
            [
                stay(s(false)),
                stay(s(true)),
                at_once(3),
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
                drain(137, true),
            ],
        ),
        (
            k(true),
            [
                (k(false), vec![Arm(KILL_TIMEOUT)]),
                stay(k(true)),
                at_once(3),
                stay(k(true)),
                stay(k(true)),
            ],
        ),
        (b, [drain(5, true), at_once(5), stay(b), stay(b), spawn]),
        (
            d(false),
            [
                stay(d(true)),
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
                exit(5),
                kill_all(5),
            ],
        ),
        (dk, [stay(dk), stay(dk), stay(dk), exit(5), exit(5)]),
        (Done, [(); 5].map(|()| stay(Done))),
    ];
    for (state, row) in table {
        for (event, expected) in events.iter().zip(row) {
            assert_eq!(step(state, *event, TIMES), expected, "{state:?} {event:?}");
        }
        // TERM once more, and no new deadline; in other states it is too late for that.
        let again = match state {
            Stopping { .. } => vec![TermMain],
            _ => vec![],
        };
        assert_eq!(step(state, Event::Unheard, TIMES), (state, again));
    }
}

#[test]
fn the_restart_policy_leads_to_backoff() {
    let wait = Duration::from_secs(4);
    let (ended, again) = (Ended::Signal(11), Some(wait));
    assert_eq!(
        step(RunState::Running, Event::MainEnded { ended, again }, TIMES),
        (RunState::Backoff { code: 139 }, vec![Effect::Arm(wait)])
    );
}

/// An outside event that may come next; ignored where it is impossible.
#[derive(Debug, Clone, Copy)]
enum Step {
    Stop,
    Restart,
    Unheard,
    /// The main process ends; `again`: the restart policy starts it again.
    MainEnds {
        again: bool,
    },
    NobodyLeft,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Stop),
        Just(Step::Restart),
        Just(Step::Unheard),
        any::<bool>().prop_map(|again| Step::MainEnds { again }),
        Just(Step::NobodyLeft),
    ]
}

/// A simulated supervisor with its own clock. It panics if something forbidden happens.
#[derive(Debug)]
struct Life {
    state: RunState,
    now: Duration,
    alarm: Option<Duration>,
    main: bool,
    /// Results of the next starts, from the end; true: success, as when the list is empty.
    spawns: Vec<bool>,
    /// The time by which all must be over; `None`: no stop was requested yet.
    limit: Option<Duration>,
    exit: Option<i32>,
}

impl Life {
    fn event(&mut self, event: Event) {
        assert_eq!(self.exit, None, "something happens after the exit");
        if event == Event::Stop && self.limit.is_none() {
            let all = TIMES.stop + KILL_TIMEOUT + TIMES.drain + KILL_TIMEOUT;
            self.limit = Some(self.now + all);
        }
        let (next, effects) = step(self.state, event, TIMES);
        let before = std::mem::replace(&mut self.state, next);
        for effect in effects {
            let story = format!("{before:?} {event:?} {effect:?}: {self:?}");
            match effect {
                Effect::TermMain | Effect::KillMain => assert!(self.main, "was reaped: {story}"),
                Effect::TermAll | Effect::KillAll => {}
                Effect::Arm(time) => self.alarm = Some(self.now + time),
                Effect::Disarm => self.alarm = None,
                Effect::Exit(code) => self.exit = Some(code),
                Effect::Spawn => {
                    assert!(!self.main, "there is one: {story}");
                    assert_eq!(self.limit, None, "it was to stop: {story}");
                    self.main = self.spawns.pop().unwrap_or(true);
                    if !self.main {
                        self.event(ended(127));
                    }
                }
            }
        }
    }

    /// Lets time pass, and raises `Timeout` whenever the armed timer expires.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(alarm) = self.alarm.filter(|alarm| *alarm <= until) {
            self.now = alarm;
            self.alarm = None;
            self.event(Event::Timeout);
        }
        self.now = until;
        if let (None, Some(limit)) = (self.exit, self.limit) {
            assert!(self.now < limit, "too late: {self:?}");
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Stop => self.event(Event::Stop),
            Step::Restart => self.event(Event::Restart),
            Step::Unheard => self.event(Event::Unheard),
            Step::MainEnds { again } if self.main => {
                self.main = false;
                self.event(Event::MainEnded {
                    ended: Ended::Exit(3),
                    again: again.then_some(Duration::from_secs(60)),
                });
            }
            Step::NobodyLeft if !self.main => self.event(Event::NobodyLeft),
            Step::MainEnds { .. } | Step::NobodyLeft => {} // cannot be so
        }
    }
}

proptest! {
    /// For any events at any times: a reaped process is never signalled, a running one is never
    /// started twice, nothing is started after a stop, and the exit comes within the sum of the
    /// grace periods even if no process ends.
    #[test]
    fn every_story_ends_in_time(
        idle in any::<bool>(),
        steps in proptest::collection::vec((any_step(), 0..9000u64), 0..40),
        spawns in proptest::collection::vec(any::<bool>(), 0..10),
    ) {
        let mut life = Life {
            state: if idle { RunState::Idle } else { RunState::Running },
            now: Duration::ZERO,
            alarm: None,
            main: !idle,
            spawns,
            limit: None,
            exit: None,
        };
        let last = (Step::Stop, 0);
        for (step, wait) in steps.into_iter().chain([last]) {
            life.pass(Duration::from_millis(wait));
            if life.exit.is_some() {
                return Ok(());
            }
            life.step(step);
            if life.exit.is_some() {
                return Ok(());
            }
        }
        let limit = life.limit.unwrap_or_default();
        life.pass(limit - life.now);
        prop_assert!(life.exit.is_some(), "{life:?}");
    }
}
