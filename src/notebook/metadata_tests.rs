#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

fn cell(value: &Value) -> CellMetadata {
    serde_json::from_str(&value.to_string()).unwrap()
}

fn notebook(value: &Value) -> NotebookMetadata {
    serde_json::from_str(&value.to_string()).unwrap()
}

#[test]
fn what_a_person_sets_counts() {
    for set in [
        json!({"tags": ["parameters"]}),
        json!({"slideshow": {"slide_type": "slide"}}),
        json!({"editable": false}),
        json!({"deletable": false}),
        json!({"nbgrader": {"grade": true, "grade_id": "a", "points": 1}}),
        json!({"raw_mimetype": "text/latex"}),
        json!({"name": "first"}),
    ] {
        assert!(!cell(&set).is_empty(), "{set}");
    }
    for set in [
        json!({"title": "A"}),
        json!({"jupytext": {"formats": "ipynb,py:percent"}}),
        json!({"celltoolbar": "Slideshow"}),
    ] {
        assert!(!notebook(&set).is_empty(), "{set}");
    }
}

#[test]
fn what_programs_write_by_themselves_does_not_count() {
    let all = json!({
        "ExecuteTime": {"end_time": "1"}, "collapsed": true, "execution": {"iopub.status.busy": "1"},
        "scrolled": "auto", "jupyter": {"outputs_hidden": true, "source_hidden": true},
        "jp-MarkdownHeadingCollapsed": true, "trusted": true, "vscode": {"languageId": "python"},
        "papermill": {"duration": 1.5}, "editable": true, "deletable": true, "tags": [],
        "slideshow": {"slide_type": ""}, "name": null, "raw_mimetype": "",
        "id": "bZ3x", "outputId": "0d1f", "colab_type": "code", "cellView": "form",
        "colab": {"base_uri": "https://localhost:8080/"}, "executionInfo": {"status": "ok"},
    });
    assert!(cell(&all).is_empty());
    assert!(cell(&json!({"slideshow": {"slide_type": "-"}})).is_empty());
    let all = json!({
        "kernelspec": {"name": "ir"}, "language_info": {"version": "3.13"}, "signature": "s",
        "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}}},
        "vscode": {"interpreter": {"hash": "1"}}, "papermill": {}, "orig_nbformat": 2,
        "colab": {"provenance": []}, "accelerator": "GPU", "gpuClass": "standard",
    });
    assert!(notebook(&all).is_empty());
}

#[test]
fn the_form_of_a_value_does_not_count_and_it_comes_back_from_a_line() {
    let two = [
        r#"{"nbgrader": {"points": 1.0, "grade_id": "a\nb"}, "tags": ["\u00e4", 1e400]}"#,
        r#"{"tags": [
 "ä",
 1e400
], "nbgrader": {"grade_id": "a\nb", "x": "", "points": 1.0}}"#,
    ];
    let [one, other] = two.map(|text| serde_json::from_str::<CellMetadata>(text).unwrap());
    assert_eq!(one, other);
    let long = "x".repeat(MAX_PARSED);
    let long = format!("{{\"a\": [\n\"{long}\",\r\n1]}}");
    let long: CellMetadata = serde_json::from_str(&long).unwrap();
    for metadata in [one, long] {
        let line = serde_json::to_string(&metadata).unwrap();
        assert!(!line.contains(['\n', '\r']));
        let again: CellMetadata = serde_json::from_str(&line).unwrap();
        assert_eq!(again, metadata);
    }
}

#[test]
fn a_number_that_a_browser_writes_in_another_form_is_the_same_one() {
    let points = |text: &str| -> CellMetadata {
        serde_json::from_str(&format!("{{\"points\": {text}}}")).unwrap()
    };
    for (python, browser) in [
        ("1.0", "1"),
        ("-0.0", "0"),
        ("0.50", "0.5"),
        ("1e16", "10000000000000000.0"),
        ("2.5e-7", "2.5E-07"),
    ] {
        assert_eq!(points(python), points(browser), "{python}");
    }
    // Digits that a float does not have are kept.
    for (one, other) in [
        ("1", "2"),
        ("9007199254740993", "9007199254740992"),
        ("1e400", "2e400"),
    ] {
        assert_ne!(points(one), points(other), "{one}");
    }
}

#[test]
fn in_a_list_the_form_does_not_count_and_each_element_does() {
    let of = |text: &str| -> NotebookMetadata {
        serde_json::from_str(&format!("{{\"authors\": {text}}}")).unwrap()
    };
    for (image, saved) in [
        (
            r#"[{"name": "A", "email": "a@b"}]"#,
            r#"[{"email": "a@b", "name": "A"}]"#,
        ),
        ("[1.0, [2.50]]", "[1, [2.5]]"),
        (r#"[{"name": "A", "url": ""}]"#, r#"[{"name": "A"}]"#),
    ] {
        assert_eq!(of(image), of(saved), "{image}");
    }
    for (one, other) in [
        ("[1, 2]", "[2, 1]"),
        ("[null, 1]", "[1]"),
        (r#"["-"]"#, r#"[""]"#),
    ] {
        assert_ne!(of(one), of(other), "{one}");
    }
}

#[test]
fn a_dash_means_nothing_as_a_slide_type_alone() {
    let rise = |sep: &str| notebook(&json!({"rise": {"theme": "sky", "sep": sep}}));
    assert_ne!(rise("-"), rise(""));
}

#[test]
fn the_keys_are_merged_one_by_one_and_mine_stays() {
    let old = cell(&json!({"tags": ["a"], "name": "old", "gone": 1, "kept": 1}));
    let mine = cell(&json!({"tags": ["a", "mine"], "name": "old", "gone": 1, "own": 1}));
    let new = cell(&json!({"tags": ["b"], "name": "new", "added": 1, "kept": 1}));
    let merged = mine.merged(&old, &new);
    let expected = json!({"tags": ["a", "mine"], "name": "new", "own": 1, "added": 1});
    assert_eq!(merged, cell(&expected));
    let document =
        json!({"scrolled": true, "gone": 1, "own": 1, "name": "old", "tags": ["a", "mine"]});
    let mut document = document.as_object().unwrap().clone();
    let new = json!({"tags": ["b"], "name": "new", "added": 1, "kept": 1});
    merged.write(&mine, Some(&new), &mut document);
    let expected =
        json!({"scrolled": true, "name": "new", "tags": ["a", "mine"], "added": 1, "own": 1});
    assert_eq!(Value::Object(document), expected);
}
