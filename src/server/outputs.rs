//! The destinations of the server's output: pumps its streams to the console and the logfile.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::error;

use crate::log::logfile::Logfile;
use crate::log::logger;
use crate::log::pump;
use crate::log::pump::pump;
use crate::log::server_json::JsonLines;
use crate::log::sink::{Finish, Sink};
use crate::settings::LogFormat;

/// The time limit for a slow reader to take the last lines of a server that ended by itself.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

/// The time limit after a request to stop, and then that for our own lines.
/// Together with the default stop and drain timeouts this is less than Docker's 10 s.
const STOP_FLUSH_TIMEOUT: Duration = Duration::from_millis(700);
const OWN_FLUSH_TIMEOUT: Duration = Duration::from_millis(300);

/// The time limit for the last output of a server that ended, while a process that it left behind
/// holds the pipe open.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(200);

/// The factor by which this limit grows while a slow reader holds up that output.
const SLOW_OUTPUT: u32 = 10;

/// The names of the server's streams in JSON lines.
pub(super) const STDOUT: &str = "stdout";
pub(super) const STDERR: &str = "stderr";

/// The pump of one stream.
pub(super) struct Pump {
    task: JoinHandle<()>,
    console: Sink,
}

impl Pump {
    /// Waits for the last output of a server that ended. It goes on, but is no longer waited for,
    /// if a process that the server left behind holds its pipe open.
    pub async fn wait(mut self) {
        for _ in 0..SLOW_OUTPUT {
            let ended = timeout(OUTPUT_TIMEOUT, &mut self.task).await.is_ok();
            if ended || !self.console.holds_up() {
                return;
            }
        }
    }
}

/// The destinations.
pub(super) struct Outputs {
    stdout: Sink,
    stderr: Sink,
    logfile: Option<Sink>,
    stderr_finish: Finish,
    /// The ends of the other sinks.
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
        let console =
            |stream: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(stream, 3).map(File::from);
        let stdout = console(rustix::stdio::stdout())?;
        let stderr = console(rustix::stdio::stderr())?;
        let same = is_same(&stdout, &stderr);
        let mut finishes = Vec::new();
        let mut sink = |(sink, finish): (Sink, Finish)| {
            finishes.push(finish);
            sink
        };
        let (stderr, stderr_finish) = Sink::start(stderr, logger::losses)?;
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
            stderr_finish,
            finishes,
            streams: 0,
        })
    }

    /// Pumps one of the server's streams in a task, which `observer` sees as it passes.
    pub fn pump(
        &mut self,
        from: OwnedFd,
        stream: &'static str,
        mut observer: impl FnMut(&[u8]) + Send + 'static,
    ) -> Pump {
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
        let console = console.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = pump(from, to, &mut observer).await {
                error!("the server's log cannot be read: {error}");
            }
        });
        Pump { task, console }
    }

    /// Waits for `reports`, which log our last lines, and until all output is written, as long as
    /// its readers make progress. When `stop` is over, little time is left.
    pub async fn finish(self, reports: impl Future<Output = ()>, stop: impl Future<Output = ()>) {
        let finishes = || self.finishes.iter().chain([&self.stderr_finish]);
        let hurry: Vec<_> = finishes().map(Finish::hurry).collect();
        let all = async {
            reports.await;
            drop((self.stdout, self.logfile));
            // Waits for both at the same time: both may be slow.
            let waits: Vec<_> = self.finishes.into_iter().map(Finish::wait).collect();
            let waits: Vec<_> = waits.into_iter().map(tokio::spawn).collect();
            for wait in waits {
                let _ = wait.await;
            }
            // Last, because it tells what stdout has lost.
            logger::set_sink(None);
            drop(self.stderr);
            self.stderr_finish.wait().await;
        };
        let late = async {
            let _ = timeout(FLUSH_TIMEOUT, stop).await;
            sleep(STOP_FLUSH_TIMEOUT).await;
            hurry.iter().for_each(|hurry| hurry());
            sleep(OWN_FLUSH_TIMEOUT).await;
        };
        tokio::select! {
            () = all => {}
            () = late => logger::set_sink(None),
        }
    }
}

/// Reports whether two file descriptors refer to the same pipe, terminal or file.
fn is_same(one: &File, other: &File) -> bool {
    let identity = |file: &File| file.metadata().map(|data| (data.dev(), data.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}
