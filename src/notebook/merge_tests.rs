#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A notebook of format 4.5 with these cells, as an image has it.
fn notebook(cells: &[Value]) -> Vec<u8> {
    let number = |(at, cell): (usize, &Value)| {
        let mut cell = cell.clone();
        if cell.get("id").is_none() {
            cell["id"] = format!("id-{at}").into();
        }
        cell
    };
    let cells: Vec<Value> = cells.iter().enumerate().map(number).collect();
    let notebook = json!({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5});
    notebook.to_string().into_bytes()
}

fn code(source: &str) -> Value {
    json!({
        "cell_type": "code", "source": source, "metadata": {}, "outputs": [],
        "execution_count": null,
    })
}

/// The same after a run.
fn run(source: &str) -> Value {
    let mut cell = code(source);
    cell["execution_count"] = 3.into();
    cell["outputs"] = json!([{"output_type": "stream", "name": "stdout", "text": ["out"]}]);
    cell["metadata"] = json!({"scrolled": true});
    cell
}

fn text(source: &str) -> Value {
    json!({"cell_type": "markdown", "source": source, "metadata": {}})
}

fn sources(notebook: &[u8]) -> Vec<String> {
    let cells = Notebook::parse(notebook).unwrap();
    let source = |cell: &Cell| cell.source.0.clone();
    cells.cells().iter().map(source).collect()
}

fn ids(notebook: &[u8]) -> Vec<String> {
    let notebook: Value = serde_json::from_slice(notebook).unwrap();
    let cells = notebook["cells"].as_array().unwrap();
    let id = |cell: &Value| cell["id"].as_str().unwrap().to_owned();
    cells.iter().map(id).collect()
}

fn merge_all(base: &[Value], mine: &[Value], new: &[Value]) -> Merged {
    let base = Notebook::parse(&notebook(base)).unwrap();
    merge(&base, &notebook(mine), &notebook(new)).unwrap()
}

#[test]
fn a_cell_that_only_the_newer_version_changed_is_updated_and_loses_its_outputs() {
    let base = [text("# A"), code("old()"), code("same()")];
    let mine = [text("# A"), run("old()"), run("same()"), run("mine()")];
    let new = [text("# A"), code("new()\nmore()"), code("same()")];
    let merged = merge_all(&base, &mine, &new);
    assert_eq!(merged.changes.to_string(), "1 cell updated");
    let notebook: Value = serde_json::from_slice(&merged.notebook).unwrap();
    let mut expected = run("");
    expected["id"] = "id-1".into();
    expected["source"] = json!(["new()\n", "more()"]);
    expected["outputs"] = json!([]);
    expected["execution_count"] = Value::Null;
    assert_eq!(notebook["cells"][1], expected);
    // What ran and did not change keeps its outputs.
    let mine: Value = serde_json::from_slice(&self::notebook(&mine)).unwrap();
    assert_eq!(notebook["cells"][2], mine["cells"][2]);
    assert_eq!(notebook["cells"][3], mine["cells"][3]);
}

#[test]
fn each_cell_goes_its_own_way() {
    let base = [text("a"), text("b"), text("c")];
    for (mine, new, expected) in [
        // Added: mine first, and what both added once.
        (
            vec!["a", "b", "c", "x"],
            vec!["a", "b", "c", "y"],
            vec!["a", "b", "c", "x", "y"],
        ),
        (
            vec!["a", "b", "c", "x"],
            vec!["a", "b", "c", "x"],
            vec!["a", "b", "c", "x"],
        ),
        (
            vec!["x", "a", "b", "c"],
            vec!["y", "a", "b", "c"],
            vec!["x", "y", "a", "b", "c"],
        ),
        (
            vec!["a", "b", "c"],
            vec!["a", "y", "b", "z", "c"],
            vec!["a", "y", "b", "z", "c"],
        ),
        // Deleted.
        (
            vec!["a", "c"],
            vec!["a", "b", "c", "y"],
            vec!["a", "c", "y"],
        ),
        (vec!["a", "b", "c"], vec!["a", "c"], vec!["a", "c"]),
        (vec!["a", "c"], vec!["a", "b2", "c"], vec!["a", "c"]),
        (
            vec!["a", "b mine", "c"],
            vec!["a", "c"],
            vec!["a", "b mine", "c"],
        ),
        // What followed a cell that I deleted follows the one before.
        (
            vec!["a", "c"],
            vec!["a", "b", "y", "c"],
            vec!["a", "y", "c"],
        ),
        // Moved by me, and changed by the newer version.
        (
            vec!["b", "c", "a"],
            vec!["a2", "b", "c"],
            vec!["b", "c", "a2"],
        ),
        // Both made the same change.
        (
            vec!["a", "b2", "c"],
            vec!["a", "b2", "c2"],
            vec!["a", "b2", "c2"],
        ),
    ] {
        let cells = |names: &[&str]| names.iter().map(|name| text(name)).collect::<Vec<_>>();
        let merged = merge_all(&base, &cells(&mine), &cells(&new));
        assert_eq!(sources(&merged.notebook), expected, "{mine:?} {new:?}");
        assert_eq!(merged.changes.conflicts, 0, "{mine:?} {new:?}");
    }
}

