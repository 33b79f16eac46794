//! Finds in the server's log which of Jupyter's configuration files it could not read: it says so,
//! and goes on without their settings.

use crate::death::Diagnosis;
use crate::degradation::Degradation;
use crate::sys::text;

/// What the server says of such a file; its path follows.
const PHRASE: &str = "Exception while loading config file ";

/// How many files are kept, and how much of an error.
const MAX_FILES: usize = 8;
const MAX_ERROR: usize = 300;

/// A configuration file that the server could not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFailure {
    /// The path of the file.
    pub path: String,
    /// The last line of the traceback that is in the file, counted from 1; `None`: unknown.
    line: Option<String>,
    /// The error: the last line of the traceback.
    error: String,
}

impl ConfigFailure {
    fn what(&self) -> String {
        let path = text::shown(&self.path);
        let line = self.line.as_deref().map(|line| format!(" in line {line}"));
        let line = line.unwrap_or_default();
        format!(
            "the configuration file {path} is wrong{line} ({})",
            self.error
        )
    }

    /// Returns the failure as the reason why a server cannot be used.
    pub fn diagnosis(&self) -> Diagnosis {
        Diagnosis::new(self.what(), "Correct that line, or move the file away")
    }

    /// Returns the failure as what is missing in a server that is used all the same.
    pub fn degradation(&self) -> Degradation {
        Degradation::new(
            format!("{}: none of its settings is effective", self.what()),
            "correct that line, or move the file away, and restart the server",
        )
    }
}

/// Reads the server's log line by line.
#[derive(Debug, Default)]
pub struct ConfigFailures {
    found: Vec<ConfigFailure>,
    /// True if the traceback of the last one follows.
    in_traceback: bool,
}

impl ConfigFailures {
    /// Returns the files so far.
    pub fn found(&self) -> &[ConfigFailure] {
        &self.found
    }

    /// Reads a line.
    pub fn read(&mut self, line: &str) {
        if let Some((_, path)) = line.split_once(PHRASE) {
            let path = path.trim_end();
            // Several parts of Jupyter read some of the files.
            let known = self.found.iter().any(|found| found.path == path);
            self.in_traceback = !known && self.found.len() < MAX_FILES;
            if self.in_traceback {
                self.found.push(ConfigFailure {
                    path: path.to_owned(),
                    line: None,
                    error: String::new(),
                });
            }
        } else if self.in_traceback {
            // Jupyter indents it.
            self.in_traceback = line.starts_with(' ') || line.is_empty();
            if let Some(last) = self.found.last_mut().filter(|_| self.in_traceback) {
                last.read(line.trim());
            }
        }
    }
}

impl ConfigFailure {
    fn read(&mut self, line: &str) {
        let place = format!("File \"{}\", line ", self.path);
        if let Some(rest) = line.strip_prefix(&place) {
            let end = rest.find(|c: char| !c.is_ascii_digit());
            self.line = Some(rest[..end.unwrap_or(rest.len())].to_owned());
        }
        if !line.is_empty() {
            self.error = text::shown(line);
            text::shorten(&mut self.error, MAX_ERROR);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_file_its_line_and_the_error_are_found_and_nothing_after_them() {
        let log = "[I 1 LabApp] x\n\
            [E 1 ServerApp] Exception while loading config file /a/jupyter_server_config.py\n\
            \x20   Traceback (most recent call last):\n\
            \x20     File \"/v/traitlets/loader.py\", line 660, in _read_file_as_dict\n\
            \x20       exec(compile(f.read()))\n\
            \x20     File \"/a/jupyter_server_config.py\", line 12, in <module>\n\
            \x20       1/0\n\
            \x20   ZeroDivisionError: division by zero\n\
            [I 1 ServerApp]   File \"/a/jupyter_server_config.py\", line 13\n\
            [E 1 LabApp] Exception while loading config file /a/jupyter_server_config.py\n\
            \x20   OtherError\n\
            [E 1 LabApp] Exception while loading config file /b c.json\n\
            \x20   json.decoder.JSONDecodeError: Expecting value\n";
        let mut failures = ConfigFailures::default();
        log.lines().for_each(|line| failures.read(line));
        let told: Vec<_> = failures
            .found()
            .iter()
            .map(|one| one.diagnosis().cause)
            .collect();
        assert_eq!(
            told,
            [
                "the configuration file /a/jupyter_server_config.py is wrong in line 12 \
                 (ZeroDivisionError: division by zero)",
                "the configuration file /b c.json is wrong \
                 (json.decoder.JSONDecodeError: Expecting value)",
            ]
        );
    }

    #[test]
    fn a_log_without_end_is_kept_in_bounds() {
        let mut failures = ConfigFailures::default();
        for number in 0..100 {
            failures.read(&format!("{PHRASE}/{number}"));
            failures.read(&format!(" {}", "x".repeat(5000)));
        }
        assert_eq!(failures.found().len(), MAX_FILES);
        let told = failures.found().iter().map(|one| one.what().len());
        assert!(told.sum::<usize>() < MAX_FILES * 2 * MAX_ERROR);
    }
}
