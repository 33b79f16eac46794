//! Finds the interpreter of an executable file as the kernel and execvp(3) do.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Number of bytes at the start of a file that the kernel reads (`BINPRM_BUF_SIZE`).
const HEADER_BYTES: usize = 256;

/// The shell that execvp(3) falls back to.
const SHELL: &str = "/bin/sh";

/// Cause and remedy for a script with Windows line endings.
pub const WINDOWS_LINES: &str = "its lines end as in Windows, with a carriage return, which \
     becomes a part of the interpreter's name or options (remedy: `dos2unix` on that file; in git, \
     `*.sh text eol=lf` in .gitattributes)";

/// The program that executes an existing file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interpreter {
    /// The program that the first line names.
    Script(Shebang),
    /// The kernel, with the loader that the file's headers name.
    Loader,
    /// The shell: the file is a script that names no interpreter.
    Shell,
}

/// The first line of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shebang {
    /// The interpreter.
    pub path: PathBuf,
    /// The rest of the line, which the interpreter gets as one argument; `None`: it is empty.
    pub argument: Option<OsString>,
}

impl Interpreter {
    /// Returns the interpreter's file, which has to exist; `None`: it is not known.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Script(shebang) => Some(&shebang.path),
            Self::Shell => Some(Path::new(SHELL)),
            Self::Loader => None,
        }
    }
}

/// Returns the interpreter of a file.
///
/// # Errors
/// The file does not exist, cannot be read, or is not a regular file.
pub fn interpreter(path: &Path) -> io::Result<Interpreter> {
    Ok(parse(&read_header(path)?))
}

/// Returns this file, or the interpreter in its first line, if it is for another architecture.
pub fn foreign_binary(path: &Path) -> Option<PathBuf> {
    let start = read_header(path).ok()?;
    if let Interpreter::Script(Shebang { path, .. }) = parse(&start) {
        return is_foreign(&read_header(&path).ok()?).then_some(path);
    }
    is_foreign(&start).then(|| path.to_owned())
}

/// Reports whether a script that ended with this exit code has a first line that ends in a carriage
/// return. The codes are those of env, shells and Python for an option or a program that is unknown.
/// `env -S` takes a carriage return for a blank.
pub fn failed_by_windows_lines(path: &Path, code: i32) -> bool {
    let is_cut = |shebang: Shebang| {
        let argument = shebang.argument.unwrap_or_default();
        let last = match argument.is_empty() {
            true => shebang.path.into_os_string(),
            false => argument.clone(),
        };
        last.as_bytes().ends_with(b"\r") && !argument.as_bytes().starts_with(b"-S")
    };
    matches!(code, 2 | 126 | 127)
        && match interpreter(path) {
            Ok(Interpreter::Script(shebang)) => is_cut(shebang),
            _ => false,
        }
}

/// Finds a program on a PATH as execvp(3) does.
///
/// # Errors
/// There is none; the value is the first file of that name, which is not executable, if any.
pub fn on_path(name: &OsStr, path: &OsStr) -> Result<PathBuf, Option<PathBuf>> {
    use std::os::unix::fs::MetadataExt;
    let mut refused = None;
    for directory in std::env::split_paths(path) {
        let candidate = directory.join(name);
        match fs::metadata(&candidate) {
            Ok(data) if data.is_file() && data.mode() & 0o111 != 0 => return Ok(candidate),
            Ok(data) if data.is_file() => drop(refused.get_or_insert(candidate)),
            _ => {}
        }
    }
    Err(refused)
}

