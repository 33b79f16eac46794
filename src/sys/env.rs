//! The environment of the server or of COMMAND, computed from ours without side effects.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The PATH if the container sets none (Debian's default).
pub const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The user that the server runs as, with the values for its environment.
#[derive(Debug, Clone, Copy)]
pub struct EnvironmentUser<'a> {
    /// The value of USER and LOGNAME.
    pub name: &'a str,
    /// The value of HOME.
    pub home: &'a Path,
    /// The value of SHELL.
    pub shell: &'a Path,
}

/// The variables of a server or of COMMAND, in the inherited order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// Builds the environment of `person`: the inherited one without `removed`, and with the venv
    /// first on PATH. An empty PATH counts as unset.
    pub fn new(
        inherited: impl IntoIterator<Item = (OsString, OsString)>,
        removed: &[&str],
        person: EnvironmentUser<'_>,
        venv: Option<&Path>,
    ) -> Self {
        // The first of several counts, as for getenv(3); execve(2) passes all of them on.
        let mut seen = BTreeSet::new();
        let kept = inherited.into_iter().filter(|(name, _)| {
            !removed.iter().any(|removed| name == removed) && seen.insert(name.clone())
        });
        let mut environment = Self(kept.collect());
        environment.set("HOME", person.home);
        environment.set("USER", person.name);
        environment.set("LOGNAME", person.name);
        environment.set("SHELL", person.shell);
        let path = environment.get("PATH").filter(|path| !path.is_empty());
        let path = path.unwrap_or(SYSTEM_PATH.as_ref()).to_owned();
        environment.set("PATH", &path);
        if let Some(venv) = venv {
            environment.set("PATH", with_first(&venv.join("bin"), &path));
            environment.set("VIRTUAL_ENV", venv);
            // PYTHONHOME would make the venv's Python use the library of another Python.
            environment.remove("PYTHONHOME");
        }
        environment
    }

    pub fn get(&self, name: &str) -> Option<&OsStr> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_os_str())
    }

    /// Sets a variable.
    pub fn set(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        let (name, value) = (name.as_ref(), value.as_ref().to_owned());
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name.into(), value)),
        }
    }

    /// Removes a variable.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    pub fn to_vec(&self) -> Vec<(OsString, OsString)> {
        self.0.clone()
    }

    /// Iterates over all variables.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    /// If a variable occurs twice, the last value counts.
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        let mut environment = Self(Vec::new());
        for (name, value) in variables {
            environment.set(name, value);
        }
        environment
    }
}

/// Returns an environment variable that is set and not empty.
pub fn variable(name: impl AsRef<OsStr>) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns the directory for temporary files: TMPDIR, or `/tmp` if TMPDIR is unset or empty.
pub fn temp_directory() -> PathBuf {
    let named = variable("TMPDIR");
    named.map_or_else(|| "/tmp".into(), PathBuf::from)
}

/// Returns a part for file names that differs between containers of this machine that share a
/// directory: device and inode of the root directory. A later start of the same container mostly
/// has the same.
pub fn container_id() -> String {
    let root = std::fs::metadata("/").map_or((0, 0), |root| (root.dev(), root.ino()));
    format!("{:x}-{:x}", root.0, root.1)
}

/// Returns `path` with `first` at its beginning and nowhere else, and without empty entries.
pub fn with_first(first: &Path, path: &OsStr) -> OsString {
    let others =
        std::env::split_paths(path).filter(|entry| entry != first && *entry != PathBuf::new());
    let entries = std::iter::once(first.to_owned()).chain(others);
    // This fails if the venv's path has a colon; such a path cannot be on PATH.
    std::env::join_paths(entries).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(inherited: &[(&str, &str)], venv: Option<&str>) -> Vec<(String, String)> {
        let person = EnvironmentUser {
            name: "jupyter",
            home: Path::new("/home/jupyter"),
            shell: Path::new("/bin/bash"),
        };
        let inherited = inherited.iter().map(|(n, v)| (n.into(), v.into()));
        let environment = Environment::new(
            inherited,
            &["JUPYTER_PASSWORD"],
            person,
            venv.map(Path::new),
        );
        let text = |s: &OsStr| s.to_string_lossy().into_owned();
        environment
            .iter()
            .map(|(n, v)| (text(n), text(v)))
            .collect()
    }

    fn value(list: &[(String, String)], name: &str) -> Option<String> {
        list.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
    }

    #[test]
    fn ours_are_set_secrets_removed_and_the_rest_passed_on() {
        let list = built(
            &[
                ("HOME", "/root"),
                ("JUPYTER_PASSWORD", "secret"),
                ("JUPYTERHUB_HOST", ""),
                ("PATH", "/bin"),
            ],
            Some("/v"),
        );
        let expected = [
            ("HOME", "/home/jupyter"),
            ("JUPYTERHUB_HOST", ""),
            ("PATH", "/v/bin:/bin"),
            ("USER", "jupyter"),
            ("LOGNAME", "jupyter"),
            ("SHELL", "/bin/bash"),
            ("VIRTUAL_ENV", "/v"),
        ];
        assert_eq!(list, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn of_two_values_the_one_that_getenv_finds_is_replaced_and_the_other_gone() {
        let twice = [("HOME", "/a"), ("X", "1"), ("HOME", "/b"), ("X", "2")];
        let list = built(&twice, None);
        let names: Vec<&str> = list.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["HOME", "X", "USER", "LOGNAME", "SHELL", "PATH"]);
        assert_eq!(value(&list, "HOME").as_deref(), Some("/home/jupyter"));
        assert_eq!(value(&list, "X").as_deref(), Some("1"));
    }

    #[test]
    fn the_venv_is_on_path_once_and_first() {
        let list = built(&[("PATH", "/bin:/v/bin::/sbin")], Some("/v"));
        assert_eq!(value(&list, "PATH").as_deref(), Some("/v/bin:/bin:/sbin"));
    }

    #[test]
    fn without_a_path_there_is_the_systems() {
        assert_eq!(
            value(&built(&[], None), "PATH").as_deref(),
            Some(SYSTEM_PATH)
        );
    }
}
