//! The text format of the manifest.
//!
//! `sha256sum -c --quiet`, called in NOTEBOOKS, checks `.ai-lab/manifest.sha256` there.
//! Records that sha256sum does not know are in comments:
//!
//! ```text
//! # ai-lab notebooks 1
//! # image 1.4.0
//! 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae  intro.ipynb
//! # seen 120 1760000000.25 1760000000.5 4711 / 120 1750000000.0 1750000001.0 815
//! # link 5a4b…  latest.ipynb
//! # directory e3b0…  data
//! # pending 9c56…  intro.ipynb
//! # beside 9c56…  changed.ipynb
//! # end
//! # yours 77ab…  changed.ipynb
//! # seen 131 1760000000.25 1760000000.5 4712 / -
//! # kept 41d0…  1.3.0/intro.ipynb
//! # seen 131 1760000000.25 1760000000.5 4713 / -
//! # announced 9c56…  changed.ipynb
//! # earlier 2c26…  changed.ipynb
//! # merging 77ab…  1.3.0/changed.ipynb
//! # merged 8d11…  changed.ipynb
//! # unfinished
//! ```
//!
//! `link` has the checksum of the link's target; `pending` that of the content that a start
//! was about to put there when it was killed; `beside` that of the content put next to a
//! changed file. `seen` has the stat with which the file above last had its checksum (volume /
//! image; size, mtime, ctime, inode; `-`: none), so that the next start need not read it.
//! A stamp with zeros after the size records only the size.
//!
//! After `end`, where version 0.1.0 stops reading, stand records that a start can do without:
//! `yours` is the checksum of the user's own file at the path of a default, which is then not read
//! again; `kept` that of a notebook's copy in `.ai-lab/kept`, in a directory named after a version;
//! `announced` that of the newest version of a changed file that was news for the user; `earlier`
//! that of the version from which the newest file in `.ai-lab/kept` comes. `merging` and `merged`
//! stand there while a merge exchanges two files: they are the checksums of the user's file, with
//! the place where it is to be kept, and of the merged one. `unfinished` stands there until all
//! defaults of the first image were brought in.

use std::collections::BTreeMap;
use std::iter::Peekable;

use crate::volume::defaults::manifest::line::{
    SEEN, read_content, read_copy, read_line, read_seen, read_stamps, write_copy, write_line,
    write_seen, write_stamp,
};
use crate::volume::defaults::manifest::{Content, Entry, MAX_COPIES, Manifest, Merging};
use crate::volume::pace::Pace;

/// The newest format that this program reads and writes.
const FORMAT: u32 = 1;
const HEAD: &str = "# ai-lab notebooks ";
const END: &str = "# end";
const YOURS: &str = "# yours ";
const KEPT: &str = "# kept ";
const ANNOUNCED: &str = "# announced ";
const EARLIER: &str = "# earlier ";
const MERGING: &str = "# merging ";
const MERGED: &str = "# merged ";
const UNFINISHED: &str = "# unfinished";
/// The number of copies of one notebook that a manifest has at most: those that stay, and that of
/// an update that was begun.
const MAX_KEPT: usize = MAX_COPIES + 1;

/// Why a manifest was not read.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// A later version of this program wrote it.
    Newer,
    /// No version writes such text; the line number from 1, or 0 if the file was not parsed.
    Damaged(usize),
    /// The caller's `stop` returned true.
    Stopped,
}

impl Manifest {
    /// Parses the text of a manifest.
    ///
    /// # Errors
    /// The text is damaged, cut short or of a newer format. Then no part of it is used.
    pub fn parse(text: &[u8]) -> Result<Self, Unreadable> {
        Self::parse_until(text, &|| false)
    }