/// Parses the first line like `load_script` of the kernel's `fs/binfmt_script.c`, which ignores a
/// name that may be cut off at the end of the buffer.
fn parse(start: &[u8]) -> Interpreter {
    let Some(rest) = start.strip_prefix(b"#!") else {
        return match start.starts_with(b"\x7fELF") {
            true => Interpreter::Loader,
            false => Interpreter::Shell,
        };
    };
    let whole = rest.contains(&b'\n') || start.len() < HEADER_BYTES;
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = trimmed(line);
    let ends = |byte: &u8| is_blank(*byte) || *byte == 0;
    let end = line.iter().position(ends);
    let name = &line[..end.unwrap_or(line.len())];
    if name.is_empty() || end.is_none() && !whole {
        return Interpreter::Shell;
    }
    let rest = end.filter(|end| line[*end] != 0).map(|end| &line[end..]);
    let argument = rest.and_then(|rest| trimmed(rest).split(|byte| *byte == 0).next());
    Interpreter::Script(Shebang {
        path: OsStr::from_bytes(name).into(),
        argument: argument
            .filter(|text| !text.is_empty())
            .map(|text| OsStr::from_bytes(text).into()),
    })
}

fn is_blank(byte: u8) -> bool {
    [b' ', b'\t'].contains(&byte)
}

fn trimmed(line: &[u8]) -> &[u8] {
    let text = |byte: &u8| !is_blank(*byte);
    match (line.iter().position(text), line.iter().rposition(text)) {
        (Some(first), Some(last)) => &line[first..=last],
        _ => &[],
    }
}

/// Reports whether a file that begins like this is an ELF program for another architecture
/// (`e_machine` in elf(5)).
fn is_foreign(start: &[u8]) -> bool {
    const NATIVE: &[u16] = match std::env::consts::ARCH.as_bytes() {
        b"x86_64" => &[62, 3],
        b"aarch64" => &[183, 40],
        _ => &[],
    };
    let Some([0x7f, b'E', b'L', b'F', _, order, ..]) = start.first_chunk::<20>() else {
        return false;
    };
    let machine = [start[18], start[19]];
    let machine = match order {
        1 => u16::from_le_bytes(machine),
        _ => u16::from_be_bytes(machine),
    };
    !NATIVE.is_empty() && !NATIVE.contains(&machine)
}

/// Returns the first [`HEADER_BYTES`] bytes of a file.
fn read_header(path: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(HEADER_BYTES);
    // Opening a FIFO would wait for a writer.
    if !fs::metadata(path)?.is_file() {
        return Err(ErrorKind::InvalidInput.into());
    }
    let file = fs::File::open(path)?;
    file.take(HEADER_BYTES as u64).read_to_end(&mut start)?;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(path: &str, argument: Option<&str>) -> Interpreter {
        Interpreter::Script(Shebang {
            path: path.into(),
            argument: argument.map(Into::into),
        })
    }

    #[test]
    fn a_first_line_is_read_as_the_kernel_reads_it() {
        let long = format!("#!/{}", "x".repeat(300));
        let cut = |text: &str| text[..HEADER_BYTES].to_owned();
        for (start, expected) in [
            ("#!/bin/sh", script("/bin/sh", None)),
            ("#! \t/bin/sh -e \t\nx", script("/bin/sh", Some("-e"))),
            ("#!/bin/env -S a  b\n", script("/bin/env", Some("-S a  b"))),
            ("#!sh\n", script("sh", None)),
            ("#!/bin/sh\r\n", script("/bin/sh\r", None)),
            ("#!/bin/sh\0 -e\n", script("/bin/sh", None)),
            ("#!/bin/sh -e\0f\n", script("/bin/sh", Some("-e"))),
            ("#!\n/bin/sh", Interpreter::Shell),
            ("#! \t\n", Interpreter::Shell),
            ("#!", Interpreter::Shell),
            ("echo", Interpreter::Shell),
            ("", Interpreter::Shell),
            ("\x7fELF", Interpreter::Loader),
            (&cut(&long), Interpreter::Shell),
            (
                &cut(&format!("#!/bin/sh {long}")),
                script("/bin/sh", Some(&long[..HEADER_BYTES - 10])),
            ),
        ] {
            assert_eq!(parse(start.as_bytes()), expected, "{start:?}");
        }
    }
}
