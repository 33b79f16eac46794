//! An output that may stall. Bytes reach it through a bounded queue and a thread of its own, so
//! that a stalled reader blocks nothing else for long.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::sys;
use crate::sys::call_error;

/// The most chunks of the server that wait in the queue. A chunk of the log pump has less than
/// 128 KiB, or more as JSON.
const QUEUE: usize = 32;

/// The most lines of our own that wait in the queue. The server cannot take their places.
const OWN_QUEUE: usize = 256;

/// The source of our own lines; the server's streams have the next numbers.
const OWN: u32 = 0;

/// The source of a line whose end could not be written; no stream has it.
const TORN: u32 = u32::MAX;

/// How long the server may wait for a reader that makes no progress. After that, lines that find no
/// room are counted instead.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the end waits for a reader that makes no progress.
const FINISH_TIMEOUT: Duration = Duration::from_millis(500);

/// One output. Clones write to the same output, in the order of sending.
#[derive(Debug, Clone)]
pub struct Sink {
    queue: mpsc::UnboundedSender<Chunk>,
    shared: Arc<Shared>,
    source: u32,
}

/// Bytes of one source.
#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    source: u32,
    /// Its place in the queue, free when it is written.
    _place: OwnedSemaphorePermit,
}

/// The other end of a [`Sink`], to wait until everything is written.
#[derive(Debug)]
pub struct Finish {
    done: oneshot::Receiver<()>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    places: Arc<Semaphore>,
    own_places: Arc<Semaphore>,
    stalled: AtomicBool,
    /// True if there is no time left to write what the server said.
    hurried: AtomicBool,
    lost: AtomicU64,
    /// Number of bytes.
    written: AtomicU64,
}

impl Shared {
    fn count_lost(&self, bytes: &[u8]) {
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
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
        place: impl Write + AsFd + Send + 'static,
        notice: fn(u64) -> Vec<u8>,
    ) -> io::Result<(Self, Finish)> {
        let (queue, chunks) = mpsc::unbounded_channel();
        let (tell, done) = oneshot::channel();
        let shared = Arc::new(Shared {
            places: Arc::new(Semaphore::new(QUEUE)),
            own_places: Arc::new(Semaphore::new(OWN_QUEUE)),
            stalled: AtomicBool::new(false),
            hurried: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            written: AtomicU64::new(0),
        });
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
                    _ => format!("{error}; {}", sys::NO_PROCESS),
                };
                io::Error::new(kind, format!("{what}: {why}"))
            })?;
        let finish = Finish {
            done,
            shared: shared.clone(),
        };
        let sink = Self {
            queue,
            shared,
            source: OWN,
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

    /// Reports whether a chunk of the server waits for its place.
    pub fn holds_up(&self) -> bool {
        let full = self.shared.places.available_permits() == 0;
        full && !self.shared.stalled.load(Ordering::Relaxed)
    }

    /// Sends a chunk of the server. Waits up to `SEND_TIMEOUT` for room in the queue; then drops
    /// chunks and counts their lines until there is room again.
    pub async fn send(&self, bytes: Vec<u8>) {
        let places = &self.shared.places;
        let mut place = places.clone().try_acquire_owned().ok();
        if place.is_none() && !self.shared.stalled.load(Ordering::Relaxed) {
            let free = places.clone().acquire_owned();
            let free = tokio::time::timeout(SEND_TIMEOUT, free).await;
            place = free.ok().and_then(Result::ok);
        }
        self.shared
            .stalled
            .store(place.is_none(), Ordering::Relaxed);
        self.queue_up(bytes, place);
    }

    /// Sends a line of our own without a wait, and counts it as lost if too many of them wait.
    pub fn offer(&self, bytes: Vec<u8>) {
        let place = self.shared.own_places.clone().try_acquire_owned();
        self.queue_up(bytes, place.ok());
    }

    fn queue_up(&self, bytes: Vec<u8>, place: Option<OwnedSemaphorePermit>) {
        let Some(place) = place else {
            return self.shared.count_lost(&bytes);
        };
        // Fails only if the writer's thread is gone.
        let _ = self.queue.send(Chunk {
            bytes,
            source: self.source,
            _place: place,
        });
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

    /// Returns a function that makes the writer count the server's lines from now on instead of
    /// writing them, so that our own lines and the count still arrive.
    pub fn hurry(&self) -> impl Fn() + use<> {
        let shared = self.shared.clone();
        move || shared.hurried.store(true, Ordering::Relaxed)
    }
}

struct Writer<W> {
    destination: W,
    notice: fn(u64) -> Vec<u8>,
    shared: Arc<Shared>,
    /// The source of the last line, if that line has not ended; `None` otherwise.
    unfinished: Option<u32>,
}

impl<W: Write + AsFd> Writer<W> {
    fn run(mut self, mut chunks: mpsc::UnboundedReceiver<Chunk>) {
        while let Some(chunk) = chunks.blocking_recv() {
            let hurried = chunk.source != OWN && self.shared.hurried.load(Ordering::Relaxed);
            let rest = match hurried {
                true => &chunk.bytes[..],
                false => self.write_chunk(&chunk.bytes, chunk.source),
            };
            if !rest.is_empty() {
                // After an error (a closed pipe, a full disk), the loss cannot be reported there
                // now. It is reported if the output works again.
                self.shared.count_lost(rest);
            } else if self.unfinished.is_none() {
                self.report_losses();
            }
        }
        self.report_losses();
    }

    /// Writes the bytes of a source, after the end of another one's line. Returns those that could
    /// not be written.
    fn write_chunk<'a>(&mut self, bytes: &'a [u8], source: u32) -> &'a [u8] {
        if self.unfinished.is_some_and(|other| other != source) {
            if !self.write_all(b"\n").is_empty() {
                return bytes;
            }
            self.unfinished = None;
        }
        let rest = self.write_all(bytes);
        let source = if rest.is_empty() { source } else { TORN };
        self.unfinished = match bytes[..bytes.len() - rest.len()].last() {
            Some(b'\n') => None,
            Some(_) => Some(source),
            None => self.unfinished.map(|_| source),
        };
        rest
    }

    /// Writes bytes, and returns those that could not be written.
    fn write_all<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while !bytes.is_empty() {
            match self.destination.write(bytes) {
                Ok(0) => break,
                Ok(count) => {
                    bytes = &bytes[count..];
                    let count = u64::try_from(count).unwrap_or(0);
                    self.shared.written.fetch_add(count, Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process with the same output has set O_NONBLOCK, and may need it.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !waits_for_room(&self.destination) {
                        break;
                    }
                }
                Err(_) => break,
            }
        }
        bytes
    }

    fn report_losses(&mut self) {
        let lost = self.shared.lost.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return;
        }
        let notice = (self.notice)(lost);
        if !notice.is_empty() && !self.write_chunk(&notice, OWN).is_empty() {
            self.shared.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }
}

