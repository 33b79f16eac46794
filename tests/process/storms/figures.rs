//! Rounds of orphans under us and under tini, side by side:
//! `cargo nextest run --no-capture storms::figures` prints the tables.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use super::ZOMBIES;
use crate::support::figures::{Look, Rounds, compare};
use crate::support::process::{children, until};
use crate::support::{Image, Running, Start, repeated};

/// At each line on stdin it does its work once more; it never waits for orphans.
const ROUNDS: &str = "
import os, sys
def daemons():
    for _ in range(count):
        if os.fork() == 0:
            os.fork()
            os._exit(0)
        os.wait()
def bursts():
    for _ in range(count // 20):
        here, there = os.pipe()
        if os.fork() == 0:
            os.close(there)
            for _ in range(20):
                if os.fork() == 0:
                    os.read(here, 1)
                    os._exit(0)
            os._exit(0)
        os.wait()
        os.close(there)
        os.close(here)
count = int(sys.argv[2])
print('ready', flush=True)
for line in sys.stdin:
    globals()[sys.argv[1]]()
    print('made', flush=True)
";

#[derive(Debug, Clone, Copy)]
enum Init {
    Ours,
    Tini,
}

/// The command under this init, and how to tell it something.
fn start(image: &Image, init: Init, command: &[&str]) -> (Running, UnixStream) {
    let start = match init {
        Init::Ours => Start::pid1().args(image.options()),
        Init::Tini => Start::wrapped("tini"),
    };
    let (input, talk) = UnixStream::pair().unwrap();
    let input = Stdio::from(OwnedFd::from(input));
    let mut running = start.arg("--").args(command).stdin(input).start();
    running.wait_for_line("ready");
    (running, talk)
}

fn rounds(init: Init, work: &str, count: u64) -> Rounds {
    let image = Image::new();
    let (mut running, mut talk) = start(
        &image,
        init,
        &[
            "python3",
            "-c",
            &format!("{ZOMBIES}{ROUNDS}"),
            work,
            &count.to_string(),
        ],
    );
    let pid = running.pid();
    let before = Look::at(pid);
    let [between, after] = [(); 2].map(|()| {
        talk.write_all(b"\n").unwrap();
        running.wait_for_next("made");
        until("all are reaped", || children(pid).len() == 1);
        Look::at(pid)
    });
    drop(talk);
    assert_eq!(running.end(), 0);
    Rounds {
        looks: [before, between, after],
        reaped: [count; 2],
    }
}

fn beside_tini(what: &str, run: impl Fn(Init) -> Rounds) {
    compare(what, &run(Init::Ours), "tini", &run(Init::Tini));
}

#[test]
fn many_zombies_cost_what_they_cost_tini() {
    let count = repeated(2_000, 10_000);
    beside_tini(&format!("{count} queued zombies, twice"), |init| {
        rounds(init, "zombies", count)
    });
}

#[test]
fn double_forks_cost_what_they_cost_tini() {
    let count = repeated(1_000, 5_000);
    beside_tini(&format!("{count} double forks, twice"), |init| {
        rounds(init, "daemons", count)
    });
}

#[test]
fn bursts_of_orphans_cost_what_they_cost_tini() {
    let count = repeated(2_000, 10_000);
    beside_tini(
        &format!("bursts of 20 orphans, {count} in all, twice"),
        |init| rounds(init, "bursts", count),
    );
}
