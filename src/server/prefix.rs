//! The environment of the Python that runs a server (`sys.prefix`): Jupyter looks for
//! configuration in it. It may be another one than the configured venv.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::supervisor::interpreter::{Interpreter, interpreter, on_path};

/// Returns the environment for a server's program, which is a script of Python's or a Python.
/// `path`: the server's PATH. `None`: the program is not found, or is neither.
pub fn of_program(program: &OsStr, path: &OsStr) -> Option<PathBuf> {
    let program = match program.as_encoded_bytes().contains(&b'/') {
        true => PathBuf::from(program),
        false => on_path(program, path).ok()?,
    };
    let Interpreter::Script(line) = interpreter(&program).ok()? else {
        return of_python(&program);
    };
    match line.argument {
        // `#!/usr/bin/env python3`
        Some(name) if line.path.ends_with("env") => of_python(&on_path(&name, path).ok()?),
        _ => of_python(&line.path),
    }
}

/// Returns the environment of a Python: the venv that it is in (PEP 405), or the directory above
/// the `bin` that it really is in.
fn of_python(python: &Path) -> Option<PathBuf> {
    let name = python.file_name()?.as_encoded_bytes();
    if !name.starts_with(b"python") {
        return None;
    }
    let places = python.ancestors().skip(1).take(2);
    let mut venvs = places.filter(|place| place.join("pyvenv.cfg").is_file());
    let real = || {
        Some(
            fs::canonicalize(python)
                .ok()?
                .parent()?
                .parent()?
                .to_owned(),
        )
    };
    venvs.next().map(Path::to_owned).or_else(real)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_environment_is_that_of_the_python_that_runs_the_program() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().canonicalize().unwrap();
        let at = |name: &str| base.join(name);
        let file = |name: &str, text: &str| {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), text).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o755)).unwrap();
        };
        file("conda/bin/python3.12", "\x7fELF");
        file("venv/pyvenv.cfg", "");
        fs::create_dir_all(at("venv/bin")).unwrap();
        for link in ["conda/bin/python", "venv/bin/python"] {
            symlink(at("conda/bin/python3.12"), at(link)).unwrap();
        }
        let script = |name: &str, python: &str| {
            file(&format!("bin/{name}"), &format!("#!{python}\n"));
        };
        script("of-conda", &at("conda/bin/python").display().to_string());
        script("of-venv", &at("venv/bin/python").display().to_string());
        script("of-path", "/usr/bin/env python");
        script("of-shell", "/bin/sh");
        let path = std::env::join_paths([at("bin"), at("venv/bin")]).unwrap();
        for (program, prefix) in [
            ("of-conda", Some("conda")),
            ("of-venv", Some("venv")),
            ("of-path", Some("venv")),
            ("python", Some("venv")),
            ("of-shell", None),
            ("absent", None),
        ] {
            let found = of_program(program.as_ref(), &path);
            assert_eq!(found, prefix.map(at), "{program}");
        }
        let whole = at("conda/bin/python3.12");
        assert_eq!(of_program(whole.as_os_str(), &path), Some(at("conda")));
    }
}
