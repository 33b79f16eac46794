//! What a person asks for by hand: how the defaults stand, what differs, and one back.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::io::Read;
use std::os::fd::BorrowedFd;

use rustix::fs::{Access, AtFlags, RenameFlags};
use rustix::io::Errno;

use super::defaults::{
    Defaults, bring_some, forget_another_image, left_alone, offers, offers_alone, open_both,
    open_source, policy,
};
use super::manifest::Manifest;
use super::plan::{Action, Found, Verdict, plan};
use super::survey::{Offer, survey};
use super::tree::{self, Rights, Tree};
use super::work::{REFUSED, UNREAD};
use super::{REPORT_EVERY, Tally, VolumeError, home, place, shown};
use crate::degradation::Degradation;
use crate::identity::Dropped;

/// A file is compared up to this many bytes.
const LONGEST: u64 = 64 << 20;

/// How the defaults stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The version of the image that last brought defaults in.
    pub installed: Option<String>,
    /// What the next start will do about each default.
    pub files: Vec<Action>,
}

/// How the defaults stand; changes nothing and takes no lock.
///
/// # Errors
///
/// As [`bring_in`](super::bring_in).
pub fn standing(_: &Dropped, defaults: &Defaults) -> Result<Standing, VolumeError> {
    let (mut source, mut volume) = open_both(defaults)?;
    let home = tree::open_dir(volume.top(), home::NAME).ok();
    let manifest = home.and_then(|dir| home::peek(&dir)).unwrap_or_default();
    let trees = (&mut source, &mut volume);
    Ok(look(defaults, trees, manifest, &|| false)?.0)
}

/// How they stand, and what a start would tell of it.
fn look(
    defaults: &Defaults,
    (source, volume): (&mut Tree, &mut Tree),
    mut manifest: Manifest,
    stop: &dyn Fn() -> bool,
) -> Result<(Standing, Vec<Degradation>), VolumeError> {
    let (mut unread, mut reported) = (Tally::default(), Vec::new());
    let offers = offers(defaults, source, volume, &mut unread, &mut reported)?;
    forget_another_image(defaults, &mut manifest);
    let mut done = 0;
    let each = || {
        done += 1;
        match done % REPORT_EVERY == 0 && stop() {
            true => Err(VolumeError::Stopped),
            false => Ok(()),
        }
    };
    let trees = (source, volume);
    let mut survey = survey(&offers, &manifest, trees, &mut unread, stop, each)?;
    let mut told = std::mem::take(&mut survey.degradations);
    told.extend(unread.degradations("read", UNREAD));
    manifest.resolve(|path, content| survey.volume.get(path) == Some(&Found::Is(content)));
    let policy = policy(defaults, &manifest);
    let standing = Standing {
        files: plan(&survey.image, &manifest, &survey.volume, policy),
        installed: manifest.image,
    };
    Ok((standing, told))
}

/// What a start would do with these `rights`. Root may ask for a user to whom everything
/// will be handed over: it looks and reads, and follows no link; what of the image that
/// user cannot read, [`unread_taken`] takes out afterwards. `made`: a volume that is not
/// there would be made before.
///
/// # Errors
///
/// As [`bring_in`](super::bring_in).
pub fn foresee_defaults(
    defaults: &Defaults,
    made: bool,
    rights: Rights,
    stop: &dyn Fn() -> bool,
) -> Result<Foreseen, VolumeError> {
    let (mut source, mut volume) = match open_both(defaults) {
        Ok(both) => both,
        Err(error) if error.is_absent() && made => {
            let mut source = open_source(defaults)?;
            let mut unread = Tally::default();
            let paths = offers_alone(defaults, &mut source, &mut unread)?.into_keys();
            let verdict = Verdict::Install;
            return Ok(Foreseen {
                files: paths.map(|path| Action { path, verdict }).collect(),
                recorded: true,
                degradations: unread.degradations("read", UNREAD).collect(),
            });
        }
        Err(error) => return Err(error),
    };
    if tree::is_read_only(volume.top()) {
        return Ok(Foreseen {
            files: Vec::new(),
            recorded: false,
            degradations: vec![left_alone(defaults)],
        });
    }
    let mut degradations = Vec::new();
    let record = home::foresee(volume.top(), rights, &mut degradations);
    let recorded = record.is_ok();
    // As in a start: what cannot be kept is not gone by either.
    let manifest = record.unwrap_or_else(|why| {
        degradations.push(why);
        Manifest::default()
    });
    let (standing, told) = look(defaults, (&mut source, &mut volume), manifest, stop)?;
    let mut files = standing.files;
    degradations.extend(told);
    degradations.extend(take_refused(&mut volume, rights, &mut files));
    Ok(Foreseen {
        files,
        recorded,
        degradations,
    })
}