    /// Parses like [`Manifest::parse`], and ends early if `stop` returns true.
    ///
    /// # Errors
    /// As [`Manifest::parse`], or `stop` returned true.
    pub(in crate::volume) fn parse_until(
        text: &[u8],
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, Unreadable> {
        let mut lines = text.split(|byte| *byte == b'\n').enumerate();
        let format = lines.next().and_then(|(_, line)| {
            let format = std::str::from_utf8(line).ok()?.strip_prefix(HEAD)?;
            format.parse::<u32>().ok()
        });
        match format {
            Some(format) if format > FORMAT => return Err(Unreadable::Newer),
            Some(FORMAT) => {}
            _ => return Err(Unreadable::Damaged(1)),
        }
        let mut reader = Reader::default();
        let mut pace = Pace::new();
        let mut count = 1;
        while let Some((index, line)) = lines.next() {
            pace.step(stop).map_err(|_| Unreadable::Stopped)?;
            count = index + 1;
            let damaged = Unreadable::Damaged(count);
            if line == END.as_bytes() {
                let mut manifest = reader.manifest(stop)?.ok_or(damaged)?;
                let mut lines = lines.map(|(_, line)| line).peekable();
                while manifest.read_after_end(&mut lines).is_some() {
                    pace.step(stop).map_err(|_| Unreadable::Stopped)?;
                }
                return Ok(manifest);
            }
            reader.line(line).ok_or(damaged)?;
        }
        // The end line is missing: the text is cut short.
        Err(Unreadable::Damaged(count))
    }

    /// Returns the text of the manifest.
    pub fn render(&self) -> Vec<u8> {
        let mut out = format!("{HEAD}{FORMAT}\n").into_bytes();
        if let Some(image) = &self.image {
            out.extend_from_slice(format!("# image {}\n", image.replace('\n', " ")).as_bytes());
        }
        for (path, entry) in &self.entries {
            if let Some(content) = entry.installed {
                write_line(&mut out, "", content, path);
            }
            let is_file = matches!(entry.installed, Some(Content::File(_)));
            if is_file && (entry.in_volume.is_some() || entry.in_image.is_some()) {
                out.extend_from_slice(SEEN.as_bytes());
                write_stamp(&mut out, entry.in_volume);
                out.extend_from_slice(b" / ");
                write_stamp(&mut out, entry.in_image);
                out.push(b'\n');
            }
            if let Some(content) = entry.pending {
                write_line(&mut out, "# pending ", content, path);
            }
            if let Some(content) = entry.beside {
                write_line(&mut out, "# beside ", content, path);
            }
        }
        out.extend_from_slice(END.as_bytes());
        out.push(b'\n');
        for (path, entry) in &self.entries {
            if let Some((digest, stamp)) = entry.yours {
                write_line(&mut out, YOURS, Content::File(digest), path);
                write_seen(&mut out, Some(stamp));
            }
            for copy in &entry.kept {
                write_copy(&mut out, KEPT, copy, path);
            }
            for (prefix, digest) in [(ANNOUNCED, entry.announced), (EARLIER, entry.earlier)] {
                if let Some(digest) = digest {
                    write_line(&mut out, prefix, Content::File(digest), path);
                }
            }
            if let Some(Merging { mine, merged }) = &entry.merging {
                write_copy(&mut out, MERGING, mine, path);
                write_line(&mut out, MERGED, Content::File(*merged), path);
            }
        }
        if self.unfinished {
            out.extend_from_slice(UNFINISHED.as_bytes());
            out.push(b'\n');
        }
        out
    }

    /// Reads the next record after the end; `None` if this version knows no more of them.
    fn read_after_end<'a>(
        &mut self,
        lines: &mut Peekable<impl Iterator<Item = &'a [u8]>>,
    ) -> Option<()> {
        let line = lines.next()?;
        let mut seen = || lines.next_if(|line| line.starts_with(SEEN.as_bytes()));
        if let Some(line) = line.strip_prefix(YOURS.as_bytes()) {
            let (digest, path) = read_line(line)?;
            let stamp = read_seen(seen()?)?;
            self.entries.entry(path).or_default().yours = Some((digest, stamp));
        } else if let Some(line) = line.strip_prefix(KEPT.as_bytes()) {
            let (path, mut copy) = read_copy(line)?;
            copy.stamp = seen().and_then(read_seen);
            let kept = &mut self.entries.entry(path).or_default().kept;
            kept.push(copy);
            // More are not ours: each is read and compared.
            if kept.len() > MAX_KEPT {
                kept.remove(0);
            }
        } else if let Some(line) = line.strip_prefix(MERGING.as_bytes()) {
            let (path, mine) = read_copy(line)?;
            let (merged, _) = read_line(lines.next()?.strip_prefix(MERGED.as_bytes())?)?;
            self.entries.entry(path).or_default().merging = Some(Merging { mine, merged });
        } else if line == UNFINISHED.as_bytes() {
            self.unfinished = true;
        } else if let Some(line) = line.strip_prefix(EARLIER.as_bytes()) {
            let (digest, path) = read_line(line)?;
            self.entries.entry(path).or_default().earlier = Some(digest);
        } else {
            let (digest, path) = read_line(line.strip_prefix(ANNOUNCED.as_bytes())?)?;
            self.entries.entry(path).or_default().announced = Some(digest);
        }
        Some(())
    }
}

