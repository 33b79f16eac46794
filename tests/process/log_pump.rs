//! The server's output arrives on the console and in the logfile as it was written,
//! however much, however long and whatever is in it.

mod slow;

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, Read, pipe};
use std::os::unix::fs::PermissionsExt;
use std::thread::{self, JoinHandle};

use crate::support::process::until;
use crate::support::{Image, Start, repeated};

/// A server that is no more than this Python code, and ends with it.
fn server(image: &Image, code: &str) -> Start {
    let program = image.path("venv/bin/jupyter-lab");
    fs::write(&program, format!("#!/usr/bin/env python3\n{code}")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    image.server()
}

/// Reads a stream to its end, beside everything else.
fn all(mut stream: PipeReader) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Runs a server to its end: what came out of stdout and stderr.
fn said(start: Start) -> (Vec<u8>, Vec<u8>) {
    let ((stdout, out), (stderr, err)) = (pipe().unwrap(), pipe().unwrap());
    let mut running = start.start_into(out, err);
    let (stdout, stderr) = (all(stdout), all(stderr));
    assert_eq!(running.end(), 0);
    (stdout.join().unwrap(), stderr.join().unwrap())
}

/// Numbered lines on both streams at once: `STREAM NUMBER xxx…`, 998 bytes each.
const NUMBERED: &str = "
import os, sys, threading
def write(fd, name, count):
    fill = b'x' * 980
    for first in range(0, count, 640):
        lines = (b'%s %012d %s\\n' % (name, number, fill) for number in range(first, first + 640))
        data = b''.join(lines)
        while data:
            data = data[os.write(fd, data):]
count = int(os.environ['LINES_EACH'])
threads = [threading.Thread(target=write, args=each)
           for each in ((1, b'out', count), (2, b'err', count))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
";

/// Counts numbered lines, which have to come in order with none missing.
fn count(stream: PipeReader, name: &'static str) -> JoinHandle<u64> {
    thread::spawn(move || {
        let mut stream = BufReader::with_capacity(1 << 18, stream);
        let (mut line, mut number) = (Vec::new(), 0);
        while stream.read_until(b'\n', &mut line).unwrap() > 0 {
            // Our own lines are between them.
            if line.starts_with(name.as_bytes()) {
                let expected = format!("{name} {number:012} ");
                assert!(line.starts_with(expected.as_bytes()), "{expected}");
                let fill = &line[expected.len()..];
                assert_eq!(fill.len(), 981);
                assert!(fill[..980].iter().all(|byte| *byte == b'x'), "{expected}");
                number += 1;
            }
            line.clear();
        }
        number
    })
}

/// A gigabyte in a long run.
#[test]
fn a_flood_arrives_line_by_line_in_the_order_of_each_stream() {
    // Of 998 bytes each, on either stream.
    let each = repeated(48, 640) * 800;
    let image = Image::new();
    let start = server(&image, NUMBERED).env("LINES_EACH", &each.to_string());
    let ((stdout, out), (stderr, err)) = (pipe().unwrap(), pipe().unwrap());
    let mut running = start.start_into(out, err);
    let (stdout, stderr) = (count(stdout, "out"), count(stderr, "err"));
    let pid = running.pid();
    let mut largest = 0;
    let code = loop {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss = rss.and_then(|rss| rss.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        largest = largest.max(rss.unwrap_or(0));
        if stdout.is_finished() && stderr.is_finished() {
            break running.end();
        }
        thread::park_timeout(std::time::Duration::from_millis(20));
    };
    assert_eq!(code, 0);
    assert_eq!(
        (stdout.join().unwrap(), stderr.join().unwrap()),
        (each, each)
    );
    // Two queues of 32 chunks of 64 KiB, some copies, and the program itself.
    assert!((1..100_000).contains(&largest), "{largest} kB");
}

/// Bytes with everything in them: NUL, escapes, invalid UTF-8, lines of ten megabytes.
const JUNK: &str = "
import os, random, sys
random.seed(7)
junk = random.randbytes(3_000_000)
data = b''.join([
    b'\\0\\0\\n', b'\\xff\\xfe\\n', b'\\xf0\\x9f\\n', b'\\x1b[31mred\\n', b'\\r\\n\\n\\n',
    junk, b'\\n',
    b'a' * 10_000_000, b'\\n', '€'.encode() * 3_333_333, b'\\n',
    b'no final newline \\xe2\\x82'])
open(os.environ['HOME'] + '/expected', 'wb').write(data)
while data:
    data = data[os.write(int(os.environ['STREAM']), data):]
";

#[test]
fn no_byte_is_changed_on_the_console_or_in_the_logfile() {
    for stream in ["1", "2"] {
        let image = Image::new();
        let logfile = image.path("home/server.log");
        let start = server(&image, JUNK)
            .args(["--jupyter-logfile", logfile.to_str().unwrap()])
            .args(["--log-level", "error"])
            .env("STREAM", stream);
        let (stdout, stderr) = said(start);
        let expected = fs::read(image.path("home/expected")).unwrap();
        let console = if stream == "1" { stdout } else { stderr };
        let at = console
            .windows(3)
            .position(|bytes| bytes == b"\0\0\n")
            .unwrap();
        assert!(console[at..].starts_with(&expected), "stream {stream}");
        assert!(
            stream == "2" || console == expected,
            "nothing else is on stdout"
        );
        assert_eq!(logged(&logfile), expected, "stream {stream}");
    }
}

/// The logfile with those that were put aside, from the oldest on.
fn logged(logfile: &std::path::Path) -> Vec<u8> {
    let name = logfile.to_str().unwrap();
    let names = [".3", ".2", ".1", ""].map(|number| format!("{name}{number}"));
    let parts = names.iter().filter_map(|name| fs::read(name).ok());
    parts.flatten().collect()
}

/// Numbered lines of 1000 bytes, four in one write(2): no more than `PIPE_BUF`, so that
/// the reader never meets a part of a line.
const LINES: &str = "
import os
for first in range(0, int(os.environ['COUNT']), 4):
    os.write(1, b''.join(b'%08d %s\\n' % (number, b'x' * 990) for number in range(first, first + 4)))
open(os.environ['HOME'] + '/written', 'w').close()
";

#[test]
fn the_logfile_is_rotated_at_10_mib_between_lines_and_three_are_kept() {
    let image = Image::new();
    let logfile = image.path("home/server.log");
    let start = server(&image, LINES)
        .args(["--jupyter-logfile", logfile.to_str().unwrap()])
        .env("COUNT", "55000");
    said(start);
    let mut names: Vec<String> = fs::read_dir(image.path("home"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("server.log"))
        .collect();
    names.sort();
    let expected = ["server.log", "server.log.1", "server.log.2", "server.log.3"];
    assert_eq!(names, expected);
    for name in &names[1..] {
        let size = fs::metadata(image.path("home").join(name)).unwrap().len();
        // The chunk that fills it belongs to it.
        assert!(
            (10 << 20..(10 << 20) + (1 << 18)).contains(&size),
            "{name}: {size}"
        );
    }
    // What is kept are the last lines, with no gap and whole in each file.
    let text = String::from_utf8(logged(&logfile)).unwrap();
    let numbers: Vec<u32> = text
        .lines()
        .map(|line| line[..8].parse().unwrap())
        .collect();
    assert_eq!(*numbers.last().unwrap(), 54_999);
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    for name in names {
        let bytes = fs::read(image.path("home").join(&name)).unwrap();
        assert!(bytes.ends_with(b"x\n") && bytes[8] == b' ', "{name}");
    }
}

#[test]
fn a_console_that_stalls_costs_the_lines_that_are_counted_and_the_logfile_none() {
    let image = Image::new();
    let logfile = image.path("home/server.log");
    let start = server(&image, LINES)
        .args(["--jupyter-logfile", logfile.to_str().unwrap()])
        .env("COUNT", "9000");
    let ((stdout, out), (stderr, err)) = (pipe().unwrap(), pipe().unwrap());
    let mut running = start.start_into(out, err);
    let stderr = all(stderr);
    // Nobody reads stdout until the server has written everything.
    until("it wrote all", || image.path("home/written").exists());
    let stdout = all(stdout);
    assert_eq!(running.end(), 0);
    let text = String::from_utf8(stdout.join().unwrap()).unwrap();
    let said = String::from_utf8(stderr.join().unwrap()).unwrap();
    let notice = |line: &&str| line.contains(" lines of the log found no room on stdout");
    let notices: Vec<&str> = said.lines().filter(notice).collect();
    let lines: Vec<&str> = text.lines().collect();
    let numbers: Vec<u32> = lines
        .iter()
        .map(|line| line[..8].parse().unwrap())
        .collect();
    assert!(numbers.is_sorted() && lines.iter().all(|line| line.len() == 999));
    let told = notices.iter().map(|line| {
        let (_, rest) = line.split_once("ai-lab] ").unwrap();
        rest.split(' ').next().unwrap().parse::<usize>().unwrap()
    });
    assert!(
        !notices.is_empty(),
        "a pipe and a queue hold less than 9 MB"
    );
    assert_eq!(numbers.len() + told.sum::<usize>(), 9000, "{notices:?}");
    let text = fs::read_to_string(&logfile).unwrap();
    let numbers: Vec<u32> = text
        .lines()
        .map(|line| line[..8].parse().unwrap())
        .collect();
    assert!(
        numbers.into_iter().eq(0..9000),
        "the logfile has all of them"
    );
}

/// Begins a line on stdout, says a line on stderr, and goes on with the first one; the
/// second time only when it is told that its beginning was seen.
const HALVES: &str = "
import os, sys, time
home = os.environ['HOME']
def halves(name, between):
    os.write(1, b'begun %s' % name)
    between()
    os.write(2, b'[I 2026-01-01 00:00:00.000 A] whole %s\\n' % name)
    os.write(1, b' ended %s\\n' % name)
def seen():
    while not os.path.exists(home + '/seen'):
        time.sleep(0.001)
halves(b'at once', lambda: None)
halves(b'later', seen)
os.write(2, b'no end')
";

/// Runs it until the beginning of a line is seen, and to its end: what came out of stdout
/// and of stderr, which may be the same pipe.
fn halves(image: &Image, start: Start, together: bool) -> (String, String) {
    let ((mut stdout, out), (stderr, err)) = (pipe().unwrap(), pipe().unwrap());
    let mut running = match together {
        true => {
            drop(err);
            start.start_into(out.try_clone().unwrap(), out)
        }
        false => start.start_into(out, err),
    };
    let (mut said, mut byte) = (Vec::new(), [0]);
    while !said.ends_with(b"begun later") {
        stdout.read_exact(&mut byte).unwrap();
        said.extend(byte);
    }
    fs::write(image.path("home/seen"), "").unwrap();
    let stderr = all(stderr);
    stdout.read_to_end(&mut said).unwrap();
    assert_eq!(running.end(), 0);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(said), text(stderr.join().unwrap()))
}

/// Every line is of one stream: the first two are whole, the next one is in two parts,
/// because its beginning was shown.
fn are_apart(text: &str) {
    let head = "[I 2026-01-01 00:00:00.000 A] ";
    let of_the_server = ["begun", "whole", " ended", "no end"];
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| of_the_server.iter().any(|part| line.contains(part)))
        .filter(|line| !line.contains("ai-lab] "))
        .map(|line| line.strip_prefix(head).unwrap_or(line))
        .collect();
    let (mut first, rest) = (lines[..2].to_vec(), &lines[2..]);
    first.sort_unstable();
    assert_eq!(
        first,
        ["begun at once ended at once", "whole at once"],
        "{text}"
    );
    assert_eq!(rest[..2], ["begun later", "whole later"], "{text}");
    assert!(
        rest[2..].contains(&" ended later") && rest[2..].contains(&"no end"),
        "{text}"
    );
    assert_eq!(rest.len(), 4, "{text}");
}

#[test]
fn a_line_that_has_not_ended_is_not_glued_to_one_of_the_other_stream() {
    for together in [true, false] {
        let image = Image::new();
        let logfile = image.path("home/server.log");
        let options = ["--jupyter-logfile", logfile.to_str().unwrap()];
        let start = server(&image, HALVES).args(options);
        let (stdout, stderr) = halves(&image, start, together);
        are_apart(&fs::read_to_string(&logfile).unwrap());
        if together {
            are_apart(&stdout);
        } else {
            // Nor to a line of ours.
            assert!(stderr.contains("\nno end\n["), "{stderr}");
            assert!(stdout.contains("begun at once ended at once\nbegun later ended later\n"));
        }
    }
}

#[test]
fn nor_in_json_where_every_line_is_whole() {
    let image = Image::new();
    let format = ["--log-format", "json", "--jupyter-logfile"];
    let logfile = image.path("home/server.log");
    let start = server(&image, HALVES).args(format);
    let start = start.arg(logfile.to_str().unwrap());
    let (stdout, err) = pipe().unwrap();
    let mut running = start.start_into(err.try_clone().unwrap(), err);
    let said = all(stdout);
    // The logfile has them as they are.
    until("it has begun", || {
        fs::read_to_string(&logfile).is_ok_and(|text| text.ends_with("begun later"))
    });
    fs::write(image.path("home/seen"), "").unwrap();
    assert_eq!(running.end(), 0);
    let text = String::from_utf8(said.join().unwrap()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<serde_json::Value> = lines.collect();
    let said = |message: &str, stream: &str| {
        let found =
            |line: &&serde_json::Value| line["message"] == message && line["stream"] == stream;
        assert_eq!(lines.iter().filter(found).count(), 1, "{message}: {text}");
    };
    for name in ["at once", "later"] {
        said(&format!("begun {name} ended {name}"), "stdout");
        said(&format!("whole {name}"), "stderr");
    }
    said("no end", "stderr");
}

/// A person removes it to see only new lines, or to make room.
#[test]
fn a_logfile_that_was_removed_is_made_anew_with_the_next_line() {
    let image = Image::new();
    let logfile = image.path("home/server.log");
    let server = image
        .server()
        .args(["--jupyter-logfile", logfile.to_str().unwrap()]);
    let mut running = server.start();
    running.wait_for("] ready in ");
    until("it has the lines", || {
        fs::read_to_string(&logfile).unwrap().contains("Control-C")
    });
    fs::remove_file(&logfile).unwrap();
    running.signal(10);
    running.wait_for("fake: got signal 10");
    until("it is there again", || logfile.exists());
    until("it has the new line", || {
        fs::read_to_string(&logfile).unwrap() == "fake: got signal 10\n"
    });
    running.signal(15);
    assert_eq!(running.end(), 0);
}
