//! The cells of the notebooks as they were installed, in `.ai-lab/cells.jsonl`.
//!
//! They tell a notebook that was only run from one that was edited, and are the base of a merge.
//! Each line is one notebook:
//!
//! ```text
//! {"path":"intro.ipynb","sha256":"2c26…","version":"1.4.0","notebook":{…}}
//! ```
//!
//! A line counts only for the content with this checksum, so that it does no harm where the
//! manifest names another one. A notebook without a line counts as edited.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::notebook::Notebook;
use crate::volume::defaults::atomic;
use crate::volume::defaults::atomic::StagedText;
use crate::volume::defaults::manifest::{Content, Digest, Entry, Manifest};
use crate::volume::defaults::other_case::Renamed;
use crate::volume::tree;
use crate::volume::tree::Tree;

const NAME: &CStr = c"cells.jsonl";

/// The size limit of one line, in bytes. Most of a longer one is attached pictures.
const MAX_LINE: usize = 2 << 20;
/// The size limit of the file, in bytes.
const MAX_FILE: usize = 32 << 20;
/// The size limit of all lines in memory, in bytes: those of an update and of what it replaces.
const MAX_HELD: usize = 2 * MAX_FILE;
/// The size limit of a default whose cells are recorded, in bytes.
pub(super) const MAX_NOTEBOOK: u64 = 16 << 20;

/// Reports whether the default at `path` is a notebook.
pub(super) fn is_notebook(path: &[u8]) -> bool {
    path.ends_with(b".ipynb")
}

/// Returns the cells of the image's notebook if it has this content.
pub(super) fn in_image(source: &mut Tree, path: &[u8], digest: Digest) -> Option<Notebook> {
    let (dir, name) = source.parent(path, false).ok()?;
    let (bytes, _) = atomic::read(dir, &name, MAX_NOTEBOOK).ok()?;
    let is_same = Digest::of(&bytes) == digest;
    Notebook::parse(&bytes).ok().filter(|_| is_same)
}

/// The record of one notebook.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Installed {
    path: String,
    sha256: String,
    /// The version of the image that installed it.
    pub version: Option<String>,
    pub notebook: Notebook,
}

/// The recorded cells, which are read when they are first needed.
#[derive(Default)]
pub(super) struct InstalledCells {
    /// `.ai-lab`; `None`: nothing is recorded.
    dir: Option<OwnedFd>,
    lines: OnceCell<Lines>,
    changed: bool,
    /// True if cells of installed notebooks may be missing.
    pub incomplete: bool,
}

/// The lines by path and content.
#[derive(Default)]
struct Lines {
    lines: BTreeMap<(Vec<u8>, Digest), String>,
    /// The length of all lines.
    size: usize,
}

impl InstalledCells {
    /// Returns the cells that are recorded in `.ai-lab`. `disturbed`: the last start did not end, or
    /// others may have written them at the same time.
    pub fn of(dir: Option<&OwnedFd>, disturbed: bool) -> Self {
        let dir = dir.and_then(|dir| tree::open_dir(dir, c".").ok());
        let is_recorded = |dir| tree::stat_name(dir, NAME).is_ok();
        Self {
            incomplete: dir
                .as_ref()
                .is_some_and(|dir| disturbed || !is_recorded(dir)),
            dir,
            ..Self::default()
        }
    }

    fn lines(&self) -> &Lines {
        let read = || self.dir.as_ref().map(Lines::read).unwrap_or_default();
        self.lines.get_or_init(read)
    }

    /// Returns the record of the notebook with this content.
    pub fn get(&self, path: &[u8], digest: Digest) -> Option<Installed> {
        let line = self.lines().lines.get(&(path.to_vec(), digest))?;
        serde_json::from_str(line).ok()
    }

    /// Follows defaults that were renamed.
    pub fn follow(&mut self, renamed: &[Renamed]) {
        for Renamed { old, new } in renamed {
            self.rename(old, new);
        }
    }

