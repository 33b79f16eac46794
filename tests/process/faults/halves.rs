//! A start that is killed while it writes defaults that take more than one write: each is
//! absent, the old one or the new one, byte for byte.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::chance::{Chance, Rounds};
use crate::support::lab::{Files, Lab, is_temporary};
use crate::support::outcomes::record;
use crate::support::repeated;
use crate::support::tracer::{Call, End};

/// How many bytes the defaults have, in both images: with some, a write is shorter than
/// before, with some longer. They are written in parts of 256 KiB.
const SIZES: [(&str, usize, usize); 8] = [
    ("empty.ipynb", 0, 100_000),
    ("emptied.ipynb", 300_000, 0),
    ("small.ipynb", 10, 20),
    ("of/one/part.ipynb", 262_144, 262_143),
    ("of/one/more.ipynb", 262_145, 262_145),
    ("shorter.ipynb", 700_000, 400_000),
    ("longer.ipynb", 50_000, 600_000),
    ("same.ipynb", 40_000, 40_000),
];

/// Content of which every part tells the file, the image and the place in it.
fn content(name: &str, version: &str, size: usize) -> &'static str {
    let version = if name == "same.ipynb" { "any" } else { version };
    let mut text = String::new();
    while text.len() < size {
        writeln!(text, "{name} of {version}, from {}", text.len()).unwrap();
    }
    text.truncate(size);
    text.leak()
}

struct Images {
    lab: Lab,
    /// By version.
    offers: BTreeMap<&'static str, Files>,
}

/// What the volume has when the start that is killed begins, and what that brings.
#[derive(Debug, Clone, Copy)]
struct Case {
    before: Option<&'static str>,
    brings: &'static str,
    /// How many of its calls may change something.
    calls: usize,
    /// How long it takes.
    time: Duration,
}

impl Images {
    fn new() -> Self {
        let lab = Lab::new("unmodified");
        let offer = |version, size: fn(&(&str, usize, usize)) -> usize| {
            let file = |row: &(&'static str, usize, usize)| {
                let name = row.0;
                (name, content(name, version, size(row)))
            };
            (version, SIZES.iter().map(file).collect::<Files>())
        };
        let offers = [offer("1.0.0", |row| row.1), offer("2.0.0", |row| row.2)];
        for (version, files) in &offers {
            lab.offer(version, files);
        }
        lab.finish("1.0.0");
        lab.keep();
        Self {
            lab,
            offers: offers.into(),
        }
    }

    fn reset(&self, case: Case) {
        match case.before {
            None => self.lab.clear(),
            Some(_) => self.lab.again(),
        }
    }

    /// What one that nobody kills needs.
    fn measured(&self, before: Option<&'static str>, brings: &'static str) -> Case {
        let mut case = Case {
            before,
            brings,
            calls: 0,
            time: Duration::ZERO,
        };
        self.reset(case);
        let end = self.lab.kill(brings, usize::MAX, |call| {
            case.calls += usize::from(may_change(call));
            false
        });
        assert_eq!(end, End::Exited(0));
        self.reset(case);
        let began = Instant::now();
        self.lab.finish(brings);
        case.time = began.elapsed();
        case
    }

    /// Every file has what one image or the other gave it, from its first to its last byte.
    fn assert_whole(&self, at: &str, case: Case) {
        let allowed = [case.before, Some(case.brings)];
        let states: Vec<&Files> = allowed
            .iter()
            .flatten()
            .map(|version| &self.offers[version])
            .collect();
        let seen = self.lab.seen();
        for (name, found) in &seen {
            if is_temporary(name) || name.starts_with(".ai-lab/") {
                continue;
            }
            let of_images: Vec<&str> = states
                .iter()
                .filter_map(|state| state.get(name.as_str()).copied())
                .collect();
            let sizes: Vec<usize> = of_images.iter().map(|content| content.len()).collect();
            assert!(
                of_images.contains(&found.as_str()),
                "{at}: {name} is neither as before nor new: {} bytes, of {sizes:?}",
                found.len()
            );
        }
        // What was there before still is, old or new.
        for name in case.before.iter().flat_map(|old| self.offers[old].keys()) {
            assert!(seen.contains_key(*name), "{at}: {name} is gone");
        }
    }

    fn assert_finished(&self, at: &str, case: Case) {
        let mut seen = self.lab.seen();
        seen.retain(|name, _| !name.starts_with(".ai-lab/"));
        let new = &self.offers[case.brings];
        let names: Vec<&str> = seen.keys().map(String::as_str).collect();
        assert_eq!(names, new.keys().copied().collect::<Vec<_>>(), "{at}");
        for (name, found) in &seen {
            assert!(found == new[name.as_str()], "{at}: {name} is not new");
        }
    }
}

fn may_change(call: &Call) -> bool {
    !call.only_looks()
}

#[test]
fn a_default_is_whole_or_absent_whenever_its_start_is_killed() {
    let images = Images::new();
    let cases = [
        images.measured(None, "1.0.0"),
        images.measured(Some("1.0.0"), "2.0.0"),
    ];
    let rounds = Rounds::of(
        "a_default_is_whole_or_absent_whenever_its_start_is_killed",
        repeated(10, 400),
    );
    rounds.run(|round, mut chance: Chance| {
        let case = *chance.of(&cases);
        images.reset(case);
        // Before a call, which can be repeated; and in the middle of one.
        let (at, fault) = if chance.below(2) == 0 {
            let nth = 1 + chance.below(case.calls);
            images.lab.kill(case.brings, nth, may_change);
            let fault = "SIGKILL before a call that installs";
            (format!("{case:?}, before change {nth}"), fault)
        } else {
            let most = usize::try_from(case.time.as_micros()).unwrap();
            let moment = Duration::from_micros(chance.below(most).try_into().unwrap());
            let mut running = images.lab.start(case.brings).start();
            // No wait for anything: the moment is the fault.
            sleep(moment);
            if !running.has_ended() {
                running.signal(libc::SIGKILL);
            }
            running.end();
            let fault = "SIGKILL at any moment of an install";
            (format!("{case:?}, after {moment:?}"), fault)
        };
        eprintln!("{round}: {at}");
        images.assert_whole(&at, case);
        images.lab.finish(case.brings);
        images.assert_finished(&at, case);
        record(
            fault,
            "defaults",
            "whole or absent; the next start finished",
        );
    });
}
