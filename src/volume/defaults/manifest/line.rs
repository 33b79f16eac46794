//! The lines of the manifest: a content with its path, and a stamp.

use crate::volume::defaults::manifest::{Content, Digest, KeptCopy, Stamp};
use crate::volume::tree::MAX_PATH;

/// The begin of the line with the stamps of the file above.
pub(super) const SEEN: &str = "# seen ";

/// Writes a content and its path after a prefix.
pub(super) fn write_line(out: &mut Vec<u8>, prefix: &str, content: Content, path: &[u8]) {
    let (kind, digest) = match content {
        Content::File(digest) => ("", digest),
        Content::Link(digest) => ("link ", digest),
        Content::Directory => ("directory ", Digest::of(b"")),
        Content::NotHashed => return,
    };
    let comment = if prefix.is_empty() && !kind.is_empty() {
        "# "
    } else {
        prefix
    };
    let escaped = path
        .iter()
        .any(|byte| matches!(byte, b'\\' | b'\n' | b'\r'));
    let mark = if escaped { "\\" } else { "" };
    out.extend_from_slice(comment.as_bytes());
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(mark.as_bytes());
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [b' '; 66];
    for (digits, byte) in hex.as_chunks_mut().0.iter_mut().zip(digest.0) {
        *digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
    }
    out.extend_from_slice(&hex);
    if !escaped {
        out.extend_from_slice(path);
        return out.push(b'\n');
    }
    for byte in path {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            other => out.push(*other),
        }
    }
    out.push(b'\n');
}

/// Writes a copy with its directory before the path.
pub(super) fn write_copy(out: &mut Vec<u8>, prefix: &str, copy: &KeptCopy, path: &[u8]) {
    let path = [copy.directory.as_bytes(), b"/", path].concat();
    write_line(out, prefix, Content::File(copy.digest), &path);
    if copy.stamp.is_some() {
        write_seen(out, copy.stamp);
    }
}

/// Parses a copy, which stands with its directory before the path. Also returns the path.
pub(super) fn read_copy(line: &[u8]) -> Option<(Vec<u8>, KeptCopy)> {
    let (digest, path) = read_line(line)?;
    let slash = path.iter().position(|byte| *byte == b'/')?;
    let directory = String::from_utf8(path[..slash].to_vec()).ok()?;
    let copy = KeptCopy {
        directory,
        digest,
        stamp: None,
    };
    Some((path[slash + 1..].to_vec(), copy))
}

/// Parses the type of a content, its checksum and its path.
pub(super) fn read_content(line: &[u8]) -> Option<(Content, Vec<u8>)> {
    if let Some(line) = line.strip_prefix(b"link ") {
        let (digest, path) = read_line(line)?;
        return Some((Content::Link(digest), path));
    }
    if let Some(line) = line.strip_prefix(b"directory ") {
        return Some((Content::Directory, read_line(line)?.1));
    }
    let (digest, path) = read_line(line)?;
    Some((Content::File(digest), path))
}

/// Parses a checksum and a path.
pub(super) fn read_line(line: &[u8]) -> Option<(Digest, Vec<u8>)> {
    let (escaped, line) = match line.strip_prefix(b"\\") {
        Some(line) => (true, line),
        None => (false, line),
    };
    let (hex, rest) = line.split_at_checked(64)?;
    let digest = Digest::from_hex(hex)?;
    let name = rest.strip_prefix(b"  ")?;
    let mut path = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if escaped => path.push(match bytes.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            }),
            other => path.push(*other),
        }
    }
    is_safe_path(&path).then_some((digest, path))
}

/// Reports whether `path` is relative, below PATH_MAX, and without empty, `.` or `..` parts or NUL.
pub(super) fn is_safe_path(path: &[u8]) -> bool {
    let plain = |part: &[u8]| !part.is_empty() && part != b"." && part != b"..";
    path.len() < MAX_PATH && !path.contains(&0) && path.split(|byte| *byte == b'/').all(plain)
}

/// Writes the stamp of a file in the volume on a line of its own.
pub(super) fn write_seen(out: &mut Vec<u8>, stamp: Option<Stamp>) {
    out.extend_from_slice(SEEN.as_bytes());
    write_stamp(out, stamp);
    out.extend_from_slice(b" / -\n");
}

/// Parses such a line.
pub(super) fn read_seen(line: &[u8]) -> Option<Stamp> {
    match read_stamps(line.strip_prefix(SEEN.as_bytes())?)? {
        (stamp, None) => stamp,
        (_, Some(_)) => None,
    }
}

/// Writes a stamp, or `-` for none.
pub(super) fn write_stamp(out: &mut Vec<u8>, stamp: Option<Stamp>) {
    let Some(stamp) = stamp else {
        return out.push(b'-');
    };
    let mut number = itoa::Buffer::new();
    out.extend_from_slice(number.format(stamp.size).as_bytes());
    for (seconds, nanos) in [stamp.modified, stamp.changed] {
        out.push(b' ');
        out.extend_from_slice(number.format(seconds).as_bytes());
        out.push(b'.');
        out.extend_from_slice(number.format(nanos).as_bytes());
    }
    out.push(b' ');
    out.extend_from_slice(number.format(stamp.ino).as_bytes());
}

/// Parses two stamps, as `volume / image`. Each may be `-`, which is none.
pub(super) fn read_stamps(mut text: &[u8]) -> Option<(Option<Stamp>, Option<Stamp>)> {
    let volume = read_stamp(&mut text)?;
    text = text.strip_prefix(b" / ")?;
    let image = read_stamp(&mut text)?;
    text.is_empty().then_some((volume, image))
}

/// Parses a stamp at the begin of a text, and cuts it off. Returns `None` if it is no stamp.
fn read_stamp(text: &mut &[u8]) -> Option<Option<Stamp>> {
    if skip(text, b'-').is_some() {
        return Some(None);
    }
    let size = read_number(text)?;
    let mut time = || {
        skip(text, b' ')?;
        let is_negative = skip(text, b'-').is_some();
        let seconds = read_number(text)?;
        let seconds = match is_negative {
            true => 0_i64.checked_sub_unsigned(seconds),
            false => 0_i64.checked_add_unsigned(seconds),
        };
        skip(text, b'.')?;
        let nanos = read_number(text).filter(|nanos| *nanos < 1_000_000_000)?;
        Some((seconds?, u32::try_from(nanos).ok()?))
    };
    let (modified, changed) = (time()?, time()?);
    skip(text, b' ')?;
    let ino = read_number(text)?;
    Some(Some(Stamp {
        size,
        modified,
        changed,
        ino,
    }))
}

/// Cuts a byte off the begin of a text, if it is there.
fn skip(text: &mut &[u8], byte: u8) -> Option<()> {
    *text = text.strip_prefix(&[byte])?;
    Some(())
}

/// Parses a number at the begin of a text, and cuts it off.
fn read_number(text: &mut &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at_checked(digits).filter(|_| digits > 0)?;
    *text = rest;
    number.iter().try_fold(0_u64, |sum, digit| {
        sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}
