//! `notebooks merge`: a notebook that a person changed gets the newer version's cells, keeps
//! its own, and is kept as it was, at whatever moment it is killed or somebody saves it.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::notebook_verbs::{ask, ask_as};
use crate::support::lab::{Lab, is_temporary};
use crate::support::tracer::{End, Then, follow};
use crate::support::{Image, PROGRAM, Running, Start, UID, repeated};

/// A notebook with these code cells.
pub fn notebook(sources: &[&str]) -> String {
    let cell = |(at, source): (usize, &&str)| {
        json!({
            "cell_type": "code", "id": format!("id-{at}"), "source": source, "metadata": {},
            "outputs": [], "execution_count": null,
        })
    };
    let cells: Vec<Value> = sources.iter().enumerate().map(cell).collect();
    json!({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).to_string()
}

pub fn sources(text: &str) -> Vec<String> {
    let notebook: Value = serde_json::from_str(text).unwrap();
    let source = |cell: &Value| match &cell["source"] {
        Value::String(source) => source.clone(),
        lines => lines
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line.as_str().unwrap())
            .collect(),
    };
    notebook["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(source)
        .collect()
}

pub const FIRST: [&str; 3] = ["load()", "show(x)", "end()"];
pub const MINE: [&str; 4] = ["load()", "show(mine)", "end()", "my_own()"];
pub const SECOND: [&str; 4] = ["load(fast=True)", "show(x)", "end()", "more()"];
pub const MERGED: [&str; 5] = [
    "load(fast=True)",
    "show(mine)",
    "end()",
    "my_own()",
    "more()",
];

/// A start of an image that has the first version of `work.ipynb`.
pub fn first(image: &Image) -> Start {
    fs::write(image.path("defaults/work.ipynb"), notebook(&FIRST)).unwrap();
    fs::write(image.path("defaults/notes.txt"), "one").unwrap();
    image.server().env("AI_LAB_VERSION", "1.0.0")
}

/// The first version in the volume, changed by a person, while the image has the second.
pub fn changed() -> (Image, Running) {
    let image = Image::new();
    let mut running = first(&image).start();
    running.wait_for("] ready in ");
    fs::write(image.path("notebooks/work.ipynb"), notebook(&MINE)).unwrap();
    fs::write(image.path("defaults/work.ipynb"), notebook(&SECOND)).unwrap();
    (image, running)
}

#[test]
fn a_changed_notebook_is_merged_and_kept_and_the_next_merge_begins_there() {
    let (image, running) = changed();
    let read = |name: &str| fs::read_to_string(image.path("notebooks").join(name)).unwrap();
    let (_, stdout, _) = ask(&running, &image, &["notebooks", "status"]);
    let newer = "work.ipynb   changed by you; `notebooks merge` brings the newer version in\n";
    assert!(stdout.contains(newer), "{stdout}");
    let (code, stdout, stderr) = ask(&running, &image, &["notebooks", "merge", "work.ipynb"]);
    let kept = ".ai-lab/kept/1.0.0/work.ipynb";
    let expected = format!(
        "work.ipynb: merged: 1 cell updated, 1 cell new\n\
         yours as it was is in {kept}; if work.ipynb is open in JupyterLab, reload it there\n"
    );
    assert_eq!((code, stdout, stderr.as_str()), (0, expected, ""));
    assert_eq!(sources(&read("work.ipynb")), MERGED);
    assert_eq!(read(kept), notebook(&MINE));
    // Not root's, though root asked.
    let data = fs::metadata(image.path("notebooks/work.ipynb")).unwrap();
    assert_eq!((data.uid(), data.mode() & 0o7777), (UID, 0o644));
    let (_, stdout, _) = ask(&running, &image, &["notebooks", "status"]);
    assert!(stdout.contains("work.ipynb   changed by you\n"), "{stdout}");

    let (code, _, stderr) = ask(&running, &image, &["notebooks", "merge", "work.ipynb"]);
    let again = "work.ipynb: not merged: there is no newer version of it\n";
    assert_eq!((code, stderr.as_str()), (1, again));

    // The third version changes the cell that is the person's by now, and one that is not.
    let third = ["load(fast=True)", "show(all)", "end()", "more(2)"];
    fs::write(image.path("defaults/work.ipynb"), notebook(&third)).unwrap();
    let (code, stdout, _) = ask(&running, &image, &["notebooks", "merge", "work.ipynb"]);
    assert_eq!(code, 0);
    let conflict = "work.ipynb: merged: 1 cell updated, 1 conflict (search for \"Merge conflict\"";
    assert!(stdout.starts_with(conflict), "{stdout}");
    let merged = sources(&read("work.ipynb"));
    assert_eq!(merged[..2], MERGED[..2]);
    assert!(merged[2].contains("Merge conflict"), "{merged:?}");
    assert_eq!(merged[3..], ["show(all)", "end()", "my_own()", "more(2)"]);
    assert!(
        !read(".ai-lab/lock").contains('\0'),
        "the mark of a killed start"
    );
}

#[test]
fn what_was_undone_is_merged_again_and_stays_when_other_copies_come_back() {
    let (image, running) = changed();
    let work = image.path("notebooks/work.ipynb");
    let read = || fs::read_to_string(&work).unwrap();
    let ask = |words: &[&str]| {
        let (code, stdout, stderr) = ask(&running, &image, &[&["notebooks"], words].concat());
        assert_eq!(code, 0, "{words:?}: {stderr}");
        stdout
    };
    ask(&["merge", "work.ipynb"]);
    // A merged notebook is nothing that an update replaced.
    let none = ask(&["restore", "--kept"]);
    assert_eq!(none, "no copy of a notebook that you ran is kept\n");
    assert_eq!(sources(&read()), MERGED);
    for _ in 0..2 {
        ask(&["restore", "--kept", "work.ipynb"]);
        assert_eq!(read(), notebook(&MINE));
        ask(&["merge", "work.ipynb"]);
        assert_eq!(sources(&read()), MERGED);
    }
    ask(&["restore", "--kept", "work.ipynb"]);
    let third = notebook(&["load(fast=True)", "show(x)", "end(2)", "more()"]);
    fs::write(image.path("defaults/work.ipynb"), third).unwrap();
    ask(&["merge", "work.ipynb"]);
    let mut expected = MERGED;
    expected[2] = "end(2)";
    assert_eq!(sources(&read()), expected);
}

#[test]
fn outputs_that_came_back_are_merged_from_the_version_that_was_run() {
    let (image, running) = changed();
    drop(running);
    let work = image.path("notebooks/work.ipynb");
    let ran = notebook(&FIRST).replacen("null", "1", 1);
    fs::write(&work, &ran).unwrap();
    let mut running = image.server().env("AI_LAB_VERSION", "2.0.0").start();
    running.wait_for("1 replaced after you ran them");
    running.wait_for("] ready in ");
    let third = ["load(fast=True)", "show(all)", "end()", "more()"];
    fs::write(image.path("defaults/work.ipynb"), notebook(&third)).unwrap();
    for words in [["restore", "--kept"], ["merge", "work.ipynb"]] {
        let (code, _, stderr) = ask_as(
            "3.0.0",
            &running,
            &image,
            &[&["notebooks"], &words[..]].concat(),
        );
        assert_eq!(code, 0, "{words:?}: {stderr}");
    }
    // No cell is mine, so each gets the new text.
    assert_eq!(sources(&fs::read_to_string(&work).unwrap()), third);
}

#[test]
fn what_cannot_be_merged_is_told_and_stays() {
    let (image, running) = changed();
    let work = image.path("notebooks/work.ipynb");
    let merge = |file: &str| {
        let (code, stdout, stderr) = ask(&running, &image, &["notebooks", "merge", file]);
        assert_eq!((code, stdout.as_str()), (1, ""), "{file}");
        stderr
    };
    let refused = |file: &str, why: &str| {
        let told = merge(file);
        assert!(
            told.starts_with(&format!("{file}: not merged: {why}")),
            "{told}"
        );
    };
    refused("other.ipynb", "it is not a default of this image");
    refused("notes.txt", "only notebooks (.ipynb) can be merged");

    let (code, _, older) = ask_as(
        "0.9.0",
        &running,
        &image,
        &["notebooks", "merge", "work.ipynb"],
    );
    assert_eq!(code, 1);
    assert!(
        older.contains("this image is older than the one"),
        "{older}"
    );

    fs::write(&work, "{\n \"cells\": [,\n").unwrap();
    refused(
        "work.ipynb",
        "the file is not a notebook that Jupyter can open",
    );
    assert!(merge("work.ipynb").contains("at line 2 column 12"));
    assert_eq!(fs::read_to_string(&work).unwrap(), "{\n \"cells\": [,\n");

    fs::write(&work, notebook(&FIRST)).unwrap();
    refused("work.ipynb", "you have not changed it");
    fs::remove_file(&work).unwrap();
    refused("work.ipynb", "it is not there: `notebooks restore`");
    // A link is not followed: the verb would show what only it can read.
    fs::write(image.path("secret.ipynb"), notebook(&MINE)).unwrap();
    symlink(image.path("secret.ipynb"), &work).unwrap();
    refused("work.ipynb", "it is not a regular file");
    fs::remove_file(&work).unwrap();

    fs::write(&work, notebook(&MINE)).unwrap();
    fs::write(image.path("defaults/work.ipynb"), "no notebook").unwrap();
    refused("work.ipynb", "the image's version cannot be read");
    fs::write(image.path("defaults/work.ipynb"), notebook(&SECOND)).unwrap();
    fs::remove_file(image.path("notebooks/.ai-lab/cells.jsonl")).unwrap();
    refused("work.ipynb", "the version that you changed is not recorded");
    let (_, stdout, _) = ask(&running, &image, &["notebooks", "status"]);
    let newer = "work.ipynb   changed by you; `notebooks diff` shows the newer version\n";
    assert!(stdout.contains(newer), "{stdout}");
    assert_eq!(fs::read_to_string(&work).unwrap(), notebook(&MINE));
}

/// A lab in which a person changed the first image's notebook.
pub fn lab() -> Lab {
    let lab = Lab::new("unmodified");
    let (first, second) = (notebook(&FIRST), notebook(&SECOND));
    for (version, text) in [("1.0.0", &first), ("2.0.0", &second)] {
        let defaults = lab.defaults(version).join("deep");
        fs::create_dir_all(&defaults).unwrap();
        fs::write(defaults.join("work.ipynb"), text).unwrap();
    }
    lab.clear();
    lab.finish("1.0.0");
    fs::write(lab.volume().join("deep/work.ipynb"), notebook(&MINE)).unwrap();
    lab.keep();
    lab
}

/// The verb without a supervisor, as the user.
pub fn merging(lab: &Lab, outer: &[&str]) -> Start {
    let path = |path: &Path| path.display().to_string();
    let user = UID.to_string();
    let (first, others) = outer.split_first().unwrap_or((&"env", &[]));
    // In a PID namespace of its own, where it finds no supervisor of another test.
    Start::of_the_machine(first)
        .args(others)
        .args([
            "setpriv",
            "--clear-groups",
            "--reuid",
            &user,
            "--regid",
            &user,
        ])
        .args([PROGRAM, "notebooks", "merge", "deep/work.ipynb"])
        .args(["--notebooks", &path(&lab.volume())])
        .args(["--notebook-defaults", &path(&lab.defaults("2.0.0"))])
        .env("AI_LAB_VERSION", "2.0.0")
}

/// Runs the verb, and does `then` before the `nth` of its calls that count; returns whether it
/// got there, how it ended, and what it wrote to stderr.
fn at_call(
    lab: &Lab,
    nth: usize,
    looks: bool,
    mut then: impl FnMut() -> Then,
) -> (bool, End, String) {
    let defaults = lab.defaults("2.0.0").display().to_string();
    let (gate, go) = std::io::pipe().unwrap();
    let waiting = ["sh", "-c", "read -r go && exec \"$@\"", "sh"];
    let mut running = merging(lab, &waiting).stdin(gate).start();
    let (mut begun, mut count) = (false, 0);
    let end = follow(&running, go, |call| {
        begun |= call.opens(&defaults);
        let counts = begun && !call.is_internal() && (looks || !call.only_looks());
        count += usize::from(counts);
        match counts && count == nth {
            true => then(),
            false => Then::GoOn,
        }
    });
    (count >= nth, end, running.everything().1)
}

#[test]
fn a_merge_that_is_killed_anywhere_leaves_mine_or_the_merged_one_and_can_be_repeated() {
    let lab = lab();
    let volume = lab.volume();
    for nth in (1..).step_by(repeated(4, 1)) {
        lab.again();
        let (reached, end, _) = at_call(&lab, nth, false, || Then::Kill);
        assert_eq!(end == End::Killed, reached);
        assert!(reached || end == End::Exited(0), "{end:?}");
        let at = format!("killed before change {nth}");
        let text = fs::read_to_string(volume.join("deep/work.ipynb")).unwrap();
        let is_mine = text == notebook(&MINE);
        assert!(is_mine || sources(&text) == MERGED, "{at}: {text}");
        let again = merging(&lab, &[]).run();
        // Either everything was done, or it is done now.
        let told = again.stderr.contains("there is no newer version");
        assert!(
            again.code == 0 || told && !is_mine,
            "{at}: {}",
            again.stderr
        );
        lab.finish("2.0.0");
        let mut files = lab.seen();
        assert_eq!(
            sources(&files.remove("deep/work.ipynb").unwrap()),
            MERGED,
            "{at}"
        );
        let kept = files.iter().filter(|(name, _)| name.contains("/kept/"));
        let mut kept = kept.map(|(_, text)| text);
        // What `notebooks restore --kept` brings back, and no start deletes.
        assert_eq!(kept.next(), Some(&notebook(&MINE)), "{at}: {files:#?}");
        assert_eq!(kept.next(), None, "{at}: {files:#?}");
        let record = &files[".ai-lab/manifest.sha256"];
        assert!(
            !record.contains("# kept") && !record.contains("# merg"),
            "{at}: {record}"
        );
        assert!(
            !files.keys().any(|name| is_temporary(name)),
            "{at}: {files:#?}"
        );
        assert_eq!(files[".ai-lab/lock"], "", "{at}");
        if !reached {
            assert!(nth > 15, "only {nth} changes were seen");
            return;
        }
    }
}

/// Saves this at each moment of a merge in turn.
fn saved_at_every_call(lab: &Lab, saved: &str) {
    let work = lab.volume().join("deep/work.ipynb");
    for nth in (1..).step_by(repeated(7, 1)) {
        lab.again();
        let save = || {
            fs::write(&work, saved).unwrap();
            Then::GoOn
        };
        let (reached, end, said) = at_call(lab, nth, true, save);
        let text = fs::read_to_string(&work).unwrap();
        if !reached {
            assert_eq!(end, End::Exited(0));
            assert_eq!(sources(&text), MERGED);
            assert!(nth > 50, "only {nth} calls were seen");
            return;
        }
        let at = format!("saved before call {nth}");
        assert!(matches!(end, End::Exited(0 | 1)), "{at}: {end:?}");
        assert!(!said.contains("not a notebook"), "{at}: {said}");
        let files = lab.seen();
        assert!(
            !files.keys().any(|name| is_temporary(name)),
            "{at}: {files:#?}"
        );
        assert!(text.contains("my_new()"), "{at}: {text}");
    }
}

#[test]
fn what_is_saved_during_a_merge_is_never_lost() {
    let lab = lab();
    // As long as what is merged, and longer.
    let saved = notebook(&MINE).replace("my_own()", "my_new()");
    saved_at_every_call(&lab, &saved);
    saved_at_every_call(&lab, &saved.replace("end()", "the_end()"));
}
