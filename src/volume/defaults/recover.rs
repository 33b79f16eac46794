//! Cleaning up after a start that was killed.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::degradation::Degradation;
use crate::volume::defaults::atomic;
use crate::volume::defaults::atomic::{Fault, NEW, OLD, OursCheck};
use crate::volume::defaults::manifest::{Content, Manifest};
use crate::volume::defaults::source::{Offer, Offers};
use crate::volume::defaults::store::AiLabDir;
use crate::volume::pace::Pace;
use crate::volume::tree;
use crate::volume::tree::Tree;
use crate::volume::{VolumeError, shown};

/// Removes a killed start's temporary files. One that may be the user's stays and is reported.
///
/// # Errors
/// `stop` returned true. The next start continues.
pub(super) fn clean_up(
    home: &AiLabDir,
    volume: &mut Tree,
    offers: &Offers,
    manifest: &Manifest,
    stop: &dyn Fn() -> bool,
    degradations: &mut Vec<Degradation>,
) -> Result<(), VolumeError> {
    let paths = offers.by_path.keys().chain(manifest.entries.keys());
    let mut dirs: BTreeSet<&[u8]> = paths.map(|path| tree::split(path).0).collect();
    dirs.insert(b"");
    let ours = KnownContents::new(offers, manifest);
    let mut sweep = Sweep {
        ours,
        stop,
        pace: Pace::new(),
        buffer: vec![MaybeUninit::uninit(); 64 * 1024],
        unrestored: Unrestored::default(),
    };
    sweep.directory(tree::open_dir(&home.dir, c"."), b".ai-lab")?;
    for dir in dirs {
        sweep.pace.step(stop)?;
        let list = volume
            .dir(dir, false)
            .and_then(|dir| tree::open_dir(dir, c"."));
        sweep.directory(list, dir)?;
    }
    degradations.extend(sweep.unrestored.degradation());
    Ok(())
}

/// The contents that an earlier start brought in or was about to bring in.
struct KnownContents {
    contents: BTreeSet<Content>,
    /// The sizes of the image's files, and the known sizes of those contents, in bytes.
    sizes: BTreeSet<u64>,
    /// The size limit of a file of unknown size, in bytes; 0 if all sizes are known.
    longest: u64,
    /// Bytes that may still be read. A killed start leaves one such file.
    budget: u64,
}

impl KnownContents {
    fn new(offers: &Offers, manifest: &Manifest) -> Self {
        let mut ours = Self {
            contents: BTreeSet::new(),
            sizes: offers.by_path.values().filter_map(file_size).collect(),
            longest: 0,
            budget: offers.total_read_limit(),
        };
        for entry in manifest.entries.values() {
            let of =
                |content: Option<Content>| content.filter(|known| *known != Content::Directory);
            ours.contents.extend(of(entry.installed));
            ours.contents.extend(of(entry.pending));
            ours.sizes.extend(entry.in_volume.map(|stamp| stamp.size));
            let installed = matches!(entry.installed, Some(Content::File(_)));
            let unsized_file = installed && entry.in_volume.is_none();
            if unsized_file || entry.pending.is_some() {
                ours.longest = offers.file_limit();
            }
        }
        ours
    }

    /// Reports whether a file of this size can be ours and may be read.
    fn may_be(&self, size: u64) -> bool {
        size <= self.budget && (size <= self.longest || self.sizes.contains(&size))
    }
}

fn file_size(offer: &Offer) -> Option<u64> {
    matches!(offer, Offer::File(_)).then(|| offer.size())
}

struct Sweep<'a> {
    ours: KnownContents,
    stop: &'a dyn Fn() -> bool,
    pace: Pace,
    buffer: Vec<MaybeUninit<u8>>,
    unrestored: Unrestored,
}

impl Sweep<'_> {
    /// Cleans up one directory, if it can be listed.
    fn directory(&mut self, list: Result<OwnedFd, Errno>, path: &[u8]) -> Result<(), VolumeError> {
        let Ok(list) = list else { return Ok(()) };
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut stopped = Ok(());
        // An error ends this directory's listing only; what is left there stays.
        let _ = tree::entries(&list, &mut buffer, |name, _| {
            stopped = self
                .pace
                .step(self.stop)
                .and_then(|()| self.entry(list.as_fd(), name, path));
            stopped.is_ok()
        });
        self.buffer = buffer;
        stopped
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<(), VolumeError> {
        let bytes = name.to_bytes();
        if atomic::is_temporary(bytes, NEW) {
            atomic::discard(dir, name);
        } else if atomic::is_temporary(bytes, OLD) {
            match self.is_ours(dir, name) {
                Ok(true) => atomic::discard(dir, name),
                Err(Fault::Stopped) => return Err(VolumeError::Stopped),
                _ => self.unrestored.add(path, name),
            }
        }
        Ok(())
    }

    fn is_ours(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<bool, Fault> {
        let size = tree::stat_name(dir, name).map_err(Fault::Volume)?.size;
        let Self { ours, stop, .. } = self;
        let judge = OursCheck {
            ours: &|content| ours.contents.contains(&content),
            size: &|size| ours.may_be(size),
            stop: *stop,
        };
        let is_ours = judge.is_ours(dir, name);
        if ours.may_be(size) {
            ours.budget -= size;
        }
        is_ours
    }
}

/// Files that a replacement took out and could not put back.
#[derive(Default)]
pub(super) struct Unrestored {
    count: u64,
    /// The directory and name of the first one.
    first: Option<(Vec<u8>, CString)>,
}

impl Unrestored {
    pub fn add(&mut self, dir: &[u8], name: &CStr) {
        self.count += 1;
        let first = || (dir.to_owned(), name.to_owned());
        self.first.get_or_insert_with(first);
    }

    /// Returns one degradation for all of them.
    pub fn degradation(self) -> Option<Degradation> {
        let (dir, name) = self.first?;
        let slash: &[u8] = if dir.is_empty() { b"" } else { b"/" };
        let path = shown(&[&dir, slash, name.to_bytes()].concat());
        let (cause, remedy) = match self.count {
            1 => (
                format!(
                    "{path} contains changes that were saved while a default notebook was replaced"
                ),
                "rename it, or delete it if you do not need it",
            ),
            count => (
                format!(
                    "{count} files contain changes that were saved while a default notebook was replaced, \
                     first {path}"
                ),
                "rename them, or delete them if you do not need them",
            ),
        };
        Some(Degradation::new(cause, remedy))
    }
}
