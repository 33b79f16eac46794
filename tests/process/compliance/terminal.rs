use std::fs;
use std::time::Duration;

use super::{Init, Init::*, Table};
use crate::support::process::{children, send, until};
use crate::support::terminal::{CTRL_C, CTRL_Z, Terminal};
use crate::support::{Image, LIMIT, Running, Start};

/// How long this one may take to say something: no longer than a second where it is known
/// to stay silent.
fn patience(init: Init, silent: &[Init]) -> Duration {
    if silent.contains(&init) {
        Duration::from_secs(1)
    } else {
        LIMIT
    }
}

/// Tells what a terminal sends; ends with what it got so far when USR1 asks.
const LISTENER: &str = "
import os, signal, sys, termios
heard = []
def say(*words):
    # Not print(): a handler may run in the middle of it, and may not enter it again.
    try:
        os.write(1, (' '.join(map(str, words)) + '\\n').encode())
    except OSError:
        pass  # There is no terminal any more: HUP is on its way.
def hear(number, _):
    if number != signal.SIGUSR1:
        heard.append(signal.Signals(number).name[3:])
    if number == signal.SIGINT:
        say('interrupted')
    if number == signal.SIGCONT:
        say('continued')
    if number == signal.SIGWINCH:
        say('window', *os.get_terminal_size())
    if number == signal.SIGUSR1:
        say('heard', *heard)
        sys.exit(3)
    if number == signal.SIGHUP:
        # CONT comes with it, and may run in the middle of this.
        before = [name for name in heard if name != 'CONT']
        open(sys.argv[1], 'w').write(' '.join(before))
        os._exit(129)
woken, wakes = os.pipe()
os.set_blocking(wakes, False)
signal.set_wakeup_fd(wakes)
for name in 'INT', 'QUIT', 'WINCH', 'CONT', 'HUP', 'USR1':
    signal.signal(getattr(signal, 'SIG' + name), hear)
foreground = os.tcgetpgrp(0) == os.getpgrp()
say('listening', *os.get_terminal_size(), 'in front' if foreground else 'behind')
while True:
    os.read(woken, 1)
";

fn listener(image: &Image, init: Init, terminal: &Terminal) -> Running {
    let file = image.path("home").join(format!("{init:?}"));
    let file = file.display().to_string();
    let command = ["python3", "-c", LISTENER, &file];
    let mut running = init.in_session(image, &command).start_on(terminal);
    running.wait_for("listening");
    running
}

/// What was heard until now. USR1 goes the way of everything forwarded, behind INT.
fn heard(running: &mut Running) -> String {
    running.signal(10);
    let heard = running.wait_for("heard");
    assert_eq!(running.end(), 3);
    heard["heard".len()..].trim().into()
}

fn ctrl_c(image: &Image, init: Init) -> String {
    let terminal = Terminal::new();
    let mut running = listener(image, init, &terminal);
    terminal.press(CTRL_C);
    running.wait_for("interrupted");
    heard(&mut running)
}

fn ctrl_z(image: &Image, init: Init) -> String {
    let terminal = Terminal::new();
    let mut running = listener(image, init, &terminal);
    let command = running.main_pid();
    terminal.press(CTRL_Z);
    // What is typed next appears when the terminal is done with it.
    terminal.press("typed\n");
    running.wait_for("typed");
    let patience = patience(init, &[Tini, DumbInit, Catatonit]);
    if running.has_said("continued") || running.next_line(patience).is_some() {
        running.wait_for("continued");
        assert_eq!(heard(&mut running), "CONT");
        return "goes on".into();
    }
    let stopped = running.is_stopped(command);
    running.signal(18);
    running.wait_for_next("continued");
    assert_eq!(heard(&mut running), "CONT");
    if stopped {
        "stopped until CONT".into()
    } else {
        "not stopped".into()
    }
}

fn window(image: &Image, init: Init) -> String {
    let terminal = Terminal::new();
    let mut running = listener(image, init, &terminal);
    let mut heard_so_far = running.all_heard().into_iter();
    let first = heard_so_far
        .find_map(|line| line.strip_prefix("listening "))
        .unwrap();
    let first = first.strip_suffix(" in front").unwrap_or(first).to_owned();
    terminal.resize(40, 132);
    let second = running.wait_for("window");
    let second = second.strip_prefix("window ").unwrap();
    format!("{first}, {second}, {}", heard(&mut running))
}

fn hang_up(image: &Image, init: Init) -> String {
    let terminal = Terminal::new();
    let mut running = listener(image, init, &terminal);
    terminal.hang_up();
    let code = running.end();
    let file = image.path("home").join(format!("{init:?}"));
    let heard = fs::read_to_string(file).unwrap_or_default();
    format!("{heard}, {code}")
}

/// Whether the shell says, after Ctrl-Z, that its job has stopped.
fn stops_a_job(terminal: &Terminal, running: &mut Running, patience: Duration) -> bool {
    terminal.press(CTRL_Z);
    // Without a shell that listens again this is only echoed.
    terminal.press("typed\n");
    while !running.has_said("Stopped") {
        if running.next_line(patience).is_none() {
            return false;
        }
    }
    true
}

