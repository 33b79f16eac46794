//! What is said about the notebooks and whose they are.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::degraded::after;
use super::golden::start;
use crate::support::{Image, Start, UID};

const FIRST: &str = "1.0.0";

fn usual(image: &Image, options: &[&str]) -> Start {
    let start = Start::pid1().args(image.options()).args(options);
    start.args(["--", "true"]).env("AI_LAB_VERSION", FIRST)
}

/// A volume of the user's in which an earlier start was.
pub fn used(image: &Image) {
    let ended = usual(image, &[]).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

fn volume(image: &Image) {
    fs::create_dir(image.path("notebooks")).unwrap();
    chown(image.path("notebooks"), Some(UID), Some(UID)).unwrap();
}

/// A volume in which each default has another fate at the next start.
pub fn every_fate(image: &Image) {
    for name in ["changed", "deleted", "gone", "blocked", "outdated"] {
        fs::write(image.path("defaults").join(name), "1").unwrap();
    }
    used(image);
    for name in ["changed", "outdated"] {
        fs::write(image.path("defaults").join(name), "2").unwrap();
    }
    fs::write(image.path("notebooks/changed"), "mine").unwrap();
    for name in ["notebooks/deleted", "notebooks/blocked", "defaults/gone"] {
        fs::remove_file(image.path(name)).unwrap();
    }
    fs::create_dir(image.path("notebooks/blocked")).unwrap();
}

#[test]
fn defaults_as_they_come_and_stay() {
    let deleted = ["--deleted-notebooks", "respect"];
    start("notebooks-every-fate", |image| {
        every_fate(image);
        usual(image, &deleted).env("AI_LAB_VERSION", "2.0.0")
    });
    start("notebooks-every-fate-dry-run", |image| {
        every_fate(image);
        let start = usual(image, &[&deleted[..], &["--dry-run"]].concat());
        start.env("AI_LAB_VERSION", "2.0.0")
    });
    start("notebooks-beside", |image| {
        every_fate(image);
        let start = usual(image, &["--update-notebooks", "beside"]);
        start.env("AI_LAB_VERSION", "2.0.0")
    });
    start("notebooks-beside-dry-run", |image| {
        every_fate(image);
        let start = usual(image, &["--update-notebooks", "beside", "--dry-run"]);
        start.env("AI_LAB_VERSION", "2.0.0")
    });
    start("notebooks-never", |image| {
        every_fate(image);
        let start = usual(image, &["--update-notebooks", "never"]);
        start.env("AI_LAB_VERSION", "2.0.0")
    });
    start("notebooks-no-defaults", |image| {
        fs::remove_dir_all(image.path("defaults")).unwrap();
        usual(image, &[])
    });
    start("notebooks-unreadable-default", |image| {
        let closed = fs::Permissions::from_mode(0o000);
        fs::set_permissions(image.path("defaults/start.ipynb"), closed).unwrap();
        usual(image, &[])
    });
    start("notebooks-unreadable-defaults", |image| {
        let closed = fs::Permissions::from_mode(0o000);
        fs::set_permissions(image.path("defaults"), closed).unwrap();
        usual(image, &[])
    });
    start("notebooks-that-are-no-defaults", |image| {
        symlink("/etc/passwd", image.path("defaults/link")).unwrap();
        fs::write(image.path("defaults/.git"), "gitdir: elsewhere").unwrap();
        fs::create_dir(image.path("defaults/.ipynb_checkpoints")).unwrap();
        usual(image, &[])
    });
    start("notebooks-never-dry-run", |image| {
        every_fate(image);
        let start = usual(image, &["--update-notebooks", "never", "--dry-run"]);
        start.env("AI_LAB_VERSION", "2.0.0")
    });
}

/// Writes a notebook of one cell, with the output of a run.
pub fn notebook(image: &Image, path: &str, source: &str, output: &str) {
    let text = format!(
        r#"{{"nbformat": 4, "cells": [{{"cell_type": "code", "source": "{source}", "outputs": "{output}"}}]}}"#
    );
    fs::write(image.path(path), text).unwrap();
}

/// A volume with a notebook that was run as this version brought it, and an image with the next.
fn ran(image: &Image, version: u32) -> String {
    notebook(image, "defaults/work.ipynb", &version.to_string(), "");
    let start = usual(image, &[]).env("AI_LAB_VERSION", &format!("{version}.0.0"));
    assert_eq!(start.run().code, 0);
    notebook(image, "notebooks/work.ipynb", &version.to_string(), "ran");
    notebook(image, "defaults/work.ipynb", &(version + 1).to_string(), "");
    format!("{}.0.0", version + 1)
}

#[test]
fn notebooks_that_were_only_run() {
    start("notebooks-run", |image| {
        let next = ran(image, 1);
        usual(image, &[]).env("AI_LAB_VERSION", &next)
    });
    start("notebooks-run-dry-run", |image| {
        let next = ran(image, 1);
        usual(image, &["--dry-run"]).env("AI_LAB_VERSION", &next)
    });
    start("notebooks-run-and-not-kept", |image| {
        let next = ran(image, 1);
        fs::write(image.path("notebooks/.ai-lab/kept"), "").unwrap();
        usual(image, &[]).env("AI_LAB_VERSION", &next)
    });
    start("notebooks-run-often", |image| {
        let mut next = String::new();
        (1..5).for_each(|version| next = ran(image, version));
        usual(image, &[]).env("AI_LAB_VERSION", &next)
    });
}

/// The file that tells of all kinds of news.
#[test]
fn what_is_new() {
    start("notebooks-news", |image| {
        for name in ["changed.ipynb", "outdated"] {
            fs::write(image.path("defaults").join(name), "1").unwrap();
        }
        let next = ran(image, 1);
        for name in ["changed.ipynb", "outdated", "new"] {
            fs::write(image.path("defaults").join(name), "2").unwrap();
        }
        fs::write(image.path("notebooks/changed.ipynb"), "mine").unwrap();
        let start = Start::pid1().args(image.options());
        let news = image.path("notebooks/0 What is new.md");
        let start = start.args(["--", "cat", news.to_str().unwrap()]);
        start.env("AI_LAB_VERSION", &next)
    });
}

#[test]
fn a_volume_that_refuses() {
    start("volume-of-somebody-else", |image| {
        fs::create_dir(image.path("notebooks")).unwrap();
        usual(image, &["--volume-owner", "keep"])
    });
    start("volume-read-only", |image| {
        volume(image);
        let script = "mount --bind notebooks notebooks\nmount -o remount,bind,ro notebooks";
        after(script, image, &[])
    });
    start("volume-full", |image| {
        fs::create_dir(image.path("notebooks")).unwrap();
        fs::write(image.path("defaults/long"), "x".repeat(200_000)).unwrap();
        after("mount -t tmpfs -o size=64k tmpfs notebooks", image, &[])
    });
    start("volume-on-the-way-of-a-link", |image| {
        symlink("/etc", image.path("home/link")).unwrap();
        std::os::unix::fs::lchown(image.path("home/link"), Some(UID), Some(UID)).unwrap();
        usual(
            image,
            &["--notebooks", image.path("home/link/n").to_str().unwrap()],
        )
    });
    start("volume-is-everything", |image| {
        usual(image, &["--notebooks", "/"])
    });
    // Never but as a dry run: it is this machine's.
    start("volume-is-the-systems", |image| {
        usual(image, &["--notebooks", "/usr", "--dry-run"])
    });
    start("volume-is-home", |image| {
        fs::create_dir(image.path("notebooks")).unwrap();
        chown(image.path("notebooks"), Some(UID), Some(UID)).unwrap();
        let home = image.path("notebooks").display().to_string();
        usual(image, &["--home", &home])
    });
    start("volume-is-a-file", |image| {
        fs::write(image.path("notebooks"), "").unwrap();
        usual(image, &[])
    });
    start("volume-of-root-adopted", |image| {
        fs::create_dir(image.path("notebooks")).unwrap();
        usual(image, &["--volume-owner", "adopt"])
    });
    start("volume-adopted", |image| {
        fs::create_dir(image.path("notebooks")).unwrap();
        chown(image.path("notebooks"), Some(4711), Some(4711)).unwrap();
        usual(image, &["--volume-owner", "adopt"])
    });
    for (name, option) in [
        ("volume-of-another-account", "--restart=never"),
        ("volume-of-another-account-dry-run", "--dry-run"),
    ] {
        start(name, |image| {
            fs::create_dir(image.path("notebooks")).unwrap();
            chown(image.path("notebooks"), Some(2), Some(2)).unwrap();
            usual(image, &["--volume-owner", "adopt", option])
        });
    }
    start("volume-adopted-dry-run", |image| {
        let adopted = ["--volume-owner", "adopt", "--dry-run"];
        fs::create_dir_all(image.path("home/.jupyter")).unwrap();
        let config = image.path("home/.jupyter/jupyter_server_config.json");
        fs::write(&config, "{}").unwrap();
        let closed = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&config, closed).unwrap();
        fs::create_dir(image.path("notebooks")).unwrap();
        chown(image.path("notebooks"), Some(4711), Some(4711)).unwrap();
        usual(image, &adopted).env("JUPYTER_PASSWORD", "x")
    });
    start("volume-in-detail", |image| {
        fs::create_dir(image.path("notebooks")).unwrap();
        usual(image, &["--log-level", "debug"])
    });
    start("volume-holds-what-is-not-handed-over", |image| {
        volume(image);
        fs::write(image.path("outside"), "").unwrap();
        fs::hard_link(image.path("outside"), image.path("notebooks/linked")).unwrap();
        let device = image.path("notebooks/device");
        let kind = FileType::CharacterDevice;
        mknodat(CWD, device, kind, Mode::from(0o600), makedev(1, 3)).unwrap();
        after("true", image, &[])
    });
    start("volume-of-a-person-handed-over", |image| {
        volume(image);
        chown(image.path("notebooks"), Some(4711), Some(4711)).unwrap();
        usual(image, &["--volume-owner", "chown"])
    });
    start("volume-bound-of-a-person", |image| {
        volume(image);
        chown(image.path("notebooks"), Some(4711), Some(4711)).unwrap();
        after("mount --bind notebooks notebooks", image, &[])
    });
}

