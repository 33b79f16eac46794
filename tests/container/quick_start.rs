//! What a server does not import when it starts, and that it works as ever.

use crate::support::docker::Container;
use crate::support::hub::Hub;

/// Runs a check of `later.py` with the venv's Python.
fn check(container: &Container, lazy: &str, name: &str) {
    let setting = format!("PYTHON_LAZY_IMPORTS={lazy}");
    let words = ["env", &setting, "python", "/later.py", name];
    let said = container.exec_ok("jupyter", &words);
    assert_eq!(said.trim(), "ok", "{words:?}");
}

/// A container with the checks, and without a server.
fn with_checks() -> Container {
    let container = Container::start(&[], &["sleep", "infinity"]);
    let checks = include_bytes!("../support/later.py");
    container.put("/later.py", checks, 0o644);
    container
}

#[test]
fn what_is_imported_later_is_tied_to_the_versions_in_the_image() {
    let container = with_checks();
    check(&container, "normal", "versions");
    check(&container, "normal", "every_row");
    // Whoever changes the hub's version, or that of one of several packages, has all at once.
    let move_away = "cd /opt/ai-lab/jupyterenv/lib/python3*/site-packages
        for name in jupyterhub-6.* httpx-*; do mv $name ${name%.dist-info}.1.dist-info; done";
    container.exec_ok("jupyter", &["sh", "-euc", move_away]);
    check(&container, "normal", "other_version");
}

#[test]
fn what_is_imported_later_works_as_ever() {
    let container = with_checks();
    for name in ["used", "others", "classes", "first", "package"] {
        check(&container, "normal", name);
    }
    check(&container, "none", "off");
}

/// The libraries of packages that a process has loaded.
fn libraries(container: &Container, program: &str) -> String {
    let look = "for process in $(pgrep --full \"$0\"); do cat /proc/$process/maps; done";
    container.exec_ok("jupyter", &["sh", "-euc", look, program])
}

/// Alice has the image as it is, and Bob all of it from the start.
pub fn a_server_under_a_hub_has_no_database_and_its_kernels_have_all(
    hub: &Hub,
    [alice, bob]: &[Container; 2],
) {
    let kernel = "import sys\nprint('ai_lab_start' in sys.modules)";
    for (user, container, has) in [("alice", alice, false), ("bob", bob, true)] {
        assert_eq!(hub.ask(&["run", user, kernel]), "False");
        let loaded = libraries(container, "bin/jupyterhub-singleuser");
        assert!(loaded.contains("/site-packages/zmq/"), "{loaded}");
        for package in ["sqlalchemy", "cryptography"] {
            let there = loaded.contains(&format!("/site-packages/{package}/"));
            assert_eq!(there, has, "{package} of {user}: {loaded}");
        }
    }
}