#[test]
fn each_new_cell_comes_unless_the_same_place_has_one_of_mine_for_it() {
    for (mine, new, expected) in [
        // Exercises: the same cell after each question.
        (
            vec!["# A", "answer", "mine"],
            vec!["# A", "1?", "answer", "2?", "answer"],
            vec!["# A", "1?", "answer", "mine", "2?", "answer"],
        ),
        // Everything was merged already, and that was not recorded.
        (
            vec!["# A", "1?", "answer", "mine", "2?", "answer"],
            vec!["# A", "1?", "answer", "2?", "answer"],
            vec!["# A", "1?", "answer", "mine", "2?", "answer"],
        ),
        (
            vec!["answer", "# A", "mine"],
            vec!["# A", "answer"],
            vec!["answer", "# A", "mine", "answer"],
        ),
        (
            vec!["# A", "old", "older", "answer"],
            vec!["# A", "answer"],
            vec!["# A", "answer"],
        ),
    ] {
        let cells = |names: &[&str]| names.iter().map(|name| text(name)).collect::<Vec<_>>();
        let base = match mine.contains(&"old") {
            true => cells(&["# A", "old", "older"]),
            false => cells(&["# A"]),
        };
        let merged = merge_all(&base, &cells(&mine), &cells(&new));
        assert_eq!(sources(&merged.notebook), expected, "{mine:?} {new:?}");
    }
}

#[test]
fn a_cell_that_i_switched_off_gets_the_newer_text_and_stays_off() {
    let off = json!({"cell_type": "raw", "source": "x = 1", "metadata": {}});
    let merged = merge_all(
        &[code("x = 1"), code("y")],
        &[off, code("y")],
        &[code("x = 2"), code("y")],
    );
    assert_eq!(sources(&merged.notebook), ["x = 2", "y"]);
    let notebook: Value = serde_json::from_slice(&merged.notebook).unwrap();
    assert_eq!(notebook["cells"][0]["cell_type"], "raw");
    assert_eq!(notebook["cells"][0].get("outputs"), None);
}

#[test]
fn newer_text_of_a_cell_that_i_deleted_or_rewrote_is_counted() {
    let told = "1 cell left out (changed in the newer version, deleted or replaced by you: see \
                `notebooks diff`)";
    let base = [text("a"), code("total = sum(values)"), text("b")];
    let new = [text("a"), code("total = sum(all_values)"), text("b")];
    for mine in [
        vec![text("a"), text("b")],
        vec![text("a"), code("import x"), code("x.run()"), text("b")],
    ] {
        let merged = merge_all(&base, &mine, &new);
        assert_eq!(merged.changes.to_string(), told);
        assert_eq!(merged.notebook, notebook(&mine));
    }
}

#[test]
fn metadata_comes_as_the_newer_version_has_it() {
    let set = json!({"rise": {"plugins": [], "theme": "sky", "footer": "", "sep": "-"}});
    let with = |metadata: &Value| {
        let mut cell = code("a");
        cell["metadata"] = metadata.clone();
        let mut all: Value = serde_json::from_slice(&notebook(&[cell])).unwrap();
        all["metadata"] = metadata.clone();
        all
    };
    let base = Notebook::parse(&notebook(&[code("a")])).unwrap();
    let mine = notebook(&[code("a"), code("mine")]);
    let merged = merge(&base, &mine, with(&set).to_string().as_bytes()).unwrap();
    let merged: Value = serde_json::from_slice(&merged.notebook).unwrap();
    assert_eq!(merged["metadata"], set);
    assert_eq!(merged["cells"][0]["metadata"], set);
}

#[test]
fn a_cell_that_both_changed_has_the_lines_of_both() {
    let merged = merge_all(
        &[code("one\ntwo\nthree\nfour")],
        &[run("one\ntwo\nthree\nfour\nmine")],
        &[code("ONE\ntwo\nthree\nfour")],
    );
    assert_eq!(sources(&merged.notebook), ["ONE\ntwo\nthree\nfour\nmine"]);
    assert_eq!(
        merged.changes.to_string(),
        "1 cell with your lines and the new ones"
    );
    let notebook: Value = serde_json::from_slice(&merged.notebook).unwrap();
    assert_eq!(notebook["cells"][0]["outputs"], json!([]));
}

