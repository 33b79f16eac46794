//! Reads the server's log as it passes: its URLs, what it could not read, and its last lines.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use crate::server::load_failures::{LoadFailure, LoadFailures};
use crate::server::no_login;
use crate::server::probe::Url;
use crate::sys;

/// Maximum number of URLs taken from the server's log; any further ones are ignored.
const MAX_URLS: usize = 16;

/// Number of bytes kept from the end of the server's log, to explain its end.
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

    /// Reads a chunk of one of the server's streams.
    pub fn observe(&mut self, chunk: &[u8]) {
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

#[cfg(test)]
mod tests {
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
}