/// Takes out what the volume would refuse, as far as its directories tell.
fn take_refused(volume: &mut Tree, rights: Rights, files: &mut Vec<Action>) -> Vec<Degradation> {
    use Verdict::{Beside, Install, Replace};
    let mut refused = Tally::default();
    files.retain(|action| {
        let writes = matches!(action.verdict, Install | Replace | Beside);
        let may = match writes {
            true => may_write(volume, rights, &action.path),
            false => Ok(()),
        };
        if let Err(error) = may {
            refused.add(error, || action.shown());
        }
        may.is_ok()
    });
    refused.degradations("write", REFUSED).collect()
}

/// Whether something could be made at `path`, and the directories above it that are not
/// there.
fn may_write(volume: &mut Tree, rights: Rights, path: &[u8]) -> Result<(), Errno> {
    let mut above = tree::split(path).0;
    loop {
        match volume.dir(above, false) {
            // The top is there.
            Err(Errno::NOENT) => above = tree::split(above).0,
            dir => return rights.may_change(dir?),
        }
    }
}

/// Takes out of what root foresaw what the user cannot read in the image.
///
/// # Errors
///
/// The defaults cannot be opened or listed.
pub fn unread_taken(
    _: &Dropped,
    defaults: &Defaults,
    mut foreseen: Foreseen,
) -> Result<Foreseen, VolumeError> {
    use Verdict::{Adopt, Beside, Install, Replace};
    let mut unread = Tally::default();
    let mut source = open_source(defaults)?;
    let offers = offers_alone(defaults, &mut source, &mut unread)?;
    foreseen.files.retain(|Action { path, verdict }| {
        let may = match offers.get(path) {
            _ if !matches!(verdict, Install | Replace | Beside | Adopt) => Ok(()),
            Some(Offer::File(_)) => source.parent(path, false).and_then(|(dir, name)| {
                rustix::fs::accessat(dir, name, Access::READ_OK, AtFlags::empty())
            }),
            Some(_) => Ok(()),
            // Its directory cannot be listed, which was counted.
            None => return false,
        };
        if let Err(error) = may {
            unread.add(error, || shown(path));
        }
        may.is_ok()
    });
    let told = unread.degradations("read", UNREAD);
    foreseen.degradations.extend(told);
    Ok(foreseen)
}

/// What a start would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// About each default.
    pub files: Vec<Action>,
    /// Whether it could write down what it did.
    pub recorded: bool,
    /// What it could not do as asked.
    pub degradations: Vec<Degradation>,
}

/// A default as it is in the volume and in the image; `None`: it is no regular file
/// there, or longer than 64 MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// The volume's.
    pub yours: Option<Vec<u8>>,
    /// The image's.
    pub image: Option<Vec<u8>>,
}

/// Reads both versions of one default.
///
/// # Errors
///
/// The defaults or the volume cannot be opened.
pub fn versions(_: &Dropped, defaults: &Defaults, path: &[u8]) -> Result<Versions, VolumeError> {
    let (mut source, mut volume) = open_both(defaults)?;
    Ok(Versions {
        yours: read(&mut volume, path),
        image: read(&mut source, path),
    })
}

fn read(tree: &mut Tree, path: &[u8]) -> Option<Vec<u8>> {
    let (dir, name) = tree.parent(path, false).ok()?;
    let (file, _) = place::open_file(dir, &name).ok()?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= LONGEST).then_some(bytes)
}

