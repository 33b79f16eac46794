//! What an executable file is, by its first bytes.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The program of another architecture that this file is, or that its first line names.
pub fn foreign(path: &Path) -> Option<PathBuf> {
    if let Interpreter::Script(name) = interpreter(path)? {
        let interpreter = PathBuf::from(name);
        return is_foreign(&beginning(&interpreter)?).then_some(interpreter);
    }
    is_foreign(&beginning(path)?).then(|| path.to_owned())
}

/// Whether a file that begins like this is an ELF program of another architecture:
/// `e_machine` of elf(5).
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

/// The first bytes of a file.
fn beginning(path: &Path) -> Option<Vec<u8>> {
    let mut start = Vec::new();
    // A FIFO would be waited for.
    let file = fs::metadata(path).ok()?.is_file().then_some(path)?;
    let file = fs::File::open(file).ok()?;
    file.take(256).read_to_end(&mut start).ok()?;
    Some(start)
}

/// What an existing file needs to be executed.
pub enum Interpreter {
    /// Named in its first line.
    Script(String),
    /// Named in its headers, which are the kernel's to read.
    Loader,
}

/// The interpreter that an existing file asks for.
pub fn interpreter(path: &Path) -> Option<Interpreter> {
    let start = beginning(path)?;
    let Some(rest) = start.strip_prefix(b"#!") else {
        return Some(Interpreter::Loader);
    };
    let line = String::from_utf8_lossy(rest.split(|byte| *byte == b'\n').next()?).into_owned();
    let name = line.split_whitespace().next();
    name.map(|name| Interpreter::Script(name.to_owned()))
}