/// Waits until an output accepts bytes. Returns false if that cannot be waited for.
fn waits_for_room(place: &impl AsFd) -> bool {
    let mut asked = [PollFd::new(place.as_fd(), PollFlags::POLLOUT)];
    matches!(
        poll(&mut asked, PollTimeout::NONE),
        Ok(_) | Err(Errno::EINTR)
    )
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
    fn a_line_of_our_own_has_its_place_in_a_full_queue() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (sink, finish) = Sink::start(ours, notice).unwrap();
        let server = sink.for_source(1);
        runtime().block_on(async {
            while !server.holds_up() {
                server
                    .send([vec![b'x'; 65_535], b"\n".to_vec()].concat())
                    .await;
            }
            sink.offer(b"ours\n".to_vec());
            let reader = thread::spawn(move || {
                let mut all = String::new();
                theirs.read_to_string(&mut all).unwrap();
                all
            });
            drop((sink, server));
            finish.wait().await;
            assert!(reader.join().unwrap().ends_with("x\nours\n"));
        });
    }

    /// Takes as many bytes as the next number says; `None`: none, with an error.
    struct Flaky(UnixStream, Vec<Option<usize>>);

    impl Write for Flaky {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let most = self.1.pop().unwrap_or(Some(usize::MAX));
            let most = most.ok_or(ErrorKind::StorageFull)?.min(bytes.len());
            self.0.write(&bytes[..most])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl AsFd for Flaky {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    #[test]
    fn a_line_whose_end_could_not_be_written_is_ended_before_the_next_one() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let flaky = Flaky(ours, vec![None, Some(6)]);
        let (sink, finish) = Sink::start(flaky, notice).unwrap();
        runtime().block_on(async {
            sink.send(b"one\ntwo\nthree\n".to_vec()).await;
            sink.send(b"four\n".to_vec()).await;
            drop(sink);
            finish.wait().await;
        });
        let mut all = String::new();
        theirs.read_to_string(&mut all).unwrap();
        assert_eq!(all, "one\ntw\nfour\n<2 lost>\n");
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
