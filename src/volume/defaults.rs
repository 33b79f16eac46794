//! Bringing the image's notebook defaults into the volume, as the user.
//!
//! Look, plan, do: the survey says what there is, the plan what is to happen, and a
//! batch at a time is staged, noted as pending, flushed, put in place and noted as
//! installed. A kill between any two steps leaves what the next start understands.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::home::{self, Home, Opened};
use super::manifest::{Content, Digest, Manifest, Stamp};
use super::place::{self, Able, Fault, NEW, OLD, Placed};
use super::plan::{Action, Found, Policy, Verdict, is_older, plan};
use super::survey::{self, Offer, Survey, survey};
use super::tree::{self, Look, Tree};
use super::{Progress, REPORT_EVERY, Tally, VolumeError, shown};
use crate::degradation::Degradation;
use crate::identity::Dropped;
use crate::settings::{DeletedNotebooks, UpdateNotebooks};

/// The defaults and how they are brought in.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Where the image keeps them.
    pub source: PathBuf,
    /// The notebooks volume.
    pub volume: PathBuf,
    /// AI_LAB_VERSION.
    pub image_version: Option<String>,
    /// What a newer image replaces.
    pub update: UpdateNotebooks,
    /// What happens to deleted defaults.
    pub deleted: DeletedNotebooks,
}

/// What [`bring_in`] did; displayed, it is the start's summary line. Directories are
/// not counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Put where nothing was.
    pub installed: u64,
    /// Replaced by a newer one.
    pub updated: u64,
    /// Left because a person changed or wrote them.
    pub kept: u64,
    /// The image's already.
    pub current: u64,
    /// New ones put next to changed ones; these also count as kept.
    pub beside: u64,
    /// Left at another image's version (older image, `never`).
    pub left: u64,
    /// Deleted by the user and left away.
    pub deleted: u64,
    /// Something else is in the way.
    pub in_the_way: u64,
    /// What was not possible.
    pub degradations: Vec<Degradation>,
    /// One line for each file that a person may want to know about.
    pub reported: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            installed,
            updated,
            kept,
            current,
            ..
        } = self;
        write!(
            f,
            "notebooks: {installed} installed, {updated} updated, {kept} kept (changed by you), {current} current"
        )?;
        let more = [
            (self.beside, "put beside"),
            (self.left, "left at another version"),
            (self.deleted, "deleted by you"),
            (self.in_the_way, "with something else in the way"),
        ];
        let mut more = more.iter().filter(|(count, _)| *count > 0);
        more.try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}