    fn rename(&mut self, old: &[u8], new: &[u8]) {
        self.lines();
        let Some(lines) = self.lines.get_mut() else {
            return;
        };
        let of_old = |(path, _): &&(Vec<u8>, Digest)| path == old;
        let keys: Vec<_> = lines.lines.keys().filter(of_old).cloned().collect();
        for (_, digest) in keys {
            if let Some(Installed {
                version, notebook, ..
            }) = self.get(old, digest)
            {
                self.insert(new, digest, version.as_deref(), notebook);
            }
        }
    }

    /// Records the cells of a notebook that an image of this version installs. Does nothing if
    /// they are too long, or if the path is no UTF-8.
    pub fn insert(
        &mut self,
        path: &[u8],
        digest: Digest,
        version: Option<&str>,
        notebook: Notebook,
    ) {
        let Ok(text) = String::from_utf8(path.to_vec()) else {
            return;
        };
        let installed = Installed {
            path: text,
            sha256: format!("{digest:?}"),
            version: version.map(str::to_owned),
            notebook,
        };
        self.lines();
        if let (Ok(line), Some(lines)) = (serde_json::to_string(&installed), self.lines.get_mut()) {
            lines.add(path.to_vec(), digest, line + "\n");
            self.changed = true;
        }
    }

    /// Writes the cells of the versions that the manifest names, if there are new ones.
    pub fn write(&self, manifest: &Manifest) -> Result<(), Errno> {
        match self.stage(manifest)? {
            Some(staged) => staged.put_in_place(),
            None => Ok(()),
        }
    }

    /// Writes them under a temporary name. Returns `None` if there are no new ones.
    pub fn stage(&self, manifest: &Manifest) -> Result<Option<StagedText>, Errno> {
        let Some(dir) = &self.dir else {
            return Ok(None);
        };
        let is_first = tree::stat_name(dir, NAME).is_err();
        let first = is_first && manifest.entries.keys().any(|path| is_notebook(path));
        if !self.changed && !first {
            return Ok(None);
        }
        let lines = &self.lines().lines;
        let named = |is_named: fn(&Entry, Digest) -> bool| {
            lines.iter().filter(move |((path, digest), _)| {
                let entry = manifest.entries.get(path);
                entry.is_some_and(|entry| is_named(entry, *digest))
            })
        };
        let is_installed = |entry: &Entry, digest| entry.installed == Some(Content::File(digest));
        let is_earlier = |entry: &Entry, digest| {
            entry.earlier == Some(digest) && entry.installed != Some(Content::File(digest))
        };
        // The earlier versions get the room that is left.
        let lines = named(is_installed).chain(named(is_earlier));
        let mut left = MAX_FILE;
        let mut fits = |line: &&str| {
            let rest = left.checked_sub(line.len());
            left = rest.unwrap_or(left);
            rest.is_some()
        };
        let lines = lines.map(|(_, line)| line.as_str());
        let text: String = lines.filter(|line| fits(line)).collect();
        StagedText::write(dir, NAME, text.as_bytes()).map(Some)
    }
}

impl Lines {
    /// Reads the lines that are in `.ai-lab`, as far as they can be read.
    fn read(dir: &OwnedFd) -> Self {
        #[derive(Deserialize)]
        struct Key {
            path: String,
            sha256: String,
        }
        let mut all = Self::default();
        let text = atomic::read(dir.as_fd(), NAME, MAX_FILE as u64).unwrap_or_default();
        for line in text.0.split_inclusive(|byte| *byte == b'\n') {
            if let Ok(Key { path, sha256 }) = serde_json::from_slice(line)
                && let Some(digest) = Digest::from_hex(sha256.as_bytes())
                && let Ok(line) = std::str::from_utf8(line)
            {
                all.add(path.into_bytes(), digest, line.to_owned());
            }
        }
        all
    }

