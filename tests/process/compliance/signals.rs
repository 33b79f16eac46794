use std::time::Duration;

use super::{Init, Init::*, Table};
use crate::support::process::{send, until};
use crate::support::{Image, LIMIT, Running, Start};

/// Tells every signal it gets.
const TELLER: &str = "
import signal
every = set(range(1, 65)) - {9, 19, 32, 33}
signal.pthread_sigmask(signal.SIG_BLOCK, every)
print('ready', flush=True)
while True:
    print(f'signal {int(signal.sigwait(every))}', flush=True)
";

/// Counts one signal until another one comes.
const COUNTER: &str = "
import signal, sys
counted, last = map(int, sys.argv[1:])
signal.pthread_sigmask(signal.SIG_BLOCK, {counted, last})
print('ready', flush=True)
count = 0
while signal.sigwait({counted, last}) == counted:
    count += 1
print(f'{count} of 10000', flush=True)
";

/// The signal that says that all before were passed on: it comes last from any queue.
const LAST: i32 = 64;

/// Sends a signal, and then the last one; what the command heard in between.
fn round(running: &mut Running, number: i32) -> Vec<String> {
    let (init, command) = (running.pid(), running.main_pid());
    send(init, number);
    until("the signal was read", || {
        running.status(init, "ShdPnd").trim_matches('0').is_empty()
    });
    send(init, LAST);
    let mut heard = Vec::new();
    let mut left = LIMIT;
    let step = Duration::from_millis(50);
    loop {
        match running.next_line(step) {
            Some(line) if line == format!("signal {LAST}") => return heard,
            Some(line) if line.starts_with("signal ") => heard.push(line),
            Some(_) => {}
            None => {
                if running.is_stopped(command) {
                    heard.push("stopped".into());
                    send(command, 18);
                }
                left = left.checked_sub(step).expect("it says nothing any more");
            }
        }
    }
}

fn every_signal(image: &Image, init: Init) -> String {
    let mut running = init.start(image, &["python3", "-u", "-c", TELLER]).start();
    running.wait_for_line("ready");
    let catchable = (1..LAST).filter(|number| ![9, 19, 32, 33].contains(number));
    let wrong: Vec<i32> = catchable
        .filter(|number| round(&mut running, *number) != [format!("signal {number}")])
        .collect();
    if wrong.is_empty() {
        return "all 60".into();
    }
    let wrong: Vec<String> = wrong.iter().map(i32::to_string).collect();
    format!("not {}", wrong.join(" "))
}

fn ten_thousand(image: &Image, init: Init) -> String {
    let last = LAST.to_string();
    let words = ["python3", "-c", COUNTER, "39", &last];
    let mut running = init.start(image, &words).start();
    running.wait_for_line("ready");
    let pid = running.pid();
    let send_all = format!("import os\nfor _ in range(10_000): os.kill({pid}, 39)");
    let sent = std::process::Command::new("python3")
        .args(["-c", &send_all])
        .status();
    assert!(sent.unwrap().success());
    until("they were read", || {
        running.status(pid, "ShdPnd").trim_matches('0').is_empty()
    });
    running.signal(LAST);
    running.wait_for(" of 10000")
}

fn inherited(start: Start) -> String {
    let mask = start
        .under(&[
            "env",
            "--ignore-signal=TERM,HUP,CHLD,RTMIN+5",
            "--block-signal=INT,USR2,TSTP,RTMIN+6",
        ])
        .run();
    let set = |name: &str| {
        let line = mask.stdout.lines().find(|line| line.starts_with(name));
        let mask = u64::from_str_radix(line.unwrap()[7..].trim(), 16).unwrap();
        // glibc keeps 32 and 33 for itself, and lets nobody change them.
        (mask & !(0b11 << 31)).count_ones()
    };
    format!("{} ignored, {} blocked", set("SigIgn"), set("SigBlk"))
}

#[test]
fn signals_are_the_commands_own() {
    let image = Image::new();
    let mut table = Table::new("signals");
    table.case(
        "each signal: forwarded once, in order",
        &[],
        "all 60",
        |init| every_signal(&image, init),
    );
    table.case(
        "10,000 queued SIGRTMIN+5",
        &[Tini, Catatonit],
        "10000 of 10000",
        |init| ten_thousand(&image, init),
    );
    let show = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"];
    table.case(
        "of 4 ignored and 4 blocked at the start",
        &[],
        "0 ignored, 0 blocked",
        |init| inherited(init.start(&image, &show)),
    );
    table.judge();
}