#[test]
fn other_mounts_in_a_volume() {
    let mounts = |image: &Image, script: &str| {
        for name in ["fresh", "filled", "read-only", "closed"] {
            fs::create_dir_all(image.path("notebooks").join(name)).unwrap();
        }
        let script = format!("cd notebooks\n{script}\ncd ..");
        after(&script, image, &["--log-level", "debug"])
    };
    start("mounts-that-are-fine", |image| {
        let script = "mount -t tmpfs -o mode=755 tmpfs fresh\n\
                      mount -t tmpfs tmpfs read-only\ntouch read-only/data\n\
                      mount -o remount,ro read-only\n\
                      mount --bind closed closed\nmount -o remount,bind,ro closed";
        mounts(image, script)
    });
    start("mounts-that-cannot-be-used", |image| {
        let script = "mount -t tmpfs -o mode=755 tmpfs filled\ntouch filled/data\n\
                      mount -t tmpfs -o mode=700 tmpfs closed\ntouch closed/data";
        mounts(image, script)
    });
}

#[test]
fn notebooks_in_a_volume_without_a_name() {
    start("notebooks-go-with-the-container", |image| {
        volume(image);
        let place = format!("volumes/{}/_data", "0af9".repeat(16));
        let script =
            format!("mkdir -p {place}\nmount --bind {place} notebooks\nmount --bind home home");
        after(&script, image, &[])
    });
    start("notebooks-in-the-containers-own-layer", |image| {
        volume(image);
        let script = "mkdir layers\nmount -t tmpfs tmpfs layers\nmkdir layers/lower layers/upper layers/work\n\
                      mount -t overlay overlay notebooks \
                      -o lowerdir=layers/lower,upperdir=layers/upper,workdir=layers/work\n\
                      mount --bind home home";
        after(script, image, &[])
    });
}

