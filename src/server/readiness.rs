//! Finds out when the server is ready: its log triggers the probe, and the probe decides.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

use crate::log::pump::ChunkObserver;
use crate::server::load_failures::{LoadFailure, LoadFailures};
use crate::server::no_login;
use crate::server::probe::{Target, Url, probe};
use crate::server::targets::Expected;
use crate::sys;

/// How long one probe may take.
pub const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Maximum number of URLs taken from the server's log; any further ones are ignored.
const MAX_URLS: usize = 16;

/// How many bytes from the end of the server's log are kept, to explain its end.
const TAIL: usize = 8 * 1024;

/// Reads the server's log as it passes: its URLs, and its last lines. Each clone reads one stream;
/// all clones share the results.
#[derive(Debug, Clone)]
pub struct LogReader {
    reader: Arc<Mutex<LogFindings>>,
    line: Vec<u8>,
    urls_follow: bool,
}

#[derive(Debug)]
struct LogFindings {
    /// True once the URLs are not needed any more.
    ready: bool,
    urls: Vec<Url>,
    load_failures: LoadFailures,
    /// True if the server says that it needs no login.
    no_login: bool,
    tail: Vec<u8>,
    urls_sender: watch::Sender<Vec<Url>>,
}

impl LogReader {
    /// Returns a reader, and the channel with the URLs that it finds.
    pub fn new() -> (Self, watch::Receiver<Vec<Url>>) {
        let (tell, told) = watch::channel(Vec::new());
        let reader = LogFindings {
            ready: false,
            urls: Vec::new(),
            load_failures: LoadFailures::default(),
            no_login: false,
            tail: Vec::new(),
            urls_sender: tell,
        };
        let words = Self {
            reader: Arc::new(Mutex::new(reader)),
            line: Vec::new(),
            urls_follow: false,
        };
        (words, told)
    }

    fn reader(&self) -> MutexGuard<'_, LogFindings> {
        sys::lock(&self.reader)
    }

    /// Stops searching for URLs: of the rest of the log only the end is kept.
    pub fn stop_reading(&self) {
        self.reader().ready = true;
    }

    /// Returns the configuration files that the server could not read.
    pub fn load_failures(&self) -> Vec<LoadFailure> {
        self.reader().load_failures.found().to_vec()
    }

    /// Reports whether the server says that it needs no login.
    pub fn needs_no_login(&self) -> bool {
        self.reader().no_login
    }

    /// Returns the end of the log, at most [`TAIL`] bytes. The first line may be incomplete.
    pub fn tail(&self) -> String {
        let reader = self.reader();
        let begin = reader.tail.len().saturating_sub(TAIL);
        String::from_utf8_lossy(&reader.tail[begin..]).into_owned()
    }

    /// Returns the last lines of the log, at most 20.
    pub fn last(&self) -> String {
        let text = self.tail();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl ChunkObserver for LogReader {
    fn observe(&mut self, chunk: &[u8]) {
        let reader = self.reader.clone();
        let mut reader = sys::lock(&reader);
        reader.append_tail(chunk);
        if reader.ready {
            self.line = Vec::new();
            return;
        }
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            // No line that matters here is longer than this.
            if self.line.len() < 4096 {
                self.line.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.read(String::from_utf8_lossy(&line).trim_end(), &mut reader);
            }
        }
    }
}

impl LogReader {
    fn read(&mut self, line: &str, reader: &mut LogFindings) {
        reader.load_failures.read(line);
        reader.no_login |= no_login::is_told(line);
        if line.contains("Jupyter Server ") && line.ends_with(" is running at:") {
            self.urls_follow = true;
        } else if self.urls_follow {
            let word = line.split_ascii_whitespace().next_back();
            match word.and_then(Url::parse) {
                Some(_) if reader.urls.len() == MAX_URLS => return,
                Some(url) => reader.urls.push(url),
                None => self.urls_follow = false,
            }
            reader.urls_sender.send_replace(reader.urls.clone());
        }
    }
}

impl LogFindings {
    /// Keeps the end of the log. It is moved to the front only when the buffer is full, so that
    /// many small chunks cost little.
    fn append_tail(&mut self, chunk: &[u8]) {
        let chunk = &chunk[chunk.len().saturating_sub(TAIL)..];
        if self.tail.len() + chunk.len() > 2 * TAIL {
            let excess = self.tail.len().saturating_sub(TAIL);
            self.tail.drain(..excess);
        }
        self.tail.extend_from_slice(chunk);
    }
}

/// How long a line that the server has already written to its log may take to reach us.
const LOG_LATENCY: Duration = Duration::from_millis(100);

