//! The readable difference between two versions of a notebook or a text.

use diffy::DiffOptions;

use crate::notebook::Notebook;

/// The most lines of both versions, from the first that differs to the last, that are compared:
/// the time grows with the square of their number.
const MAX_LINES: usize = 20_000;

/// Why a difference is not shown.
#[derive(Debug, PartialEq, Eq)]
pub enum NotShown {
    /// One version is no text.
    NotText,
    /// They have more than [`MAX_LINES`].
    TooManyLines,
}

/// Returns the difference in unified format.
///
/// # Errors
/// One version is no text, or they differ too much.
///
/// Of notebooks only the cells are compared, not outputs, counters or identifiers, which
/// differ after each run. Text that is no notebook is compared as it is.
pub fn unified(name: &str, image: &[u8], yours: &[u8]) -> Result<String, NotShown> {
    let notebooks = cells(image).zip(cells(yours));
    let (image, yours) = match notebooks {
        Some(both) if name.ends_with(".ipynb") => both,
        _ => text(image).zip(text(yours)).ok_or(NotShown::NotText)?,
    };
    if image == yours {
        return Ok(String::new());
    }
    if changed_lines(&image, &yours) > MAX_LINES {
        return Err(NotShown::TooManyLines);
    }
    let mut headed = DiffOptions::new();
    headed
        .set_original_filename(format!("{name} (default)"))
        .set_modified_filename(format!("{name} (yours)"));
    Ok(headed.create_patch(&image, &yours).to_string())
}

/// Returns the number of lines of both texts from the first that differs to the last.
fn changed_lines(image: &str, yours: &str) -> usize {
    let [image, yours] = [image, yours].map(|text| text.lines().collect::<Vec<_>>());
    let pairs = image.iter().zip(&yours);
    let first = pairs.take_while(|(one, other)| one == other).count();
    let pairs = image[first..].iter().rev().zip(yours[first..].iter().rev());
    let last = pairs.take_while(|(one, other)| one == other).count();
    image.len() + yours.len() - 2 * (first + last)
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
        let binary = Err(NotShown::NotText);
        assert_eq!(unified("a.png", b"\x89PNG", b"text"), binary);
        assert_eq!(unified("a.bin", b"a\0b", b"text"), binary);
    }

    #[test]
    fn of_long_texts_only_those_that_differ_in_few_places_near_each_other_are_shown() {
        let lines = |mark: &str| -> String {
            let all = 0..=MAX_LINES / 2;
            all.map(|number| format!("{mark}{number}\n")).collect()
        };
        let [one, other] = ["a", "b"].map(lines);
        let shown = |image: &str, yours: &str| unified("a.csv", image.as_bytes(), yours.as_bytes());
        assert_eq!(shown(&one, &other), Err(NotShown::TooManyLines));
        let edited = one.replace("a4000\n", "b\nc\n") + "more\n";
        let diff = shown(&one, &edited).unwrap();
        assert!(diff.contains("\n-a4000\n+b\n+c\n a4001\n"), "{diff}");
    }
}
