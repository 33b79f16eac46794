//! A pseudoterminal, and a person's hands on it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use super::running::tell_lines;
use super::{Running, Start, Stream};
use nix::poll::{PollFd, PollFlags, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// What the keys send.
pub const CTRL_C: &str = "\x03";
pub const CTRL_S: &str = "\x13";
pub const CTRL_Z: &str = "\x1a";

/// A terminal of 24 lines with 80 columns.
pub struct Terminal {
    hands: File,
    path: PathBuf,
    hung_up: Arc<AtomicBool>,
}

/// What appears on it, for as long as it does not hang up: the last copy of its
/// descriptor has to be closed for that.
struct Screen {
    hands: File,
    hung_up: Arc<AtomicBool>,
}

impl Read for Screen {
    fn read(&mut self, place: &mut [u8]) -> std::io::Result<usize> {
        while !self.hung_up.load(Ordering::Relaxed) {
            let mut ready = [PollFd::new(self.hands.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ready, 10u8)? > 0 {
                let count = self.hands.read(place)?;
                // The terminal makes CR LF of an LF.
                let shown: Vec<u8> = place[..count]
                    .iter()
                    .copied()
                    .filter(|byte| *byte != b'\r')
                    .collect();
                place[..shown.len()].copy_from_slice(&shown);
                if !shown.is_empty() || count == 0 {
                    return Ok(shown.len());
                }
            }
        }
        Ok(0)
    }
}

impl Terminal {
    pub fn new() -> Self {
        let hands = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&hands).unwrap();
        unlockpt(&hands).unwrap();
        let name = ptsname(&hands, Vec::new()).unwrap();
        let terminal = Self {
            hands: File::from(hands),
            path: name.into_string().unwrap().into(),
            hung_up: Arc::default(),
        };
        terminal.resize(24, 80);
        terminal
    }

    /// The end that a program has as stdin, stdout or stderr.
    pub fn end(&self) -> Stdio {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let end = options.custom_flags(libc::O_NOCTTY).open(&self.path);
        end.unwrap().into()
    }

    /// Its name in this devpts.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn press(&self, keys: &str) {
        (&self.hands).write_all(keys.as_bytes()).unwrap();
    }

    /// The line is cut.
    pub fn hang_up(self) {
        self.hung_up.store(true, Ordering::Relaxed);
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.hands, size).unwrap();
    }
}

impl Start {
    /// Starts on this terminal and reads what appears there.
    pub fn start_on(mut self, terminal: &Terminal) -> Running {
        for place in [Command::stdin, Command::stdout, Command::stderr] {
            place(&mut self.command, terminal.end());
        }
        let child = self.command.spawn().unwrap();
        let (say, said) = channel();
        let screen = Screen {
            hands: terminal.hands.try_clone().unwrap(),
            hung_up: terminal.hung_up.clone(),
        };
        tell_lines(screen, Stream::Stdout, say);
        self.running(child, said)
    }
}
