//! Files that JupyterLab reads for each page. If one of them is damaged, as a full disk leaves it,
//! the server starts, and no page opens in the browser.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::jupyter_config::location::user_directory;
use crate::sys::env::Environment;
use crate::sys::regular_file;

/// The longest file that is looked at, in KiB, and the most entries of a directory.
const LIMIT: u64 = 1024;
const MAX_ENTRIES: usize = 1000;

/// The file extension of a user's settings.
const SETTINGS: &str = ".jupyterlab-settings";

/// The places of these files.
pub(super) struct LabFiles {
    settings: PathBuf,
    /// The directories of extensions that were installed without a build.
    extensions: Vec<PathBuf>,
    /// The directory of JupyterLab itself.
    application: Option<PathBuf>,
}

impl LabFiles {
    /// Returns the places for a server with this environment and HOME, which works in `directory`.
    pub(super) fn of(
        environment: &Environment,
        home: &Path,
        directory: &Path,
        venv: Option<&Path>,
    ) -> Self {
        let named = |name| {
            let value = environment.get(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        let variable = |name: &str| environment.get(name).map(OsStr::to_owned);
        let config = || directory.join(user_directory(&variable, home));
        let settings = named("JUPYTERLAB_SETTINGS_DIR");
        let path = environment.get("JUPYTER_PATH").unwrap_or_default();
        let mut data: Vec<PathBuf> = std::env::split_paths(path).collect();
        let share_of_user = || named("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share"));
        data.push(named("JUPYTER_DATA_DIR").unwrap_or_else(|| share_of_user().join("jupyter")));
        let share = venv.map(|venv| venv.join("share/jupyter"));
        data.extend(share.clone());
        data.extend(["/usr/local/share/jupyter", "/usr/share/jupyter"].map(PathBuf::from));
        let application = named("JUPYTERLAB_DIR").or_else(|| Some(share?.join("lab")));
        Self {
            settings: settings.unwrap_or_else(|| config().join("lab/user-settings")),
            extensions: data.iter().map(|data| data.join("labextensions")).collect(),
            application,
        }
    }

    /// Returns what is wrong with the first damaged file, and the remedy; `None`: no file is.
    pub(super) fn damaged(&self) -> Option<(String, &'static str)> {
        self.damaged_page()
            .or_else(|| self.damaged_extension())
            .or_else(|| self.damaged_settings())
    }

    /// Checks the page, and the script that it names.
    fn damaged_page(&self) -> Option<(String, &'static str)> {
        let application = self.application.as_ref()?;
        let page = application.join("static/index.html");
        let text = content(&page).and_then(Result::ok).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let script = text.split("fullStaticUrl}}/").nth(1);
        let script = script.and_then(|script| script.split(['?', '"']).next());
        let script = script.map(|script| page.with_file_name(script));
        // JupyterLab may be in another directory: an extension makes this one, but no schemas.
        let installed = application.join("schemas").is_dir();
        let mut files = [page].into_iter().chain(script);
        files.find_map(|file| {
            let problem = match fs::metadata(&file) {
                Ok(data) if data.len() == 0 => "it is empty",
                Err(error) if installed && error.kind() == io::ErrorKind::NotFound => {
                    "it is missing"
                }
                _ => return None,
            };
            let remedy = "install JupyterLab again (`pip install --force-reinstall jupyterlab`)";
            Some((said(&file, problem), remedy))
        })
    }

    /// Checks the descriptions of extensions. Of two with one name, JupyterLab uses the first.
    fn damaged_extension(&self) -> Option<(String, &'static str)> {
        let mut names = HashSet::new();
        self.extensions.iter().find_map(|directory| {
            packages(directory).iter().find_map(|package| {
                let name = package.strip_prefix(directory).ok()?.to_owned();
                damaged_description(package, names.insert(name))
            })
        })
    }

    /// JupyterLab reads the settings of the extensions that it knows.
    fn damaged_settings(&self) -> Option<(String, &'static str)> {
        packages(&self.settings).iter().find_map(|package| {
            let mut files = entries(package).into_iter();
            files.find_map(|file| {
                let plugin = file.file_name()?.to_str()?.strip_suffix(SETTINGS)?;
                let problem = problem_of_settings(&file)?;
                let package = package.strip_prefix(&self.settings).ok()?;
                let schema = package.join(format!("{plugin}.json"));
                let remedy = "delete the file, and JupyterLab uses its defaults";
                (self.knows(package, &schema)).then(|| (said(&file, &problem), remedy))
            })
        })
    }

    fn knows(&self, package: &Path, schema: &Path) -> bool {
        let application = self.application.iter().cloned();
        let mut places = application.chain(self.extensions.iter().map(|path| path.join(package)));
        places.any(|place| place.join("schemas").join(schema).exists())
    }
}

fn said(path: &Path, problem: &str) -> String {
    format!(
        "JupyterLab shows no page, because {} is damaged: {problem}",
        path.display()
    )
}

/// Returns the damaged description of an extension. `is_used`: JupyterLab reads all of it.
fn damaged_description(package: &Path, is_used: bool) -> Option<(String, &'static str)> {
    let description = |name: &str, needed: &[&str]| {
        let file = package.join(name);
        let problem = problem_of_description(&file, needed)?;
        let remedy = "install that extension again, or delete its directory";
        Some((said(&file, &problem), remedy))
    };
    if !is_used {
        return description("package.json", &["name"]);
    }
    // JupyterLab reads the second only beside the first.
    description("package.json", &["name", "version"]).or_else(|| {
        let described = package.join("package.json").exists();
        described.then(|| description("install.json", &[]))?
    })
}

fn problem_of_description(file: &Path, needed: &[&str]) -> Option<String> {
    let bytes = match content(file)? {
        Ok(bytes) => bytes,
        Err(problem) => return Some(problem),
    };
    let json: Value = match serde_json::from_slice(&bytes) {
        Ok(json) => json,
        Err(error) => return Some(format!("it is not valid JSON ({error})")),
    };
    let missing = needed.iter().find(|key| json.get(key).is_none())?;
    Some(format!("it has no \"{missing}\""))
}

fn problem_of_settings(file: &Path) -> Option<String> {
    let bytes = match content(file)? {
        Ok(bytes) => bytes,
        Err(problem) => return Some(problem),
    };
    let whole = std::str::from_utf8(&bytes).is_ok_and(|text| text.is_empty() || is_whole(text));
    (!whole).then(|| "it is incomplete, or no JSON".into())
}

/// Returns the content of a file, or why it cannot be read; `None`: it is very long, or JupyterLab
/// does not find it, either: it is absent, or below a file or a directory of another user.
fn content(file: &Path) -> Option<Result<Vec<u8>, String>> {
    let short = fs::metadata(file).is_ok_and(|data| data.len() <= LIMIT * 1024);
    short.then(|| {
        regular_file::read_through_links(file, LIMIT)
            .map_err(|error| format!("it cannot be read: {error}"))
    })
}

/// Returns the directories of the packages: `NAME` and `@ORGANIZATION/NAME`.
fn packages(directory: &Path) -> Vec<PathBuf> {
    let begins = |path: &PathBuf, with| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        name.first() == Some(&with)
    };
    let shown = |directory: &Path| {
        let entries = entries(directory).into_iter();
        entries.filter(|entry| !begins(entry, b'.'))
    };
    let packages = |entry: PathBuf| match begins(&entry, b'@') {
        true => shown(&entry).collect(),
        false => vec![entry],
    };
    shown(directory).flat_map(packages).collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .take(MAX_ENTRIES)
        .map(|entry| entry.path())
        .collect()
}

