//! A merged notebook is one that the image's JupyterLab opens and runs, and no conflict runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::docker::Container;

/// What JupyterLab does with each file: its server opens it, nbformat checks it, a kernel runs it.
/// Prints what the first two say, and the outputs, in a line for each.
const OPEN: &str = "
import json, nbformat, nbclient, sys
from jupyter_server.services.contents.filemanager import FileContentsManager
for name in sys.argv[1:]:
    model = FileContentsManager(root_dir='/home/jupyter/notebooks').get(name)
    notebook = nbformat.from_dict(model['content'])
    saved = json.load(open(f'/home/jupyter/notebooks/{name}'))
    schema = nbformat.validator.get_validator(4, saved['nbformat_minor'])
    errors = [error.message for error in schema.iter_errors(saved)]
    nbclient.NotebookClient(notebook).execute()
    outputs = [output['text'] for cell in notebook.cells for output in cell.get('outputs', [])]
    print(json.dumps({'errors': errors, 'message': model.get('message'), 'outputs': outputs}))
";

fn notebook(minor: u64, sources: &[&str]) -> String {
    let cell = |(at, source): (usize, &&str)| {
        let mut cell = json!({
            "cell_type": "code", "source": source, "metadata": {}, "outputs": [],
            "execution_count": null,
        });
        if minor >= 5 {
            cell["id"] = format!("id-{at}").into();
        }
        cell
    };
    let cells: Vec<Value> = sources.iter().enumerate().map(cell).collect();
    json!({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": minor}).to_string()
}

#[test]
fn jupyterlab_opens_a_merged_notebook_and_no_conflict_runs() {
    // The versions of the format, of a person's notebook and of the new one.
    let versions = [(4, 5), (5, 4), (5, 5)];
    let names = versions.map(|(mine, new)| format!("work-{mine}-{new}.ipynb"));
    let each = || names.iter().zip(versions);
    let defaults = tempfile::tempdir().unwrap();
    fs::set_permissions(defaults.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let offer = |name: &str, text: String| fs::write(defaults.path().join(name), text).unwrap();
    for (name, (mine, _)) in each() {
        offer(
            name,
            notebook(mine, &["print('a')", "print('old')", "x = 1"]),
        );
    }
    let mount = format!(
        "--volume={}:/opt/ai-lab/notebook-defaults",
        defaults.path().display()
    );
    let options = [&*mount, "--env=AI_LAB_VERSION=1.0.0"];
    let container = Container::start(&options, &["sleep", "1000"]);
    container.wait_for("] prepared in ");
    for (name, (mine, new)) in each() {
        let edited = notebook(
            mine,
            &["print('a')", "print('mine')", "x = 1", "print('end')"],
        );
        let save = format!("cat >/home/jupyter/notebooks/{name} <<'END'\n{edited}\nEND");
        container.exec_ok("jupyter", &["sh", "-c", &save]);
        offer(
            name,
            notebook(
                new,
                &["print('A')", "print('new')", "x = 1", "print('added')"],
            ),
        );

        // Root asks, as `docker exec` does.
        let merge = format!("AI_LAB_VERSION=2.0.0 ai-lab-entrypoint notebooks merge {name}");
        let told = container.exec_ok("root", &["sh", "-c", &merge]);
        assert!(
            told.contains("1 cell updated, 1 cell new, 1 conflict"),
            "{name}: {told}"
        );
    }
    let open = ["/opt/ai-lab/jupyterenv/bin/python", "-c", OPEN];
    let names = names.iter().map(String::as_str);
    let words: Vec<&str> = open.into_iter().chain(names).collect();
    let opened = container.exec_ok("jupyter", &words);
    let lines: Vec<&str> = opened
        .lines()
        .filter(|line| line.starts_with('{'))
        .collect();
    assert_eq!(lines.len(), versions.len(), "{opened}");
    let outputs = json!(["A\n", "mine\n", "end\n", "added\n"]);
    for (line, versions) in lines.into_iter().zip(versions) {
        let opened: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            opened,
            json!({"errors": [], "message": null, "outputs": outputs}),
            "{versions:?}"
        );
    }
}
