//! Kernels and sandboxes that do not know a system call, or do not allow it: the start goes
//! on where that is safe, otherwise it ends and names the call.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Image, Start};

const SECCOMP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/seccomp.py");

/// The program under a kernel that ends these calls with this error.
fn under(error: &str, calls: &[String]) -> Vec<String> {
    let words = ["python3", SECCOMP, error].map(str::to_owned);
    let end = ["--".to_owned()];
    [&words[..], calls, &end].concat()
}

/// Leaves one process behind that counts how often it gets TERM until CONT comes, and one
/// that is deaf to TERM; each in a session of its own.
const LEAVES_TWO: &str = r#"
import os, subprocess, sys
COUNTS = """
import os, signal, sys
signals = {signal.SIGTERM, signal.SIGCONT}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
os.close(int(sys.argv[1]))
terms = 0
while signal.sigwait(signals) != signal.SIGCONT: terms += 1
later = signal.sigtimedwait(signals, 0.1)
print('TERM came', terms, 'times, later', later, flush=True)
"""
DEAF = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.close(int(sys.argv[1]))
while True: signal.pause()
"""
for code in COUNTS, DEAF:
    wait, ready = os.pipe()
    words = [sys.executable, '-c', code, str(ready)]
    subprocess.Popen(words, start_new_session=True, pass_fds=[ready])
    os.close(ready)
    os.read(wait, 1)
"#;

#[test]
fn leftovers_get_term_and_kill_without_pidfds() {
    let image = Image::new();
    let open = libc::SYS_pidfd_open;
    let send = libc::SYS_pidfd_send_signal;
    for error in ["ENOSYS", "EPERM", "EINVAL"] {
        for calls in [vec![open], vec![send]] {
            let calls: Vec<String> = calls.iter().map(i64::to_string).collect();
            let outer = under(error, &calls);
            let outer: Vec<&str> = outer.iter().map(String::as_str).collect();
            // Not PID 1, as under `docker run --init` and `--pid=host`.
            let start = Start::plain().args(image.options());
            let start = start.args(["--drain-timeout", "0.5", "--", "python3", "-c", LEAVES_TWO]);
            // The streams end only when the leftovers have.
            let ended = start.under(&outer).run();
            let what = format!("{error} {calls:?}: {ended:?}");
            assert_eq!(ended.code, 0, "{what}");
            assert_eq!(ended.stdout, "TERM came 1 times, later None\n", "{what}");
        }
    }
}