/// An interactive bash: the steps of a session that needs job control.
fn job_control(image: &Image, init: Init) -> String {
    let terminal = Terminal::new();
    let bash = ["bash", "--norc", "--noprofile", "--noediting", "-i"];
    let start = init
        .in_session(image, &bash)
        .env("PS1", "")
        .env("HISTFILE", "");
    let mut running = start.start_on(&terminal);
    // Typed words appear too: what is waited for is made by the shell alone.
    terminal.press("set +o history; echo rea''dy\n");
    running.wait_for_line("ready");
    terminal.press("cat\n");
    let bash = running.main_pid();
    let cat = || children(bash);
    until("cat runs", || !cat().is_empty());
    terminal.press("hello\n");
    running.wait_for("hello");
    running.wait_for_next("hello"); // one is the echo, the other is cat's
    if !stops_a_job(&terminal, &mut running, patience(init, &[Catatonit])) {
        return "Ctrl-Z stops nothing".into();
    }
    let job = cat()[0];
    until("cat stops", || running.is_stopped(job));
    terminal.press("fg\n");
    until("cat goes on", || !running.is_stopped(job));
    terminal.press("again\n");
    running.wait_for("again");
    running.wait_for_next("again");
    terminal.press(CTRL_C);
    until("cat is gone", || cat().is_empty());
    terminal.press("echo co''de $?; exit 5\n");
    let code = running.wait_for("code ");
    let ended = running.end();
    let (said, _) = running.everything();
    let complaint = said.contains("no job control") || said.contains("cannot set terminal");
    let complaint = if complaint { ", complains" } else { "" };
    format!("{code}, exit {ended}{complaint}")
}

/// The same with a shell above the init, which is not PID 1: the shell must see its
/// job stop, continue and end.
fn under_a_shell(image: &Image, init: Init, shell: Start) -> String {
    let terminal = Terminal::new();
    let script = image.path("go");
    let words = init.words(image, &["cat"]).join(" ");
    fs::write(&script, format!("exec {} {words}\n", init.program())).unwrap();
    let bash = [
        "--ctty",
        "bash",
        "--norc",
        "--noprofile",
        "--noediting",
        "-i",
    ];
    let start = shell.args(bash).env("PS1", "").env("HISTFILE", "");
    let mut running = start.start_on(&terminal);
    terminal.press("set +o history; echo rea''dy\n");
    running.wait_for_line("ready");
    terminal.press(&format!("sh {}\n", script.display()));
    let cat = || -> Option<i32> {
        let init = *children(running.pid()).first()?;
        let cat = *children(init).first()?;
        let name = fs::read_to_string(format!("/proc/{cat}/comm")).ok()?;
        (name == "cat\n").then_some(cat)
    };
    until("cat runs", || cat().is_some());
    let cat = cat().unwrap();
    terminal.press("hello\n");
    running.wait_for("hello");
    running.wait_for_next("hello");
    if !stops_a_job(&terminal, &mut running, patience(init, &[Tini, Catatonit])) {
        // What stays stopped would outlive its shell.
        send(cat, 9);
        return "the shell does not notice".into();
    }
    // The init may have stopped itself first.
    until("cat stops", || running.is_stopped(cat));
    terminal.press("fg\n");
    until("cat goes on", || !running.is_stopped(cat));
    terminal.press("again\n");
    running.wait_for("again");
    running.wait_for_next("again");
    terminal.press(CTRL_C);
    until("the job is gone", || children(running.pid()).is_empty());
    terminal.press("echo co''de $?; exit 5\n");
    let code = running.wait_for("code ");
    format!("stopped, {code}, exit {}", running.end())
}

#[test]
fn a_terminal_is_the_commands_own() {
    let image = Image::new();
    let mut table = Table::new("terminal");
    table.case("Ctrl-C", &[Tini, Catatonit], "INT", |init| {
        ctrl_c(&image, init)
    });
    table.case("Ctrl-Z", &[], "goes on", |init| ctrl_z(&image, init));
    table.case(
        "window size",
        &[Tini, Catatonit],
        "80 24, 132 40, WINCH",
        |init| window(&image, init),
    );
    table.case(
        "job control in an interactive bash",
        &[Tini],
        "code 130, exit 5",
        |init| job_control(&image, init),
    );
    table.case(
        "Ctrl-Z, fg, Ctrl-C under a shell",
        &[],
        "stopped, code 130, exit 5",
        |init| under_a_shell(&image, init, Start::plain_of("setsid")),
    );
    table.case(
        "the same where that shell is PID 1",
        &[],
        "stopped, code 130, exit 5",
        |init| under_a_shell(&image, init, Start::wrapped("setsid")),
    );
    table.case(
        "the terminal hangs up",
        &[Tini, Catatonit],
        "HUP, 129",
        |init| hang_up(&image, init),
    );
    table.judge();
}
