//! What killed starts leave is found whatever came in between, and no news are lost by it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use crate::support::file_systems::Kind;
use crate::support::lab::{Files, Lab, first, is_temporary, second, third};
use crate::support::tracer::{End, Then, follow};
use crate::support::{Image, Output, Start, UID, repeated};

const NEWS: &str = "0 What is new.md";

fn start(image: &Image, version: &str) -> Output {
    let ended = image.command(["true"]).env("AI_LAB_VERSION", version).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended
}

fn users(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    chown(path, Some(UID), Some(UID)).unwrap();
}

#[test]
fn a_file_that_was_moved_aside_comes_back_though_an_older_version_cleared_the_mark() {
    let image = Image::new();
    let at = |name: &str| image.path("notebooks").join(name);
    fs::write(image.path("defaults/a.ipynb"), "one").unwrap();
    start(&image, "1.0.0");
    fs::remove_file(at("a.ipynb")).unwrap();
    users(&at(".ai-lab/moved/0123456789abcdef/a.ipynb"), "mine");
    users(&at(".ai-lab.new-0123456789abcdef"), "half");
    start(&image, "1.0.0");
    assert_eq!(fs::read_to_string(at("a.ipynb")).unwrap(), "mine");
    assert!(!at(".ai-lab/moved").exists());
    assert!(!at(".ai-lab.new-0123456789abcdef").exists());
}

#[test]
fn what_is_in_a_directory_that_cannot_be_listed_is_removed_when_it_can() {
    let image = Image::new();
    let at = |name: &str| image.path("notebooks").join(name);
    fs::create_dir(image.path("defaults/dir")).unwrap();
    fs::write(image.path("defaults/dir/a.ipynb"), "one").unwrap();
    start(&image, "1.0.0");
    let left = at("dir/.ai-lab.new-0123456789abcdef");
    users(&left, "half");
    fs::write(at(".ai-lab/lock"), "x").unwrap();
    let mode = |mode| fs::set_permissions(at("dir"), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o300);
    start(&image, "1.0.0");
    assert!(left.exists());
    mode(0o755);
    start(&image, "1.0.0");
    assert!(!left.exists());
    assert_eq!(fs::read(at(".ai-lab/lock")).unwrap(), b"");
}

#[test]
fn news_that_nobody_read_are_replaced_however_the_start_is_killed() {
    let lab = Lab::new("unmodified");
    for (version, files) in [("1.0.0", first()), ("2.0.0", second()), ("3.0.0", third())] {
        lab.offer(version, &files);
    }
    lab.clear();
    lab.finish("1.0.0");
    lab.finish("2.0.0");
    lab.keep();
    for nth in (1..).step_by(repeated(4, 1)) {
        lab.again();
        let end = lab.kill("3.0.0", nth, |call| !call.only_looks());
        // No other line of the log is a warning.
        lab.finish("3.0.0");
        let news = fs::read_to_string(lab.volume().join(NEWS)).unwrap();
        let at = format!("killed before change {nth}: {news}");
        assert!(news.contains("version 3.0.0"), "{at}");
        for name in ["a.ipynb", "deep/er/b.ipynb", "latest.ipynb", "new/n.ipynb"] {
            assert!(news.contains(&format!("- {name}\n")), "{at}: {name}");
        }
        assert_eq!(
            fs::read(lab.volume().join(".ai-lab/lock")).unwrap(),
            b"",
            "{at}"
        );
        if end != End::Killed {
            assert!(nth > 30, "only {nth} changes were seen");
            return;
        }
    }
}

#[test]
fn no_file_of_a_start_that_wrote_only_its_record_is_left() {
    let lab = Lab::new("unmodified");
    lab.offer("1.0.0", &first());
    lab.clear();
    lab.finish("1.0.0");
    lab.keep();
    for nth in 1.. {
        // The copies have other times.
        lab.again();
        let end = lab.kill("1.0.0", nth, |call| !call.only_looks());
        lab.finish("1.0.0");
        let names = fs::read_dir(lab.volume().join(".ai-lab"))
            .unwrap()
            .flatten();
        let mut names = names.map(|entry| entry.file_name().into_string().unwrap());
        let left = names.find(|name| is_temporary(name));
        assert_eq!(left, None, "killed before change {nth}");
        if end != End::Killed {
            assert!(nth > 3, "only {nth} changes were seen");
            return;
        }
    }
}