#[test]
fn a_conflict_leaves_my_cell_and_adds_two_that_do_not_run() {
    let base = [code("x = 1"), code("print(x)")];
    let mine = [run("x = 2"), code("print(x)")];
    let new = [code("x = 3"), code("print(x)")];
    let merged = merge_all(&base, &mine, &new);
    assert_eq!(
        merged.changes.to_string(),
        "1 conflict (search for \"Merge conflict\" in the notebook)"
    );
    let notebook: Value = serde_json::from_slice(&merged.notebook).unwrap();
    let cells = notebook["cells"].as_array().unwrap();
    let mut first = run("x = 2");
    first["id"] = "id-0".into();
    assert_eq!(cells[0], first);
    assert!(cells[1]["source"].to_string().contains("Merge conflict"));
    let types: Vec<&Value> = cells.iter().map(|cell| &cell["cell_type"]).collect();
    assert_eq!(types, ["code", "markdown", "raw", "code"]);
    assert_eq!(cells[2]["source"], json!(["x = 3"]));

    // As long as the note is there, nothing more is merged.
    let newer = self::notebook(&[code("x = 4")]);
    let base = Notebook::parse(&self::notebook(&new)).unwrap();
    let refused = merge(&base, &merged.notebook, &newer).unwrap_err();
    assert!(refused.to_string().contains("open conflicts"), "{refused}");
}

#[test]
fn attachments_are_merged_with_their_cell() {
    let picture = |content: &str| json!({"a.png": {"image/png": content}});
    let cell = |source: &str, content: Option<&str>| {
        let mut cell = text(source);
        if let Some(content) = content {
            cell["attachments"] = picture(content);
        }
        cell
    };
    let merged = merge_all(
        &[cell("a", Some("1"))],
        &[cell("a mine", Some("1"))],
        &[cell("a", Some("2"))],
    );
    let notebook: Value = serde_json::from_slice(&merged.notebook).unwrap();
    assert_eq!(notebook["cells"][0]["attachments"], picture("2"));
    assert_eq!(notebook["cells"][0]["source"], json!(["a mine"]));
    let merged = merge_all(
        &[cell("a", Some("1"))],
        &[cell("a", Some("1"))],
        &[cell("a", None)],
    );
    let notebook: Value = serde_json::from_slice(&merged.notebook).unwrap();
    assert_eq!(notebook["cells"][0].get("attachments"), None);
    let merged = merge_all(
        &[cell("a", Some("1"))],
        &[cell("a", Some("2"))],
        &[cell("a", Some("3"))],
    );
    assert_eq!(merged.changes.conflicts, 1);
    let notebook: Value = serde_json::from_slice(&merged.notebook).unwrap();
    assert_eq!(notebook["cells"][2]["attachments"], picture("3"));
}

#[test]
fn what_is_not_a_cell_stays_mine() {
    let base = Notebook::parse(&notebook(&[code("a")])).unwrap();
    let mut mine: Value = serde_json::from_slice(&notebook(&[code("a")])).unwrap();
    mine["metadata"] = json!({"kernelspec": {"name": "other"}, "mine": "1.50"});
    mine["unknown"] = "field".into();
    // Numbers keep their digits.
    let mine = mine.to_string().replace("\"1.50\"", "1.50");
    let merged = merge(&base, mine.as_bytes(), &notebook(&[code("b")])).unwrap();
    let mine: Value = serde_json::from_str(&mine).unwrap();
    let text = String::from_utf8(merged.notebook).unwrap();
    let notebook: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(notebook["metadata"], mine["metadata"]);
    assert_eq!(notebook["unknown"], "field");
    assert!(text.starts_with("{\n \"cells\": [\n  {\n"), "{text}");
    assert!(
        text.contains("\"mine\": 1.50") && text.ends_with("}\n"),
        "{text}"
    );
}

#[test]
fn identifiers_are_kept_and_unique_and_only_where_the_format_has_them() {
    let named = |source: &str, id: &str| {
        let mut cell = code(source);
        cell["id"] = id.into();
        cell
    };
    let base = [named("a", "one")];
    let mine = [named("a", "one"), named("mine", "two")];
    let new = [named("a", "one"), named("b", "two"), named("c", "three")];
    let merged = merge_all(&base, &mine, &new);
    assert_eq!(ids(&merged.notebook), ["one", "two", "merged-1", "three"]);

    let base = Notebook::parse(&notebook(&base)).unwrap();
    let mut old: Value = serde_json::from_slice(&notebook(&[code("a")])).unwrap();
    old["nbformat_minor"] = 2.into();
    old["cells"][0].as_object_mut().unwrap().shift_remove("id");
    let merged = merge(&base, old.to_string().as_bytes(), &notebook(&new)).unwrap();
    let notebook: Value = serde_json::from_slice(&merged.notebook).unwrap();
    assert_eq!(notebook["nbformat_minor"], 4);
    assert!(
        notebook["cells"]
            .as_array()
            .unwrap()
            .iter()
            .all(|cell| cell.get("id").is_none())
    );
}

