//! `--volume-owner adopt` in the real image: the owner of a bind mount has everything that
//! the image's own user has.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use tempfile::TempDir;

use crate::support::docker::{Container, docker_ok, run};

const HOST: (u32, u32) = (1234, 1235);

/// A directory of somebody's of this machine, and the option that mounts it.
fn theirs() -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    chown(dir.path(), Some(HOST.0), Some(HOST.1)).unwrap();
    let mount = format!("--volume={}:/home/jupyter/notebooks", dir.path().display());
    (dir, mount)
}

#[test]
fn the_server_is_the_owner_and_so_is_what_it_saves() {
    let (dir, mount) = theirs();
    let options = [mount.as_str(), "--no-healthcheck"];
    let container = Container::start(&options, &["--volume-owner", "adopt"]);
    let log = container.wait_for("The server for Jupyter has been started successfully.");
    let warns = |line: &str| line.starts_with("[W ") && line.contains(" ai-lab] ");
    assert!(!log.lines().any(warns), "{log}");
    // The name that the first start gave the owner is nobody else's.
    docker_ok(["restart", &container.name]);
    let log = container.wait_for_nth("The server for Jupyter has been started successfully.", 2);
    assert!(!log.lines().any(warns), "{log}");
    for name in ["mine.ipynb", "mine.txt"] {
        assert_eq!(container.visit(&["save", "ailab", name]), name);
    }
    for name in ["mine.ipynb", "mine.txt", "start.ipynb", ".ai-lab"] {
        let data = fs::metadata(dir.path().join(name)).unwrap();
        assert_eq!((data.uid(), data.gid()), HOST, "{name}");
    }
    let saved = fs::read_to_string(dir.path().join("mine.ipynb")).unwrap();
    assert!(saved.contains("\"nbformat\": 4"), "{saved}");
    let said = docker_ok(["top", &container.name, "-eo", "uid,pid,args"]);
    for process in said.lines().skip(1) {
        assert!(process.trim().starts_with("1234 "), "{said}");
    }
}

/// Makes a wheel, as far as pip asks for what is in one.
const WHEEL: &str = r#"
import zipfile
files = {
    "tiny_of_a_test.py": "answer = 42",
    "tiny_of_a_test-1.dist-info/METADATA":
        "Metadata-Version: 2.1\nName: tiny-of-a-test\nVersion: 1\n",
    "tiny_of_a_test-1.dist-info/WHEEL":
        "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
record = "tiny_of_a_test-1.dist-info/RECORD"
files[record] = "".join(f"{name},,\n" for name in [*files, record])
with zipfile.ZipFile("tiny_of_a_test-1-py3-none-any.whl", "w") as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
"#;

/// What a terminal of that server could do.
#[test]
fn pip_installs_into_the_venv_and_takes_away_what_the_image_brought() {
    let (dir, mount) = theirs();
    let script = "set -e
        id -G; touch ~/.cache/x ~/x; cd /tmp
        python3 -c \"$0\"
        pip install --quiet --no-index tiny_of_a_test-1-py3-none-any.whl
        python3 -c 'import tiny_of_a_test as tiny; print(tiny.answer, tiny.__file__)'
        stat -c %u \"$VIRTUAL_ENV\"/lib/python3*/site-packages/tiny_of_a_test.py
        pip uninstall --yes --quiet tiny_of_a_test ipywidgets
        ! python3 -c 'import tiny_of_a_test' 2>/dev/null
        ! python3 -c 'import ipywidgets' 2>/dev/null";
    let command = ["--volume-owner", "adopt", "--", "sh", "-c", script, WHEEL];
    let (code, stdout, stderr) = run(&[&mount, "--network=none"], &command);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let [groups, answer, owner] = stdout.lines().collect::<Vec<_>>()[..] else {
        panic!("{stdout}{stderr}");
    };
    assert_eq!(groups, "1235 1000");
    assert!(
        answer.starts_with("42 /opt/ai-lab/jupyterenv/lib/python3"),
        "{answer}"
    );
    assert_eq!(owner, "1234");
    drop(dir);
}
