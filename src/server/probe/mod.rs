//! The probe: checks whether the server answers `GET {base_url}api` with 200.
//!
//! `api` needs no authentication, neither in JupyterLab nor in the single-user server, and a
//! request for it does not count as activity.

mod tls;
mod url;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

pub use url::{Endpoint, Target, Url, addresses};

/// Probes the target once, for at most `limit`.
///
/// # Errors
/// The reason why the server is not ready, as text.
pub async fn probe(target: &Target, limit: Duration) -> Result<(), String> {
    let asked = tokio::time::timeout(limit, probe_once(target)).await;
    asked.unwrap_or_else(|_| {
        let limit = limit.as_secs_f32();
        Err(format!("{target} did not answer within {limit} s"))
    })
}

async fn probe_once(target: &Target) -> Result<(), String> {
    let failed = |error| format!("{target} cannot be reached: {error}");
    let status = match &target.endpoint {
        Endpoint::Tcp(address) => {
            let stream = connect(address).await.map_err(failed)?;
            request_status(stream, target).await
        }
        Endpoint::Unix(socket) => {
            let stream = UnixStream::connect(socket).await.map_err(failed)?;
            request_status(stream, target).await
        }
    };
    let answer = match status {
        Ok(Some(200)) => return Ok(()),
        Ok(Some(code)) => code.to_string(),
        Ok(None) => "no HTTP".into(),
        Err(error) => error.to_string(),
    };
    Err(format!("{target} answered {answer} instead of 200"))
}

/// Connects to `address`, but never to its own socket.
///
/// The kernel takes a client's own port from `ip_local_port_range`, and 49494 is in that range.
/// While nothing listens on such a port, the kernel may give the client that same port, and TCP's
/// simultaneous open then connects the socket with itself. An ordinary close would block the port
/// for a minute (TIME_WAIT), and the server, which is about to listen there, would end with
/// "already in use".
async fn connect(address: &SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    if stream.local_addr()? == *address {
        // A reset, unlike an ordinary close, frees the port at once.
        stream.set_zero_linger()?;
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// Sends the request, over TLS if the target uses it. A TLS alert counts as 200: a server that
/// demands a client certificate is alive.
async fn request_status(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    target: &Target,
) -> io::Result<Option<u16>> {
    if !target.tls {
        return exchange(stream, &target.path).await;
    }
    let answer = match tls::connect(stream).await {
        Ok(stream) => exchange(stream, &target.path).await,
        Err(error) => Err(error),
    };
    match answer {
        Err(error) if tls::is_tls_alert(&error) => Ok(Some(200)),
        answer => answer,
    }
}

/// Sends the request and returns the status code; `None` if the first 16 KiB are not HTTP. A server
/// bound to 127.0.0.1 refuses any other `Host`.
///
/// # Errors
/// The error of write(2), read(2) or TLS.
pub async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
) -> io::Result<Option<u16>> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(1024);
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&answer);
        // The status line is enough, and it comes before any header that cannot be parsed.
        if response.code.is_some() || parsed.is_err() {
            return Ok(response.code);
        }
        if answer.len() > 16 * 1024 || stream.read_buf(&mut answer).await? == 0 {
            return Ok(None);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    fn asked(target: &Target) -> Result<(), String> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(probe(target, Duration::from_millis(300)))
    }

    /// Starts a server that answers one request; its thread returns that request.
    fn server(answer: Option<&'static [u8]>) -> (Target, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target {
            endpoint: Endpoint::Tcp(listener.local_addr().unwrap()),
            tls: false,
            path: "/x/api".into(),
        };
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 1024];
            let size = stream.read(&mut request).unwrap();
            match answer {
                Some(answer) => stream.write_all(answer).unwrap(),
                None => drop(stream.read(&mut [0])), // until the asker gives up
            }
            String::from_utf8_lossy(&request[..size]).into_owned()
        });
        (target, thread)
    }

    /// The kernel gives clients every second port in turn, so one of the attempts gets the target's
    /// own port within half the range.
    #[test]
    fn a_probe_never_takes_the_port_that_a_server_is_about_to_listen_on() {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let mut range = range.split_whitespace().map(|port| port.parse().unwrap());
        let (low, high): (u16, u16) = (range.next().unwrap(), range.next().unwrap());
        let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let middle = low + (high - low) / 4 * 2;
        let port = (middle..high).step_by(2).find(free).unwrap();
        let target = Target {
            endpoint: Endpoint::Tcp(([127, 0, 0, 1], port).into()),
            tls: false,
            path: "/api".into(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        for _ in 0..high - low {
            let result = runtime.block_on(probe(&target, Duration::from_secs(9)));
            assert!(result.unwrap_err().contains("cannot be reached"));
        }
        // After an ordinary close the connection would be listed here for a minute, and a server's
        // bind would fail. (A bind here proves less: any process may hold the port for a moment.)
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let with_itself = format!(" 0100007F:{port:04X} 0100007F:{port:04X} ");
        assert!(!table.contains(&with_itself), "{port} is taken: {table}");
    }

    #[test]
    fn only_200_is_ready() {
        for (answer, expected) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n{}"[..], None),
            (b"HTTP/1.1 200 OK\r\nContent-Le", None),
            (
                b"HTTP/1.0 503 No\r\n\r\n",
                Some("answered 503 instead of 200"),
            ),
            (b"HTTP/1.1 302 Found\r\n\r\n", Some("answered 302")),
            (b"SSH-2.0-x\r\n", Some("answered no HTTP")),
            (b"", Some("answered no HTTP")),
        ] {
            let (target, thread) = server(Some(answer));
            let result = asked(&target);
            match expected {
                None => result.unwrap(),
                Some(text) => {
                    let error = result.unwrap_err();
                    assert!(error.contains(text), "{error}");
                }
            }
            let request = thread.join().unwrap();
            assert!(request.starts_with("GET /x/api HTTP/1.1\r\nHost: 127.0.0.1\r\n"));
            assert!(request.contains("Connection: close\r\n"));
        }
    }

    #[test]
    fn a_server_that_hangs_is_given_up() {
        let (target, thread) = server(None);
        let error = asked(&target).unwrap_err();
        assert!(error.ends_with("did not answer within 0.3 s"), "{error}");
        thread.join().unwrap();
    }

    #[test]
    fn nobody_listening_is_told() {
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let target = Target {
            endpoint: Endpoint::Tcp(free),
            tls: false,
            path: "/api".into(),
        };
        let error = asked(&target).unwrap_err();
        assert!(error.contains("cannot be reached"), "{error}");
    }
}
