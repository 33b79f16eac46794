//! Where a start is, told by its system calls.

use crate::support::tracer::Call;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The loader and the runtime, before `main`.
    Loader,
    Root,
    User,
    Serving,
    Stop,
}

impl Phase {
    pub const ALL: [Self; 5] = [
        Self::Loader,
        Self::Root,
        Self::User,
        Self::Serving,
        Self::Stop,
    ];

    /// From how many of its calls a round chooses: some more than there are, and always
    /// the same, so that a round is the same wherever it is repeated.
    pub fn most_calls(self) -> usize {
        match self {
            Self::Loader => 64,
            Self::Root => 1024,
            Self::User => 1344,
            Self::Serving => 256,
            Self::Stop => 96,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Loader => "loading",
            Self::Root => "root phase",
            Self::User => "user phase",
            Self::Serving => "serving",
            Self::Stop => "stop",
        }
    }
}

pub struct Phases {
    uid: u32,
    now: Phase,
}

impl Phases {
    pub fn new(uid: u32) -> Self {
        let now = Phase::Loader;
        Self { uid, now }
    }

    /// Somebody asked it to stop.
    pub fn stop(&mut self) {
        self.now = Phase::Stop;
    }

    /// The phase that this call belongs to.
    pub fn of(&mut self, call: &Call) -> Phase {
        let becomes_user = [libc::SYS_setresuid, libc::SYS_setuid].contains(&call.number)
            && call.args[0] == u64::from(self.uid);
        let before = self.now;
        match before {
            // The first thing that `main` does.
            Phase::Loader if call.number == libc::SYS_rt_sigaction && is_child_signal(call) => {
                self.now = Phase::Root;
            }
            Phase::Root if becomes_user => self.now = Phase::User,
            Phase::User if call.number == libc::SYS_epoll_create1 => self.now = Phase::Serving,
            _ => {}
        }
        before
    }
}

fn is_child_signal(call: &Call) -> bool {
    i32::try_from(call.args[0]) == Ok(libc::SIGCHLD)
}
