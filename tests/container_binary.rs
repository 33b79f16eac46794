//! The binary as it is in the image.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use support::docker::{Container, docker_ok, run, run_image};

/// The C library of RHEL 9; Ubuntu 22.04's and Debian 12's are newer.
const OLDEST: u32 = 34;

const PATH: &str = "/usr/local/bin/ai-lab-entrypoint";

/// A file's bytes, from a container that never ran.
fn in_the_image(path: &str) -> Vec<u8> {
    let container = Container::create(&[], &[]);
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy");
    docker_ok([
        "cp",
        &format!("{}:{path}", container.name),
        copy.to_str().unwrap(),
    ]);
    std::fs::read(copy).unwrap()
}

#[test]
fn it_runs_with_the_oldest_c_library_that_is_promised() {
    let bytes = in_the_image(PATH);
    // What the loader asks the library for is text: GLIBC_2.34.
    let versions = bytes.windows(8).enumerate();
    let versions = versions.filter(|(_, window)| window == b"GLIBC_2.");
    let versions = versions.map(|(at, _)| {
        let digits = bytes[at + 8..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let digits: Vec<u8> = digits.copied().collect();
        String::from_utf8(digits).unwrap().parse().unwrap()
    });
    let newest: u32 = versions.max().unwrap();
    assert!(newest <= OLDEST, "it needs GLIBC_2.{newest}");
}

#[test]
fn it_tells_from_which_commit_it_was_built() {
    let parts = ["--", ".cargo", "Cargo.toml", "Cargo.lock", "src"];
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        let output = git.args(words).args(parts).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    };
    let changed = git(&["status", "--porcelain"]);
    let commit = git(&["log", "-1", "--format= (%h, %cs)", "--abbrev=12"]);
    // What is not committed has no name.
    let commit = if changed.is_empty() { &commit } else { "" };
    let (code, stdout, _) = run(&[], &["--version"]);
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!("ai-lab-entrypoint {version}{commit}\n");
    assert_eq!((code, stdout), (0, expected));
}

/// A system with an older C library than the image's, and without Python.
#[test]
fn it_runs_on_debian_12() {
    let copy = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&copy, in_the_image(PATH)).unwrap();
    std::fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    // Nobody writes it any more, or it could not be executed.
    let copy = copy.into_temp_path();
    let volume = format!("{}:{PATH}:ro", copy.display());
    let options = [
        "--volume",
        &volume,
        "--network",
        "none",
        "--entrypoint",
        PATH,
    ];
    let ours = [
        "--user",
        "www-data",
        "--home",
        "/tmp",
        "--notebooks",
        "/tmp/notebooks",
    ];
    let debian =
        |words: &[&str]| run_image("debian:bookworm-slim", &options, &[&ours, words].concat());
    let (code, stdout, stderr) = debian(&["--dry-run", "--", "id", "-un"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("/tmp/notebooks"), "{stdout}");
    let (code, stdout, stderr) = debian(&["--", "sh", "-c", "id -un; cat /etc/debian_version"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("www-data\n12."), "{stdout}");
}

/// Anybody who builds the same has the same bytes, wherever that is.
#[test]
fn it_tells_nothing_of_where_it_was_built() {
    let bytes = in_the_image(PATH);
    for place in [
        "/usr/local/cargo",
        "/root/",
        "/build/",
        env!("CARGO_MANIFEST_DIR"),
    ] {
        let mut windows = bytes.windows(place.len());
        assert!(!windows.any(|window| window == place.as_bytes()), "{place}");
    }
}

#[test]
fn its_licences_come_with_it() {
    for name in ["LICENSE", "THIRD-PARTY-LICENSES"] {
        let ours = std::fs::read(name).unwrap();
        let theirs = in_the_image(&format!("/usr/local/share/doc/ai-lab-entrypoint/{name}"));
        assert!(ours == theirs, "{name} is another one");
    }
}
