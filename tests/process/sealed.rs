//! `notebooks seal` at image build: a start believes the seal instead of reading the
//! defaults, and notices where it does not fit.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::{Duration, SystemTime};

use crate::support::{Image, Output, Start, UID};

/// Long ago, as the files of a layer are.
const BUILT: Duration = Duration::from_secs(1_760_000_000);

/// Writes a default as an image has it: root's alone, and of this time.
fn write(image: &Image, name: &str, text: &str, modified: Duration) {
    let path = image.path("defaults").join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + modified)
        .unwrap();
}

fn seal(image: &Image) -> Output {
    let defaults = image.path("defaults");
    fs::set_permissions(&defaults, fs::Permissions::from_mode(0o755)).unwrap();
    let words = ["notebooks", "seal", defaults.to_str().unwrap()];
    Start::pid1().args(words).run()
}

/// An image with one sealed default, and a volume of another one's that has the same.
fn sealed() -> Image {
    let image = Image::new();
    write(&image, "start.ipynb", "{\"sealed\": 1}", BUILT);
    fs::create_dir(image.path("notebooks")).unwrap();
    fs::write(image.path("notebooks/start.ipynb"), "{\"sealed\": 1}").unwrap();
    let done = seal(&image);
    let said = format!("{}: 1 sealed\n", image.path("defaults").display());
    assert_eq!((done.code, done.stdout), (0, said), "{}", done.stderr);
    image
}

/// The summary of a start, with nothing to complain about.
fn start(image: &Image) -> String {
    let ended = image.command(["true"]).env("AI_LAB_VERSION", "2").run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(!ended.stderr.contains("[W "), "{}", ended.stderr);
    summary(&ended.stderr)
}

fn summary(log: &str) -> String {
    let line = log.lines().find_map(|line| line.split_once("notebooks: "));
    line.unwrap_or_else(|| panic!("{log}")).1.to_owned()
}

const CURRENT: &str = "0 installed, 0 updated, 0 kept (changed by you), 1 current";
const KEPT: &str = "0 installed, 0 updated, 1 kept (changed by you), 0 current";

#[test]
fn what_is_sealed_is_not_read() {
    let image = sealed();
    // Nobody can tell without reading it.
    write(&image, "start.ipynb", "{\"SEALED\": 1}", BUILT);
    assert_eq!(start(&image), CURRENT);
}

#[test]
fn a_default_that_was_altered_after_the_sealing_is_noticed() {
    let later = BUILT + Duration::from_secs(1);
    for (text, modified) in [("{\"SEALED\": 1}", later), ("{\"longer\": 1}\n", BUILT)] {
        let image = sealed();
        write(&image, "start.ipynb", text, modified);
        assert_eq!(start(&image), KEPT, "{text}");
    }
}

#[test]
fn a_default_of_the_very_second_of_the_sealing_is_read() {
    let image = sealed();
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now().unwrap();
    // Not over yet when it is sealed.
    let ahead = Duration::from_secs(now.as_secs() + 100);
    write(&image, "start.ipynb", "{\"sealed\": 1}", ahead);
    let done = seal(&image);
    assert!(done.stdout.ends_with(": 0 sealed\n"), "{}", done.stdout);
    let why = "start.ipynb is read at each start: ";
    assert!(done.stderr.contains(why), "{}", done.stderr);
    write(&image, "start.ipynb", "{\"SEALED\": 1}", ahead);
    assert_eq!(start(&image), KEPT);
}

#[test]
fn a_seal_that_the_user_could_have_forged_is_not_believed_and_that_is_told() {
    let image = sealed();
    write(&image, "start.ipynb", "{\"SEALED\": 1}", BUILT);
    let seal = image.path("defaults/.ai-lab/manifest.sha256");
    chown(&seal, Some(UID), Some(UID)).unwrap();
    let ended = image.command(["true"]).env("AI_LAB_VERSION", "2").run();
    assert_eq!(summary(&ended.stderr), KEPT);
    let said = "the seal of the notebook defaults is not used: others than root could have \
                written it";
    assert_eq!(ended.stderr.matches(said).count(), 1, "{}", ended.stderr);
}

#[test]
fn a_damaged_seal_and_one_of_a_newer_version_are_told_and_ignored() {
    for (text, why) in [
        ("# ai-lab notebooks 9\n# end\n", "a newer version"),
        ("# ai-lab", "damaged"),
    ] {
        let image = sealed();
        write(&image, "start.ipynb", "{\"SEALED\": 1}", BUILT);
        fs::write(image.path("defaults/.ai-lab/manifest.sha256"), text).unwrap();
        let ended = image.command(["true"]).env("AI_LAB_VERSION", "2").run();
        assert_eq!(summary(&ended.stderr), KEPT);
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
    }
}

#[test]
fn the_seal_is_no_default() {
    let image = sealed();
    start(&image);
    let record = fs::read_to_string(image.path("notebooks/.ai-lab/manifest.sha256")).unwrap();
    assert!(!record.contains("manifest"), "{record}");
    let seal = fs::read_to_string(image.path("defaults/.ai-lab/manifest.sha256")).unwrap();
    assert_ne!(record, seal);
    let text = "# ai-lab notebooks 1\n";
    assert!(seal.starts_with(text) && !seal.contains("manifest"));
}

#[test]
fn what_cannot_be_sealed_is_an_error_with_its_remedy() {
    let image = Image::new();
    let defaults = image.path("defaults");
    chown(&defaults, Some(UID), None).unwrap();
    let done = seal(&image);
    assert_eq!((done.code, &*done.stdout), (1, ""), "{}", done.stderr);
    let remedy = format!("first run: chown -R root:root {}", defaults.display());
    assert!(done.stderr.contains(&remedy), "{}", done.stderr);
    assert!(!image.path("defaults/.ai-lab").exists());
    let words = ["notebooks", "seal", "/nonexistent"];
    let done = Start::pid1().args(words).run();
    assert_eq!(done.code, 1);
    let said = "cannot seal the notebook defaults in /nonexistent: No such file";
    assert!(done.stderr.contains(said), "{}", done.stderr);
}
