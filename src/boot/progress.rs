//! Shows the progress of long work, on a terminal or in the log.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use tracing::info;

use crate::log::{logger, stderr};
use crate::settings::LogFormat;
use crate::volume::Progress;

/// Returns a function that shows the progress of long work: as a bar on a terminal, as a log line
/// every five seconds elsewhere. Drop it before anything else is logged.
pub fn progress(what: &'static str) -> impl FnMut(Progress) {
    const REDRAW_INTERVAL: Duration = Duration::from_millis(200);
    const LOG_INTERVAL: Duration = Duration::from_secs(5);
    let on_terminal = std::io::stderr().is_terminal() && logger::format() == LogFormat::Text;
    let mut bar = on_terminal.then(Bar::default);
    let mut last = Instant::now();
    move |progress| {
        if last.elapsed()
            < if on_terminal {
                REDRAW_INTERVAL
            } else {
                LOG_INTERVAL
            }
        {
            return;
        }
        last = Instant::now();
        let done = progress.done;
        match (&mut bar, progress.total) {
            (Some(bar), _) => bar.draw(what, progress),
            (None, Some(total)) => info!("{what}: {done} of {total}"),
            (None, None) => info!("{what}: {done} so far"),
        }
    }
}

/// A progress bar: one line of a terminal, overwritten each time and erased on drop.
#[derive(Default)]
struct Bar {
    shown: bool,
}

impl Bar {
    const WIDTH: u64 = 24;

    fn draw(&mut self, what: &str, Progress { done, total }: Progress) {
        self.shown = true;
        let line = match total {
            Some(total) => {
                let full = Self::WIDTH * done.min(total) / total.max(1);
                let bar: String = (0..Self::WIDTH)
                    .map(|at| if at < full { '#' } else { '.' })
                    .collect();
                format!("{what} [{bar}] {done} of {total}")
            }
            None => format!("{what}: {done} so far"),
        };
        stderr::draw(format!("\r\x1b[K{line}").as_bytes());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown {
            stderr::draw(b"\r\x1b[K");
        }
    }
}
