//! An output that may stall. Bytes reach it through a bounded queue and a thread of its own, so
//! that a stalled reader blocks nothing else for long.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::error::{SendTimeoutError, TrySendError};
use tokio::sync::{mpsc, oneshot};

use crate::sys::call_error;

/// The most chunks that wait in the queue. A chunk of the log pump has less than 128 KiB, or more as
/// JSON.
const QUEUE: usize = 32;

/// How long the server may wait for a reader that makes no progress. After that, lines that find no
/// room are counted instead.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the end waits for a reader that makes no progress.
const FINISH_TIMEOUT: Duration = Duration::from_millis(500);

/// One output. Clones write to the same output, in the order of sending.
#[derive(Debug, Clone)]
pub struct Sink {
    queue: mpsc::Sender<Chunk>,
    shared: Arc<Shared>,
    source: u32,
}

/// Bytes of one source.
#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    source: u32,
}

/// The other end of a [`Sink`], to wait until everything is written.
#[derive(Debug)]
pub struct Finish {
    done: oneshot::Receiver<()>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stalled: AtomicBool,
    lost: AtomicU64,
    written: AtomicU64,
}

impl Shared {
    fn count_lost(&self, chunk: &[u8]) {
        let lines = chunk.iter().filter(|byte| **byte == b'\n').count();
        // A part of a line counts as one lost line.
        let lines = u64::try_from(lines.max(1)).unwrap_or(u64::MAX);
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }
}

impl Sink {
    /// Starts the thread that writes to `place`. `notice` returns the line that reports the number
    /// of lost lines.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(
        place: impl Write + Send + 'static,
        notice: fn(u64) -> Vec<u8>,
    ) -> io::Result<(Self, Finish)> {
        let (queue, chunks) = mpsc::channel(QUEUE);
        let (tell, done) = oneshot::channel();
        let shared = Arc::new(Shared::default());
        let writer = Writer {
            destination: place,
            notice,
            shared: shared.clone(),
            unfinished: None,
        };
        thread::Builder::new()
            .name("writer".into())
            .stack_size(64 * 1024)
            .spawn(move || {
                writer.run(chunks);
                let _ = tell.send(());
            })
            .map_err(|error| {
                let what = "a thread for the log cannot be started";
                let kind = error.kind();
                let why = match error.raw_os_error() {
                    Some(libc::ENOSYS | libc::EPERM | libc::EINVAL) => {
                        call_error("clone3")(error).to_string()
                    }
                    _ => format!("{error}; is --pids-limit too low?"),
                };
                io::Error::new(kind, format!("{what}: {why}"))
            })?;
        let finish = Finish {
            done,
            shared: shared.clone(),
        };
        let source = 0;
        let sink = Self {
            queue,
            shared,
            source,
        };
        Ok((sink, finish))
    }

    /// Returns a sink for the same output and another source. If one source has not ended its line,
    /// a newline is written before the output of another one.
    pub fn for_source(&self, source: u32) -> Self {
        Self {
            source,
            ..self.clone()
        }
    }

    /// Sends a chunk. Waits up to `SEND_TIMEOUT` for room in the queue; then drops chunks and
    /// counts their lines until there is room again.
    pub async fn send(&self, chunk: Vec<u8>) {
        if self.shared.stalled.load(Ordering::Relaxed) {
            return self.offer(chunk);
        }
        match self
            .queue
            .send_timeout(self.chunk(chunk), SEND_TIMEOUT)
            .await
        {
            Ok(()) | Err(SendTimeoutError::Closed(_)) => {}
            Err(SendTimeoutError::Timeout(chunk)) => {
                self.shared.stalled.store(true, Ordering::Relaxed);
                self.shared.count_lost(&chunk.bytes);
            }
        }
    }

    /// Sends a chunk if there is room now, and counts its lines as lost if not.
    pub fn offer(&self, chunk: Vec<u8>) {
        match self.queue.try_send(self.chunk(chunk)) {
            Ok(()) => self.shared.stalled.store(false, Ordering::Relaxed),
            Err(TrySendError::Full(chunk)) => self.shared.count_lost(&chunk.bytes),
            Err(TrySendError::Closed(_)) => {}
        }
    }

    fn chunk(&self, bytes: Vec<u8>) -> Chunk {
        let source = self.source;
        Chunk { bytes, source }
    }
}

