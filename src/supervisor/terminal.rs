//! Job control on the container's terminal, for a command that may use it.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::process::{Pid, getpgrp};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{isatty, tcgetpgrp, tcsetpgrp};

/// The controlling terminal, whose foreground the command gets.
#[derive(Debug, Clone, Copy)]
pub struct Terminal(BorrowedFd<'static>);

impl Terminal {
    /// Returns the terminal, if stdin, stdout or stderr is one and we are in its foreground: a
    /// process that was started in the background stays there.
    pub fn foreground_terminal() -> Option<Self> {
        let streams = [stdin(), stdout(), stderr()];
        let terminal = streams.into_iter().find(|stream| isatty(stream))?;
        let foreground = tcgetpgrp(terminal).ok()?;
        (foreground == getpgrp()).then_some(Self(terminal))
    }

    /// Returns its file descriptor.
    pub fn descriptor(self) -> i32 {
        self.0.as_raw_fd()
    }

    /// Hands the foreground to this process group. A background process may do so while TTOU is
    /// blocked, as it is here. If it fails, there is nothing to hand over: the terminal hung up,
    /// or belongs to another session by now.
    pub fn set_foreground(self, group: Pid) {
        let _ = tcsetpgrp(self.0, group);
    }

    /// Returns the process group in the foreground; `None`: the terminal is no longer ours.
    pub fn foreground(self) -> Option<Pid> {
        tcgetpgrp(self.0).ok()
    }
}