/// Reports whether all that is opened in a text of JSON5, such as a bracket, is closed in it.
fn is_whole(text: &str) -> bool {
    let mut open = Vec::new();
    let mut chars = text.chars().peekable();
    let mut empty = true;
    while let Some(c) = chars.next() {
        match c {
            '\0' => return false,
            '/' if chars.peek() == Some(&'/') => while chars.next().is_some_and(|c| c != '\n') {},
            '/' if chars.peek() == Some(&'*') => {
                chars.next();
                let mut before = ' ';
                loop {
                    match chars.next() {
                        None => return false,
                        Some('/') if before == '*' => break,
                        Some(c) => before = c,
                    }
                }
            }
            '"' | '\'' => loop {
                match chars.next() {
                    None => return false,
                    Some('\\') => drop(chars.next()),
                    Some(end) if end == c => break,
                    Some(_) => {}
                }
            },
            '{' => open.push('}'),
            '[' => open.push(']'),
            '}' | ']' if open.pop() != Some(c) => return false,
            _ => {}
        }
        empty &= c.is_whitespace() || c == '/';
    }
    open.is_empty() && !empty
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn settings_are_whole_whatever_they_say_and_each_part_of_them_is_not() {
        let text = "// mine }\n{\n  'a': \"it's \\\" [\", /* { */ b: [1, {c: null},],\n}";
        assert!(is_whole(text));
        assert!(is_whole(&format!("{text}\n// end")));
        let end = text.len() - 1;
        let ends = (0..=end).filter(|end| text.is_char_boundary(*end));
        for end in ends {
            assert!(!is_whole(&text[..end]), "{}", &text[..end]);
        }
        for text in ["\n", "{\0\0}", "{}}", "{]", "// {}"] {
            assert!(!is_whole(text), "{text}");
        }
    }
}
