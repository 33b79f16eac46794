//! The destinations of the server's output: pumps its streams to the console and the logfile.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::error;

use crate::log::logfile::Logfile;
use crate::log::logger;
use crate::log::pump;
use crate::log::pump::{ChunkObserver, pump};
use crate::log::server_json::JsonLines;
use crate::log::sink::{Finish, Sink};
use crate::settings::LogFormat;

/// How long a slow reader may take for the last lines after all processes have ended. Together
/// with the default stop and drain timeouts this is less than Docker's 10 s.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The names of the server's streams in JSON lines.
pub(super) const STDOUT: &str = "stdout";
pub(super) const STDERR: &str = "stderr";

/// The destinations.
pub(super) struct Outputs {
    stdout: Sink,
    stderr: Sink,
    logfile: Option<Sink>,
    finishes: Vec<Finish>,
    /// Number of server streams so far, over all starts; the sinks use it as the stream's source.
    streams: u32,
}

impl Outputs {
    /// Starts the writers. Our own log uses them from now on.
    ///
    /// # Errors
    /// A descriptor cannot be duplicated, or a thread cannot be started.
    pub fn start(logfile: Option<Logfile>) -> io::Result<Self> {
        let mut finishes = Vec::new();
        let mut sink = |(sink, finish): (Sink, Finish)| {
            finishes.push(finish);
            sink
        };
        let console =
            |stream: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(stream, 3).map(File::from);
        let stdout = console(rustix::stdio::stdout())?;
        let stderr = console(rustix::stdio::stderr())?;
        let same = is_same(&stdout, &stderr);
        let stderr = sink(Sink::start(stderr, logger::losses)?);
        // If both are the same file, such as a terminal, one queue keeps them in order.
        let stdout = match same {
            true => stderr.clone(),
            false => sink(Sink::start(stdout, logger::losses_of_stdout)?),
        };
        let logfile = match logfile {
            Some(file) => Some(sink(Sink::start(file, logger::losses_of_logfile)?)),
            None => None,
        };
        logger::set_sink(Some(stderr.clone()));
        Ok(Self {
            stdout,
            stderr,
            logfile,
            finishes,
            streams: 0,
        })
    }

    /// Pumps one of the server's streams in a task, which `observer` sees as it passes.
    pub fn pump(
        &mut self,
        from: OwnedFd,
        stream: &'static str,
        mut observer: impl ChunkObserver + 'static,
    ) -> JoinHandle<()> {
        self.streams += 1;
        let console = match stream {
            STDOUT => &self.stdout,
            _ => &self.stderr,
        };
        let logfile = self.logfile.as_ref();
        let to = pump::StreamOutputs {
            console: console.for_source(self.streams),
            json: (logger::format() == LogFormat::Json).then(|| JsonLines::new(stream)),
            logfile: logfile.map(|file| file.for_source(self.streams)),
        };
        tokio::spawn(async move {
            if let Err(error) = pump(from, to, &mut observer).await {
                error!("the server's log cannot be read: {error}");
            }
        })
    }

    /// Waits until all output is written, as long as its readers make progress.
    pub async fn finish(self) {
        logger::set_sink(None);
        let finishes = self.finishes;
        drop((self.stdout, self.stderr, self.logfile));
        // Waits for all at the same time: the console and the logfile may both be slow.
        let waits: Vec<_> = finishes.into_iter().map(Finish::wait).collect();
        let waits: Vec<_> = waits.into_iter().map(tokio::spawn).collect();
        let all = async {
            for wait in waits {
                let _ = wait.await;
            }
        };
        let _ = tokio::time::timeout(FLUSH_TIMEOUT, all).await;
    }
}

/// Reports whether two file descriptors refer to the same pipe, terminal or file.
fn is_same(one: &File, other: &File) -> bool {
    let identity = |file: &File| file.metadata().map(|data| (data.dev(), data.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}
