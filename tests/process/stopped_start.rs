//! A stop ends a start at once in each of its phases, and leaves nothing half done:
//! the next start goes on where this one was.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::process::{send, until};
use crate::support::{Image, Running, UID};

const COUNT: usize = 40_000;
const DEFAULTS: usize = 10_000;
const STOP: i32 = 19;
const CONT: i32 = 18;
const TERM: i32 = 15;

/// Holds the program in the middle of its work, as soon as it has begun, and asks it
/// to stop: what it does from then on is what it does about that.
fn stop_in_the_middle(running: &mut Running, begun: impl FnMut() -> bool) {
    let pid = running.pid();
    until("the work has begun", begun);
    send(pid, STOP);
    send(pid, TERM);
    send(pid, CONT);
    let code = running.end();
    let (_, stderr) = running.everything();
    assert!(
        stderr.contains("stopped by signal 15 before anything was started"),
        "the work was done before it was held, or went on: exit code {code}: {stderr}"
    );
    assert_eq!(code, 128 + TERM, "{stderr}");
}

fn entries(directory: &Path) -> Vec<fs::DirEntry> {
    let listed = fs::read_dir(directory).into_iter().flatten();
    listed.map(Result::unwrap).collect()
}

fn owned(directory: &Path) -> usize {
    let ours = |entry: &fs::DirEntry| entry.metadata().unwrap().uid() == UID;
    entries(directory)
        .iter()
        .filter(|entry| ours(entry))
        .count()
}

#[test]
fn while_a_volume_of_many_files_is_claimed() {
    let image = Image::new();
    let notebooks = image.path("notebooks");
    // One directory after the other, so that the first shows that the work has begun.
    let directories: Vec<_> = (0..100).map(|n| notebooks.join(n.to_string())).collect();
    for directory in &directories {
        fs::create_dir_all(directory).unwrap();
        for number in 0..COUNT / directories.len() {
            fs::write(directory.join(number.to_string()), "").unwrap();
        }
    }
    let one_of_each = || {
        let mut first = directories.iter().map(|directory| directory.join("0"));
        first.any(|path| fs::metadata(path).unwrap().uid() == UID)
    };
    let all = || -> usize { directories.iter().map(|each| owned(each)).sum() };
    let mut running = image.command(["echo", "ran"]).start();
    stop_in_the_middle(&mut running, one_of_each);
    let done = all();
    assert!(0 < done && done < COUNT, "held after {done} of {COUNT}");
    assert_eq!(running.everything().0, "", "no command was started");

    let ended = image.command(["echo", "ran"]).run();
    assert_eq!(ended.stdout, "ran\n", "{}", ended.stderr);
    assert_eq!(all(), COUNT);
}

#[test]
fn while_ten_thousand_defaults_are_copied() {
    let image = Image::new();
    for number in 0..DEFAULTS {
        let file = image.path(&format!("defaults/{number}.ipynb"));
        fs::write(file, format!("content {number}")).unwrap();
    }
    let notebooks = image.path("notebooks");
    let mut running = image.command(["echo", "ran"]).start();
    // The first files, under whatever name.
    stop_in_the_middle(&mut running, || entries(&notebooks).len() > 10);
    let done = entries(&notebooks);
    assert!(
        done.len() < DEFAULTS,
        "held after {} of {DEFAULTS}",
        done.len()
    );
    for entry in done {
        // What has its name is complete; nothing under another name is left.
        let name = entry.file_name().into_string().unwrap();
        if [".ai-lab", "start.ipynb"].contains(&&*name) {
            continue;
        }
        let number = name
            .strip_suffix(".ipynb")
            .unwrap_or_else(|| panic!("{name}"));
        let content = fs::read_to_string(entry.path()).unwrap();
        assert_eq!(content, format!("content {number}"));
    }
    assert_eq!(running.everything().0, "", "no command was started");

    let ended = image.command(["echo", "ran"]).run();
    assert_eq!(ended.stdout, "ran\n", "{}", ended.stderr);
    for number in 0..DEFAULTS {
        let file = notebooks.join(format!("{number}.ipynb"));
        let content = fs::read_to_string(file).unwrap();
        assert_eq!(content, format!("content {number}"));
    }
    // All defaults, start.ipynb and our own directory.
    assert_eq!(entries(&notebooks).len(), DEFAULTS + 2);
    // And the start after that finds nothing to do.
    let ended = image.command(["true"]).run();
    let told = format!(
        "0 installed, 0 updated, 0 kept (changed by you), {} current",
        DEFAULTS + 1
    );
    assert!(ended.stderr.contains(&told), "{}", ended.stderr);
}

#[test]
fn while_the_server_is_starting() {
    let image = Image::new();
    let mut running = image.server().env("FAKE", "unbound").start();
    running.wait_for("is running at");
    running.signal(TERM);
    running.wait_for("fake: got TERM");
    assert_eq!(running.end(), 0);
    let (_, stderr) = running.everything();
    assert!(!stderr.contains("] ready in "), "{stderr}");
    let mut running = image.server().start();
    running.wait_for("] ready in ");
}

#[test]
fn while_a_server_that_failed_is_waited_for() {
    let image = Image::new();
    let mut running = image
        .server()
        .env("FAKE", "dies")
        .args(["--restart", "always"])
        .start();
    running.wait_for("the server is started again in 1 s");
    running.wait_for("the server is started again in 2 s");
    running.signal(TERM);
    // It was not started once more, and how it failed last is what the end tells.
    assert_eq!(running.end(), 3);
    let (_, stderr) = running.everything();
    assert_eq!(stderr.matches("fake: pid").count(), 2, "{stderr}");
    assert!(!stderr.contains("in 4 s"), "{stderr}");
}
