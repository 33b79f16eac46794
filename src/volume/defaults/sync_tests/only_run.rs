//! Notebooks that a person only ran: replaced, and their copies kept.

use serde_json::json;

use super::*;
use crate::volume::defaults::open::open;
use crate::volume::defaults::restore::status_of;
use crate::volume::{Action, Decision};

const A: &str = "dir/a.ipynb";
const KEPT: &str = ".ai-lab/kept/1.0.0/dir/a.ipynb";

/// Returns a notebook with one code cell, and the outputs of this many runs.
fn notebook(source: &str, runs: usize) -> String {
    let cell = json!({
        "cell_type": "code",
        "source": source,
        "execution_count": runs,
        "outputs": vec![json!({"output_type": "stream", "text": "x"}); runs],
    });
    json!({"nbformat": 4, "metadata": {"signature": runs}, "cells": [cell]}).to_string()
}

/// Returns the lab after version 1.0.0 installed a notebook, which was then run `runs` times.
fn run_lab(runs: usize) -> Lab {
    let lab = Lab::new(&[(A, &notebook("1 + 1", 0))]);
    lab.starts("1 installed, 0 updated, 0 kept (changed by you), 0 current");
    lab.write(A, &notebook("1 + 1", runs));
    lab
}

fn updated(lab: Lab) -> Lab {
    lab.image("2.0.0", &[(A, &notebook("2 + 2", 0))])
}

const UPDATED: &str = "0 installed, 1 updated, 0 kept (changed by you), 0 current, 1 replaced after you ran \
                       them (your copies: ai-lab-entrypoint notebooks restore --kept)";
const STAYS: &str = "0 installed, 0 updated, 1 kept (changed by you), 0 current";

/// Returns the state of the only default.
fn state(lab: &Lab, compared: Compared) -> Decision {
    let defaults = lab.defaults();
    let mut opened = open(&defaults, &|| false).unwrap();
    let status = status_of(&defaults, &mut opened, lab.manifest(), compared, &|| false);
    let files = status.unwrap().files;
    let [Action { decision, .. }] = files[..] else {
        panic!("{files:?}");
    };
    decision
}

