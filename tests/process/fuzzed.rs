//! Whatever is parsed, something holds for any bytes: for those in `fuzz/corpus`, and for
//! what becomes of them by chance.
//!
//! Each kind of text for a moment, or for `AI_LAB_FUZZ_SECONDS`, in an order that only
//! `AI_LAB_SEED` decides: a failure tells what it was. `scripts/fuzz` looks for new ones with
//! libFuzzer, by what they reach.

#[path = "../../fuzz/src/lib.rs"]
mod properties;

use std::panic::{RefUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// How long each is tried; `scripts/test --long` tries longer.
const USUAL: Duration = Duration::from_millis(200);

/// No longer than a few of the corpus together.
const LONGEST: usize = 16 * 1024;

/// What means something in one text or another.
const MARKS: &[u8] = b"\0\n\r\t \"#%,-./0:=[\\]{}\x7f\xff";

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

/// The files of a target, in the order of their names, so that a seed means the same.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let files = std::fs::read_dir(directory.join(target)).expect("every target has a corpus");
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 2, "{target} has hardly a corpus");
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// Chance, which a seed decides.
struct Chance(TestRng);

impl Chance {
    fn new(seed: u64) -> Self {
        let seed: Vec<u8> = seed.to_le_bytes().repeat(4);
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.0.next_u64() % limit.max(1) as u64).unwrap()
    }

    fn part(&mut self, bytes: &[u8]) -> Vec<u8> {
        let from = self.below(bytes.len() + 1);
        let length = self.below((bytes.len() - from).min(64) + 1);
        bytes[from..from + length].to_vec()
    }

    /// One of the corpus, changed in a few places.
    fn changed(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len() + 1);
            match self.below(7) {
                0 => bytes.truncate(at),
                1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 => bytes.insert(at, MARKS[self.below(MARKS.len())]),
                4 => {
                    let part = self.part(&bytes);
                    bytes.splice(at..at, part);
                }
                5 => {
                    let other = self.below(corpus.len());
                    let part = self.part(&corpus[other]);
                    bytes.splice(at..at, part);
                }
                _ => {
                    let end = (at + self.below(16)).min(bytes.len());
                    bytes.drain(at..end);
                }
            }
        }
        bytes.truncate(LONGEST);
        bytes
    }
}

fn holds(target: &str, property: impl Fn(&[u8]) + RefUnwindSafe) {
    let corpus = corpus(target);
    let try_out = |bytes: &[u8], whence: &str| {
        if let Err(panic) = catch_unwind(|| property(bytes)) {
            eprintln!("{target} fails for {whence}: b\"{}\"", bytes.escape_ascii());
            resume_unwind(panic);
        }
    };
    for bytes in corpus.iter().chain([&Vec::new()]) {
        try_out(bytes, "one of its corpus");
    }
    let seed = number("AI_LAB_SEED").unwrap_or(0);
    let time = number("AI_LAB_FUZZ_SECONDS").map_or(USUAL, Duration::from_secs);
    let mut chance = Chance::new(seed);
    let began = Instant::now();
    for case in 0.. {
        if began.elapsed() >= time {
            eprintln!("{target}: {case} cases");
            break;
        }
        let bytes = chance.changed(&corpus);
        try_out(&bytes, &format!("AI_LAB_SEED={seed}, case {case}"));
    }
}

macro_rules! hold {
    ($($target:ident)*) => {
        $(#[test]
        fn $target() {
            holds(stringify!($target), properties::$target::holds);
        })*

        /// A kind of text without a target would not be fuzzed, one without a test here
        /// not at each run.
        #[test]
        fn every_kind_of_text_has_a_target_and_a_corpus() {
            let names = |directory: &str| {
                let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
                let files = std::fs::read_dir(top.join(directory)).unwrap();
                let names = files.map(|file| file.unwrap().path());
                let mut names: Vec<_> = names
                    .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
                    .filter(|name| name != "lib")
                    .collect();
                names.sort();
                names
            };
            let mut ours = vec![$(stringify!($target)),*];
            ours.sort_unstable();
            for directory in ["fuzz_targets", "src", "corpus"] {
                assert_eq!(names(directory), ours, "{directory}");
            }
        }
    };
}

hold! {
    command_line group_file hook_variables http_answer jupyter_config log_lines manifest
    notebook password probe_url seal settings_file state
}
