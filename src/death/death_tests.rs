//! The real last lines of a real Jupyter that was broken in each of these ways: `tests/deaths`.

use std::fs;
use std::path::Path;

use super::cause::MAX_PART;
use super::*;

/// The end of a server, the end of its log, and the expected reason.
struct Death {
    name: String,
    ended: Ended,
    log: String,
    reason: String,
}

fn deaths() -> Vec<Death> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deaths");
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let (head, log) = text.split_once("\n---\n").unwrap();
        let (head, reason) = head.split_once("\nreason: ").unwrap();
        let (_, ended) = head.split_once("\nended: ").unwrap();
        Death {
            name: path.display().to_string(),
            ended: match ended.split_once(' ').unwrap() {
                ("exit", code) => Ended::Exit(code.parse().unwrap()),
                (_, number) => Ended::Signal(number.parse().unwrap()),
            },
            log: log.to_owned(),
            reason: reason.to_owned(),
        }
    };
    fs::read_dir(directory).unwrap().map(read).collect()
}

/// An error that the server survived is above the traceback of the one that ended it.
#[test]
fn the_last_error_counts_and_a_good_end_has_no_reason() {
    let survived = "[E] request failed\n    Traceback (most recent call last):\n      File \"/a.py\", \
                    line 1\n    OSError: [Errno 24] Too many open files\n";
    let last = "Traceback (most recent call last):\n  File \"/b.py\", line 1\nOddError: x\n";
    assert!(diagnose(Ended::Exit(1), false, survived).is_some());
    assert_eq!(
        diagnose(
            Ended::Exit(1),
            false,
            &format!("{survived}[E] loop\n{last}")
        ),
        None
    );
    assert_eq!(diagnose(Ended::Exit(0), false, survived), None);
    let joined = format!("{survived}\n{}\n\n{last}", last_lines::CHAINED[0]);
    assert!(diagnose(Ended::Exit(1), false, &joined).is_some());
}

/// A notebook, an hour or a second before the server ends. What it runs writes to the server's
/// stderr; the server may have said something since, or nothing.
#[test]
fn what_a_notebook_printed_is_no_reason_for_the_end_of_a_ready_server() {
    let running = "[I 2026-11-29 12:00:00.000 ServerApp] Jupyter Server 2.21.1 is running at:\n";
    let later = "[W 2026-11-29 13:00:00.000 ServerApp] 404 GET /x (@10.0.0.1) 2.1ms\n";
    let error = "OSError: [Errno 28] No space left on device\n";
    let traceback = |program: &str| {
        let frames = format!("  File \"{program}\", line 10, in <module>\n    main()\n");
        format!("Traceback (most recent call last):\n{frames}{error}")
    };
    let server = traceback("/opt/ai-lab/jupyterenv/bin/jupyter-lab");
    for (printed, reason) in [
        (error.to_owned(), false),
        (format!("{error}{later}"), false),
        (traceback("/tmp/ipykernel_7/1.py"), false),
        (
            traceback("/opt/ai-lab/jupyterenv/bin/jupyter-nbconvert"),
            false,
        ),
        (
            format!("{}{later}", traceback("/notebooks/train.py")),
            false,
        ),
        // A person started a second server in a terminal, and it ended.
        (format!("{server}{later}"), false),
        (server.clone(), true),
        (format!("{later}{server}"), true),
        // Python joins the cause and the end; then comes what a process beside it prints.
        (
            format!(
                "{}\n{}\n\n{server}\n",
                traceback("/a.py"),
                last_lines::CHAINED[0]
            ),
            true,
        ),
        (
            format!("{server}{}", traceback("/notebooks/train.py")),
            false,
        ),
    ] {
        let log = format!("{running}{printed}");
        let found = diagnose(Ended::Exit(1), true, &log);
        assert_eq!(found.is_some(), reason, "{log}");
        let early = diagnose(Ended::Exit(1), false, &log);
        assert_eq!(early.is_none(), log.ends_with(later), "{log}");
    }
    let killed = Ended::Signal(libc::SIGBUS);
    let by_signal = diagnose(killed, true, error);
    assert_eq!(
        by_signal,
        diagnose(killed, false, ""),
        "a signal needs no log"
    );
}

const UNKNOWN: &str = "Traceback (most recent call last):\n  File \"/b.py\", line 1\nOddError: x\n";
const KNOWN: &str = "Traceback (most recent call last):\n  File \"/b.py\", line 1\nOSError: [Errno 28] \
                     No space left on device\n";

/// Jupyter logs errors of extensions and goes on; the next message shows that.
#[test]
fn what_the_server_survived_is_no_reason() {
    let warning = "[W 2026-11-29 12:00:00.000 ServerApp] x | error adding extension (enabled: True): \
                   The module 'x' could not be found (No module named 'x').\n    \
                   Traceback (most recent call last):\n      File \"/a.py\", line 1\n\n    \
                   ModuleNotFoundError: No module named 'x'\n";
    let message = |level| format!("[{level} 2026-11-29 12:00:01.000 ServerApp] Something else\n");
    for (log, reason) in [
        (warning.to_owned(), false),
        (warning.to_owned() + &message('I'), false),
        (warning.replace("[W", "[E"), true),
        (warning.replace("[W", "[E") + &message('D'), true),
        (warning.replace("[W", "[E") + &message('E'), false),
        (warning.replace("[W", "[E") + &message('C'), false),
        (warning.replace("[W", "[E") + &message('I'), false),
        (warning.to_owned() + UNKNOWN, false),
        (warning.to_owned() + KNOWN, true),
    ] {
        let found = diagnose(Ended::Exit(1), false, &log);
        assert_eq!(found.is_some(), reason, "{log}");
    }
}

