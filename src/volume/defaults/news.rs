//! The news: a small file at the top of the notebooks that says what an update changed.

use std::ffi::CStr;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use crate::settings::UpdateNotebooks;
use crate::volume::defaults::aside::Aside;
use crate::volume::defaults::atomic;
use crate::volume::defaults::atomic::OursCheck;
use crate::volume::defaults::manifest::{Content, Digest, Entry};
use crate::volume::defaults::place::{Placed, Replacement, install};
use crate::volume::defaults::plan::{Decision, Policy};
use crate::volume::defaults::rename::At;
use crate::volume::defaults::store::{AiLabDir, Mark};
use crate::volume::defaults::survey::Row;
use crate::volume::{shown, tree};

/// Name of the file. The digit makes it the first one in the file browser of JupyterLab.
pub(super) const NAME: &CStr = c"0 What is new.md";
/// The same as text.
pub const NEWS: &str = "0 What is new.md";

/// The size limit of the file, in bytes.
pub(super) const MAX_SIZE: u64 = 64 << 10;
/// The most files of one kind that it names.
const MAX_NAMES: usize = 20;

/// How the commands begin that the file names.
const VERB: &str = "ai-lab-entrypoint notebooks";

/// The begin of the last line, which has the checksum of all lines above it. Text that a person
/// changed does not fit the checksum, and is never replaced.
const LAST_LINE: &str = "<!-- Written by the AI Lab; checksum: ";

/// A kind of news about a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Replaced by a newer version.
    Updated,
    /// Replaced by a newer version after the person ran it.
    UpdatedRun,
    /// There was no such default before.
    New,
    /// The person changed it, and there is a newer version.
    Newer,
}

/// Returns the kind of news that a decision is to a person who knows the installed defaults.
pub(super) fn kind(row: &Row, entry: &Entry, decision: Decision, policy: Policy) -> Option<Kind> {
    let newer = match row.image {
        Some(Content::File(image)) if entry.announced != Some(image) => {
            entry.installed.is_some() && policy.would_replace(row.image, entry)
        }
        _ => false,
    };
    match decision {
        _ if policy.update == UpdateNotebooks::Never => None,
        Decision::Replace => Some(Kind::Updated),
        Decision::ReplaceRun => Some(Kind::UpdatedRun),
        Decision::Install if entry.installed.is_none() => Some(Kind::New),
        Decision::Kept | Decision::Beside if newer => Some(Kind::Newer),
        _ => None,
    }
}

/// The news of one start.
#[derive(Debug, Default)]
pub(super) struct News {
    updated: Names,
    run: Names,
    new: Names,
    newer: Names,
}

/// The number of files, and the first of their names.
#[derive(Debug, Default)]
struct Names {
    count: u64,
    first: Vec<String>,
}

impl News {
    pub fn add(&mut self, kind: Kind, path: &[u8]) {
        let names = match kind {
            Kind::Updated => &mut self.updated,
            Kind::UpdatedRun => &mut self.run,
            Kind::New => &mut self.new,
            Kind::Newer => &mut self.newer,
        };
        names.count += 1;
        if names.first.len() < MAX_NAMES {
            names.first.push(shown(path));
        }
    }

