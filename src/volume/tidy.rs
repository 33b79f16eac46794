//! Tidying up after a start that was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::home::Home;
use super::manifest::{Content, Digest, Manifest};
use super::place::{self, NEW, OLD};
use super::shown;
use super::survey::Offer;
use super::tree::{self, Tree};
use crate::degradation::Degradation;

/// Removes what a killed start left; what may be a person's stays and is reported.
pub(super) fn tidy(
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
            let ours = || match place::content(list.as_fd(), &name) {
                Ok(Some(Content::File(digest) | Content::Link(digest))) => known.contains(&digest),
                _ => false,
            };
            if place::is_temporary(bytes, NEW) || place::is_temporary(bytes, OLD) && ours() {
                place::discard(list.as_fd(), &name);
            } else if place::is_temporary(bytes, OLD) {
                degradations.push(stray(path, &name));
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

/// A file that came out of a replacement and could not go back.
pub(super) fn stray(dir: &[u8], name: &CStr) -> Degradation {
    let slash: &[u8] = if dir.is_empty() { b"" } else { b"/" };
    let path = shown(&[dir, slash, name.to_bytes()].concat());
    Degradation::new(
        format!("{path} holds what someone wrote while a default was being replaced"),
        "rename it, or delete it if you do not need it",
    )
}