/// What became of one default that was to be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restored {
    /// It is the image's now; nothing was there.
    Back,
    /// It is the image's now; what was there is under this name.
    Aside(Vec<u8>),
    /// It was the image's already.
    Current,
    /// The image has no such default.
    Unknown,
    /// What is there could not be put aside, or the default not be put in place.
    Refused(Errno),
}

/// Brings these defaults back, and every default below one that is a directory. What
/// a person wrote is put aside, under a name that tells whose it is.
///
/// # Errors
///
/// As [`bring_in`](super::bring_in).
pub fn restore(
    _: &Dropped,
    defaults: &Defaults,
    wanted: &[Vec<u8>],
) -> Result<Vec<(Vec<u8>, Restored)>, VolumeError> {
    let (mut source, mut volume) = open_both(defaults)?;
    let (mut unread, mut reported) = (Tally::default(), Vec::new());
    let offers = offers(defaults, &mut source, &volume, &mut unread, &mut reported)?;
    let mut results = Vec::new();
    for path in wanted {
        let below = |known: &[u8]| {
            let rest = known.strip_prefix(path.as_slice());
            rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        let mut known = offers.keys().filter(|known| below(known)).peekable();
        if known.peek().is_none() {
            results.push((path.clone(), Restored::Unknown));
        }
        for path in known {
            let same = is_current(&mut source, &mut volume, path, &offers[path]);
            let result = if same {
                Restored::Current
            } else {
                match put_aside(&mut volume, path) {
                    Ok(Some(name)) => Restored::Aside(name),
                    Ok(None) => Restored::Back,
                    Err(error) => Restored::Refused(error),
                }
            };
            results.push((path.clone(), result));
        }
    }
    let absent = |result: &Restored| matches!(result, Restored::Back | Restored::Aside(_));
    let todo: BTreeSet<Vec<u8>> = results
        .iter()
        .filter(|(_, result)| absent(result))
        .map(|(path, _)| path.clone())
        .collect();
    let anyway = Defaults {
        deleted: crate::settings::DeletedNotebooks::Restore,
        ..defaults.clone()
    };
    bring_some(&anyway, &|path| todo.contains(path))?;
    for (path, result) in results.iter_mut().filter(|(_, result)| absent(result)) {
        if !is_current(&mut source, &mut volume, path, &offers[path]) {
            *result = Restored::Refused(Errno::IO);
        }
    }
    Ok(results)
}

fn is_current(source: &mut Tree, volume: &mut Tree, path: &[u8], offer: &Offer) -> bool {
    let here = |tree: &mut Tree| {
        let (dir, name) = tree.parent(path, false).ok()?;
        place::content(dir, &name).ok()?
    };
    match offer {
        Offer::Link(_, content) => here(volume) == Some(*content),
        Offer::File(_) | Offer::Directory => {
            let there = here(volume);
            there.is_some() && there == here(source)
        }
    }
}

/// Gives what is at `path` another name; the new path, or `None` if nothing is there.
fn put_aside(volume: &mut Tree, path: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let (dir, name) = match volume.parent(path, false) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    match tree::look(dir, &name) {
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    let aside = rename_aside(dir, &name)?;
    let (above, _) = tree::split(path);
    let mut new = above.to_vec();
    if !new.is_empty() {
        new.push(b'/');
    }
    new.extend_from_slice(aside.to_bytes());
    Ok(Some(new))
}

/// `NAME.yours.EXT`, or with the first free number: `NAME.yours-2.EXT`.
fn rename_aside(dir: BorrowedFd<'_>, name: &CStr) -> Result<CString, Errno> {
    let bytes = name.to_bytes();
    // A dot at the front is no extension's.
    let dot = bytes.iter().rposition(|byte| *byte == b'.');
    let (stem, extension) = bytes.split_at(dot.filter(|at| *at > 0).unwrap_or(bytes.len()));
    for number in 1..1000 {
        let mark = match number {
            1 => ".yours".to_owned(),
            _ => format!(".yours-{number}"),
        };
        let new = [stem, mark.as_bytes(), extension].concat();
        let new = CString::new(new).map_err(|_| Errno::INVAL)?;
        match rustix::fs::renameat_with(dir, name, dir, &new, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(new),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::EXIST)
}

#[cfg(test)]
#[path = "mend_tests.rs"]
mod tests;