    /// Returns one line; `None` if nothing is new.
    pub fn line(&self) -> Option<String> {
        let counts = [
            (self.updated.count + self.run.count, "updated"),
            (self.new.count, "new"),
            (self.newer.count, "newer than yours"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<_> = counts
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        (!counts.is_empty()).then(|| format!("New in your notebooks: {}.", counts.join(", ")))
    }

    /// Returns the text of the file.
    pub fn text(&self, version: Option<&str>) -> String {
        let version = version.map_or(String::new(), |version| format!(" to version {version}"));
        let mut text = String::from("# What is new in your notebooks\n\n");
        text.push_str(&format!("The lab was updated{version}.\n"));
        let kept = format!("{VERB} restore --kept FILE");
        let (diff, merge) = (format!("{VERB} diff FILE"), format!("{VERB} merge FILE"));
        let sections: [(_, &str, &[&str], _); 4] = [
            ("Updated", "", &[], &self.updated),
            (
                "Updated after you ran them",
                "Your copies with the outputs are kept. This brings one back, in a terminal:",
                &[&kept],
                &self.run,
            ),
            ("New", "", &[], &self.new),
            (
                "Changed by you",
                "These stayed as they are, and there is something newer. This shows what, and \
                 brings a notebook of yours up to date, in a terminal:",
                &[&diff, &merge],
                &self.newer,
            ),
        ];
        for (title, remark, commands, names) in sections {
            if names.count == 0 {
                continue;
            }
            text.push_str(&format!("\n## {title}\n\n{names}"));
            if !remark.is_empty() {
                text.push_str(&format!("\n{remark}\n\n"));
            }
            let lines = commands.iter().map(|command| format!("    {command}\n"));
            text.extend(lines);
        }
        text.push_str("\nDelete this file when you have read it.\n\n");
        let checksum = Digest::of(text.as_bytes());
        text + &format!("{LAST_LINE}{checksum:?} -->\n")
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = self.first.iter();
        names.try_for_each(|name| writeln!(f, "- {name}"))?;
        match self.count - self.first.len() as u64 {
            0 => Ok(()),
            more => writeln!(f, "- and {more} more"),
        }
    }
}

/// Returns the content of the file if it has news that a start wrote, and nobody has changed it
/// since.
pub(super) fn unread(dir: BorrowedFd<'_>, name: &CStr) -> Option<Content> {
    let (bytes, _) = atomic::read(dir, name, MAX_SIZE).ok()?;
    let text = std::str::from_utf8(&bytes).ok()?;
    let (above, checksum) = text.split_at(text.rfind(LAST_LINE)?);
    let is_ours = checksum == format!("{LAST_LINE}{:?} -->\n", Digest::of(above.as_bytes()));
    is_ours.then(|| Content::File(Digest::of(&bytes)))
}

/// Reports whether the file can be written: nothing has its name, or a file that nobody changed.
pub(super) fn may_write(top: BorrowedFd<'_>) -> bool {
    tree::stat_name(top, NAME).is_err() || unread(top, NAME).is_some()
}

/// Writes the file, unless another file or a changed one has its name.
///
/// # Errors
/// It could not be written, or another file has its name.
pub(super) fn write(
    top: BorrowedFd<'_>,
    (text, mode): (&str, u32),
    ai_lab: &AiLabDir,
    aside: &mut Aside,
) -> Result<(), Errno> {
    ai_lab.mark_at_least(Mark::Temporary);
    let reserving = || ai_lab.mark_at_least(Mark::Reserved);
    let stop = || false;
    let (temp, content) = atomic::stage_flushed(top, text.as_bytes(), mode)?;
    let placed = match unread(top, NAME) {
        None => install(At::new(top, &temp), At::new(top, NAME), &reserving),
        Some(old) => Replacement {
            dir: top,
            temp: &temp,
            name: NAME,
            path: NAME.to_bytes(),
            new: content,
            check: OursCheck {
                ours: &|found| found == old,
                size: &|size| size <= MAX_SIZE,
                stop: &stop,
            },
            keep: None,
            ai_lab: Some(ai_lab.dir.as_fd()),
            reserving: &reserving,
        }
        .run(aside),
    };
    match placed {
        Placed::Done => Ok(()),
        _ => Err(Errno::EXIST),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn news() -> News {
        let mut news = News::default();
        news.add(Kind::Updated, b"a.ipynb");
        news.add(Kind::Newer, b"mine\n.ipynb");
        (0..30).for_each(|number| news.add(Kind::New, format!("new/{number}").as_bytes()));
        news
    }

    #[test]
    fn the_line_counts_and_the_file_names_the_first_of_each_kind() {
        assert_eq!(News::default().line(), None);
        let line = "New in your notebooks: 1 updated, 30 new, 1 newer than yours.";
        assert_eq!(news().line().unwrap(), line);
        let text = news().text(Some("2.0.0"));
        assert!(text.contains(
            "The lab was updated to version 2.0.0.\n\n## Updated\n\n- a.ipynb\n\n## New\n\n- new/0\n"
        ));
        assert!(text.contains("\n- new/19\n- and 10 more\n"));
        assert!(text.contains("\n- mine\\n.ipynb\n"), "{text}");
        assert!(!text.contains("--kept"));
        assert!((text.len() as u64) < MAX_SIZE);
    }

    #[test]
    fn only_text_that_nobody_changed_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        let handle = tree::open_top(dir.path()).unwrap();
        let is_ours = |text: &str| {
            std::fs::write(dir.path().join(NAME.to_str().unwrap()), text).unwrap();
            unread(handle.as_fd(), NAME).is_some()
        };
        let text = news().text(None);
        assert!(is_ours(&text));
        for theirs in [
            text.replace("Updated", "updated"),
            format!("{text}and a note\n"),
            format!("note\n{text}"),
            String::new(),
            "a note".into(),
        ] {
            assert!(!is_ours(&theirs), "{theirs}");
        }
    }
}