#[test]
fn what_a_first_start_did_not_finish_is_no_news() {
    let lab = Lab::new("unmodified");
    lab.offer("1.0.0", &first());
    for nth in (1..).step_by(repeated(4, 1)) {
        lab.clear();
        let end = lab.kill("1.0.0", nth, |call| !call.only_looks());
        lab.finish("1.0.0");
        assert!(
            !lab.volume().join(NEWS).exists(),
            "killed before change {nth}"
        );
        if end != End::Killed {
            return;
        }
    }
}

#[test]
fn news_come_although_a_persons_file_is_left_under_a_temporary_name() {
    let image = Image::new();
    let at = |name: &str| image.path("notebooks").join(name);
    fs::write(image.path("defaults/a.ipynb"), "one").unwrap();
    start(&image, "1.0.0");
    users(&at(".ai-lab.old-0123456789abcdef"), "mine");
    fs::write(at(".ai-lab/lock"), "x").unwrap();
    for version in ["2.0.0", "3.0.0"] {
        fs::write(image.path("defaults/a.ipynb"), version).unwrap();
        start(&image, version);
        assert!(fs::read_to_string(at(NEWS)).unwrap().contains(version));
    }
}

/// Prepares the first version of a notebook that was run, and the second in the image.
fn run_and_outdated(image: &Image) {
    let notebook = |source: &str, outputs: &str| {
        format!(
            r#"{{"nbformat": 4, "cells": [{{"cell_type": "code", "source": "{source}", "outputs": [{outputs}]}}]}}"#
        )
    };
    fs::write(image.path("defaults/a.ipynb"), notebook("1", "")).unwrap();
    start(image, "1.0.0");
    fs::write(image.path("notebooks/a.ipynb"), notebook("1", "1")).unwrap();
    fs::write(image.path("defaults/a.ipynb"), notebook("2", "")).unwrap();
}

#[test]
fn a_copy_that_could_not_be_moved_is_named_and_kept_by_the_next_start() {
    let image = Image::new();
    let at = |name: &str| image.path("notebooks").join(name);
    run_and_outdated(&image);
    let update = Start::plain()
        .args(image.options())
        .args(["--", "true"])
        .env("AI_LAB_VERSION", "2.0.0");
    let (gate, go) = std::io::pipe().unwrap();
    let waiting = ["sh", "-c", "read -r go && exec \"$@\"", "sh"];
    let mut running = update.under(&waiting).stdin(gate).start();
    let noreplace = u64::from(libc::RENAME_NOREPLACE);
    let end = follow(&running, go, |call| {
        let is_move = call.number == libc::SYS_renameat2 && call.args[4] == noreplace;
        match is_move && call.text(call.args[3], 64) == "a.ipynb" {
            true => Then::Fail(libc::EIO),
            false => Then::GoOn,
        }
    });
    assert_eq!(end, End::Exited(0));
    let (_, stderr) = running.everything();
    let told = "is a file of yours that was in the place of a default notebook";
    assert!(
        stderr.contains(told) && stderr.contains("1 updated"),
        "{stderr}"
    );
    assert!(!at(".ai-lab/kept/1.0.0/a.ipynb").exists());
    start(&image, "2.0.0");
    assert!(at(".ai-lab/kept/1.0.0/a.ipynb").exists());
}

#[test]
fn a_default_whose_name_changed_only_in_case_is_updated_where_case_does_not_count() {
    let lab = Lab::on(Kind::Exfat, "unmodified");
    lab.offer(
        "1.0.0",
        &Files::from([("Dir/Intro.ipynb", "one"), ("A.ipynb", "a")]),
    );
    lab.offer(
        "2.0.0",
        &Files::from([("dir/intro.ipynb", "two"), ("a.ipynb", "b")]),
    );
    lab.clear();
    lab.finish("1.0.0");
    fs::write(lab.volume().join("A.ipynb"), "mine").unwrap();
    for _ in 0..2 {
        let ended = lab.start("2.0.0").run();
        assert!(
            !ended.stderr.contains("another default has this name"),
            "{}",
            ended.stderr
        );
        assert!(
            !ended.stderr.contains("no longer a default"),
            "{}",
            ended.stderr
        );
        let text = |name: &str| fs::read_to_string(lab.volume().join(name)).unwrap();
        assert_eq!(
            (text("dir/intro.ipynb").as_str(), text("a.ipynb").as_str()),
            ("two", "mine")
        );
    }
}
