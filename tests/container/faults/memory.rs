//! A container at its memory limit: whoever takes all of it is ended by the kernel, at
//! whatever moment. PID 1 is not, and tells what happened.

use std::env;
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;

use super::kept::{Kept, READY, assert_healthy};
use crate::support::chance::{Chance, Rounds};
use crate::support::docker::{Container, docker, mounted, text};
use crate::support::outcomes::record;

/// What takes more memory than any limit here allows.
const HOG: &str = include_str!("hog.py");
/// What it says before.
const HERE: &str = "hog: here";
/// Where it is for a server, a kernel and `docker exec`.
const PLACE: &str = "/usr/local/bin/hog";
/// PID 1 itself needs some 10 MiB for a moment, to hash a password; with less than this
/// it may be the one who is ended.
const FOR_PID_1: usize = 16;
/// How a server's end by the kernel is told.
const KILLED: &str = "Jupyter server terminated with error code 137 (signal 9)";
const SETTINGS: &str = "/etc/jupyter/jupyter_server_config.py";

/// Who takes all memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hog {
    RootHook,
    UserHook,
    /// The server, some time after it has read its settings.
    Server,
    /// The same server, where it may be started again.
    ServerAgain,
    /// The server, once it was asked to stop.
    StoppedServer,
    Kernel,
    /// A process of `docker exec`.
    Exec,
    /// Nobody: the limit is less than a server needs.
    Nobody,
}

/// Each round has the next one, so that few rounds have all of them.
const HOGS: [Hog; 8] = [
    Hog::RootHook,
    Hog::UserHook,
    Hog::Server,
    Hog::ServerAgain,
    Hog::StoppedServer,
    Hog::Kernel,
    Hog::Exec,
    Hog::Nobody,
];

impl Hog {
    fn name(self) -> &'static str {
        match self {
            Self::RootHook => "a hook of root's takes all memory",
            Self::UserHook => "a hook of the user's takes all memory",
            Self::Server => "the server takes all memory",
            Self::ServerAgain => "the server takes all memory, `--restart on-failure`",
            Self::StoppedServer => "the server takes all memory during a stop",
            Self::Kernel => "a kernel takes all memory",
            Self::Exec => "a process of `docker exec` takes all memory",
            Self::Nobody => "less memory than a server needs",
        }
    }

    /// Where the container has what takes all memory.
    fn place(self) -> &'static str {
        match self {
            Self::RootHook => "/etc/ai-lab/hooks/root/10-hog",
            Self::UserHook => "/etc/ai-lab/hooks/user/10-hog",
            _ => PLACE,
        }
    }
}

/// What is chosen: who takes all of how many MiB, and in how many milliseconds.
#[derive(Debug)]
struct Choice {
    hog: Hog,
    megabytes: usize,
    milliseconds: usize,
}

/// Where a container was, and what came of it.
type Outcome = (&'static str, &'static str);

#[test]
fn whoever_takes_all_memory_is_ended_and_told_and_the_next_start_serves() {
    let rounds = Rounds::of(
        "whoever_takes_all_memory_is_ended_and_told_and_the_next_start_serves",
        HOGS.len().try_into().unwrap(),
    );
    rounds.run(|round, mut chance: Chance| {
        let hog = HOGS[usize::try_from(round).unwrap() % HOGS.len()];
        let choice = Choice {
            hog,
            megabytes: match hog {
                Hog::Nobody => 6 + chance.below(90),
                _ => *chance.of(&[192, 256, 384]),
            },
            milliseconds: chance.below(4000),
        };
        let what = format!("{choice:?}");
        let volume = Kept::new();
        let (phase, outcome) = run(&volume, &choice, &what);
        eprintln!("{round}: {what}: {phase}, {outcome}");
        record(hog.name(), phase, outcome);
        volume.assert_nothing_lost(&what);
        // Where a start may have been killed at its defaults; after each, if somebody asked for it.
        let asked = ["AI_LAB_FAULTS", "AI_LAB_ROUND", "AI_LAB_LONG"];
        if round % 2 == 1 || asked.into_iter().any(|name| env::var_os(name).is_some()) {
            volume.assert_next_start_is_healthy(&what);
        }
    });
}

