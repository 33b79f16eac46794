//! The part of `scripts/growth` that is about many containers, with two of them.

use crate::support::docker::{IMAGE, docker_ok};
use crate::support::grown::Grown;

#[test]
fn containers_are_measured_beside_tini_and_none_is_left() {
    let grown = Grown::measure(
        &["--only", "containers", "--image", IMAGE],
        crate::support::PROGRAM,
    );
    grown.assert_has(&[
        ("the n-th container answers", 2, false),
        ("PID 1 of each container", 2, false),
    ]);
    let named = format!("name=^ai-lab-growth-{}-", grown.pid);
    let left = docker_ok(["ps", "--all", "--quiet", "--filter", &named]);
    assert_eq!(left, "");
}
