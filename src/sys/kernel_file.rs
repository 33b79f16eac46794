//! Reads files that the kernel writes while they are read: `/proc` and control groups.

use std::fs::File;
use std::io::{self, Error, ErrorKind, Read};
use std::path::Path;

/// Longer than most of these files, so that one read(2) gets all of the text.
const USUAL_LENGTH: usize = 8 << 10;

/// Reads a file of the kernel.
///
/// # Errors
/// The file cannot be opened or read.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(USUAL_LENGTH);
    // `fs::read` asks for the length, which the kernel gives as 0, and then begins with 32 bytes.
    File::open(path)?.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a file of the kernel as text.
///
/// # Errors
/// The file cannot be opened or read, or is not UTF-8.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| Error::new(ErrorKind::InvalidData, error))
}
