//! The log pump: copies the server's output to the container's output and to the logfile.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, timeout_at};

use crate::log::server_json::JsonLines;
use crate::log::sink::Sink;

/// The minimum room for one read, in bytes: a pipe's default capacity. Longer lines pass in parts.
const CHUNK: usize = 64 * 1024;

/// The destinations of one stream of the server.
#[derive(Debug)]
pub struct StreamOutputs {
    /// The container's stdout or stderr.
    pub console: Sink,
    /// Turns the lines for the console into JSON; `None` if the format is text.
    pub json: Option<JsonLines>,
    /// The logfile, which gets the lines unchanged; `None` if there is no logfile.
    pub logfile: Option<Sink>,
}

/// How long an unfinished line is held back: its writer may only have paused, and output of
/// another source would split the line.
const PARTIAL_LINE_DELAY: Duration = Duration::from_millis(100);

/// Copies `from` to `to` until every writer has closed the pipe. Chunks end at the end of a line
/// if possible, so that lines of different sources are not mixed. If a line is still unfinished
/// after `PARTIAL_LINE_DELAY`, its beginning is passed on. `watcher` receives each chunk first.
///
/// # Errors
/// The pipe cannot be watched or read.
pub async fn pump(
    from: OwnedFd,
    mut to: StreamOutputs,
    watcher: &mut (dyn FnMut(&[u8]) + Send),
) -> io::Result<()> {
    let from = Receiver::from_owned_fd(from)?;
    let mut rest = Vec::new();
    let mut shown_at = None;
    loop {
        match shown_at {
            None => from.readable().await?,
            Some(time) => match timeout_at(time, from.readable()).await {
                Ok(readable) => readable?,
                Err(_) => {
                    shown_at = None;
                    forward_chunk(std::mem::take(&mut rest), &mut to, watcher).await;
                    continue;
                }
            },
        }
        loop {
            let mut buffer = std::mem::take(&mut rest);
            buffer.reserve(CHUNK);
            match from.try_read_buf(&mut buffer) {
                Ok(0) => {
                    forward_chunk(buffer, &mut to, watcher).await;
                    to.end().await;
                    return Ok(());
                }
                Ok(_) => {
                    rest = after_last_line(&mut buffer);
                    if rest.len() >= CHUNK {
                        buffer.append(&mut rest); // a very long line goes in parts
                    }
                    if !buffer.is_empty() {
                        shown_at = None;
                    }
                    forward_chunk(buffer, &mut to, watcher).await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !buffer.is_empty() {
                        rest = buffer;
                        shown_at = shown_at.or_else(|| Some(Instant::now() + PARTIAL_LINE_DELAY));
                    }
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => rest = buffer,
                Err(error) => {
                    forward_chunk(buffer, &mut to, watcher).await;
                    to.end().await;
                    return Err(error);
                }
            }
        }
    }
}

fn after_last_line(buffer: &mut Vec<u8>) -> Vec<u8> {
    let end = buffer.iter().rposition(|byte| *byte == b'\n');
    buffer.split_off(end.map_or(0, |at| at + 1))
}

async fn forward_chunk(
    chunk: Vec<u8>,
    to: &mut StreamOutputs,
    watcher: &mut (dyn FnMut(&[u8]) + Send),
) {
    if !chunk.is_empty() {
        watcher(&chunk);
        to.send(chunk).await;
    }
}

impl StreamOutputs {
    async fn send(&mut self, chunk: Vec<u8>) {
        let kept = self.logfile.is_some().then(|| chunk.clone());
        let shown = match &mut self.json {
            Some(lines) => lines.wrap(&chunk),
            None => chunk,
        };
        self.show(shown).await;
        if let (Some(logfile), Some(chunk)) = (&self.logfile, kept) {
            logfile.send(chunk).await;
        }
    }

    async fn end(&mut self) {
        if let Some(lines) = &mut self.json {
            let rest = lines.end();
            self.show(rest).await;
        }
    }

    async fn show(&self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.console.send(bytes).await;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::thread;

    fn only(console: Sink) -> StreamOutputs {
        StreamOutputs {
            console,
            json: None,
            logfile: None,
        }
    }

    fn pumped(write: impl FnOnce(File) + Send + 'static) -> (Vec<u8>, Vec<Vec<u8>>) {
        let (from, server) = nix::unistd::pipe().unwrap();
        let (mut console, place) = std::os::unix::net::UnixStream::pair().unwrap();
        let (sink, finish) = Sink::start(place, |_| Vec::new()).unwrap();
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            console.read_to_end(&mut all).unwrap();
            all
        });
        let writer = thread::spawn(move || write(File::from(server)));
        let mut seen = Vec::new();
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async {
                let mut see = |chunk: &[u8]| seen.push(chunk.to_vec());
                pump(from, only(sink), &mut see).await.unwrap();
                finish.wait().await;
            });
        writer.join().unwrap();
        (reader.join().unwrap(), seen)
    }

    #[test]
    fn everything_passes_unchanged() {
        let mut all: Vec<u8> = (0..2_000_000u32).map(|n| (n % 251) as u8).collect();
        all.extend(b"no final newline");
        let sent = all.clone();
        let (received, _) = pumped(move |mut pipe| pipe.write_all(&sent).unwrap());
        assert!(received == all);
    }

    #[test]
    fn chunks_end_at_the_end_of_a_line() {
        let line = [vec![b'x'; 99], b"\n".to_vec()].concat();
        let (received, seen) = pumped(move |mut pipe| {
            pipe.write_all(&line.repeat(10_000)).unwrap();
        });
        assert_eq!(received.len(), 1_000_000);
        // The writer may pause anywhere, so some chunks may end within a line, but not most.
        let whole = seen.iter().filter(|chunk| chunk.ends_with(b"\n")).count();
        assert!(whole * 2 > seen.len(), "{whole} of {}", seen.len());
    }

    #[test]
    fn a_part_of_a_line_is_shown_when_the_writer_pauses() {
        let (from, server) = nix::unistd::pipe().unwrap();
        let (console, place) = std::os::unix::net::UnixStream::pair().unwrap();
        let (sink, _finish) = Sink::start(place, |_| Vec::new()).unwrap();
        let mut server = File::from(server);
        server.write_all(b"prompt: ").unwrap();
        let reader = thread::spawn(move || {
            let mut shown = [0; 8];
            (&console).read_exact(&mut shown).unwrap();
            drop(server); // only now does the pipe end
            shown
        });
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(pump(from, only(sink), &mut |_| {}))
            .unwrap();
        assert_eq!(&reader.join().unwrap(), b"prompt: ");
    }
}