/// After this time a server whose port is in use has ended. If ours still runs and there is an
/// answer, it is ours, even if its log has no URL (the log goes elsewhere or was lost).
const PORT_CONFLICT_TIMEOUT: Duration = Duration::from_secs(20);

/// Waits until the server answers, and returns the target that answered. If this takes longer than
/// `limit`, calls `late` once and goes on waiting.
pub async fn ready(
    expected: &Expected,
    told: watch::Receiver<Vec<Url>>,
    limit: Duration,
    late: impl FnOnce(),
) -> Target {
    let mut answering = pin!(answering(expected, told));
    match timeout(limit, &mut answering).await {
        Ok(target) => target,
        Err(_) => {
            late();
            answering.await
        }
    }
}

async fn answering(expected: &Expected, mut told: watch::Receiver<Vec<Url>>) -> Target {
    let began = Instant::now();
    let stranger = foreign_target(expected, &told).await;
    if let Some(stranger) = &stranger {
        warn!(
            "{stranger} answers before the server was started: another program has the port \
             (remedy: end that one, or choose another port with --port)"
        );
    }
    let mut wait = Duration::from_millis(500);
    let mut next = Instant::now() + wait;
    loop {
        let mut heard = false;
        tokio::select! {
            changed = told.changed() => match changed {
                Ok(()) => heard = true,
                Err(_) => sleep_until(next).await,
            },
            () = sleep_until(next) => {}
        }
        let urls = told.borrow_and_update().clone();
        if heard {
            // Jupyter logs its URLs some milliseconds before its socket accepts connections.
            for pause in [0, 2, 3, 5, 5, 5, 10, 10, 10, 20, 20, 50, 50, 100, 200] {
                sleep(Duration::from_millis(pause)).await;
                if let Some(target) = first_that_answers(expected, &urls).await {
                    return target;
                }
            }
        } else if (stranger.is_none()
            || !urls.is_empty()
            || began.elapsed() > PORT_CONFLICT_TIMEOUT)
            && let Some(target) = first_that_answers(expected, &urls).await
        {
            return target;
        }
        if Instant::now() >= next {
            wait = (wait * 2).min(Duration::from_secs(15));
            next = Instant::now() + wait;
        }
    }
}

/// Returns the target of another program that answers before our server can. Our server will log
/// that it listens, or that it cannot.
async fn foreign_target(expected: &Expected, told: &watch::Receiver<Vec<Url>>) -> Option<Target> {
    let stranger = first_that_answers(expected, &[]).await?;
    // On a busy machine this check may be late. Then our server has logged its URLs, and they
    // arrive soon. The clone leaves them marked as new for the caller.
    let mut told = told.clone();
    let heard = told.wait_for(|urls| !urls.is_empty());
    match timeout(LOG_LATENCY, heard).await {
        Ok(Ok(_)) => None,
        _ => Some(stranger),
    }
}

