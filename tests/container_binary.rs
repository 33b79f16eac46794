//! The binary as it is in the image.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use support::docker::{Container, docker_ok, run};

/// The C library of RHEL 9; Ubuntu 22.04's and Debian 12's are newer.
const OLDEST: u32 = 34;

#[test]
fn it_runs_with_the_oldest_c_library_that_is_promised() {
    let container = Container::create(&[], &[]);
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("binary");
    let from = format!("{}:/usr/local/bin/ai-lab-entrypoint", container.name);
    docker_ok(["cp", &from, copy.to_str().unwrap()]);
    let bytes = std::fs::read(copy).unwrap();
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
    let parts = ["--", "Cargo.toml", "Cargo.lock", "src"];
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
