//! The promises about the notebooks hold on each kind of file system that can be mounted here.
//!
//! A few moments of each promise on the two kinds that lack most: bindfs has no flags of
//! renameat2(2), as NFS, and exFAT no hard links either. `scripts/test --long` runs every
//! moment of these, and a few on all other kinds. `docs/limits.md` lists them.

use crate::support::file_systems::{EXCHANGING, Kind, LINKING};
use crate::support::lab::{Lab, change, first, second, updated};
use crate::support::repeated;
use crate::{edited_meanwhile, killed_anywhere};

/// An install, an update and a start with nothing to do.
fn install_and_update(kind: Kind) {
    let lab = Lab::on(kind, "unmodified");
    for (version, files) in [("1.0.0", first()), ("2.0.0", second())] {
        lab.offer(version, &lab.possible(files));
    }
    lab.clear();
    lab.finish("1.0.0");
    lab.assert_finished("installed", &lab.possible(first()), "");
    let theirs = change(&lab.volume());
    lab.finish("2.0.0");
    let all = updated(&lab.possible(second()), &theirs);
    lab.assert_finished("updated", &all, "mine.ipynb: FAILED\n");
    let ended = lab.start("2.0.0").run();
    let told = "notebooks: 0 installed, 0 updated, 1 kept (changed by you)";
    assert!(ended.stderr.contains(told), "{kind:?}: {}", ended.stderr);
}

fn at_every_moment(kind: Kind) {
    install_and_update(kind);
    killed_anywhere::kill_first_installs(kind);
    killed_anywhere::kill_updates(kind);
    killed_anywhere::fail_updates(kind);
    edited_meanwhile::save_at_any_moment(kind);
    edited_meanwhile::create_at_any_moment(kind);
}

/// Installs and updates on the first kind; or, with AI_LAB_LONG, does everything on all.
fn on_some_or_all(kinds: &[Kind]) {
    for kind in &kinds[..repeated(1, kinds.len())] {
        repeated(install_and_update as fn(Kind), at_every_moment)(*kind);
    }
}

#[test]
fn bindfs_gets_updates_that_are_killed_anywhere() {
    install_and_update(Kind::Bindfs);
    killed_anywhere::kill_updates(Kind::Bindfs);
}

#[test]
fn bindfs_keeps_what_is_saved_at_any_moment() {
    edited_meanwhile::save_at_any_moment(Kind::Bindfs);
}

#[test]
fn bindfs_gets_updates_after_failures() {
    killed_anywhere::fail_updates(Kind::Bindfs);
}

#[test]
fn exfat_gets_updates_that_are_killed_anywhere() {
    install_and_update(Kind::Exfat);
    killed_anywhere::kill_first_installs(Kind::Exfat);
    killed_anywhere::kill_updates(Kind::Exfat);
}

#[test]
fn exfat_keeps_what_is_saved_at_any_moment() {
    edited_meanwhile::save_at_any_moment(Kind::Exfat);
    edited_meanwhile::create_at_any_moment(Kind::Exfat);
}

#[test]
fn exfat_gets_updates_after_failures() {
    killed_anywhere::fail_updates(Kind::Exfat);
}

#[test]
fn every_kind_that_exchanges_files_keeps_the_promises() {
    on_some_or_all(&EXCHANGING);
}

#[test]
fn every_kind_that_links_files_keeps_the_promises() {
    on_some_or_all(&LINKING);
}
