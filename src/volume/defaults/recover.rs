//! Cleaning up after a start that was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::degradation::Degradation;
use crate::volume::defaults::aside::{Moved, moved_path, remove_if_empty};
use crate::volume::defaults::atomic;
use crate::volume::defaults::atomic::{Fault, NEW, OLD};
use crate::volume::defaults::kept;
use crate::volume::defaults::kept::KeptCopies;
use crate::volume::defaults::manifest::{Content, Digest, Manifest};
use crate::volume::defaults::news;
use crate::volume::defaults::rename::{At, move_to};
use crate::volume::defaults::source::{Offer, Offers};
use crate::volume::defaults::store::{AiLabDir, Mark};
use crate::volume::pace::Pace;
use crate::volume::tree;
use crate::volume::tree::Tree;
use crate::volume::{PathCount, VolumeError, shown};

/// Moves old files back that a killed start had moved aside, and removes its temporary files.
/// One that may be the user's stays and is reported. Returns false if there was nothing to do.
///
/// # Errors
/// `stop` returned true. The next start continues.
pub(super) fn clean_up(
    ai_lab: &AiLabDir,
    volume: &mut Tree,
    offers: &Offers,
    manifest: &mut Manifest,
    stop: &dyn Fn() -> bool,
    degradations: &mut Vec<Degradation>,
) -> Result<bool, VolumeError> {
    let mark = ai_lab.mark();
    // An older version, which does not know them, may have cleared the mark.
    let earlier = Moved::earlier(ai_lab.dir.as_fd());
    if mark.is_none_or(|mark| mark == Mark::Nothing) && earlier.is_empty() {
        return Ok(false);
    }
    let paths = offers.by_path.keys().chain(manifest.entries.keys());
    let mut paths: BTreeSet<&[u8]> = paths.map(Vec::as_slice).collect();
    paths.insert(news::NAME.to_bytes());
    let mut dirs: BTreeSet<&[u8]> = paths.iter().map(|path| tree::split(path).0).collect();
    dirs.insert(b"");
    let mut sweep = Sweep {
        ours: KnownContents::new(offers, manifest),
        stop,
        pace: Pace::new(),
        buffer: vec![MaybeUninit::uninit(); 64 * 1024],
        unrestored: PathCount::default(),
        kept: KeptCopies::open(ai_lab, 0).ok(),
        may_be_news: MAX_NEWS,
    };
    if mark == Some(Mark::Reserved) {
        sweep.free_reserved(volume, manifest)?;
    }
    for mut moved in earlier {
        for path in paths.difference(&dirs) {
            sweep.pace.step(stop)?;
            sweep.move_back(ai_lab, &mut moved, volume, path)?;
        }
        moved.clear(ai_lab.dir.as_fd(), dirs.iter().copied());
    }
    remove_if_empty(ai_lab.dir.as_fd());
    // Without the lock, another start's temporary files may be among them.
    if mark.is_some() {
        let mut complete = sweep.directory(tree::open_dir(&ai_lab.dir, c"."), b".ai-lab")?;
        for dir in dirs {
            sweep.pace.step(stop)?;
            complete &= sweep.directory(volume.list(dir), dir)?;
        }
        if complete {
            ai_lab.clear_mark();
            let entries = manifest.entries.values_mut();
            entries.for_each(|entry| entry.merging = None);
        }
    }
    degradations.extend(unrestored(sweep.unrestored));
    Ok(true)
}

/// The most files that are read because they may have news. A killed start leaves one.
const MAX_NEWS: usize = 16;

