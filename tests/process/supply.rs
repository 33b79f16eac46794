//! What is passed on with the binary is what belongs to it.

use std::collections::BTreeSet;
use std::process::Command;

/// Of both processors that the image is built for, without what only builds or tests.
fn linked() -> BTreeSet<String> {
    let targets = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];
    let trees = targets.map(|target| {
        let output = Command::new(env!("CARGO"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["tree", "--locked", "--offline", "--edges", "normal"])
            .args(["--prefix", "none", "--format", "{p}", "--target", target])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    });
    let lines = trees.iter().flat_map(|tree| tree.lines());
    let crates = lines.map(|line| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next().unwrap(), words.next().unwrap());
        format!("{name} {}", version.trim_start_matches('v'))
    });
    crates.collect()
}

/// After a change of Cargo.lock, scripts/licences writes them anew.
#[test]
fn the_licences_are_those_of_what_is_linked() {
    let text = include_str!("../../THIRD-PARTY-LICENSES");
    let listed = text.lines().filter_map(|line| line.strip_prefix("- "));
    // Some licence has a list of its own.
    let is_crate = |line: &&str| {
        let version = line.split_once(' ').map(|(_, version)| version);
        version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
    };
    let listed: BTreeSet<String> = listed.filter(is_crate).map(str::to_owned).collect();
    assert_eq!(listed, linked());
}