/// A manifest that is being read. Its paths are normally in order, so that the map is built
/// at once rather than path by path.
#[derive(Default)]
struct Reader {
    image: Option<String>,
    entries: Vec<(Vec<u8>, Entry)>,
}

impl Reader {
    /// Returns `None` if a path has two records of the same kind.
    fn manifest(self, stop: &dyn Fn() -> bool) -> Result<Option<Manifest>, Unreadable> {
        let in_order = self.entries.is_sorted_by(|(one, _), (next, _)| one < next);
        let entries = match in_order {
            true => Some(self.entries.into_iter().collect()),
            // The lines were sorted, or two manifests were joined.
            false => join_records(self.entries, stop)?,
        };
        let image = self.image;
        Ok(entries.map(|entries| Manifest {
            image,
            entries,
            unfinished: false,
        }))
    }

    fn line(&mut self, line: &[u8]) -> Option<()> {
        if let Some(image) = line.strip_prefix(b"# image ") {
            self.image = Some(String::from_utf8(image.to_vec()).ok()?);
            return Some(());
        }
        if let Some(seen) = line.strip_prefix(SEEN.as_bytes()) {
            let (in_volume, in_image) = read_stamps(seen)?;
            // Only a file that was brought in has stamps.
            let (_, entry) = self.entries.last_mut()?;
            let Some(Content::File(_)) = entry.installed else {
                return None;
            };
            entry.in_volume = in_volume;
            entry.in_image = in_image;
            return Some(());
        }
        let pending = line.strip_prefix(b"# pending ");
        let beside = line.strip_prefix(b"# beside ");
        let installed = line.strip_prefix(b"# ").unwrap_or(line);
        let (content, path) = read_content(pending.or(beside).unwrap_or(installed))?;
        // Only a file that was brought in is no comment: sha256sum checks it.
        let is_file = matches!(content, Content::File(_));
        if pending.or(beside).is_none() && is_file == line.starts_with(b"#") {
            return None;
        }
        // The records of one path are on consecutive lines.
        if self.entries.last().is_none_or(|(last, _)| *last != path) {
            self.entries.push((path, Entry::default()));
        }
        let (_, entry) = self.entries.last_mut()?;
        let place = match (pending, beside) {
            (Some(_), _) => &mut entry.pending,
            (_, Some(_)) => &mut entry.beside,
            _ => &mut entry.installed,
        };
        // No version writes two of them, and it is not clear which one is valid.
        if place.replace(content).is_some() {
            return None;
        }
        Some(())
    }
}

/// Joins the records of each path; `None` if a path has two records of the same kind.
fn join_records(
    all: Vec<(Vec<u8>, Entry)>,
    stop: &dyn Fn() -> bool,
) -> Result<Option<BTreeMap<Vec<u8>, Entry>>, Unreadable> {
    let mut entries: BTreeMap<_, Entry> = BTreeMap::new();
    let mut pace = Pace::new();
    for (path, more) in all {
        pace.step(stop).map_err(|_| Unreadable::Stopped)?;
        let entry = entries.entry(path).or_default();
        let places = [
            (&mut entry.installed, more.installed),
            (&mut entry.pending, more.pending),
            (&mut entry.beside, more.beside),
        ];
        for (place, content) in places {
            if place.is_some() && content.is_some() {
                return Ok(None);
            }
            *place = place.or(content);
        }
        entry.in_volume = entry.in_volume.or(more.in_volume);
        entry.in_image = entry.in_image.or(more.in_image);
    }
    Ok(Some(entries))
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
