//! What counts as a change of a notebook at an update: what a person sets does, what programs
//! write by themselves does not.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::tmpfs::Tmpfs;
use crate::support::{Image, Output};

fn notebook(source: &str) -> Value {
    let cell = json!({
        "cell_type": "code", "id": "a", "source": [source],
        "metadata": {"tags": ["first"], "nbgrader": {"points": 1.0}},
        "outputs": [], "execution_count": null,
    });
    let kernel = json!({"kernelspec": {"name": "python3", "display_name": "Python 3"}});
    json!({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})
}

fn start(image: &Image, version: &str) -> Output {
    let text = notebook(&format!("version = '{version}'")).to_string();
    fs::write(image.path("defaults/work.ipynb"), text).unwrap();
    let ended = image.command(["true"]).env("AI_LAB_VERSION", version).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended
}

/// What an update leaves of the first version after this change.
fn updated(change: impl Fn(&mut Value)) -> (String, Output) {
    let image = Image::new();
    let volume = image.path("notebooks");
    let _memory = Tmpfs::mount(&volume, "size=16m");
    start(&image, "1.0.0");
    let path = volume.join("work.ipynb");
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let mut mine: Value = serde_json::from_str(&read(&path)).unwrap();
    mine["cells"][0]["execution_count"] = 1.into();
    change(&mut mine);
    fs::write(&path, format!("{mine:#}")).unwrap();
    let ended = start(&image, "2.0.0");
    (read(&path), ended)
}

#[test]
fn a_notebook_that_was_run_is_updated_whatever_starts_saw_it_before() {
    let image = Image::new();
    start(&image, "1.0.0");
    let path = image.path("notebooks/work.ipynb");
    let text = fs::read_to_string(&path).unwrap();
    // Of the same length.
    let count = |count| text.replace(r#""execution_count":null"#, count);
    let run = count(r#""execution_count":1234"#);
    assert_ne!(run, text);
    fs::write(&path, run).unwrap();
    // Only the second one surely knows that the file does not change any more.
    start(&image, "1.0.0");
    start(&image, "1.0.0");
    let ended = start(&image, "2.0.0");
    let told = "1 updated, 0 kept (changed by you), 1 current, 1 replaced after you ran them (";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
}

#[test]
fn what_a_person_sets_in_a_notebook_is_a_change() {
    let changes: [(&str, Value); 6] = [
        ("/cells/0/metadata/tags", json!(["first", "parameters"])),
        ("/cells/0/metadata/tags", json!([])),
        (
            "/cells/0/metadata/nbgrader",
            json!({"grade": true, "points": 3}),
        ),
        (
            "/cells/0/metadata/slideshow",
            json!({"slide_type": "slide"}),
        ),
        ("/cells/0/metadata/editable", json!(false)),
        ("/metadata/title", json!("My title")),
    ];
    for (path, value) in changes {
        let (text, ended) = updated(|notebook| set(notebook, path, value.clone()));
        assert!(
            ended.stderr.contains("0 updated, 1 kept (changed by you)"),
            "{path}: {}",
            ended.stderr
        );
        assert!(text.contains("1.0.0"), "{path}: {text}");
    }
}

#[test]
fn what_programs_write_by_themselves_is_none() {
    let script = "if (\"x\") { }".repeat(100_001);
    let changes: [(&str, Value); 13] = [
        // A plot of plotly or bokeh has their whole JavaScript.
        (
            "/cells/0/outputs",
            json!([{"output_type": "display_data", "data": {"text/html": script}}]),
        ),
        // JavaScript has no `1.0`.
        ("/cells/0/metadata/nbgrader", json!({"points": 1})),
        (
            "/cells/0/metadata/executionInfo",
            json!({"status": "ok", "elapsed": 12}),
        ),
        ("/metadata/colab", json!({"provenance": []})),
        (
            "/cells/0/metadata/execution",
            json!({"iopub.status.busy": "2026-01-01T00:00:00Z"}),
        ),
        ("/cells/0/metadata/ExecuteTime", json!({"end_time": "2026"})),
        ("/cells/0/metadata/jupyter", json!({"outputs_hidden": true})),
        ("/cells/0/metadata/slideshow", json!({"slide_type": ""})),
        ("/cells/0/metadata/editable", json!(true)),
        ("/cells/0/metadata/vscode", json!({"languageId": "python"})),
        (
            "/metadata/kernelspec",
            json!({"name": "python3", "display_name": "Python 3 (ipykernel)"}),
        ),
        (
            "/metadata/language_info",
            json!({"name": "python", "version": "3.13"}),
        ),
        (
            "/metadata/widgets",
            json!({"application/vnd.jupyter.widget-state+json": {"state": {}}}),
        ),
    ];
    for (path, value) in changes {
        let (text, ended) = updated(|notebook| set(notebook, path, value.clone()));
        assert!(
            ended.stderr.contains(", 1 replaced after you ran them ("),
            "{path}: {}",
            ended.stderr
        );
        assert!(text.contains("2.0.0"), "{path}: {text}");
    }
}

fn set(notebook: &mut Value, path: &str, value: Value) {
    let (above, key) = path.rsplit_once('/').unwrap();
    notebook.pointer_mut(above).unwrap()[key] = value;
}