#[test]
fn a_volume_on_home_with_what_an_older_image_had_there() {
    start("stale-copies", |image| {
        let script = "mount -t tmpfs tmpfs /home\nmount -t tmpfs tmpfs /opt\n\
                      for name in jupyterenv notebook-defaults; do\n\
                      mkdir -p /home/jupyter/$name /opt/ai-lab/$name\ndone";
        let old = ["--venv", "/home/jupyter/jupyterenv"];
        after(script, image, &old)
    });
    start("old-places-that-a-volume-hides", |image| {
        let script = "mount -t tmpfs tmpfs /home\nmount -t tmpfs tmpfs /opt\n\
                      mkdir -p /opt/ai-lab/jupyterenv";
        let old = ["--venv", "/home/jupyter/jupyterenv"];
        after(script, image, &old)
    });
}

#[test]
fn the_record_of_the_defaults() {
    let record = |image: &Image| image.path("notebooks/.ai-lab/manifest.sha256");
    start("record-is-a-link", |image| {
        volume(image);
        symlink("/tmp", image.path("notebooks/.ai-lab")).unwrap();
        usual(image, &[])
    });
    start("record-lock-is-a-link", |image| {
        used(image);
        let lock = image.path("notebooks/.ai-lab/lock");
        fs::remove_file(&lock).unwrap();
        fs::create_dir(lock).unwrap();
        usual(image, &[])
    });
    start("record-damaged", |image| {
        used(image);
        fs::write(record(image), "damaged\n").unwrap();
        usual(image, &[])
    });
    start("record-too-long", |image| {
        used(image);
        fs::write(record(image), vec![b'#'; 5 << 20]).unwrap();
        usual(image, &[])
    });
    start("left-by-a-killed-start", |image| {
        used(image);
        fs::write(image.path("notebooks/.ai-lab/lock"), "x").unwrap();
        for directory in ["notebooks/.ai-lab", "notebooks"] {
            let name = ".ai-lab.old-0123456789abcdef";
            fs::write(image.path(directory).join(name), "edited").unwrap();
        }
        usual(image, &[])
    });
    start("record-newer", |image| {
        used(image);
        let text = fs::read_to_string(record(image)).unwrap();
        let first = text.lines().next().unwrap();
        let newer = first.replace(|c: char| c.is_ascii_digit(), "9");
        fs::write(record(image), text.replace(first, &newer)).unwrap();
        usual(image, &[])
    });
}
