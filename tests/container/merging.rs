//! A merged notebook is one that the image's JupyterLab opens and runs, and no conflict runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::docker::Container;

/// What JupyterLab does with a file: its server opens it, nbformat checks it, a kernel runs it.
/// Prints what the first two say, and the outputs.
const OPEN: &str = "
import json, nbformat, nbclient
from jupyter_server.services.contents.filemanager import FileContentsManager
model = FileContentsManager(root_dir='/home/jupyter/notebooks').get('work.ipynb')
notebook = nbformat.from_dict(model['content'])
saved = json.load(open('/home/jupyter/notebooks/work.ipynb'))
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
    for (mine, new) in [(4, 5), (5, 4), (5, 5)] {
        let defaults = tempfile::tempdir().unwrap();
        fs::set_permissions(defaults.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let offer = |text: String| fs::write(defaults.path().join("work.ipynb"), text).unwrap();
        offer(notebook(mine, &["print('a')", "print('old')", "x = 1"]));
        let mount = format!(
            "--volume={}:/opt/ai-lab/notebook-defaults",
            defaults.path().display()
        );
        let container =
            Container::start(&[&mount, "--env=AI_LAB_VERSION=1.0.0"], &["sleep", "1000"]);
        container.wait_for("] prepared in ");
        let edited = notebook(
            mine,
            &["print('a')", "print('mine')", "x = 1", "print('end')"],
        );
        let save = format!("cat >/home/jupyter/notebooks/work.ipynb <<'END'\n{edited}\nEND");
        container.exec_ok("jupyter", &["sh", "-c", &save]);
        offer(notebook(
            new,
            &["print('A')", "print('new')", "x = 1", "print('added')"],
        ));

        // Root asks, as `docker exec` does.
        let merge = "AI_LAB_VERSION=2.0.0 ai-lab-entrypoint notebooks merge work.ipynb";
        let told = container.exec_ok("root", &["sh", "-c", merge]);
        assert!(
            told.contains("1 cell updated, 1 cell new, 1 conflict"),
            "{told}"
        );
        let python = "/opt/ai-lab/jupyterenv/bin/python";
        let opened = container.exec_ok("jupyter", &[python, "-c", OPEN]);
        let opened = opened.lines().find(|line| line.starts_with('{'));
        let opened: Value = serde_json::from_str(opened.unwrap()).unwrap();
        let outputs = json!(["A\n", "mine\n", "end\n", "added\n"]);
        assert_eq!(
            opened,
            json!({"errors": [], "message": null, "outputs": outputs}),
            "{mine} {new}"
        );
    }
}
