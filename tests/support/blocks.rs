//! The code blocks of the pages, as a reader sees them.

use std::path::Path;

/// A code block, indented or fenced.
#[derive(Debug, Clone)]
pub struct Block {
    /// Such as `docs/users.md`.
    pub page: String,
    pub text: String,
}

impl Block {
    pub fn first_line(&self) -> &str {
        self.text.lines().next().unwrap()
    }
}

/// A file of the project.
pub fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `README.md` and `docs/*.md`.
pub fn pages() -> Vec<String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut pages: Vec<String> = std::fs::read_dir(docs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("docs/{name}"))
        .collect();
    pages.push("README.md".into());
    pages.sort();
    pages
}

/// The blocks of a page, in its order. An indented one has four spaces more than the
/// left margin (six in a list) and an empty line before it.
pub fn blocks(page: &str) -> Vec<Block> {
    let text = file(page);
    let mut found: Vec<Vec<&str>> = Vec::new();
    let (mut fenced, mut inside, mut after_empty) = (false, false, true);
    for line in text.lines() {
        let fence = line.trim_start().starts_with("```");
        let code = fenced || (line.starts_with("    ") && (inside || after_empty));
        if fence {
            fenced = !fenced;
            inside = false;
            if fenced {
                found.push(Vec::new());
            }
        } else if code {
            if !fenced && !inside {
                found.push(Vec::new());
            }
            found.last_mut().unwrap().push(line);
            inside = !fenced;
        } else if !line.is_empty() {
            inside = false;
        }
        after_empty = line.is_empty();
    }
    let whole = |lines: Vec<&str>| {
        let margin = |line: &&str| line.len() - line.trim_start().len();
        let left = lines.iter().map(margin).min().unwrap();
        let lines: Vec<&str> = lines.iter().map(|line| &line[left..]).collect();
        Block {
            page: page.into(),
            text: lines.join("\n"),
        }
    };
    found.into_iter().map(whole).collect()
}
