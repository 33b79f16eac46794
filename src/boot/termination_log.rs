//! The last words of a container that fails, where Kubernetes reads them: `kubectl describe pod`
//! shows what is in this file.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use rustix::process::getpid;

use crate::sys::text;

/// The file that the kubelet mounts into each container, empty, unless a pod names another one.
const PATH: &str = "/dev/termination-log";

/// The kubelet reads no more than this.
const MAX_BYTES: usize = 4096;

/// The open file; `None`: there is none, or this process is not the container's first one.
///
/// It is opened first of all, because only root may be able to open it, and is closed in every
/// program that is started.
#[derive(Debug)]
pub struct TerminationLog(Option<File>);

impl TerminationLog {
    /// Opens the file, if there is one.
    pub fn open() -> Self {
        let open = || {
            let mut options = OpenOptions::new();
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
            let file = options.write(true).custom_flags(flags).open(PATH).ok()?;
            file.metadata().ok()?.is_file().then_some(file)
        };
        Self(getpid().is_init().then(open).flatten())
    }

    /// Writes why this container fails: the words, and as much of the end of the log as fits.
    pub fn write(self, words: &str, log: &str) {
        if let Some(mut file) = self.0 {
            let text = last_words(words, log);
            // The log of the container has the same words.
            let _ = file
                .set_len(0)
                .and_then(|()| file.write_all(text.as_bytes()));
        }
    }
}

/// Returns a log without the tokens in its addresses: more people read the file than the log.
fn without_tokens(log: &str) -> String {
    let mut parts = log.split("token=");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |log, part| {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric());
        format!("{log}token=…{}", &part[end.unwrap_or(part.len())..])
    })
}

fn last_words(words: &str, log: &str) -> String {
    let mut words = text::shown_lines(words);
    text::shorten(&mut words, MAX_BYTES - "…\n\n".len());
    let room = MAX_BYTES - words.len() - "\n\n".len();
    let log = without_tokens(&text::shown_lines(log.trim_end()));
    let mut end = String::new();
    for line in log.lines().rev() {
        if end.len() + line.len() + 1 > room {
            break;
        }
        end = format!("{line}\n{end}");
    }
    match &*end {
        "" => words + "\n",
        end => format!("{words}\n\n{end}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_there_in_full_and_the_log_as_far_as_it_fits() {
        let log: String = (0..1000).map(|number| format!("é {number}\n")).collect();
        let text = last_words("a: b\nc\x1b", &log);
        assert!(text.starts_with("a: b\nc\\u{1b}\n\né "), "{text}");
        assert!(text.ends_with("é 998\né 999\n"), "{text}");
        assert!((MAX_BYTES - 10..=MAX_BYTES).contains(&text.len()));
        assert_eq!(last_words("a", ""), "a\n");
        let told = last_words("a", "http://x/?token=0a1b&y\ntoken=");
        assert_eq!(told, "a\n\nhttp://x/?token=…&y\ntoken=…\n");
        assert_eq!(last_words("a", "b\nc"), "a\n\nb\nc\n");
        let long = last_words(&"é".repeat(5000), &log);
        assert!(long.len() <= MAX_BYTES && long.ends_with("…\n"), "{long}");
        assert_eq!(
            last_words("a", &"x".repeat(5000)),
            "a\n",
            "no part of a line"
        );
    }
}
