//! `jupyter_server_config.json`: reading it as Jupyter does, changing the password in
//! it and nothing else.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::PasswordError;
use crate::identity;

/// The class whose hash wins over every other.
const PROVIDER: &str = "PasswordIdentityProvider";
/// The class that `jupyter server password` writes.
const BASE: &str = "IdentityProvider";
/// The server's class.
const SERVER: &str = "ServerApp";
/// Classes of older versions, which win over [`BASE`].
const OLD: [&str; 3] = [SERVER, "NotebookApp", "LabApp"];

/// The file's mode.
const MODE: u32 = 0o600;

const HASH: &str = "hashed_password";
const OLD_HASH: &str = "password";

/// A configuration is at most this long, in bytes; the longest that Jupyter generates has
/// a fiftieth of it.
pub(super) const LIMIT: u64 = 4 * 1024 * 1024;

/// The content of a file of Jupyter's configuration. A FIFO that nobody writes must not
/// stop the start, nor a file without end.
pub(super) fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::other("it is longer than 4 MiB"));
    }
    Ok(bytes)
}

/// A configuration file of the user's.
#[derive(Debug)]
pub struct Document {
    path: PathBuf,
    content: Map<String, Value>,
    /// Whether there is nothing yet that could be lost.
    first: bool,
}

impl Document {
    /// Reads the file. One that is not there is empty; so is what [`Document::write`]
    /// leaves where the power fails: a file of its mode without a byte.
    ///
    /// # Errors
    /// It cannot be read, is not JSON, or no object.
    pub fn read(path: &Path) -> Result<Self, PasswordError> {
        let path = path.to_owned();
        let bytes = match contents(&path) {
            Ok(bytes) if bytes.is_empty() && mode(&path) == Some(MODE) => b"{}".to_vec(),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => b"{}".to_vec(),
            Err(source) => {
                let verb = "read";
                return Err(PasswordError::File { path, verb, source });
            }
        };
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(content)) => Ok(Self {
                path,
                first: content.is_empty(),
                content,
            }),
            Ok(_) => {
                let section = "the content";
                Err(PasswordError::Shape { path, section })
            }
            Err(error) => {
                let problem = error.to_string();
                // serde_json ends its text with the place, which is told already.
                let problem = problem.split(" at line ").next().unwrap_or_default();
                Err(PasswordError::Broken {
                    path,
                    line: error.line(),
                    // 0 at the very beginning.
                    column: error.column().max(1),
                    problem: problem.to_owned(),
                })
            }
        }
    }

    /// The hash that `jupyter server password` writes, or a default of ours.
    pub fn base(&self) -> Option<&str> {
        self.content.get(BASE)?.get(HASH)?.as_str()
    }

    /// Removes that hash.
    pub fn remove_base(&mut self) {
        if let Some(Value::Object(section)) = self.content.get_mut(BASE) {
            section.shift_remove(HASH);
            if section.is_empty() {
                self.content.shift_remove(BASE);
            }
        }
    }

    /// The hash that wins over every other of this file's.
    pub fn forced(&self, nested: bool) -> Option<&str> {
        let sections = match nested {
            true => self.content.get(SERVER)?.as_object()?,
            false => &self.content,
        };
        sections.get(PROVIDER)?.get(HASH)?.as_str()
    }

    /// Sets the hash that everything else overrides, as `jupyter server password` does;
    /// so that command can still change it.
    ///
    /// # Errors
    /// The section is no object.
    pub fn set_default(&mut self, hash: String) -> Result<(), PasswordError> {
        self.section(BASE)?.insert(HASH.into(), hash.into());
        Ok(())
    }

    /// Sets the hash in every place that counts and removes those of older versions.
    /// `nested`: inside of the server's own section, too, which beats all other places.
    ///
    /// # Errors
    /// A section is no object.
    pub fn force(&mut self, hash: String, nested: bool) -> Result<(), PasswordError> {
        self.section(PROVIDER)?
            .insert(HASH.into(), hash.clone().into());
        self.set_default(hash.clone())?;
        if nested {
            let server = self.section(SERVER)?.entry(PROVIDER);
            match server.or_insert_with(|| Value::Object(Map::new())) {
                Value::Object(section) => drop(section.insert(HASH.into(), hash.into())),
                _ => {
                    let path = self.path.clone();
                    let section = PROVIDER;
                    return Err(PasswordError::Shape { path, section });
                }
            }
        }
        for class in OLD {
            if let Some(Value::Object(section)) = self.content.get_mut(class) {
                section.shift_remove(OLD_HASH);
                if section.is_empty() {
                    self.content.shift_remove(class);
                }
            }
        }
        Ok(())
    }

    fn section(&mut self, section: &'static str) -> Result<&mut Map<String, Value>, PasswordError> {
        let value = self.content.entry(section);
        match value.or_insert_with(|| Value::Object(Map::new())) {
            Value::Object(map) => Ok(map),
            _ => {
                let path = self.path.clone();
                Err(PasswordError::Shape { path, section })
            }
        }
    }

    /// # Errors
    /// The file is a link: replacing it would hide a file that a person keeps elsewhere.
    pub fn check_replaceable(&self) -> Result<(), PasswordError> {
        match fs::symlink_metadata(&self.path) {
            Ok(data) if data.is_symlink() => Err(PasswordError::Link(self.path.clone())),
            _ => Ok(()),
        }
    }

    /// Whether [`Self::write`] could do it, as far as `writable` knows about directories.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn foresee_write(
        &self,
        writable: &dyn Fn(&Path) -> io::Result<()>,
    ) -> Result<(), PasswordError> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        writable(directory).map_err(|source| self.unwritten(source))
    }

    fn unwritten(&self, source: io::Error) -> PasswordError {
        PasswordError::File {
            path: self.path.clone(),
            verb: "written",
            source,
        }
    }

    /// Replaces the file, whole or not at all; only the user can read it.
    ///
    /// Where there was none it is not flushed. That takes longer than making the hash,
    /// at the first start of every container, and the next start can write it again.
    ///
    /// # Errors
    /// The directory or the file cannot be written.
    pub fn write(&self) -> Result<(), PasswordError> {
        self.try_write().map_err(|source| self.unwritten(source))
    }

    fn try_write(&self) -> io::Result<()> {
        // Indented by 2, like Jupyter's own.
        let text = serde_json::to_vec_pretty(&self.content)?;
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let mut name = self.path.clone().into_os_string();
        // Another container that shares the directory may be process 1 as well.
        // And one of another machine, the same in every number.
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        name.push(format!(".{}", host.trim_end().replace('/', "-")));
        name.push(format!(".{}", identity::container()));
        name.push(format!(".{}.tmp", std::process::id()));
        let new = Temporary(name.into());
        // What a killed start left behind.
        let _ = fs::remove_file(&new.0);
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&new.0)?;
        file.write_all(&text)?;
        if !self.first {
            file.sync_all()?;
        }
        fs::rename(&new.0, &self.path)?;
        if !self.first {
            // It is there, whether this file system flushes directories or not.
            let _ = File::open(directory).and_then(|directory| directory.sync_all());
        }
        Ok(())
    }
}

fn mode(path: &Path) -> Option<u32> {
    let data = fs::symlink_metadata(path).ok()?;
    Some(data.mode() & 0o7777)
}

/// A file that goes away unless it was renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