/// The contents that an earlier start brought in or was about to bring in.
struct KnownContents {
    contents: BTreeSet<Content>,
    /// The places of copies that earlier starts moved to `.ai-lab/kept` or were about to.
    copies: BTreeMap<Content, Vec<u8>>,
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
            copies: BTreeMap::new(),
            sizes: offers.by_path.values().filter_map(file_size).collect(),
            longest: 0,
            budget: offers.total_read_limit(),
        };
        for (path, entry) in &manifest.entries {
            let of =
                |content: Option<Content>| content.filter(|known| *known != Content::Directory);
            ours.contents.extend(of(entry.installed));
            ours.contents.extend(of(entry.pending));
            ours.sizes.extend(entry.in_volume.map(|stamp| stamp.size));
            let installed = matches!(entry.installed, Some(Content::File(_)));
            let unsized_file = installed && entry.in_volume.is_none();
            let merging = entry.merging.as_ref();
            let merged = merging.map(|merging| Content::File(merging.merged));
            ours.contents.extend(merged);
            let copies = merging.map(|merging| &merging.mine);
            let copies = entry.kept.iter().chain(copies);
            ours.copies.extend(copies.map(|copy| {
                let place = kept::path_of(&copy.directory, path);
                (Content::File(copy.digest), place)
            }));
            if unsized_file
                || entry.pending.is_some()
                || !entry.kept.is_empty()
                || merging.is_some()
            {
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
    unrestored: PathCount,
    kept: Option<KeptCopies>,
    /// The number of files that may still be read because they may have news.
    may_be_news: usize,
}

impl Sweep<'_> {
    /// Cleans up one directory. Returns false if it could not be listed, so that temporary files
    /// may be left there.
    fn directory(
        &mut self,
        list: Result<OwnedFd, Errno>,
        path: &[u8],
    ) -> Result<bool, VolumeError> {
        let list = match list {
            Ok(list) => list,
            Err(error) => return Ok(is_absent(error)),
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut stopped = Ok(());
        let listed = tree::entries(&list, &mut buffer, |name, _| {
            stopped = self
                .pace
                .step(self.stop)
                .and_then(|()| self.entry(list.as_fd(), name, path));
            stopped.is_ok()
        });
        self.buffer = buffer;
        stopped.map(|()| listed.is_ok())
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<(), VolumeError> {
        let bytes = name.to_bytes();
        if atomic::is_temporary(bytes, NEW) {
            atomic::discard(dir, name);
        } else if atomic::is_temporary(bytes, OLD) {
            match self.end_old(dir, name) {
                Ok(true) => {}
                Err(Fault::Stopped) => return Err(VolumeError::Stopped),
                _ => self.unrestored.add(|| shown(&tree::join(path, name))),
            }
        }
        Ok(())
    }

    /// Removes the empty files that reserve the names of pending ones.
    fn free_reserved(&mut self, volume: &mut Tree, manifest: &Manifest) -> Result<(), VolumeError> {
        let empty = Some(Content::File(Digest::of(b"")));
        free(At::new(volume.top(), news::NAME));
        for (path, entry) in &manifest.entries {
            self.pace.step(self.stop)?;
            if entry.pending.is_none() || [entry.pending, entry.installed].contains(&empty) {
                continue;
            }
            if let Ok((dir, name)) = volume.parent(path, false) {
                free(At::new(dir, &name));
            }
        }
        Ok(())
    }

    /// Moves the old file back to `path`. If something else has the name by now, that stays, and the
    /// old file is removed if it is ours.
    fn move_back(
        &mut self,
        ai_lab: &AiLabDir,
        moved: &mut Moved,
        volume: &mut Tree,
        path: &[u8],
    ) -> Result<(), VolumeError> {
        let Ok((dir, name)) = moved.tree.parent(path, false) else {
            return Ok(());
        };
        let old = At::new(dir, &name);
        if old.stat().is_err() {
            return Ok(());
        }
        let reserving = || ai_lab.mark_at_least(Mark::Reserved);
        if let Ok((dir, _)) = volume.parent(path, true) {
            let there = At::new(dir, &name);
            if move_to(old, there, &reserving).is_ok() {
                return Ok(());
            }
        }
        match self.end_old(dir, &name) {
            Ok(true) => {}
            Err(Fault::Stopped) => return Err(VolumeError::Stopped),
            _ => self
                .unrestored
                .add(|| shown(&moved_path(&moved.serial, path))),
        }
        Ok(())
    }

    /// Removes a replaced file if it is ours, or moves it to where the killed start was about to
    /// keep it. Returns false if it is neither.
    fn end_old(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<bool, Fault> {
        let stat = tree::stat_name(dir, name).map_err(Fault::Volume)?;
        let may_be_news = self.may_be_news > 0 && stat.size <= news::MAX_SIZE.min(self.ours.budget);
        self.may_be_news -= usize::from(may_be_news);
        let may_be = may_be_news || self.ours.may_be(stat.size);
        if stat.kind == FileType::RegularFile && !may_be {
            return Ok(false);
        }
        self.ours.budget -= if may_be { stat.size } else { 0 };
        let Some(content) = atomic::content(dir, name, self.stop)? else {
            return Ok(false);
        };
        let is_news = may_be_news && news::unread(dir, name) == Some(content);
        if is_news || self.ours.contents.contains(&content) {
            atomic::discard(dir, name);
            return Ok(true);
        }
        let (Some(copy), Some(kept)) = (self.ours.copies.get(&content), &mut self.kept) else {
            return Ok(false);
        };
        let place = kept.place(copy).map_err(Fault::Volume)?;
        // An earlier try may have reserved the name. In `.ai-lab`, this needs no mark: another copy
        // gets another name.
        free(place.at());
        Ok(move_to(At::new(dir, name), place.at(), &|| ()).is_ok())
    }
}

/// Reports whether the error means that there is no such directory: one that was moved is out of
/// reach.
pub(super) fn is_absent(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

/// Removes an empty file that reserves a name.
fn free(name: At<'_>) {
    let stat = name.stat();
    if stat.is_ok_and(|stat| stat.kind == FileType::RegularFile && stat.size == 0) {
        name.discard();
    }
}

/// Returns one degradation for all files that a replacement took out and could neither put back nor
/// keep.
pub(super) fn unrestored(PathCount { count, first }: PathCount) -> Option<Degradation> {
    let path = first?;
    let (cause, remedy) = match count {
        1 => (
            format!("{path} is a file of yours that was in the place of a default notebook"),
            "rename it, or delete it if you do not need it",
        ),
        count => (
            format!(
                "{count} files are yours and were in the place of default notebooks, first {path}"
            ),
            "rename them, or delete them if you do not need them",
        ),
    };
    Some(Degradation::new(cause, remedy))
}
