use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{Init, Init::*, Table};
use crate::support::{Image, Start};

/// Forks so many stragglers, in sessions of their own, that do at TERM what is asked
/// for (`clean` up for half a second, `bye`, `deaf`), and ends with 7 at TERM or when
/// its stdin does.
const PARENT: &str = "
import os, select, signal, sys, time
how, many = sys.argv[1], int(sys.argv[2])
def term(*_):
    if how == 'clean':
        time.sleep(0.5)
    if how != 'deaf':
        os.write(1, b'straggler ended\\n')
        os._exit(0)
    os.write(1, b'deaf straggler\\n')
def straggler(ready):
    os.setsid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {15})
    os.write(ready, b'.')
    while True:
        term(signal.sigwait({15}))
here, there = os.pipe()
for _ in range(many):
    if os.fork() == 0:
        straggler(there)
for _ in range(many):
    os.read(here, 1)
woken, wakes = os.pipe()
os.set_blocking(wakes, False)
signal.set_wakeup_fd(wakes)
signal.signal(15, lambda *_: None)
print('ready', flush=True)
select.select([0, woken], [], [])
os._exit(7)
";

/// What was left of the stragglers when the command had ended by itself, or by TERM.
fn stragglers(image: &Image, init: Init, how: &str, many: usize, by_term: bool) -> String {
    let (input, talk) = UnixStream::pair().unwrap();
    let command = ["python3", "-c", PARENT, how, &many.to_string()];
    let start = init.start(image, &command);
    let mut running = start.stdin(Stdio::from(OwnedFd::from(input))).start();
    running.wait_for_line("ready");
    let start = Instant::now();
    if by_term {
        running.signal(15);
    } else {
        drop(talk);
    }
    let code = running.end();
    let time = start.elapsed();
    let (stdout, _) = running.everything();
    let count = |words| stdout.lines().filter(|line| *line == words).count();
    let ended = count("straggler ended");
    let heard = count("deaf straggler");
    let drain = Duration::from_millis(1500);
    match how {
        // It was told, had the drain time, and no more than that and a little.
        "deaf" => {
            let in_time = heard == many && time >= drain && time < drain * 2;
            let how = if in_time {
                "killed after the drain time"
            } else {
                "killed at once"
            };
            format!("{code}, {how}")
        }
        _ => format!("{code}, {ended} of {many} ended"),
    }
}

/// Leaves an orphan that asks who its parent is, ends, and should be gone then.
const ORPHAN: &str = "
import os, signal, time
init = os.getppid()
here, there = os.pipe()
if os.fork() == 0:
    middle = os.getpid()
    if os.fork() == 0:
        while os.getppid() == middle:
            time.sleep(0.001)
        os.write(there, b'%d %d' % (os.getpid(), os.getppid()))
        os._exit(0)
    os._exit(0)
os.wait()
orphan, parent = os.read(here, 100).split()
limit = time.monotonic() + 20
while os.path.exists(f'/proc/{orphan.decode()}') and time.monotonic() < limit:
    time.sleep(0.001)
gone = not os.path.exists(f'/proc/{orphan.decode()}')
whose = 'adopted' if int(parent) == init else 'left to others'
print(whose + (' and reaped' if gone else ', a zombie'))
";

fn among_others(image: &Image, init: Init) -> String {
    let words = init.words(image, &["python3", "-c", ORPHAN]);
    let start = match init {
        Ours => Start::plain(),
        // It has to be told.
        Tini => Start::plain_of("tini").arg("-s"),
        DumbInit | Catatonit => Start::plain_of(init.program()),
    };
    start.args(words).run().stdout.trim().into()
}

#[test]
fn an_end_leaves_time_to_others_and_nobody_behind() {
    let image = Image::new();
    let mut table = Table::new("ends");
    let case = |how, many, by_term| {
        let image = &image;
        move |init| stragglers(image, init, how, many, by_term)
    };
    table.case(
        "siblings need 0.5 s after the command",
        &[],
        "7, 3 of 3 ended",
        case("clean", 3, false),
    );
    table.case(
        "stragglers deaf to TERM",
        &[],
        "7, killed after the drain time",
        case("deaf", 3, false),
    );
    let all: [(usize, &[Init]); 3] = [(0, &[Tini, Catatonit]), (1, &[]), (500, &[])];
    for (many, right) in all {
        table.case(
            &format!("TERM, {many} stragglers"),
            right,
            &format!("7, {many} of {many} ended"),
            case("bye", many, true),
        );
    }
    table.case(
        "orphans, when not PID 1 (tini -s)",
        &[Tini, Catatonit],
        "adopted and reaped",
        |init| among_others(&image, init),
    );
    table.judge();
}
