//! The answer to a probe: read in whatever pieces it comes, no further than needed, and
//! never taken for a status that it does not have.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use ai_lab_entrypoint::server::probe::exchange;
use tokio::io::{AsyncRead, ReadBuf, join};

/// Bytes in pieces, and then the end, or the same again for ever.
struct Answer<'a> {
    pieces: Vec<&'a [u8]>,
    next: usize,
    endless: bool,
    read: usize,
}

impl AsyncRead for Answer<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.next == self.pieces.len() && self.endless {
            self.next = 0;
        }
        if let Some(piece) = self.pieces.get(self.next).copied() {
            let (now, later) = piece.split_at(piece.len().min(buffer.remaining()));
            buffer.put_slice(now);
            self.read += now.len();
            if later.is_empty() {
                self.next += 1;
            } else {
                let next = self.next;
                self.pieces[next] = later;
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn ask(pieces: Vec<&[u8]>, endless: bool) -> (Option<u16>, usize) {
    let mut answer = Answer {
        pieces,
        next: 0,
        endless,
        read: 0,
    };
    let mut request = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    let status = runtime
        .block_on(exchange(join(&mut answer, &mut request), "/x/api"))
        .unwrap();
    assert!(request.starts_with(b"GET /x/api HTTP/1.1\r\nHost: 127.0.0.1\r\n"));
    (status, answer.read)
}

pub fn holds(bytes: &[u8]) {
    let (status, _) = ask(vec![bytes], false);
    assert_eq!(ask(super::pieces(bytes), false).0, status);
    if let Some(code) = status {
        // HTTP/1.x and a space; empty lines before it are passed over.
        let text = bytes.trim_ascii_start();
        assert!(text.starts_with(b"HTTP/1."));
        assert_eq!(&text[9..12], format!("{code:03}").as_bytes());
    }
    if !bytes.is_empty() {
        // In pieces of a size that a network has.
        let (_, read) = ask(vec![&bytes.repeat(1 + 1024 / bytes.len())], true);
        assert!(read <= 64 * 1024, "{read} bytes were read");
    }
}