#[test]
fn cells_that_starts_without_the_lock_lost_are_recorded_again() {
    let mut lab = run_lab(0);
    // As another start left it that knew nothing of this one.
    lab.write(".ai-lab/cells.jsonl", "");
    lab.limits.lock = Duration::ZERO;
    let held = fs::File::open(lab.volume(".ai-lab/lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    lab.start();
    assert!(lab.read(".ai-lab/cells.jsonl").contains("1 + 1"));
}

#[test]
fn what_was_only_run_is_replaced_and_the_copy_with_its_outputs_is_kept() {
    let lab = run_lab(3);
    assert_eq!(state(&lab, Compared::All), Decision::Run);
    assert_eq!(state(&lab, Compared::AsInStart), Decision::Kept);
    lab.starts(STAYS);
    let lab = updated(lab);
    assert_eq!(state(&lab, Compared::AsInStart), Decision::ReplaceRun);
    wait_past_ctime(&lab.volume(A));
    lab.starts(UPDATED);
    // No later start reads it to know it again.
    assert!(lab.entry(A).kept[0].stamp.is_some());
    assert_eq!(lab.read(A), notebook("2 + 2", 0));
    assert_eq!(lab.read(KEPT), notebook("1 + 1", 3));
    assert_eq!(state(&lab, Compared::All), Decision::Current);
    lab.starts("0 installed, 0 updated, 0 kept (changed by you), 1 current");
}

#[test]
fn what_real_programs_save_after_a_run_was_only_run() {
    let installed = include_str!("../../../../tests/support/notebooks/installed.ipynb");
    for saved in [
        include_str!("../../../../tests/support/notebooks/jupyterlab-4.2.7-to-4.6.6.ipynb"),
        include_str!("../../../../tests/support/notebooks/jupyterlab-4.6.6-upgraded.ipynb"),
        include_str!("../../../../tests/support/notebooks/nbclient-0.11.0.ipynb"),
        include_str!("../../../../tests/support/notebooks/nbconvert-7.17.2-inplace.ipynb"),
        include_str!("../../../../tests/support/notebooks/papermill-2.7.0.ipynb"),
    ] {
        let lab = Lab::new(&[(A, installed)]);
        lab.start();
        lab.write(A, saved);
        updated(lab).starts(UPDATED);
    }
}

#[test]
fn the_cells_of_a_notebook_that_was_there_before_are_recorded_too() {
    let lab = Lab::new(&[(A, &notebook("1 + 1", 0))]);
    lab.start();
    let two = [(A, &*notebook("1 + 1", 0)), ("b.ipynb", &notebook("b", 0))];
    let lab = lab.image("1.1.0", &two);
    lab.write("b.ipynb", &notebook("b", 0));
    lab.starts("0 installed, 0 updated, 0 kept (changed by you), 2 current");
    lab.write("b.ipynb", &notebook("b", 1));
    let next = [(A, &*notebook("1 + 1", 0)), ("b.ipynb", &notebook("c", 0))];
    assert_eq!(lab.image("2.0.0", &next).start().run, 1);
}

#[test]
fn what_was_edited_stays() {
    let lab = run_lab(0);
    lab.write(A, &notebook("1 + 1 # mine", 3));
    assert_eq!(state(&lab, Compared::All), Decision::Kept);
    let lab = updated(lab);
    lab.starts(STAYS);
    lab.starts(STAYS);
    assert_eq!(lab.read(A), notebook("1 + 1 # mine", 3));
    assert!(!lab.volume(".ai-lab/kept").exists());
}

#[test]
fn an_edited_notebook_is_read_once() {
    let lab = updated(run_lab(0));
    lab.write(A, &notebook("mine", 3));
    wait_past_ctime(&lab.volume(A));
    lab.starts(STAYS);
    assert!(lab.entry(A).yours.is_some());
    // Root reads what it cannot; the record says enough.
    let record = lab.read(".ai-lab/cells.jsonl").replace("1 + 1", "mine");
    lab.write(".ai-lab/cells.jsonl", &record);
    lab.starts(STAYS);
    lab.write(A, &notebook("mine", 4));
    lab.starts(UPDATED);
}

#[test]
fn the_policies_hold_for_what_was_only_run() {
    for (update, version, summary) in [
        (UpdateNotebooks::Beside, "2.0.0", UPDATED),
        (UpdateNotebooks::Never, "2.0.0", STAYS),
        (UpdateNotebooks::Unmodified, "0.9.0", STAYS),
    ] {
        let lab = run_lab(1).policy(update, DeletedNotebooks::Restore);
        let lab = lab.image(version, &[(A, &notebook("2 + 2", 0))]);
        lab.starts(summary);
        assert_eq!(lab.volume(KEPT).exists(), summary == UPDATED, "{update:?}");
    }
}

#[test]
fn a_volume_without_recorded_cells_gets_them_from_the_same_image() {
    let record = ".ai-lab/cells.jsonl";
    let lab = run_lab(2);
    fs::remove_file(lab.volume(record)).unwrap();
    assert_eq!(state(&lab, Compared::All), Decision::Run);
    let lab = updated(lab);
    lab.starts(STAYS);
    let lab = lab.image("1.0.0", &[(A, &notebook("1 + 1", 0))]);
    fs::remove_file(lab.volume(record)).unwrap();
    lab.start();
    let written = changed(&lab.volume(record));
    lab.start();
    assert_eq!(changed(&lab.volume(record)), written);
    updated(lab).starts(UPDATED);
}

#[test]
fn what_is_edited_while_it_is_replaced_goes_back() {
    let lab = Lab::new(&[(A, &notebook("1 + 1", 0))]);
    lab.start();
    lab.write(A, &notebook("1 + 1", 1));
    let new = notebook(&format!("2 # {}", big('x')), 0);
    let lab = lab.image("2.0.0", &[(A, &new)]);
    // Of the same size.
    let edited = notebook("1 + 2", 1);
    // The new version is being staged, and the survey is over.
    let summary = lab.start_while(|_| {
        if lab.volume("dir").read_dir().unwrap().count() == 2 {
            lab.write(A, &edited);
        }
    });
    assert_eq!((summary.updated, summary.kept), (0, 1));
    assert_eq!(lab.read(A), edited);
    assert!(!lab.volume(KEPT).exists());
}

#[test]
fn where_no_copy_can_be_kept_the_notebook_stays() {
    let block: [fn(&Lab); 3] = [
        |lab| _ = lab.write(".ai-lab/kept", "a file"),
        |lab| symlink("/tmp", lab.volume(".ai-lab/kept")).unwrap(),
        |lab| {
            fs::create_dir(lab.volume(".ai-lab/kept")).unwrap();
            symlink("/tmp", lab.volume(".ai-lab/kept/1.0.0")).unwrap();
        },
    ];
    for block in block {
        let lab = updated(run_lab(1));
        block(&lab);
        let summary = lab.start();
        assert_eq!((summary.updated, summary.kept), (0, 1));
        assert!(causes(&summary).starts_with("could not keep your copy of 1 entry, first dir/a"));
        assert_eq!(lab.read(A), notebook("1 + 1", 1));
    }
}

#[test]
fn on_another_mount_below_the_volume_the_notebook_stays() {
    let lab = Lab::new(&[(A, &notebook("1 + 1", 0))]);
    with_mounts(|| {
        fs::create_dir(lab.volume("dir")).unwrap();
        mount_tmpfs(&lab.volume("dir"), "1m");
        lab.start();
        lab.write(A, &notebook("1 + 1", 1));
        let lab = updated(lab);
        let summary = lab.start();
        assert_eq!((summary.updated, summary.kept), (0, 1));
        assert!(causes(&summary).starts_with("could not keep your copy of 1 entry"));
        lab.holds(&[("dir", "dir"), (A, &notebook("1 + 1", 1))]);
    });
}

#[test]
fn the_newest_copies_of_a_notebook_stay_and_a_changed_copy_does() {
    let kept = |version: u32| format!(".ai-lab/kept/{version}.0.0/a.ipynb");
    let mut lab = Lab::new(&[("a.ipynb", &notebook("1", 0))]);
    lab.start();
    let mut reported = Vec::new();
    for version in 1..=6_u32 {
        lab.write("a.ipynb", &notebook(&version.to_string(), 1));
        let next = version + 1;
        lab = lab.image(
            &format!("{next}.0.0"),
            &[("a.ipynb", &notebook(&next.to_string(), 0))],
        );
        let summary = lab.start();
        assert_eq!(summary.run, 1);
        reported.extend(summary.reported);
        if version == 2 {
            lab.write(&kept(2), "mine now");
        }
    }
    let there = (1..=6).filter(|version| lab.volume(&kept(*version)).exists());
    assert_eq!(there.collect::<Vec<_>>(), [2, 4, 5, 6]);
    assert_eq!(lab.read(&kept(2)), "mine now");
    assert_eq!(reported.len(), 2);
    assert!(reported[0].ends_with("the one of 1.0.0 was deleted"));
    assert!(!lab.volume(".ai-lab/kept/1.0.0").exists());
}

#[test]
fn a_second_copy_of_one_version_gets_a_directory_of_its_own() {
    let lab = updated(run_lab(1));
    fs::create_dir_all(lab.volume(KEPT).parent().unwrap()).unwrap();
    lab.write(KEPT, "mine");
    lab.starts(UPDATED);
    assert_eq!(lab.read(KEPT), "mine");
    let second = ".ai-lab/kept/1.0.0_2/dir/a.ipynb";
    assert_eq!(lab.read(second), notebook("1 + 1", 1));
}

/// Makes what a kill leaves at each point of the replacement.
#[test]
fn a_kill_at_any_point_loses_no_copy_and_the_next_start_finishes() {
    const NEW_NAME: &str = "dir/.ai-lab.new-0123456789abcdef";
    const OLD_NAME: &str = "dir/.ai-lab.old-0123456789abcdef";
    let (old, run, new) = (
        notebook("1 + 1", 0),
        notebook("1 + 1", 7),
        notebook("2 + 2", 0),
    );
    let points: [(&str, &[(&str, &str)]); 5] = [
        ("staged", &[(A, &run), (NEW_NAME, &new)]),
        ("before the exchange", &[(A, &run), (OLD_NAME, &new)]),
        ("after the exchange", &[(A, &new), (OLD_NAME, &run)]),
        ("kept", &[(A, &new), (KEPT, &run)]),
        ("not even staged", &[(A, &run)]),
    ];
    for (point, files) in points {
        let lab = Lab::new(&[(A, &old)]);
        lab.start();
        let mut manifest = lab.manifest();
        let entry = manifest.entries.get_mut(A.as_bytes()).unwrap();
        entry.pending = Some(file(&new));
        entry.kept.push(KeptCopy {
            directory: "1.0.0".into(),
            digest: Digest::of(run.as_bytes()),
            stamp: None,
        });
        lab.write_manifest(&manifest);
        fs::create_dir_all(lab.volume(KEPT).parent().unwrap()).unwrap();
        for (name, text) in files {
            lab.write(name, text);
        }
        lab.write(".ai-lab/lock", "x");
        let lab = updated(lab);
        assert_eq!(causes(&lab.start()), "", "{point}");
        lab.holds(&[("dir", "dir"), (A, &new)]);
        assert_eq!(lab.read(KEPT), run, "{point}");
        assert_eq!(lab.entry(A).kept.len(), 1, "{point}");
        // The cells of the new version are recorded, too.
        lab.write(A, &notebook("2 + 2", 1));
        let lab = lab.image("3.0.0", &[(A, &notebook("3 + 3", 0))]);
        lab.starts(UPDATED);
    }
}

#[test]
fn every_file_system_keeps_the_copies() {
    for kind in FileSystem::ALL {
        let lab = Lab::on(kind, &[(A, &notebook("1 + 1", 0))]);
        lab.start();
        lab.write(A, &notebook("1 + 1", 1));
        let lab = updated(lab);
        lab.starts(UPDATED);
        assert_eq!(lab.read(A), notebook("2 + 2", 0), "{kind:?}");
        assert_eq!(lab.read(KEPT), notebook("1 + 1", 1), "{kind:?}");
        let copy = ["kept/1.0.0", "kept/1.0.0/dir", "kept/1.0.0/dir/a.ipynb"];
        let ai_lab = [
            &["cells.jsonl", "kept"][..],
            &copy,
            &["lock", "manifest.sha256"],
        ];
        assert_eq!(lab.in_ai_lab(), ai_lab.concat(), "{kind:?}");
    }
}