#[test]
fn what_is_no_notebook_is_an_error_that_says_whose() {
    let base = Notebook::default();
    let good = notebook(&[]);
    let error = |mine: &[u8], new: &[u8]| merge(&base, mine, new).unwrap_err().to_string();
    let mine = error(b"{\n \"cells\": [,\n", &good);
    assert!(
        mine.starts_with("the file is not a notebook that Jupyter"),
        "{mine}"
    );
    assert!(mine.ends_with("at line 2 column 12"), "{mine}");
    let new = error(&good, b"");
    assert!(
        new.starts_with("the image's version cannot be read"),
        "{new}"
    );
    // A cell that is a list is none for Jupyter.
    let listed = br#"{"cells": [["code", "x"]], "nbformat": 4, "nbformat_minor": 5}"#;
    assert!(error(listed, &good).contains("not a notebook"));
}

/// Cells of few words, so that versions have some in common and repeat others.
fn any_cells() -> impl Strategy<Value = Vec<Value>> {
    let line = prop::sample::select(vec!["a", "b", "c = 1", "d()", "", "# x\ny"]);
    let source = prop::collection::vec(line, 0..4).prop_map(|lines| lines.join("\n"));
    let cell = (source, any::<bool>()).prop_map(|(source, is_code)| match is_code {
        true => run(&source),
        false => text(&source),
    });
    prop::collection::vec(cell, 0..7)
}

/// The cells of a person or of a newer version: edited, deleted, added and moved ones.
fn edited(base: &[Value], edits: &[(usize, u8)]) -> Vec<Value> {
    let mut cells = base.to_vec();
    for (number, (at, edit)) in edits.iter().enumerate() {
        let at = at % (cells.len() + 1);
        match edit {
            0 => cells.insert(at, text(&format!("added {number}"))),
            1 if at < cells.len() => drop(cells.remove(at)),
            2 if at > 0 && at < cells.len() => cells.swap(at - 1, at),
            _ if at < cells.len() => {
                let source = cells[at]["source"].as_str().unwrap().to_owned();
                cells[at]["source"] = format!("{source}\nedit {number}").into();
            }
            _ => {}
        }
    }
    cells
}

fn any_edits() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop::collection::vec((0..9_usize, 0..6_u8), 0..5)
}

proptest! {
    #[test]
    fn an_unchanged_notebook_becomes_the_new_one(base in any_cells(), new in any_cells()) {
        let merged = merge_all(&base, &base, &new);
        prop_assert_eq!(sources(&merged.notebook), sources(&notebook(&new)));
        let counted = Notebook::parse(&merged.notebook).unwrap();
        prop_assert_eq!(counted, Notebook::parse(&notebook(&new)).unwrap());
    }

    #[test]
    fn without_a_newer_version_nothing_changes(base in any_cells(), mine in any_cells()) {
        let merged = merge_all(&base, &mine, &base);
        prop_assert_eq!(merged.changes, Changes::default());
        prop_assert_eq!(merged.notebook, notebook(&mine));
    }

    #[test]
    fn nothing_of_mine_is_lost_and_a_second_merge_changes_nothing(
        base in any_cells(), mine in any_edits(), new in any_edits(),
    ) {
        let (mine, new) = (edited(&base, &mine), edited(&base, &new));
        let merged = merge_all(&base, &mine, &new);
        let result = sources(&merged.notebook);
        let words = |sources: &[String]| -> BTreeSet<String> {
            let lines = sources.iter().flat_map(|source| source.lines());
            lines.map(str::to_owned).collect()
        };
        let [of_mine, of_base] = [&mine, &base].map(|cells| words(&sources(&notebook(cells))));
        for line in of_mine.difference(&of_base) {
            prop_assert!(words(&result).contains(line), "{} in {:?}", line, result);
        }
        let ids = ids(&merged.notebook);
        prop_assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        let new = notebook(&new);
        match merge(&Notebook::parse(&new).unwrap(), &merged.notebook, &new) {
            Ok(again) => prop_assert_eq!(again.notebook, merged.notebook),
            Err(_) => prop_assert!(merged.changes.conflicts > 0),
        }
    }
}
