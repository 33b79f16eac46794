//! The readable difference between two versions of a notebook or a text.

use diffy::DiffOptions;

use crate::notebook::Notebook;

/// Returns the difference in unified format; `None`: one version is no text.
///
/// Of notebooks only the cells are compared, not outputs, counters or identifiers, which
/// differ after each run. Text that is no notebook is compared as it is.
pub fn unified(name: &str, image: &[u8], yours: &[u8]) -> Option<String> {
    let notebooks = cells(image).zip(cells(yours));
    let (image, yours) = match notebooks {
        Some(both) if name.ends_with(".ipynb") => both,
        _ => (text(image)?, text(yours)?),
    };
    if image == yours {
        return Some(String::new());
    }
    let mut headed = DiffOptions::new();
    headed
        .set_original_filename(format!("{name} (default)"))
        .set_modified_filename(format!("{name} (yours)"));
    Some(headed.create_patch(&image, &yours).to_string())
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.contains('\0')).then(|| text.to_owned())
}

/// Returns what counts of a notebook as one text; `None`: it is no notebook.
fn cells(notebook: &[u8]) -> Option<String> {
    let notebook = Notebook::parse(notebook).ok()?;
    let values = notebook.metadata.iter();
    let mut text: String = values
        .map(|(key, value)| format!("# {key}={value}\n"))
        .collect();
    for cell in notebook.cells() {
        text.push_str(&format!("# %% [{}]", cell.cell_type));
        let values = cell.metadata.iter();
        text.extend(values.map(|(key, value)| format!(" {key}={value}")));
        text.push_str(&format!("\n{}", cell.source.0));
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::Value;

    fn notebook(cells: &[(&str, &[&str])], count: u32) -> Vec<u8> {
        let cells: Vec<Value> = cells
            .iter()
            .map(|(kind, source)| {
                serde_json::json!({
                    "cell_type": kind,
                    "id": format!("id-{count}"),
                    "execution_count": count,
                    "outputs": [{"data": {"image/png": "iVBORw0KGgo=".repeat(count as usize)}}],
                    "source": source,
                })
            })
            .collect();
        serde_json::to_vec(&serde_json::json!({"cells": cells, "nbformat": 4})).unwrap()
    }

    #[test]
    fn of_notebooks_the_cells_are_compared_and_not_what_a_run_leaves() {
        let image = notebook(&[("markdown", &["# A\n", "text"]), ("code", &["x = 1"])], 1);
        let run = notebook(&[("markdown", &["# A\n", "text"]), ("code", &["x = 1"])], 2);
        assert_eq!(unified("a.ipynb", &image, &run).unwrap(), "");
        let edited = notebook(&[("markdown", &["# A\n", "text"]), ("code", &["x = 2"])], 2);
        let expected = "\
--- a.ipynb (default)
+++ a.ipynb (yours)
@@ -2,4 +2,4 @@
 # A
 text
 # %% [code]
-x = 1
+x = 2
";
        assert_eq!(unified("a.ipynb", &image, &edited).unwrap(), expected);
    }

    #[test]
    fn other_texts_are_compared_as_they_are_and_binaries_not_at_all() {
        let diff = unified("a.txt", b"one\ntwo\n", b"one\n").unwrap();
        assert!(diff.ends_with(" one\n-two\n"), "{diff}");
        let broken = unified("a.ipynb", b"{\n}\n", b"{\n").unwrap();
        assert!(broken.ends_with(" {\n-}\n"), "{broken}");
        assert_eq!(unified("a.png", b"\x89PNG", b"text"), None);
        assert_eq!(unified("a.bin", b"a\0b", b"text"), None);
    }
}