async fn first_that_answers(expected: &Expected, urls: &[Url]) -> Option<Target> {
    for target in expected.targets(urls) {
        if probe(&target, PROBE_LIMIT).await.is_ok() {
            return Some(target);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn heard(chunks: &[&[u8]]) -> Vec<String> {
        let (mut words, told) = LogReader::new();
        for chunk in chunks {
            words.observe(chunk);
        }
        let urls = told.borrow();
        urls.iter().map(|url| url.path.clone()).collect()
    }

    #[test]
    fn the_urls_after_the_ready_line_are_heard_however_they_are_cut() {
        let log: &[u8] = b"[I 2026 ServerApp] see http://x/nothing\n\
            [I 2026 ServerApp] Jupyter Server 2.21.1 is running at:\n\
            [I 2026 ServerApp] http://host:8888/b/lab?token=...\n\
            [I 2026 ServerApp]     http://127.0.0.1:8888/c/lab?token=...\n\
            [I 2026 ServerApp] Use Control-C to stop this server\n\
            [I 2026 ServerApp] http://late/one\n";
        let expected = ["/b/lab", "/c/lab"];
        assert_eq!(heard(&[log]), expected);
        for cut in 0..log.len() {
            assert_eq!(heard(&[&log[..cut], &log[cut..]]), expected);
        }
    }

    #[test]
    fn what_one_stream_has_not_ended_does_not_hide_what_the_other_says() {
        let (mut stderr, told) = LogReader::new();
        let mut stdout = stderr.clone();
        stderr.observe(b"Jupyter Server 2 is run");
        stdout.observe(b"no end");
        stderr.observe(b"ning at:\nhttp://host:1/b/lab\n");
        assert_eq!(told.borrow().len(), 1);
    }

    #[test]
    fn the_last_words_are_kept_in_bounds_before_and_after_the_server_is_ready() {
        let (mut words, _told) = LogReader::new();
        let log: String = (0..20_000)
            .map(|number| format!("line {number}\n"))
            .collect();
        for size in [1, 7, 1000, TAIL, TAIL + 1, log.len()] {
            for chunk in log.as_bytes().chunks(size) {
                words.observe(chunk);
                assert!(words.reader().tail.capacity() <= 2 * TAIL);
            }
            assert_eq!(words.tail(), log[log.len() - TAIL..], "chunks of {size}");
            assert_eq!(words.last().lines().count(), 20);
            assert!(words.last().ends_with("line 19999"), "{}", words.last());
            words.stop_reading();
        }
    }

    fn argv(words: &[&str]) -> crate::server::argv::Argv {
        let plan = crate::server::argv::ArgvInput {
            hub: false,
            root_dir: None,
            default_url: None,
            ip: None,
            port: Some(1),
            certificate: None,
            base_url: None,
            as_root: false,
            configured: &|_| false,
        };
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        crate::server::argv::merge(plan, &words, &[])
    }

    fn expected(words: &[&str]) -> Expected {
        Expected::by_argv(&argv(words), "/notebooks".into())
    }

    fn shown(targets: &[Target]) -> Vec<String> {
        targets.iter().map(Target::to_string).collect()
    }

    #[test]
    fn who_answers_at_once_is_a_stranger_unless_the_server_has_said_that_it_is_there() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = format!("--port={}", listener.local_addr().unwrap().port());
        let expected = expected(&["--ip=127.0.0.1", &port]);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                // Reads the whole request: unread bytes would cause a reset and cut off the answer.
                let _ = client.read(&mut [0; 4096]).unwrap();
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                client.write_all(answer).unwrap();
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (_words, told) = LogReader::new();
            assert!(foreign_target(&expected, &told).await.is_some());
            let (mut words, told) = LogReader::new();
            let says = async {
                // The line arrives while the server is probed.
                words.observe(b"Jupyter Server 2 is running at:\nhttp://host/lab\n");
            };
            let (found, ()) = tokio::join!(foreign_target(&expected, &told), says);
            assert_eq!(found, None);
        });
    }

    #[test]
    fn a_late_server_is_reported_in_time_whatever_it_says() {
        // The listener accepts no connection, so each probe runs until its limit.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let expected = expected(&["--ip=127.0.0.1", &format!("--port={port}")]);
        let (mut words, told) = LogReader::new();
        let says = format!("Jupyter Server 2 is running at:\nhttp://127.0.0.1:{port}/lab\n");
        words.observe(says.as_bytes());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (tell, late) = tokio::sync::oneshot::channel();
            let limit = Duration::from_millis(1);
            let ready = ready(&expected, told, limit, || tell.send(()).unwrap());
            tokio::select! {
                target = ready => panic!("{target}"),
                said = timeout(PROBE_LIMIT, late) => said.unwrap().unwrap(),
            }
        });
    }

    #[test]
    fn targets_follow_the_command_line_until_the_server_spoke() {
        for (words, targets) in [
            (
                &[][..],
                &["http://127.0.0.1:1/api", "http://[::1]:1/api"][..],
            ),
            (&["--ip=10.0.0.1", "--port=2"], &["http://10.0.0.1:2/api"]),
            (
                &["--ServerApp.base_url=/x/"],
                &["http://127.0.0.1:1/x/api", "http://[::1]:1/x/api"],
            ),
            (
                &["--ServerApp.base_url=/"],
                &["http://127.0.0.1:1/api", "http://[::1]:1/api"],
            ),
            (&["--certfile=/c", "--ip=::1"], &["https://[::1]:1/api"]),
            (&["--sock=/s"], &["http+unix://%2Fs/api"]),
            (&["--sock=s"], &["http+unix://%2Fnotebooks%2Fs/api"]),
        ] {
            assert_eq!(shown(&expected(words).targets(&[])), targets);
        }
        let hub = Expected::by_hub("http://0.0.0.0:8888/user/a/").unwrap();
        assert_eq!(
            shown(&hub.targets(&[])),
            [
                "http://127.0.0.1:8888/user/a/api",
                "http://[::1]:8888/user/a/api"
            ]
        );
    }

    #[test]
    fn what_the_server_says_comes_first() {
        let told = [
            Url::parse("http://host:9/x/lab").unwrap(),
            Url::parse("http://127.0.0.1:9/x/lab").unwrap(),
        ];
        let targets = expected(&["--ip=127.0.0.1"]).targets(&told);
        assert_eq!(
            shown(&targets)[..3],
            [
                "http://127.0.0.1:9/api",
                "http://127.0.0.1:9/x/api",
                "http://127.0.0.1:9/x/lab/api",
            ]
        );
    }
}