impl Finish {
    /// Waits until everything is written, which needs all clones of the sink to be dropped. Gives
    /// up when nothing is written for `FINISH_TIMEOUT`.
    pub async fn wait(mut self) {
        loop {
            let before = self.shared.written.load(Ordering::Relaxed);
            let done = tokio::time::timeout(FINISH_TIMEOUT, &mut self.done).await;
            if done.is_ok() || self.shared.written.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

struct Writer<W> {
    destination: W,
    notice: fn(u64) -> Vec<u8>,
    shared: Arc<Shared>,
    /// The source of the last line, if that line has not ended; `None` otherwise.
    unfinished: Option<u32>,
}

impl<W: Write> Writer<W> {
    fn run(mut self, mut chunks: mpsc::Receiver<Chunk>) {
        while let Some(Chunk { bytes, source }) = chunks.blocking_recv() {
            let interrupts = self.unfinished.is_some_and(|other| other != source);
            let ended = match interrupts {
                true => self.destination.write_all(b"\n"),
                false => Ok(()),
            };
            match ended.and_then(|()| self.destination.write_all(&bytes)) {
                Ok(()) => {
                    self.unfinished = (bytes.last() != Some(&b'\n')).then_some(source);
                    self.shared.written.fetch_add(1, Ordering::Relaxed);
                    self.report_losses();
                }
                // A closed pipe or a full disk: the loss cannot be reported there now. It is
                // counted, and reported if the output works again.
                Err(_) => self.shared.count_lost(&bytes),
            }
        }
        self.unfinished = None;
        self.report_losses();
    }

    fn report_losses(&mut self) {
        if self.unfinished.is_some() {
            return;
        }
        let lost = self.shared.lost.swap(0, Ordering::Relaxed);
        if lost > 0 && self.destination.write_all(&(self.notice)(lost)).is_err() {
            self.shared.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    fn notice(lost: u64) -> Vec<u8> {
        format!("<{lost} lost>\n").into_bytes()
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    #[test]
    fn everything_arrives_in_order() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (sink, finish) = Sink::start(ours, notice).unwrap();
        let reader = thread::spawn(move || {
            let mut all = String::new();
            theirs.read_to_string(&mut all).unwrap();
            all
        });
        runtime().block_on(async {
            for number in 0..10_000 {
                sink.send(format!("{number}\n").into_bytes()).await;
            }
            drop(sink);
            finish.wait().await;
        });
        let expected: String = (0..10_000).map(|number| format!("{number}\n")).collect();
        assert_eq!(reader.join().unwrap(), expected);
    }

    #[test]
    fn a_line_that_a_source_has_not_ended_is_ended_before_another_writes() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (sink, finish) = Sink::start(ours, notice).unwrap();
        let other = sink.for_source(1);
        runtime().block_on(async {
            sink.send(b"a".to_vec()).await;
            sink.send(b"b".to_vec()).await;
            other.send(b"c\n".to_vec()).await;
            sink.send(b"d\n".to_vec()).await;
            drop((sink, other));
            finish.wait().await;
        });
        let mut all = String::new();
        theirs.read_to_string(&mut all).unwrap();
        assert_eq!(all, "ab\nc\nd\n");
    }

    #[test]
    fn a_stalled_reader_costs_counted_lines_and_no_more_than_the_patience() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (sink, finish) = Sink::start(ours, notice).unwrap();
        let line = [vec![b'x'; 65_535], b"\n".to_vec()].concat();
        let sent: u64 = 200;
        runtime().block_on(async {
            let start = std::time::Instant::now();
            for _ in 0..sent {
                sink.send(line.clone()).await;
            }
            assert!(start.elapsed() < SEND_TIMEOUT * 3, "{:?}", start.elapsed());
            let reader = thread::spawn(move || {
                let mut all = Vec::new();
                theirs.read_to_end(&mut all).unwrap();
                String::from_utf8(all).unwrap()
            });
            drop(sink);
            finish.wait().await;
            let all = reader.join().unwrap();
            let whole = all.lines().filter(|line| line.len() == 65_535).count();
            let told: u64 = all
                .lines()
                .filter_map(|line| {
                    line.strip_prefix('<')?
                        .split(' ')
                        .next()?
                        .parse::<u64>()
                        .ok()
                })
                .sum();
            assert!(told > 0);
            assert_eq!(u64::try_from(whole).unwrap() + told, sent);
        });
    }

    #[test]
    fn a_closed_pipe_holds_nobody_up() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let (sink, finish) = Sink::start(ours, notice).unwrap();
        runtime().block_on(async {
            for _ in 0..1_000 {
                sink.send(vec![b'x'; 65_536]).await;
            }
            drop(sink);
            finish.wait().await;
        });
    }
}
