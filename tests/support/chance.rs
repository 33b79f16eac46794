//! What a round chooses comes from a seed, so that it can be repeated.
//!
//! `AI_LAB_SEED` is the seed, `AI_LAB_FAULTS` how many rounds (`500`) or seconds (`600s`)
//! each test has, `AI_LAB_ROUND` the one round that is to be repeated.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::outcomes::record;

/// The program of tests that this is part of.
const BINARY: &str = env!("CARGO_CRATE_NAME");

/// Numbers from a seed (SplitMix64): the same everywhere and for ever.
#[derive(Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64, round: u64) -> Self {
        let mut chance = Self(seed);
        let start = chance.number() ^ round.wrapping_mul(0xd134_2543_de82_ef95);
        Self(start)
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of 0, 1, … `below` − 1.
    pub fn below(&mut self, below: usize) -> usize {
        let below = u64::try_from(below).unwrap();
        usize::try_from(self.number() % below).unwrap()
    }

    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// The rounds of one test.
pub struct Rounds {
    test: &'static str,
    pub seed: u64,
    first: u64,
    most: Most,
}

enum Most {
    Rounds(u64),
    Time(Duration),
}

impl Rounds {
    /// `usual` rounds, unless the environment says otherwise. The usual seed is fixed:
    /// a test run is no lottery.
    pub fn of(test: &'static str, usual: u64) -> Self {
        let seed = env::var("AI_LAB_SEED").map_or(1, |seed| seed.parse().unwrap());
        let (first, most) = match (env::var("AI_LAB_ROUND"), env::var("AI_LAB_FAULTS")) {
            (Ok(round), _) => (round.parse().unwrap(), Most::Rounds(1)),
            (_, Ok(most)) => (0, most_of(&most)),
            _ => (0, Most::Rounds(usual)),
        };
        Self {
            test,
            seed,
            first,
            most,
        }
    }

    /// Does `round` again and again. A failure says what to type to see it again; the
    /// others go on, so that a long run finds more than one.
    pub fn run(self, mut round: impl FnMut(u64, Chance)) {
        let began = Instant::now();
        let mut failed = Vec::new();
        for number in self.first.. {
            let over = match self.most {
                Most::Rounds(most) => number - self.first >= most,
                Most::Time(time) => began.elapsed() >= time,
            };
            if over {
                break;
            }
            let chance = Chance::new(self.seed, number);
            let result = catch_unwind(AssertUnwindSafe(|| round(number, chance)));
            if result.is_err() {
                let Self { test, seed, .. } = self;
                eprintln!(
                    "seed {seed}, round {number} failed; to repeat it:\n    AI_LAB_SEED={seed} \
                     AI_LAB_ROUND={number} cargo nextest run --test {BINARY} {test}"
                );
                record("a round failed", test, "failed");
                failed.push(number);
            }
        }
        assert!(failed.is_empty(), "failed rounds: {failed:?}");
    }
}

fn most_of(text: &str) -> Most {
    match text.strip_suffix('s') {
        Some(seconds) => Most::Time(Duration::from_secs(seconds.parse().unwrap())),
        None => Most::Rounds(text.parse().unwrap()),
    }
}