/// The life of a container with so much memory and with one who takes all of it.
fn run(volume: &Kept, choice: &Choice, what: &str) -> Outcome {
    let Choice {
        hog,
        megabytes,
        milliseconds,
    } = *choice;
    let (_settings, settings) = mounted(&settings(hog, milliseconds), SETTINGS);
    let (program, program_option) = mounted(HOG, hog.place());
    // What is open for writing cannot be executed.
    let program = program.into_temp_path();
    set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let options = [
        &*format!("--memory={megabytes}m"),
        &format!("--memory-swap={megabytes}m"),
        "--publish=127.0.0.1:0:49494",
        "--env=AI_LAB_RESCUE=never",
        &volume.option(),
        &settings,
        &program_option,
    ];
    let command: &[&str] = match hog {
        Hog::ServerAgain => &["--restart", "on-failure"],
        _ => &[],
    };
    let container = Container::create(&options, command);
    let started = docker(["start", &container.name]);
    if megabytes < FOR_PID_1 && !started.status.success() {
        return ("start", "the engine could not start it");
    }
    assert!(started.status.success(), "{what}: {}", text(&started));
    match hog {
        Hog::RootHook | Hog::UserHook => hook(&container, hog, what),
        Hog::Server => server(&container, container.end(), what),
        Hog::StoppedServer => {
            container.wait_for(READY);
            let (_, outcome) = server(&container, container.stop(), what);
            assert!(container.logs().contains(HERE), "{what}");
            ("stop", outcome)
        }
        Hog::ServerAgain => server_again(&container, what),
        Hog::Kernel | Hog::Exec => beside(&container, choice, what),
        Hog::Nobody => little(&container, choice, what),
    }
}

fn hook(container: &Container, hog: Hog, what: &str) -> Outcome {
    let (code, log) = (container.end(), container.logs());
    let told = log.contains(HERE) && log.contains("failed with signal 9");
    let told = told && log.contains("out of memory: ");
    assert!(code == 1 && told, "{what}: {code} {log}");
    let phase = match hog {
        Hog::RootHook => "root phase",
        _ => "user phase",
    };
    (phase, "the start ended, and told")
}

/// PID 1 was there to say so.
fn server(container: &Container, code: i32, what: &str) -> Outcome {
    let log = container.logs();
    assert!(code == 137 && log.contains(KILLED), "{what}: {code} {log}");
    (phase(&log), "ended with the server's code, and told")
}

/// Where the server was that was killed.
fn phase(log: &str) -> &'static str {
    let before = log.split(KILLED).next().unwrap();
    match before.contains(READY) {
        true => "serving",
        false => "start",
    }
}

fn server_again(container: &Container, what: &str) -> Outcome {
    let log = container.wait_for(KILLED);
    container.until("it is there again", || {
        let status = container.status();
        (status["restarts"] == 1 && status["phase"] == "ready").then_some(())
    });
    goes_on(container, what);
    (phase(&log), "told, and it came back in place")
}

fn beside(container: &Container, choice: &Choice, what: &str) -> Outcome {
    container.wait_for(READY);
    match choice.hog {
        Hog::Kernel => {
            let later = later(choice.milliseconds);
            let code = format!("import threading, runpy\nprint('up', flush=True)\n{later}");
            let said = container.visit(&["run", "ailab", &code]);
            assert_eq!(said, "up", "{what}");
            let restarts = "AsyncIOLoopKernelRestarter: restarting kernel";
            // Before the kernel's memory is free, Linux may take the server, too.
            let killed = container.until("the kernel is ended", || {
                let log = container.logs();
                let killed = log.contains(KILLED);
                (killed || log.contains(restarts)).then_some(killed)
            });
            if killed {
                return server(container, container.end(), what);
            }
        }
        _ => {
            let (ok, said) = container.exec("jupyter", &[PLACE]);
            assert!(!ok && said.contains(HERE), "{what}: {said}");
        }
    }
    goes_on(container, what);
    ("serving", "the server went on")
}

/// With too little for a server, the server is ended; with just enough, anybody who comes
/// with `docker exec` may be one too many.
fn little(container: &Container, choice: &Choice, what: &str) -> Outcome {
    container.until("it serves or has ended", || {
        let serves = container.logs().contains(READY);
        let ended = container.inspect("{{.State.Running}}") == "false";
        (serves || ended).then_some(())
    });
    let code = container.stop();
    if code == 0 {
        return ("start", "it was enough");
    }
    if choice.megabytes < FOR_PID_1 && !container.logs().contains(KILLED) {
        assert_eq!(code, 137, "{what}: {}", container.logs());
        return ("start", "PID 1 itself was killed");
    }
    server(container, code, what)
}

fn goes_on(container: &Container, what: &str) {
    assert_healthy(container, what);
    let code = container.stop();
    assert_eq!(code, 0, "{what}: {}", container.logs());
}

/// The server's settings, which are Python.
fn settings(hog: Hog, milliseconds: usize) -> String {
    match hog {
        // Who is started again finds the mark.
        Hog::Server | Hog::ServerAgain => format!(
            "import os, threading, runpy\n\
             if not os.path.exists('/tmp/once'):\n    \
                 open('/tmp/once', 'w').close()\n    \
                 {}",
            later(milliseconds)
        ),
        Hog::StoppedServer => {
            format!("import atexit, runpy\natexit.register(runpy.run_path, '{PLACE}')\n")
        }
        _ => String::new(),
    }
}

/// A line of Python that takes all memory in so many milliseconds.
fn later(milliseconds: usize) -> String {
    format!("threading.Timer({milliseconds} / 1000, runpy.run_path, ['{PLACE}']).start()\n")
}
