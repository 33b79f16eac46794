//! Finds in the server's log what it could not load: it says so, and goes on without. These are
//! configuration files of Jupyter, whose settings it then lacks, and JupyterLab, whose pages it
//! then lacks.

use crate::death::Diagnosis;
use crate::degradation::Degradation;
use crate::sys::text;

/// What the server says of such a file; its path follows.
const PHRASE: &str = "Exception while loading config file ";

/// What the server says of JupyterLab; one of the causes and the error follow.
const LAB: &str = " jupyterlab | ";
const LAB_CAUSES: [&str; 3] = [
    "error adding extension (enabled: True): ",
    "error linking extension: ",
    "extension failed loading with message: ",
];

/// How many are kept, and how much of an error.
const MAX_FAILURES: usize = 8;
const MAX_ERROR: usize = 300;

/// Something that the server could not load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadFailure {
    /// The path of the configuration file; `None`: it is JupyterLab.
    pub file: Option<String>,
    /// The last line of the traceback that is in the file, counted from 1; `None`: unknown.
    line: Option<String>,
    /// The error: the last line of the traceback.
    error: String,
}

impl LoadFailure {
    fn what(&self) -> String {
        let error = &self.error;
        let Some(path) = &self.file else {
            return format!(
                "JupyterLab shows no page, because it is damaged, or a setting of it is wrong ({error})"
            );
        };
        let path = text::shown(path);
        let line = self.line.as_deref().map(|line| format!(" in line {line}"));
        let line = line.unwrap_or_default();
        format!("the configuration file {path} is wrong{line} ({error})")
    }

    /// Returns what the server runs without, and why it cannot be used.
    pub fn lack(&self) -> String {
        match &self.file {
            Some(path) => format!("{path}, which decides where it listens or who may log in"),
            None => "JupyterLab, so it has no page".into(),
        }
    }

    fn remedy(&self) -> &'static str {
        match self.file {
            Some(_) => "correct that line, or move the file away",
            None => {
                "undo the last change of Jupyter's configuration, or install JupyterLab again (`pip \
                 install --force-reinstall jupyterlab`)"
            }
        }
    }

    /// Returns the failure as the reason why a server cannot be used.
    pub fn diagnosis(&self) -> Diagnosis {
        Diagnosis::new(self.what(), self.remedy())
    }

    /// Returns the failure as what is missing in a server that is used all the same.
    pub fn degradation(&self) -> Degradation {
        let cause = match self.file {
            Some(_) => format!("{}: none of its settings is effective", self.what()),
            None => self.what(),
        };
        Degradation::new(cause, format!("{}, and restart the server", self.remedy()))
    }
}

/// Reads the server's log line by line.
#[derive(Debug, Default)]
pub struct LoadFailures {
    found: Vec<LoadFailure>,
    /// True if the traceback of the last one follows.
    in_traceback: bool,
}

impl LoadFailures {
    /// Returns what was found so far.
    pub fn found(&self) -> &[LoadFailure] {
        &self.found
    }

    /// Reads a line.
    pub fn read(&mut self, line: &str) {
        if let Some((_, path)) = line.split_once(PHRASE) {
            self.add(Some(path.trim_end().to_owned()), "");
        } else if let Some(error) = error_of_lab(line) {
            self.add(None, error);
        } else if self.in_traceback {
            // Jupyter indents it.
            self.in_traceback = line.starts_with(' ') || line.is_empty();
            if let Some(last) = self.found.last_mut().filter(|_| self.in_traceback) {
                last.read(line.trim());
            }
        }
    }

    fn add(&mut self, file: Option<String>, error: &str) {
        // Several parts of Jupyter read some of the files.
        let known = self.found.iter().any(|found| found.file == file);
        self.in_traceback = !known && self.found.len() < MAX_FAILURES;
        if self.in_traceback {
            let mut failure = LoadFailure {
                file,
                line: None,
                error: String::new(),
            };
            failure.read(error);
            self.found.push(failure);
        }
    }
}

/// Returns the error with which the server could not load JupyterLab; `None`: it says something
/// else.
fn error_of_lab(line: &str) -> Option<&str> {
    let (_, said) = line.split_once(LAB)?;
    let mut causes = LAB_CAUSES.iter();
    causes.find_map(|cause| said.strip_prefix(cause))
}

impl LoadFailure {
    fn read(&mut self, line: &str) {
        let place = |path| format!("File \"{path}\", line ");
        let place = self.file.as_ref().map(place);
        if let Some(rest) = place.and_then(|place| line.strip_prefix(&*place)) {
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
        let mut failures = LoadFailures::default();
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
        let mut failures = LoadFailures::default();
        for number in 0..100 {
            failures.read(&format!("{PHRASE}/{number}"));
            failures.read(&format!(" {}", "x".repeat(5000)));
        }
        assert_eq!(failures.found().len(), MAX_FAILURES);
        let told = failures.found().iter().map(|one| one.what().len());
        assert!(told.sum::<usize>() < MAX_FAILURES * 2 * MAX_ERROR);
    }
}