/// Python prints errors of threads and destructors, some of them after the one that ended it.
#[test]
fn an_error_that_ends_no_program_is_no_reason() {
    let ignored = "Exception ignored in: <function Socket.__del__ at 0x7f>\n";
    let thread = "Exception in thread Thread-1 (run):\n";
    let quota = KNOWN.replace("28] No space left on device", "122] Disk quota exceeded");
    let port = "[E 2026-11-29 12:00:00.000 ServerApp] ERROR: the Jupyter server could not be started \
                because port 8888 is not available.\n";
    let chains = last_lines::CHAINED.map(|joined| format!("{KNOWN}\n{joined}\n\n"));
    let [during, direct] = &chains;
    for (log, reason) in [
        (format!("{ignored}{KNOWN}"), None),
        (
            format!("{ignored}OSError: [Errno 28] No space left on device\n"),
            None,
        ),
        (format!("{thread}{KNOWN}"), None),
        (format!("{thread}{KNOWN}{UNKNOWN}"), None),
        (format!("{UNKNOWN}{ignored}{KNOWN}"), None),
        (format!("{quota}{ignored}{KNOWN}"), Some("the quota")),
        (
            format!("{ignored}{KNOWN}{thread}{KNOWN}{quota}"),
            Some("the quota"),
        ),
        // All errors of a chain are the thread's.
        (format!("{thread}{during}{direct}{UNKNOWN}"), None),
        (
            format!("{port}{thread}{during}{direct}{UNKNOWN}"),
            Some("port 8888"),
        ),
        (
            format!(
                "{port}{thread}OddError: x\nand y\n\n{}",
                &during[KNOWN.len()..]
            ) + KNOWN,
            Some("port 8888"),
        ),
        (
            format!("{thread}{during}{UNKNOWN}{quota}"),
            Some("the quota"),
        ),
        // This one is the server's.
        (
            format!("{thread}{KNOWN}{quota}{}{UNKNOWN}", &during[KNOWN.len()..]),
            Some("the quota"),
        ),
        (format!("{ignored}{port}"), Some("port 8888")),
    ] {
        let found = diagnose(Ended::Exit(1), false, &log).map(|found| found.cause);
        let begins = |cause: &String| reason.is_some_and(|reason| cause.starts_with(reason));
        assert!(found.as_ref().is_none_or(begins), "{log}: {found:?}");
        assert_eq!(found.is_some(), reason.is_some(), "{log}");
    }
}

/// Such as a connection to `localhost` without IPv6.
#[test]
fn an_address_is_wrong_only_for_the_socket_that_listens() {
    let other = KNOWN.replace(
        "28] No space left on device",
        "99] Cannot assign requested address",
    );
    assert_eq!(diagnose(Ended::Exit(1), false, &other), None);
}

/// As Python 3.13 prints it with FORCE_COLOR.
#[test]
fn colours_hide_no_reason() {
    let program = "/opt/ai-lab/jupyterenv/bin/jupyter-lab";
    let log = format!(
        "Traceback (most recent call last):\n  \
         File \x1b[35m\"{program}\"\x1b[0m, line \x1b[35m4\x1b[0m, in \x1b[35m<module>\x1b[0m\n    \
         from jinja2 import TemplateNotFound\n\
         \x1b[1;35mImportError\x1b[0m: \x1b[35mcannot import name 'a' from 'b' (/b.py)\x1b[0m\n"
    );
    for was_ready in [false, true] {
        let found = diagnose(Ended::Exit(1), was_ready, &log).unwrap();
        assert_eq!(
            found.cause,
            "the Python packages do not fit together: b has no a"
        );
    }
}

#[test]
fn a_part_of_the_log_is_short_harmless_and_never_a_pattern() {
    let line = |name: &str| format!("OSError: [Errno 13] Permission denied: '{name}'");
    let cause = |name: &str| diagnose(Ended::Exit(1), false, &line(name)).unwrap().cause;
    assert_eq!(
        cause("{1}\u{1b}{0}"),
        "the server's user may not use {1}\\u{1b}{0}"
    );
    assert!(cause(&"é".repeat(5000)).len() < 2 * MAX_PART);
    assert_eq!(pattern::fill("{", &[]), "", "a wrong table is no crash");
}

#[test]
fn the_last_lines_of_a_broken_jupyter_have_a_reason() {
    let mut wrong = Vec::new();
    for death in deaths() {
        let told = diagnose(death.ended, false, &death.log).map(|told| told.to_string());
        if told.as_deref() != Some(&death.reason) {
            wrong.push(format!("{}: {told:?}", death.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_row_of_the_table_was_seen() {
    let deaths = deaths();
    let unseen = |row: &&cause::Cause| {
        let mut logs = deaths.iter().map(|death| death.log.lines().collect());
        let found = |log: Vec<&str>| (0..log.len()).any(|at| row.find(&log[..=at]).is_some());
        !logs.any(found)
    };
    let unseen: Vec<_> = causes::CAUSES.iter().filter(unseen).collect();
    assert!(unseen.is_empty(), "{unseen:?}");
}
