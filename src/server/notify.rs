//! Sends `READY=1` to `$NOTIFY_SOCKET`, as sd_notify(3) documents it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::io::Errno;
use tracing::warn;

use crate::sys;

/// Name of the environment variable that names the socket.
pub const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";

/// Reports that we are ready, without waiting for the receiver.
///
/// # Errors
/// The socket does not accept the message.
fn send_ready(socket: &OsStr) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let ours = UnixDatagram::unbound()?;
    ours.set_nonblocking(true)?;
    ours.send_to_addr(b"READY=1\n", &address)?;
    Ok(())
}

/// Sends READY=1 to the service manager. Its socket may be on a disk that hangs, so a thread of
/// its own opens it.
pub async fn ready(socket: OsString) {
    let answer = sys::in_thread("notify", move || send_ready(&socket));
    // As pthread_create(3).
    let no_thread = |_| Err(Errno::AGAIN.into());
    if let Err(error) = answer.await.unwrap_or_else(no_thread) {
        warn!("{} does not take READY=1: {error}", SOCKET_VARIABLE);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_address_get_the_message() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("ai-lab-test-{}", std::process::id());
        let named = SocketAddr::from_abstract_name(&name).unwrap();
        for (listener, address) in [
            (
                UnixDatagram::bind(&path).unwrap(),
                path.clone().into_os_string(),
            ),
            (
                UnixDatagram::bind_addr(&named).unwrap(),
                format!("@{name}").into(),
            ),
        ] {
            send_ready(&address).unwrap();
            let mut buffer = [0; 32];
            let size = listener.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..size], b"READY=1\n");
        }
        assert!(send_ready(OsStr::new("/nonexistent/socket")).is_err());
    }
}
