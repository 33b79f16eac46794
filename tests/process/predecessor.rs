//! What the unit tests of the predecessor's entrypoint promise and no other test shows. The table
//! of all of them is in `docs/migrating.md`.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::{Image, UID, get};

const WELCOME: &str = "The server for Jupyter has been started successfully.";

#[test]
fn an_absent_source_ends_the_start_if_a_warning_is_an_error() {
    let image = Image::new();
    fs::remove_dir_all(image.path("defaults")).unwrap();
    let phrase = format!(
        "Source directory not found: {}",
        image.path("defaults").display()
    );
    let ended = image.server().arg("--warning-as-error").run();
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains(&phrase), "{}", ended.stderr);
    assert!(!ended.stderr.contains(WELCOME), "{}", ended.stderr);
}

#[test]
fn an_empty_source_makes_the_directory_and_gives_it_to_the_user() {
    let image = Image::new();
    fs::remove_file(image.path("defaults/start.ipynb")).unwrap();
    let ended = image.command(["true"]).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(fs::metadata(image.path("notebooks")).unwrap().uid(), UID);
}

#[test]
fn a_server_that_fails_late_has_welcomed_and_gives_its_code() {
    let image = Image::new();
    let mut running = image.server().env("FAKE", "crash").start();
    running.wait_for(WELCOME);
    assert_eq!(get(image.port, "/crash"), None);
    running.wait_for("Jupyter server terminated with error code 4");
    assert_eq!(running.end(), 4);
}

#[test]
fn a_server_that_fails_early_gives_its_code_without_a_welcome() {
    let image = Image::new();
    let ended = image.server().env("FAKE", "dies").run();
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(!ended.stderr.contains(WELCOME), "{}", ended.stderr);
}
