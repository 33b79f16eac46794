//! Who uses the terminal has its foreground: a command that was left behind gets it back,
//! and so does the shell above us when there is no command.

use crate::support::process::until;
use crate::support::terminal::Terminal;
use crate::support::{Image, PROGRAM, Start};

/// A process that takes the foreground and ends: who made it reads after that.
const LEFT_BEHIND: &str = "
import os, signal, sys
def child():
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(0, os.getpid())
    os._exit(0)
pid = os.fork()
if pid == 0:
    child()
if sys.argv[1] == 'reaped':
    os.waitpid(pid, 0)
else:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
os.write(1, b'behind\\n')
os.write(1, b'it read ' + sys.stdin.readline().encode())
";

#[test]
fn a_command_whose_child_took_the_foreground_and_ended_reads_on() {
    let image = Image::new();
    for how in ["reaped", "not reaped"] {
        let terminal = Terminal::new();
        let mut running = Start::wrapped("setsid")
            .args(["--ctty", PROGRAM])
            .args(image.options())
            .args(["--", "python3", "-c", LEFT_BEHIND, how])
            .start_on(&terminal);
        running.wait_for_line("behind");
        terminal.press("typed\n");
        running.wait_for("it read typed");
        assert_eq!(running.end(), 0, "{how}");
    }
}

/// Who is in the foreground stays there; a command that waits for it still hears.
#[test]
fn a_command_that_waits_for_the_terminal_hears_what_is_sent_to_it() {
    let script = "
import os, signal, sys
def heard(number, _):
    os.write(2, b'it heard %d\\n' % number)
    os._exit(7)
signal.signal(signal.SIGTERM, heard)
hears, tells = os.pipe()
if os.fork() == 0:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(0, os.getpid())
    os.write(tells, b'in front')
    signal.pause()
os.read(hears, 1)
os.write(1, b'behind\\n')
sys.stdin.readline()
";
    let image = Image::new();
    let terminal = Terminal::new();
    let mut running = Start::wrapped("setsid")
        .args(["--ctty", PROGRAM])
        .args(image.options())
        .args(["--", "python3", "-c", script])
        .start_on(&terminal);
    running.wait_for_line("behind");
    let command = running.main_pid();
    until("it waits", || running.is_stopped(command));
    running.signal(libc::SIGTERM);
    running.wait_for("it heard 15");
    assert_eq!(running.end(), 7);
}

/// Without a terminal nobody has its foreground.
#[test]
fn a_command_that_stops_itself_goes_on_whatever_it_does_that_with() {
    let image = Image::new();
    let script = "for by in STOP TSTP TTIN TTOU; do kill -$by $$; echo after $by; done";
    let ended = image.command(["bash", "-c", script]).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(
        ended.stdout,
        "after STOP\nafter TSTP\nafter TTIN\nafter TTOU\n"
    );
}

#[test]
fn the_shell_above_reads_on_where_the_command_cannot_be_started() {
    let image = Image::new();
    let broken = image.path("home/broken");
    std::fs::write(&broken, "#!/nonexistent\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&broken, mode).unwrap();
    let terminal = Terminal::new();
    let script = r#""$@"; echo "it ended with $?"; read x && echo "it read $x""#;
    let mut running = Start::wrapped("setsid")
        .args(["--ctty", "bash", "-c", script, "bash", PROGRAM])
        .args(image.options())
        .args(["--", broken.to_str().unwrap()])
        .start_on(&terminal);
    running.wait_for("it ended with 127");
    terminal.press("typed\n");
    running.wait_for("it read typed");
    assert_eq!(running.end(), 0);
}
