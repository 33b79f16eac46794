//! A seal that a start does not believe, each for its reason.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::golden::{compare, ours, start};
use crate::support::{Image, Start, UID};

/// Long ago, as the files of a layer are.
const BUILT: Duration = Duration::from_secs(1_760_000_000);

/// A volume that has the default already: only what it is compared with has to be known.
fn sealed(image: &Image) -> Start {
    fs::create_dir(image.path("notebooks")).unwrap();
    fs::write(image.path("notebooks/start.ipynb"), "{}").unwrap();
    let file = image.path("defaults/start.ipynb");
    for (path, mode) in [(image.path("defaults"), 0o755), (file.clone(), 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    touch(&file, BUILT);
    let defaults = image.path("defaults").display().to_string();
    let done = Start::pid1().args(["notebooks", "seal", &defaults]).run();
    assert_eq!(done.code, 0, "{}", done.stderr);
    let start = Start::pid1().args(image.options());
    start.args(["--log-level", "debug", "--", "true"])
}

/// Makes a file as old as this time after 1970.
fn touch(path: &Path, time: Duration) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + time).unwrap();
}

fn seal(image: &Image) -> std::path::PathBuf {
    image.path("defaults/.ai-lab/manifest.sha256")
}

#[test]
fn each_reason() {
    start("seal-believed", sealed);
    start("seal-not-trusted", |image| {
        let start = sealed(image);
        chown(image.path("defaults/.ai-lab"), Some(UID), None).unwrap();
        start
    });
    start("seal-damaged", |image| {
        let start = sealed(image);
        fs::write(seal(image), "x").unwrap();
        start
    });
    start("seal-newer", |image| {
        let start = sealed(image);
        let text = fs::read_to_string(seal(image)).unwrap();
        let first = text.lines().next().unwrap();
        let newer = first.replace(|c: char| c.is_ascii_digit(), "9");
        fs::write(seal(image), text.replace(first, &newer)).unwrap();
        start
    });
    start("seal-no-file", |image| {
        let start = sealed(image);
        fs::remove_file(seal(image)).unwrap();
        fs::create_dir(seal(image)).unwrap();
        start
    });
    start("seal-outdated", |image| {
        let start = sealed(image);
        touch(&image.path("defaults/start.ipynb"), Duration::ZERO);
        start
    });
}

#[test]
fn what_is_not_sealed() {
    let image = Image::new();
    drop(sealed(&image));
    let open = fs::Permissions::from_mode(0o666);
    fs::set_permissions(image.path("defaults/start.ipynb"), open).unwrap();
    let defaults = image.path("defaults").display().to_string();
    let done = Start::pid1().args(["notebooks", "seal", &defaults]).run();
    let said = ours(&(done.stdout + &done.stderr), &image);
    compare("seal-partly", &format!("exit code {}\n{said}", done.code));
}
