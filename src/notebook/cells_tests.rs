#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::{Value, json};

fn cells(cells: Value) -> Notebook {
    Notebook::parse(
        json!({"nbformat": 4, "cells": cells})
            .to_string()
            .as_bytes(),
    )
    .unwrap()
}

fn error(notebook: &str) -> String {
    Notebook::parse(notebook.as_bytes())
        .unwrap_err()
        .to_string()
}

#[test]
fn type_source_attachments_and_order_count() {
    let picture = |content: Value| json!({"a.png": {"image/png": content}});
    let one = json!({"cell_type": "markdown", "source": "a", "attachments": picture(json!("x"))});
    let two = json!({"cell_type": "code", "source": "1\n2"});
    let both = cells(json!([one, two]));
    assert_ne!(both, cells(json!([two, one])));
    assert_ne!(both, cells(json!([one])));
    for (key, value) in [
        ("cell_type", json!("raw")),
        ("source", json!("b")),
        ("attachments", picture(json!("y"))),
        ("attachments", json!({})),
    ] {
        let mut other = one.clone();
        other[key] = value;
        assert_ne!(both, cells(json!([other, two])), "{key}");
    }
}

#[test]
fn what_a_run_and_a_save_write_does_not_count() {
    let before = cells(json!([
        {"cell_type": "markdown", "source": "a", "metadata": {}},
        {"cell_type": "code", "source": "1\r\n2", "outputs": [], "execution_count": null},
    ]));
    let after = cells(json!([
        {"id": "1", "cell_type": "markdown", "source": ["a"], "attachments": {}},
        {"id": "2", "cell_type": "code", "source": ["1\n", "2"], "execution_count": 7,
         "outputs": [{"output_type": "stream"}], "metadata": {"trusted": true}},
        {"id": "3", "cell_type": "code", "source": [], "metadata": {}},
        {"id": "4", "cell_type": "code", "source": "", "metadata": {}},
    ]));
    assert_eq!(before, after);
}

/// The files that the real programs saved of `installed.ipynb`. JupyterLab 4.2.7, 4.3.8, 4.4.10, 4.5.11 and
/// 4.6.6 saved the same bytes in a browser after Shift+Enter in each cell. `upgraded` was in format
/// 4.2, and all its cells were run at once; nbclient, papermill and `nbconvert --execute --inplace`
/// saved their own runs.
#[test]
fn what_jupyter_saved_has_the_cells_that_were_installed() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/notebooks/");
    let read = |name: &str| std::fs::read(directory.to_owned() + name).unwrap();
    let installed = read("installed.ipynb");
    let cells = Notebook::parse(&installed).unwrap();
    assert_eq!(cells.cells().len(), 7);
    for program in [
        "jupyterlab-4.2.7-to-4.6.6",
        "jupyterlab-4.6.6-upgraded",
        "nbclient-0.11.0",
        "nbconvert-7.17.2-inplace",
        "papermill-2.7.0",
    ] {
        let saved = read(&format!("{program}.ipynb"));
        assert_ne!(saved, installed, "{program}");
        assert_eq!(Notebook::parse(&saved).unwrap(), cells, "{program}");
    }
}

#[test]
fn an_empty_cell_counts_where_a_person_put_it() {
    let empty = |kind: &str| json!({"cell_type": kind, "source": ""});
    let last = json!({"cell_type": "code", "source": "1"});
    assert_ne!(cells(json!([empty("code"), last])), cells(json!([last])));
    assert_ne!(cells(json!([empty("markdown")])), cells(json!([])));
}

#[test]
fn cells_are_one_line_of_json_and_come_back_from_it() {
    let picture = json!({"a.png": {"image/png": ["x", "y"]}});
    let cells = cells(json!([
        {"cell_type": "markdown", "source": ["# ü\n", "\u{2028}"], "attachments": picture},
        {"cell_type": "code", "source": "1\n", "metadata": {"tags": ["a"], "scrolled": true}},
    ]));
    let line = serde_json::to_string(&cells).unwrap();
    assert_eq!(
        line,
        "{\"cells\":[{\"cell_type\":\"markdown\",\"source\":\"# ü\\n\u{2028}\",\
         \"attachments\":{\"a.png\":{\"image/png\":\"xy\"}}},\
         {\"cell_type\":\"code\",\"source\":\"1\\n\",\
         \"metadata\":{\"tags\":[\"a\"]}}]}"
    );
    assert_eq!(serde_json::from_str::<Notebook>(&line).unwrap(), cells);
}

#[test]
fn what_jupyter_cannot_open_is_an_error_with_its_place() {
    let cell = r#""cell_type": "code", "source""#;
    for (notebook, expected) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("[]", "expected struct"),
        ("\u{feff}{}", "expected value at line 1 column 1"),
        (r#"{"nbformat": 4}"#, "missing field `cells`"),
        (r#"{"cells": []}"#, "missing field `nbformat`"),
        (
            r#"{"nbformat": 4, "cells": {}}"#,
            "expected a sequence at line 1 column",
        ),
        (
            r#"{"nbformat": 4, "cells": [], "cells": []}"#,
            "duplicate field `cells`",
        ),
        (
            &format!(r#"{{"nbformat": 4, "cells": [{{{cell}: 1}}]}}"#),
            "invalid type: integer `1`, expected a string or a list of strings at line 1",
        ),
        (
            &format!(r#"{{"nbformat": 4, "cells": [{{{cell}: [1]}}]}}"#),
            "expected a string",
        ),
        (
            &format!(r#"{{"nbformat": 4, "cells": [{{{cell}: "", "source": ""}}]}}"#),
            "duplicate field `source`",
        ),
        (
            r#"{"nbformat": 4, "cells": [{"source": ""}]}"#,
            "missing field `cell_type`",
        ),
        (
            r#"{"nbformat": 3, "worksheets": []}"#,
            "has format 3, not 4",
        ),
    ] {
        let error = error(notebook);
        assert!(error.contains(expected), "{notebook}: {error}");
    }
    // Also where it does not count.
    let latin = b"{\"nbformat\": 4, \"cells\": [], \"metadata\": {\"author\": \"J\xf6rg\"}}";
    let latin = Notebook::parse(latin).unwrap_err().to_string();
    assert!(latin.contains("invalid utf-8 sequence"), "{latin}");
    assert!(error(&" ".repeat(MAX_SIZE + 1)).contains("longer than 64 MiB"));
}

#[test]
fn a_notebook_that_would_take_gigabytes_is_not_parsed() {
    let attachments: Vec<String> = (0..100_001).map(|n| format!("\"{n}\":{{}}")).collect();
    let text = format!(
        "{{\"nbformat\":4,\"cells\":[{{\"cell_type\":\"raw\",\"source\":\"\",\"attachments\":{{{}}}}}]}}",
        attachments.join(",")
    );
    assert!(matches!(
        Notebook::parse(text.as_bytes()),
        Err(NotANotebook::TooManyObjects)
    ));
}

#[test]
fn the_script_of_a_plot_is_no_object() {
    let script = "if (\"a\\\\\") {".repeat(100_001);
    let cell = json!({"cell_type": "code", "source": "plot()", "outputs": [{"data": {"text/html": script}}]});
    assert_eq!(cells(json!([cell])).cells().len(), 1);
}