/// Brings the defaults into the volume.
///
/// `stop` is asked, and `progress` told, now and then; a stop leaves what is done.
///
/// # Errors
///
/// [`VolumeError::SourceMissing`], a volume that cannot be opened, defaults that
/// cannot be listed, or `stop`; everything else is a degradation of the summary.
pub fn bring_in(
    _: &Dropped,
    defaults: &Defaults,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, VolumeError> {
    bring(defaults, Limits::REAL, stop, progress)
}

/// What [`bring_in`] would do; changes nothing and takes no lock.
///
/// # Errors
///
/// As [`bring_in`].
pub fn preview(defaults: &Defaults) -> Result<Vec<Action>, VolumeError> {
    let (mut source, mut volume) = open_both(defaults)?;
    let (mut unread, mut reported) = (Tally::default(), Vec::new());
    let offers = offers(defaults, &mut source, &volume, &mut unread, &mut reported)?;
    let home = tree::open_dir(volume.top(), home::NAME).ok();
    let mut manifest = home.and_then(|dir| home::peek(&dir)).unwrap_or_default();
    let trees = (&mut source, &mut volume);
    let survey = survey(&offers, &manifest, trees, &mut unread, &|| false, || Ok(()))?;
    manifest.resolve(|path, content| survey.volume.get(path) == Some(&Found::Is(content)));
    let policy = policy(defaults, &manifest);
    Ok(plan(&survey.image, &manifest, &survey.volume, policy))
}

/// How long we wait and how much we hold; and what the file system can do.
#[derive(Debug, Clone, Copy)]
struct Limits {
    lock: Duration,
    batch_files: usize,
    batch_bytes: u64,
    able: Able,
}

impl Limits {
    const REAL: Self = Self {
        lock: Duration::from_secs(30),
        batch_files: 4096,
        batch_bytes: 256 << 20,
        able: Able::ALL,
    };
}

fn policy(defaults: &Defaults, manifest: &Manifest) -> Policy {
    Policy {
        update: defaults.update,
        deleted: defaults.deleted,
        older: is_older(defaults.image_version.as_deref(), manifest.image.as_deref()),
    }
}

fn open_top(path: &Path) -> Result<OwnedFd, Errno> {
    // The settings may name them through a link; from here on none is followed.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn open_both(defaults: &Defaults) -> Result<(Tree, Tree), VolumeError> {
    let source = match open_top(&defaults.source) {
        Ok(source) => source,
        Err(Errno::NOENT | Errno::NOTDIR) => {
            return Err(VolumeError::SourceMissing(defaults.source.clone()));
        }
        Err(error) => return Err(source_error(defaults, error)),
    };
    let volume = open_top(&defaults.volume).map_err(|error| volume_error(defaults, error))?;
    Ok((Tree::new(source), Tree::new(volume)))
}

fn source_error(defaults: &Defaults, error: Errno) -> VolumeError {
    VolumeError::Source {
        directory: defaults.source.clone(),
        source: error.into(),
    }
}

fn volume_error(defaults: &Defaults, error: Errno) -> VolumeError {
    VolumeError::Open {
        directory: defaults.volume.clone(),
        at: defaults.volume.display().to_string(),
        source: error.into(),
    }
}

fn offers(
    defaults: &Defaults,
    source: &mut Tree,
    volume: &Tree,
    unread: &mut Tally,
    reported: &mut Vec<String>,
) -> Result<BTreeMap<Vec<u8>, Offer>, VolumeError> {
    let here = tree::look_at(volume.top()).map_err(|error| volume_error(defaults, error))?;
    let from = tree::look_at(source.top()).map_err(|error| source_error(defaults, error))?;
    if here.inode == from.inode {
        return Ok(BTreeMap::new());
    }
    survey::image(source, here.inode, unread, reported)
        .map_err(|error| source_error(defaults, error))
}

fn bring(
    defaults: &Defaults,
    limits: Limits,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, VolumeError> {
    let mut summary = Summary::default();
    let mut unread = Tally::default();
    let (mut source, mut volume) = open_both(defaults)?;
    let offers = offers(
        defaults,
        &mut source,
        &volume,
        &mut unread,
        &mut summary.reported,
    )?;

    let mut home = None;
    let mut manifest = Manifest::default();
    match home::open(volume.top(), limits.lock, stop, &mut summary.degradations)? {
        Opened::ReadOnly => {
            summary.degradations.push(Degradation::new(
                format!(
                    "{} is read-only: the notebook defaults were left alone",
                    defaults.volume.display()
                ),
                "mount the volume read-write to get new defaults",
            ));
            return Ok(summary);
        }
        Opened::Without(why) => summary.degradations.push(why),
        Opened::Home(mut open) => match open.read(&mut summary.degradations) {
            Ok(read) => {
                manifest = read;
                home = Some(open);
            }
            Err(why) => summary.degradations.push(why),
        },
    }
    if let Some(home) = &mut home
        && home.was_killed()
    {
        tidy(
            home,
            &mut volume,
            &offers,
            &manifest,
            &mut summary.degradations,
        );
        home.mark(false);
    }

    let policy = policy(defaults, &manifest);
    let same_image = manifest.image.is_some() && manifest.image == defaults.image_version;
    if !same_image {
        // Stamps of another image's files say nothing about this one's.
        manifest
            .entries
            .values_mut()
            .for_each(|entry| entry.in_image = None);
    }
    let total = offers.len() as u64;
    let mut count = 0;
    let mut each = || {
        count += 1;
        match count % REPORT_EVERY == 0 {
            true if stop() => Err(VolumeError::Stopped),
            true => Ok(progress(Progress {
                done: count,
                total: Some(2 * total),
            })),
            false => Ok(()),
        }
    };
    let trees = (&mut source, &mut volume);
    let survey = survey(&offers, &manifest, trees, &mut unread, stop, &mut each)?;
    manifest.resolve(|path, content| survey.volume.get(path) == Some(&Found::Is(content)));
    let actions = plan(&survey.image, &manifest, &survey.volume, policy);
    if !policy.older && defaults.image_version.is_some() {
        manifest.image.clone_from(&defaults.image_version);
    }
    let version_known = manifest.image.is_some() && manifest.image == defaults.image_version;

    let mut work = Work {
        source,
        volume,
        offers: &offers,
        survey: &survey,
        manifest,
        home,
        limits,
        version: defaults.image_version.as_deref(),
        version_known,
        stop,
        batch: Vec::new(),
        bytes: 0,
        full: 0,
        refused: Tally::default(),
        unread,
        summary,
    };
    for action in actions {
        let done = each().and_then(|()| work.act(&action));
        if let Err(error) = done {
            work.give_up();
            return Err(error);
        }
    }
    Ok(work.finish())
}

/// Removes what a killed start left; what may be a person's stays and is reported.
fn tidy(
    home: &Home,
    volume: &mut Tree,
    offers: &BTreeMap<Vec<u8>, Offer>,
    manifest: &Manifest,
    degradations: &mut Vec<Degradation>,
) {
    let known: BTreeSet<Digest> = manifest
        .entries
        .values()
        .flat_map(|entry| [entry.installed, entry.pending])
        .filter_map(|content| match content {
            Some(Content::File(digest) | Content::Link(digest)) => Some(digest),
            _ => None,
        })
        .collect();
    let paths = offers.keys().chain(manifest.entries.keys());
    let mut dirs: BTreeSet<&[u8]> = paths.map(|path| tree::split(path).0).collect();
    dirs.insert(b"");
    let mut buffer = vec![MaybeUninit::uninit(); 64 * 1024];
    let mut sweep = |list: Result<OwnedFd, Errno>, path: &[u8]| {
        let Ok(list) = list else { return };
        let mut names = Vec::new();
        let listed = tree::entries(&list, &mut buffer, |name, _| {
            names.push(name.to_owned());
            true
        });
        if listed.is_err() {
            return;
        }
        for name in names {
            let bytes = name.to_bytes();
            if place::is_temporary(bytes, NEW) {
                place::discard(list.as_fd(), &name);
            } else if place::is_temporary(bytes, OLD) {
                match place::content(list.as_fd(), &name) {
                    Some(Content::File(digest) | Content::Link(digest))
                        if known.contains(&digest) =>
                    {
                        place::discard(list.as_fd(), &name);
                    }
                    _ => degradations.push(stray(path, &name)),
                }
            }
        }
    };
    sweep(tree::open_dir(&home.dir, c"."), b".ai-lab");
    for dir in dirs {
        let list = volume
            .dir(dir, false)
            .and_then(|dir| tree::open_dir(dir, c"."));
        sweep(list, dir);
    }
}

fn stray(dir: &[u8], name: &std::ffi::CStr) -> Degradation {
    let path = shown(&[dir, b"/", name.to_bytes()].concat());
    Degradation::new(
        format!("{path} holds what someone wrote while a default was being replaced"),
        "rename it, or delete it if you do not need it",
    )
}

/// A complete file that waits for its batch to be flushed.
struct Staged {
    /// The default's path.
    path: Vec<u8>,
    /// Where it goes: `path`, or the name beside it.
    target: Vec<u8>,
    temp: CString,
    content: Content,
    verdict: Verdict,
    look: Option<Look>,
}

struct Work<'a> {
    source: Tree,
    volume: Tree,
    offers: &'a BTreeMap<Vec<u8>, Offer>,
    survey: &'a Survey,
    manifest: Manifest,
    home: Option<Box<Home>>,
    limits: Limits,
    version: Option<&'a str>,
    /// Whether stamps of the image's files are worth noting.
    version_known: bool,
    stop: &'a dyn Fn() -> bool,
    batch: Vec<Staged>,
    /// Size of the batch.
    bytes: u64,
    /// How many defaults found no room.
    full: u64,
    refused: Tally,
    unread: Tally,
    summary: Summary,
}

impl Work<'_> {
    fn act(&mut self, action: &Action) -> Result<(), VolumeError> {
        let Action { path, verdict } = action;
        let is_dir = matches!(self.offers.get(path), Some(Offer::Directory));
        let counted = u64::from(!is_dir);
        match verdict {
            Verdict::Install if is_dir => self.make_dir(path),
            Verdict::Install | Verdict::Replace | Verdict::Beside => self.stage(action)?,
            Verdict::Adopt | Verdict::Current => {
                self.note(path, self.survey.image.get(path).copied());
                self.summary.current += counted;
            }
            Verdict::Left => self.summary.left += counted,
            Verdict::Kept => self.keep(path),
            Verdict::Deleted => self.summary.deleted += counted,
            Verdict::Gone => {
                let line = format!("{} is no longer a default; it stays", shown(path));
                self.summary.reported.push(line);
            }
            Verdict::InTheWay => {
                self.summary.in_the_way += counted;
                let line = format!(
                    "{} is not brought in: something else is in the way",
                    shown(path)
                );
                self.summary.reported.push(line);
            }
        }
        if self.batch.len() >= self.limits.batch_files || self.bytes >= self.limits.batch_bytes {
            self.flush();
        }
        Ok(())
    }

    /// Notes that `path` is `content` now, with what the survey knows of it.
    fn note(&mut self, path: &[u8], content: Option<Content>) {
        let entry = self.manifest.entries.entry(path.to_vec()).or_default();
        let stamps = self.survey.stamps.get(path).copied().unwrap_or_default();
        entry.installed = content;
        entry.pending = None;
        entry.in_volume = stamps.0;
        entry.in_image = stamps.1.filter(|_| self.version_known);
    }

    /// Counts a changed file, and spares the next start from reading the image's.
    fn keep(&mut self, path: &[u8]) {
        self.summary.kept += 1;
        let image = self.survey.image.get(path).copied();
        if let Some(entry) = self.manifest.entries.get_mut(path)
            && entry.installed == image
        {
            let stamp = self.survey.stamps.get(path).and_then(|stamps| stamps.1);
            entry.in_image = stamp.filter(|_| self.version_known);
        }
    }

    fn make_dir(&mut self, path: &[u8]) {
        match self.volume.dir(path, true) {
            Ok(_) => self.note(path, Some(Content::Directory)),
            Err(error) => self.refused.add(error, || shown(path)),
        }
    }

    /// Writes the new file under a temporary name, in the directory where it goes.
    fn stage(&mut self, action: &Action) -> Result<(), VolumeError> {
        let Action { path, verdict } = action;
        if self.full > 0 {
            self.full += 1;
            return Ok(());
        }
        if self.batch.is_empty()
            && let Some(home) = &mut self.home
        {
            home.mark(true);
        }
        let target = match (verdict, self.survey.image.get(path)) {
            (Verdict::Beside, Some(content)) => beside(path, self.version, *content),
            _ => path.clone(),
        };
        match self.write(path, &target) {
            Ok((temp, content, look)) => {
                self.bytes += look.map_or(0, |look| look.size);
                self.batch.push(Staged {
                    path: path.clone(),
                    target,
                    temp,
                    content,
                    verdict: *verdict,
                    look,
                });
            }
            Err(Fault::Stopped) => return Err(VolumeError::Stopped),
            Err(Fault::Source(error)) => self.unread.add(error, || shown(path)),
            Err(Fault::Volume(Errno::NOSPC | Errno::DQUOT)) => self.full += 1,
            Err(Fault::Volume(error)) => self.refused.add(error, || shown(path)),
        }
        Ok(())
    }

    fn write(
        &mut self,
        path: &[u8],
        target: &[u8],
    ) -> Result<(CString, Content, Option<Look>), Fault> {
        let (dir, _) = self.volume.parent(target, true).map_err(Fault::Volume)?;
        match self.offers.get(path) {
            Some(Offer::Link(text, content)) => {
                let temp = place::stage_link(dir, text).map_err(Fault::Volume)?;
                Ok((temp, *content, None))
            }
            Some(Offer::File(_)) => {
                let (from, name) = self.source.parent(path, false).map_err(Fault::Source)?;
                let (file, look) = place::open_file(from, &name).map_err(Fault::Source)?;
                let (temp, content, file) =
                    place::stage_file(dir, file, look.mode & 0o111 != 0, self.stop)?;
                let look = tree::look_at(&file).map_err(Fault::Volume)?;
                Ok((temp, content, Some(look)))
            }
            _ => Err(Fault::Source(Errno::INVAL)),
        }
    }

    /// Puts the batch in place: note as pending, flush, rename, note as installed.
    fn flush(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        if batch.is_empty() {
            return;
        }
        for staged in batch
            .iter()
            .filter(|staged| staged.verdict != Verdict::Beside)
        {
            let entry = self
                .manifest
                .entries
                .entry(staged.path.clone())
                .or_default();
            entry.pending = Some(staged.content);
        }
        if let Err(error) = self.save().and_then(|()| self.sync(&batch)) {
            // Nothing was renamed: the old state, as a whole.
            for staged in &batch {
                self.drop_staged(staged);
            }
            match error {
                Errno::NOSPC | Errno::DQUOT => self.full += batch.len() as u64,
                error => batch
                    .iter()
                    .for_each(|s| self.refused.add(error, || shown(&s.path))),
            }
            return;
        }
        for staged in batch {
            self.settle(staged);
        }
    }

    fn save(&mut self) -> Result<(), Errno> {
        match &mut self.home {
            Some(home) => home.write(&mut self.manifest),
            None => Ok(()),
        }
    }

    /// One syncfs for each file system that the batch is on.
    fn sync(&mut self, batch: &[Staged]) -> Result<(), Errno> {
        let mut synced = BTreeSet::new();
        for staged in batch {
            let Some(look) = staged.look else { continue };
            if synced.insert(look.inode.dev) {
                let (dir, _) = self.volume.parent(&staged.target, false)?;
                rustix::fs::syncfs(tree::open_dir(dir, c".")?)?;
            }
        }
        Ok(())
    }

    /// Renames one staged file and notes how that ended.
    fn settle(&mut self, staged: Staged) {
        let able = self.limits.able;
        let Staged {
            path,
            target,
            temp,
            content,
            verdict,
            ..
        } = &staged;
        let entry = self.manifest.entries.entry(path.clone()).or_default();
        let was = entry.installed;
        entry.pending = None;
        let (dir, name) = match self.volume.parent(target, false) {
            Ok(found) => found,
            Err(error) => return self.refused.add(error, || shown(path)),
        };
        let placed = match verdict {
            Verdict::Replace => place::replace(dir, temp, &name, *content, able, &|c| {
                c == *content || was == Some(c)
            }),
            _ => place::install(dir, temp, &name, able),
        };
        match (&placed, verdict) {
            (Placed::Done, Verdict::Beside) => {
                entry.beside = Some(*content);
                self.summary.beside += 1;
                self.summary.kept += 1;
                let line = format!("{} is new; yours is kept in {}", shown(target), shown(path));
                self.summary.reported.push(line);
            }
            (Placed::Done, _) => {
                entry.installed = Some(*content);
                entry.in_image = None;
                // Renaming stamps it; what was written since would change `modified`.
                let now = tree::look(dir, &name).ok().zip(staged.look);
                let same = now
                    .filter(|(now, then)| now.inode == then.inode && now.modified == then.modified);
                entry.in_volume = same.and_then(|(look, _)| Stamp::settled(&look, tree::now()));
                let stamp = self.offers.get(path).and_then(|offer| match offer {
                    Offer::File(look) if self.version_known => Stamp::settled(look, tree::now()),
                    _ => None,
                });
                entry.in_image = stamp;
                match verdict {
                    Verdict::Replace => self.summary.updated += 1,
                    _ => self.summary.installed += 1,
                }
            }
            (Placed::Theirs, _) => self.summary.kept += 1,
            (Placed::Stray(name), _) => {
                self.summary.kept += 1;
                let stray = stray(tree::split(target).0, name);
                self.summary.degradations.push(stray);
            }
            (Placed::Unable(error), _) => self.refused.add(*error, || shown(path)),
        }
    }

    fn drop_staged(&mut self, staged: &Staged) {
        if let Ok((dir, _)) = self.volume.parent(&staged.target, false) {
            place::discard(dir, &staged.temp);
        }
        if let Some(entry) = self.manifest.entries.get_mut(&staged.path) {
            entry.pending = None;
        }
    }

    /// Tidies up before a stop; what is in place stays, and is noted.
    fn give_up(&mut self) {
        for staged in std::mem::take(&mut self.batch) {
            self.drop_staged(&staged);
        }
        let _ = self.save();
        if let Some(home) = &mut self.home {
            home.mark(false);
        }
    }

    fn finish(mut self) -> Summary {
        self.flush();
        self.manifest.entries.retain(|_, entry| {
            entry.installed.is_some() || entry.beside.is_some() || entry.pending.is_some()
        });
        let saved = self.save();
        if let Some(home) = &mut self.home {
            home.mark(false);
        }
        let degradations = &mut self.summary.degradations;
        if let Err(error) = saved {
            degradations.push(Degradation::new(
                format!("the record of the notebook defaults could not be written: {error}"),
                "make room, or make .ai-lab in the notebooks directory writable",
            ));
        }
        if self.full > 0 {
            degradations.push(Degradation::new(
                format!(
                    "the volume is full: {} notebook defaults were not brought in",
                    self.full
                ),
                "make room and start again",
            ));
        }
        degradations.extend(
            self.unread
                .degradations("read", "check the files and their modes"),
        );
        degradations.extend(self.refused.degradations(
            "write",
            "make the notebooks directory writable for the user, or see what its file system lacks",
        ));
        self.summary
    }
}

/// `NAME.VERSION.EXT` for a new default next to a changed one.
fn beside(path: &[u8], version: Option<&str>, content: Content) -> Vec<u8> {
    let version = match (version, content) {
        (Some(version), _) => version.replace(['/', '\0'], "-"),
        (None, Content::File(digest)) => format!("{digest:?}")[..8].to_owned(),
        (None, _) => "new".to_owned(),
    };
    let (_, name) = tree::split(path);
    let dot = name
        .iter()
        .rposition(|byte| *byte == b'.')
        .filter(|at| *at > 0);
    let at = path.len() - name.len() + dot.unwrap_or(name.len());
    [&path[..at], b".", version.as_bytes(), &path[at..]].concat()
}

#[cfg(test)]
#[path = "defaults_tests.rs"]
mod tests;
