//! What reaping costs a first process, beside what it costs another one.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;

/// What a process has used and holds at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Nanoseconds on a processor, the kernel's work for it included.
    cpu: u64,
    /// Resident memory in KiB.
    memory: u64,
    descriptors: usize,
}

impl Look {
    pub fn at(pid: i32) -> Self {
        let read = |name| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
        let memory = read("status");
        let memory = memory.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory = memory.unwrap().split_whitespace().next().unwrap();
        Self {
            cpu: read("schedstat")
                .split(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap(),
            memory: memory.parse().unwrap(),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
        }
    }
}

/// Two rounds of the same work: looks before, between and after, and how many
/// processes came and went in each.
#[derive(Debug)]
pub struct Rounds {
    pub looks: [Look; 3],
    pub reaped: [u64; 2],
}

impl Rounds {
    /// Microseconds for each reaped process, in the first round and in the second.
    fn each(&self) -> [f64; 2] {
        let [before, between, after] = self.looks;
        let cost = |from: Look, to: Look, count| (to.cpu - from.cpu) as f64 / 1e3 / count as f64;
        [
            cost(before, between, self.reaped[0]),
            cost(between, after, self.reaped[1]),
        ]
    }

    /// KiB more after the second round than after the first.
    fn grown(&self) -> i64 {
        self.looks[2].memory as i64 - self.looks[1].memory as i64
    }
}

/// Prints both, and asserts of ours what no busy machine changes: that a second round
/// leaves nothing behind, costs no more than the first, and not a multiple of the
/// other's. The program under test is not optimized, which alone makes it four times tini's, and
/// both are measured in turn on a machine that has other work: hence the wide margins.
/// `scripts/bench` measures the program of the image.
pub fn compare(what: &str, ours: &Rounds, name: &str, other: &Rounds) {
    let mut text = format!(
        "\n{what:<44} | {:>7} | {:>9} | {:>9} | {:>9} | {:>7}\n",
        "reaped", "µs, first", "second", "KiB", "grown"
    );
    for (name, rounds) in [("ai-lab-entrypoint", ours), (name, other)] {
        let [first, second] = rounds.each();
        let _ = writeln!(
            text,
            "{name:<44} | {:>7} | {first:>9.2} | {second:>9.2} | {:>9} | {:>7}",
            rounds.reaped.iter().sum::<u64>(),
            rounds.looks[2].memory,
            rounds.grown(),
        );
    }
    // Not `print!`, which the test runner would keep to itself.
    std::io::stdout().write_all(text.as_bytes()).unwrap();
    let ([first, second], [peer_first, peer_second]) = (ours.each(), other.each());
    let descriptors = ours.looks.map(|look| look.descriptors);
    assert!(descriptors[2] <= descriptors[0], "{what}: {descriptors:?}");
    assert!(ours.grown() < 256, "{what}: {} KiB more", ours.grown());
    assert!(
        second < 3.0 * first + 5.0,
        "{what}: {first} µs, {second} µs"
    );
    let both = [first + second, peer_first + peer_second];
    assert!(both[0] < 8.0 * both[1] + 10.0, "{what}: {both:?} µs");
}
