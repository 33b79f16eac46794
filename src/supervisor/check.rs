//! The system calls that the supervisor cannot do without, tried once before anything is
//! touched.

use std::os::unix::net::UnixStream;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitOptions, getpid, wait};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::sys::{self, Refused, refused};

/// Tries what children and events need. Without them a start would go wrong only when its
/// server is up: it could be neither stopped nor reaped.
///
/// # Errors
/// The first call that is refused.
pub fn check() -> Result<(), Refused> {
    sys::kill(getpid().as_raw_pid(), 0).map_err(refused("kill"))?;
    // A child that ended is none of ours: we have started none yet.
    match wait(WaitOptions::NOHANG) {
        Ok(_) | Err(Errno::CHILD | Errno::INTR) => {}
        Err(error) => return Err(refused("wait4")(error)),
    }
    // The standard library reads /dev/urandom in its place, but for this error.
    if let Err(error @ Errno::INVAL) = getrandom(&mut [0_u8; 1], GetRandomFlags::NONBLOCK) {
        return Err(refused("getrandom")(error));
    }
    pipe_with(PipeFlags::CLOEXEC).map_err(refused("pipe2"))?;
    UnixStream::pair().map_err(refused("socketpair"))?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(refused("epoll_create1"))?;
    let event = EventFd::new().map_err(refused("eventfd2"))?;
    fcntl_dupfd_cloexec(&event, 0).map_err(refused("fcntl"))?;
    epoll
        .add(&event, EpollEvent::new(EpollFlags::EPOLLIN, 0))
        .map_err(refused("epoll_ctl"))?;
    match epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(refused("epoll_wait")(error)),
    }
}
