//! A slow reader of the console has all that the server says and all that we say; what a stop
//! leaves no time for is counted.

use std::fs;
use std::io::{PipeReader, Read, pipe};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::server;
use crate::support::process::until;
use crate::support::{Image, Running, Start};

/// Says numbers of lines that fill a pipe and the queue, and ends by itself.
const ENDS: &str = "
import os
for _ in range(int(os.environ['COUNT'])):
    os.write(2, b'x' * 999 + b'\\n')
os.write(2, b'THE END\\n')
open(os.environ['HOME'] + '/written', 'w').close()
os._exit(3)
";

const TOLD: &str = "Jupyter server terminated with error code 3";

/// Reads 64 KiB at a time, to the end.
fn slowly(mut stream: PipeReader, pause: Duration) -> JoinHandle<String> {
    thread::spawn(move || {
        let (mut all, mut part) = (Vec::new(), vec![0; 64 * 1024]);
        while let Ok(count @ 1..) = stream.read(&mut part) {
            all.extend(&part[..count]);
            thread::sleep(pause);
        }
        String::from_utf8(all).unwrap()
    })
}

/// Starts with one pipe as stdout and stderr.
fn start_into_one(start: Start, flags: OFlags) -> (Running, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    let running = start.start_into(writer.try_clone().unwrap(), writer);
    (running, reader)
}

fn whole_lines(text: &str) -> usize {
    let whole = |line: &&str| line.len() == 999 && line.bytes().all(|byte| byte == b'x');
    text.lines().filter(whole).count()
}

fn assert_all_arrived(text: &str, count: usize) {
    assert_eq!(whole_lines(text), count);
    let (end, told) = (text.find("THE END"), text.find(TOLD));
    assert!(end.is_some() && end < told, "{end:?} {told:?}");
}

#[test]
fn it_has_the_last_lines_of_a_server_that_ended_and_ours() {
    let image = Image::new();
    let start = server(&image, ENDS).args(["--rescue", "never"]);
    let (mut running, reader) = start_into_one(start.env("COUNT", "5000"), OFlags::empty());
    let said = slowly(reader, Duration::from_millis(40));
    assert_eq!(running.end(), 3);
    assert_all_arrived(&said.join().unwrap(), 5000);
}

/// As a parent process leaves it that waits for several pipes, such as one of Node.js.
#[test]
fn so_does_one_whose_pipe_does_not_block() {
    let image = Image::new();
    let start = server(&image, ENDS).args(["--rescue", "never"]);
    let (mut running, reader) = start_into_one(start.env("COUNT", "8000"), OFlags::NONBLOCK);
    let said = slowly(reader, Duration::from_millis(4));
    assert_eq!(running.end(), 3);
    assert_all_arrived(&said.join().unwrap(), 8000);
}

#[test]
fn it_has_the_welcome_between_the_lines_of_a_flood() {
    let image = Image::new();
    let start = image.server().env("FAKE", "flood");
    let (mut running, mut reader) = start_into_one(start, OFlags::empty());
    let (mut said, mut part) = (Vec::new(), vec![0; 64 * 1024]);
    let begun = Instant::now();
    let has_said = |said: &[u8], words: &str| {
        let lines = said
            .split(|byte| *byte == b'\n')
            .map(String::from_utf8_lossy);
        lines.filter(|line| line.contains(words)).count() == 1
    };
    while !has_said(&said, "] ready in ") {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not ready");
        let count = reader.read(&mut part).unwrap();
        // No memory for the flood, which is most of it.
        let lines = part[..count].split_inclusive(|byte| *byte == b'\n');
        said.extend(lines.filter(|line| !line.starts_with(b"xx")).flatten());
        thread::sleep(Duration::from_millis(20));
    }
    assert!(has_said(&said, "The server for Jupyter has been started"));
    running.signal(15);
    let rest = slowly(reader, Duration::ZERO);
    assert_eq!(running.end(), 0);
    rest.join().unwrap();
}

#[test]
fn a_stop_leaves_time_for_our_lines_and_the_number_of_the_others() {
    let image = Image::new();
    let start = server(&image, ENDS).args(["--rescue", "never"]);
    let (mut running, reader) = start_into_one(start.env("COUNT", "6000"), OFlags::empty());
    let said = slowly(reader, Duration::from_millis(50));
    until("it wrote all", || image.path("home/written").exists());
    let pid = running.pid();
    let main = format!("/proc/{pid}/task/{pid}/children");
    until("it has ended", || {
        fs::read_to_string(&main).is_ok_and(|children| children.is_empty())
    });
    let stopped = Instant::now();
    running.signal(15);
    assert_eq!(running.end(), 3);
    let took = stopped.elapsed();
    assert!(took < Duration::from_millis(1500), "{took:?}");
    let text = said.join().unwrap();
    assert_eq!(text.matches(TOLD).count(), 1);
    let lost = text.lines().filter_map(|line| {
        let (number, _) = line
            .split_once("ai-lab] ")?
            .1
            .split_once(" lines of the log found no room here: its reader was too slow")?;
        number.parse::<usize>().ok()
    });
    let lost: usize = lost.sum();
    let end = usize::from(text.contains("\nTHE END\n"));
    assert!(lost > 0, "everything arrived");
    assert_eq!(whole_lines(&text) + end + lost, 6001);
}