    fn add(&mut self, path: Vec<u8>, digest: Digest, line: String) {
        if line.len() <= MAX_LINE && self.size + line.len() <= MAX_HELD {
            self.size += line.len();
            let old = self.lines.insert((path, digest), line);
            self.size -= old.map_or(0, |old| old.len());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const DIGEST: Digest = Digest([1; 32]);

    fn cells(source: &str) -> Notebook {
        let notebook = serde_json::json!({
            "nbformat": 4,
            "cells": [{"cell_type": "code", "source": source}],
        });
        Notebook::parse(notebook.to_string().as_bytes()).unwrap()
    }

    /// Returns a directory and the cells that are recorded in it.
    fn recorded(text: &[u8]) -> (tempfile::TempDir, InstalledCells) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cells.jsonl"), text).unwrap();
        let handle = tree::open_top(dir.path()).unwrap();
        (dir, InstalledCells::of(Some(&handle), false))
    }

    #[test]
    fn what_is_written_is_read_if_the_manifest_names_it() {
        let (dir, mut all) = recorded(b"");
        let two = Digest::of(b"2");
        let path = b"a \"b\".ipynb";
        all.insert(path, DIGEST, Some("1.0"), cells("x"));
        all.insert(path, two, Some("1.1"), cells("y"));
        all.insert(b"gone.ipynb", two, None, cells("z"));
        all.insert(b"\xff.ipynb", DIGEST, None, cells("no UTF-8"));
        let mut manifest = Manifest::default();
        let entry = Entry {
            installed: Some(Content::File(two)),
            ..Entry::default()
        };
        manifest.entries.insert(path.to_vec(), entry);
        all.write(&manifest).unwrap();
        let (_again, read) = recorded(&std::fs::read(dir.path().join("cells.jsonl")).unwrap());
        assert_eq!(read.lines().lines.len(), 1);
        let found = read.get(path, two).unwrap();
        assert_eq!(found.version.as_deref(), Some("1.1"));
        assert_eq!(found.notebook, cells("y"));
        assert_eq!(read.get(path, DIGEST), None);
    }

    #[test]
    fn what_is_damaged_counts_as_absent() {
        let (_dir, mut all) = recorded(b"");
        all.insert(b"a", DIGEST, None, cells("x"));
        let line = all.lines().lines.values().next().unwrap().clone();
        let (start, _) = line.split_at(line.len() / 2);
        let (_dir, all) = recorded(format!("{{}}\n[\n{line}{start}").as_bytes());
        assert!(all.get(b"a", DIGEST).is_some());
        assert_eq!(all.lines().lines.len(), 1);
        let (_dir, all) = recorded(b"\xff\n");
        assert!(all.lines().lines.is_empty());
    }

    #[test]
    fn the_record_has_limits() {
        let (dir, mut all) = recorded(b"");
        all.insert(b"a", DIGEST, None, cells(&"x".repeat(MAX_LINE)));
        assert_eq!(all.get(b"a", DIGEST), None);
        let mut manifest = Manifest::default();
        let mut write = |all: &mut InstalledCells, digest: Digest, count: u8| {
            for number in 0..count {
                all.insert(&[number], digest, None, cells(&"x".repeat(1 << 20)));
                let entry = manifest.entries.entry(vec![number]).or_default();
                entry.earlier = entry.installed.map(|_| DIGEST);
                entry.installed = Some(Content::File(digest));
            }
            all.write(&manifest).unwrap();
        };
        let count_of = |digest: Digest| {
            let text = std::fs::read_to_string(dir.path().join("cells.jsonl")).unwrap();
            let digest = format!("\"sha256\":\"{digest:?}\"");
            text.matches(&digest).count()
        };
        write(&mut all, DIGEST, 33);
        assert!((30..32).contains(&count_of(DIGEST)));
        // The versions that an update replaces take no room from the new ones.
        let new = Digest::of(b"2");
        write(&mut all, new, 30);
        assert_eq!(count_of(new), 30);
    }
}
