//! Reads `jupyter_server_config.json` as Jupyter does, and changes only the password in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::jupyter_config::config_files::contents;
use crate::password::error::PasswordError;
use crate::sys::effects::Effects;
use crate::sys::whole_file::{self, PRIVATE};

/// The class whose hash beats all others, unless one is nested in [`SERVER`].
const PROVIDER: &str = "PasswordIdentityProvider";
/// The class that `jupyter server password` writes its hash to.
const BASE: &str = "IdentityProvider";
/// The server's class.
const SERVER: &str = "ServerApp";
/// The classes that held the hash in older versions. They beat [`BASE`].
const OLD: [&str; 3] = [SERVER, "NotebookApp", "LabApp"];

const HASH: &str = "hashed_password";
const OLD_HASH: &str = "password";

/// The user's own configuration file.
#[derive(Debug)]
pub struct Document {
    path: PathBuf,
    content: Map<String, Value>,
    /// True if the file is absent or empty, so that a write cannot lose anything.
    first: bool,
}

impl Document {
    /// Reads the file. An absent or blank file counts as `{}`: [`Document::write`] may leave an empty
    /// one after a power failure, and `touch` makes one.
    ///
    /// # Errors
    /// The file cannot be read, or is not a JSON object.
    pub fn read(path: &Path) -> Result<Self, PasswordError> {
        let path = path.to_owned();
        let bytes = match contents(&path) {
            Ok(bytes) if bytes.trim_ascii().is_empty() => b"{}".to_vec(),
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
                // serde_json ends its text with line and column, which the error reports itself.
                let problem = problem.split(" at line ").next().unwrap_or_default();
                Err(PasswordError::Broken {
                    path,
                    line: error.line(),
                    // serde_json reports column 0 at the very beginning.
                    column: error.column().max(1),
                    problem: problem.to_owned(),
                })
            }
        }
    }

    /// Returns the hash under the key of `jupyter server password`, which our default uses, too.
    pub fn base(&self) -> Option<&str> {
        self.content.get(BASE)?.get(HASH)?.as_str()
    }

    /// Removes the hash that [`Self::base`] returns, also where [`Self::force`] wrote it.
    pub fn remove_base(&mut self) {
        if self.forced(false) == self.base() {
            self.remove(PROVIDER, HASH);
        }
        self.remove(BASE, HASH);
    }

    fn remove(&mut self, class: &str, key: &str) {
        if let Some(Value::Object(section)) = self.content.get_mut(class) {
            section.shift_remove(key);
            if section.is_empty() {
                self.content.shift_remove(class);
            }
        }
    }

    /// Returns the hash that beats all others of the file; `nested`: the one in `ServerApp`.
    pub fn forced(&self, nested: bool) -> Option<&str> {
        let sections = match nested {
            true => self.content.get(SERVER)?.as_object()?,
            false => &self.content,
        };
        sections.get(PROVIDER)?.get(HASH)?.as_str()
    }

    /// Sets the hash of lowest precedence, under the key of `jupyter server password`, so that
    /// this command can still change it.
    ///
    /// # Errors
    /// The section is not an object.
    pub fn set_default(&mut self, hash: String) -> Result<(), PasswordError> {
        let section = object(&mut self.content, BASE, &self.path)?;
        section.insert(HASH.into(), hash.into());
        Ok(())
    }

    /// Makes the hash effective and removes the other hashes. Only where another source may set a
    /// password (`contested`) is it written under a key that beats that one, because such a key also
    /// beats what `jupyter server password` and the login page write later. `nested`: it is also
    /// written inside the server's own section, which beats all others.
    ///
    /// # Errors
    /// A section is not an object.
    pub fn force(
        &mut self,
        hash: String,
        contested: bool,
        nested: bool,
    ) -> Result<(), PasswordError> {
        self.set_default(hash.clone())?;
        if contested {
            let section = object(&mut self.content, PROVIDER, &self.path)?;
            section.insert(HASH.into(), hash.clone().into());
        } else {
            self.remove(PROVIDER, HASH);
        }
        if nested {
            let server = object(&mut self.content, SERVER, &self.path)?;
            let section = object(server, PROVIDER, &self.path)?;
            section.insert(HASH.into(), hash.into());
        }
        OLD.iter().for_each(|class| self.remove(class, OLD_HASH));
        Ok(())
    }

    /// # Errors
    /// The file is a symbolic link: replacing it would hide the file that it points to.
    pub fn check_replaceable(&self) -> Result<(), PasswordError> {
        match fs::symlink_metadata(&self.path) {
            Ok(data) if data.is_symlink() => Err(PasswordError::Link(self.path.clone())),
            _ => Ok(()),
        }
    }

    /// Replaces the file atomically. Only its owner can read it.
    ///
    /// If there was no content before, the file is not flushed to disk: flushing at the first start
    /// of every container takes longer than hashing, and the next start can write the file again.
    ///
    /// # Errors
    /// The directory or the file cannot be written.
    pub fn write(&self, effects: Effects<'_>) -> Result<(), PasswordError> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let written = effects.make_in(directory, || self.try_write());
        written.map_err(|source| PasswordError::File {
            path: self.path.clone(),
            verb: "written",
            source,
        })
    }

    fn try_write(&self) -> io::Result<()> {
        // Indented by two spaces, as Jupyter does.
        let text = serde_json::to_vec_pretty(&self.content)?;
        whole_file::replace(&self.path, &text, PRIVATE, !self.first)
    }
}

/// Returns a section of an object; makes it if it is missing.
fn object<'a>(
    content: &'a mut Map<String, Value>,
    section: &'static str,
    path: &Path,
) -> Result<&'a mut Map<String, Value>, PasswordError> {
    let value = content.entry(section);
    let value = value.or_insert_with(|| Value::Object(Map::new()));
    value.as_object_mut().ok_or_else(|| {
        let path = path.to_owned();
        PasswordError::Shape { path, section }
    })
}
