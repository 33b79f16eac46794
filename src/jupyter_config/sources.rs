//! The sources of Jupyter's configuration, each with its precedence and its settings about
//! authentication and about the server's address. `precedence` decides which setting wins, and
//! `location` reads the files: nothing here does I/O.

use serde_json::Value as Json;

use crate::jupyter_config::traits;
use crate::jupyter_config::traits::ConfiguredTrait;

/// The relevant content of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceContent {
    /// The settings about authentication, in the order of the source.
    pub settings: Vec<Setting>,
    /// The first part that this program cannot interpret; `None`: it understands all of it.
    pub unclear: Option<Unclear>,
    /// The traits it sets that decide where the server listens and works.
    pub server_traits: Vec<ConfiguredTrait>,
    /// True if Jupyter cannot read the source, either, and it has a word about where the server
    /// listens or who may log in.
    pub mentions_access: bool,
    /// True if it may set traits that it does not name, such as those of another file.
    pub hides_traits: bool,
}

/// A setting about authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The line in the file, counted from 1; `None`: unknown.
    pub line: Option<usize>,
    /// The names of the classes and of the trait: `["ServerApp", "password"]`.
    pub path: Vec<String>,
    /// The assigned value.
    pub value: Value,
}

/// A value, as far as it is known without running code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// This text.
    Text(String),
    /// An empty text, unless other code in its file changes it.
    MaybeEmpty,
    /// Not a text, or only known to Python.
    Unknown,
}

impl Value {
    /// Reports whether it is an empty text, unless other code in its file changes it.
    pub(super) fn may_be_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::MaybeEmpty => true,
            Self::Unknown => false,
        }
    }
}

/// A part of a source that this program cannot interpret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclear {
    /// The line, counted from 1; `None`: the whole source.
    pub line: Option<usize>,
    /// The statement, or the reason why nothing could be read.
    pub what: String,
}

impl SourceContent {
    /// Returns the content of a source that cannot be interpreted at all.
    pub fn describe_unclear(what: impl Into<String>) -> Self {
        Self {
            unclear: Some(Unclear {
                line: None,
                what: what.into(),
            }),
            ..Self::default()
        }
    }

    /// Returns the content of a source that only Jupyter reads.
    pub fn describe_unread(what: impl Into<String>) -> Self {
        Self {
            hides_traits: true,
            ..Self::describe_unclear(what)
        }
    }

    /// Records a line that cannot be interpreted, unless one is recorded already.
    pub fn unclear_at(&mut self, line: usize, what: String) {
        let line = Some(line);
        self.unclear.get_or_insert(Unclear { line, what });
    }

    /// Reads a JSON file. A file that does not parse is unclear, although Jupyter ignores it: it
    /// may be meant to set a password.
    pub fn json(bytes: &[u8]) -> Self {
        if bytes.trim_ascii().is_empty() {
            return Self::default();
        }
        match serde_json::from_slice(bytes) {
            Ok(content) => {
                let mut said = Self::default();
                collect(&content, &mut Vec::new(), &mut said);
                said
            }
            Err(_) => Self {
                mentions_access: String::from_utf8_lossy(bytes).split('"').any(is_of_access),
                ..Self::describe_unclear("not valid JSON")
            },
        }
    }
}

/// Reports whether a word is, or looks like, a trait that decides where the server listens or who
/// may log in.
fn is_of_access(word: &str) -> bool {
    let name = traits::serving_trait(traits::CLASSES[0], word);
    mentions_authentication(word) || name.is_some_and(|name| traits::is_of_access(&name))
}

/// Collects the settings of a JSON document, recursively: the parser has limited its depth.
fn collect(content: &Json, path: &mut Vec<String>, said: &mut SourceContent) {
    let Json::Object(map) = content else {
        return;
    };
    for (key, value) in map {
        path.push(key.clone());
        if let [.., class, name] = &path[..]
            && let Some(name) = traits::serving_trait(class, name)
        {
            let value = match value {
                Json::String(text) => Some(text.clone()),
                Json::Number(number) => Some(number.to_string()),
                Json::Bool(true) => Some("True".into()),
                Json::Bool(false) => Some("False".into()),
                _ => None,
            };
            said.server_traits.push(ConfiguredTrait {
                name,
                line: None,
                value,
                conditional: false,
            });
        } else if value.is_object() && !is_inside_a_value(path) {
            collect(value, path, said);
        } else if path.len() > 1 && is_about_authentication(path) {
            let text = value.as_str().map(str::to_owned);
            said.settings.push(Setting {
                line: None,
                path: path.clone(),
                value: text.map_or(Value::Unknown, Value::Text),
            });
        }
        path.pop();
    }
}

/// Reports whether a path leads into the value of a trait: traitlets takes only keys that begin with a
/// capital for classes. Jupyter uses the keys of such a value, but not what is below them.
fn is_inside_a_value(path: &[String]) -> bool {
    let class = |key: &&String| key.starts_with(|first: char| first.is_ascii_uppercase());
    path.iter().skip_while(class).count() > 1
}

/// Parts of the names of traits that control who can log in.
const AUTH_WORDS: [&str; 9] = [
    "auth",
    "config_file",
    "hashed",
    "identity_provider",
    "identityprovider",
    "login_handler",
    "passwd",
    "password",
    "token",
];

/// Traits with such names that do not control who can log in.
const NON_AUTH_TRAITS: [&str; 4] = [
    "allow_password_change",
    "allow_unauthenticated_access",
    "authenticate_prometheus",
    "password_required",
];

/// Beginnings of other words that contain one of [`AUTH_WORDS`]: author, authorizer, tokenizer.
const OTHER_WORDS: [&str; 2] = ["author", "tokeniz"];

/// Reports whether a word is or contains what looks like a trait about authentication.
pub fn mentions_authentication(word: &str) -> bool {
    let mut word = word.to_lowercase();
    if NON_AUTH_TRAITS.contains(&word.as_str()) {
        return false;
    }
    for other in OTHER_WORDS {
        word = word.replace(other, "");
    }
    AUTH_WORDS.iter().any(|known| word.contains(known))
}

/// Reports whether a trait is about authentication. Its class does not matter, because traitlets
/// also takes a trait's value from the sections of parent classes (`JupyterApp.password`).
pub fn is_about_authentication(path: &[String]) -> bool {
    path.last()
        .is_some_and(|name| mentions_authentication(name))
}

/// A source of configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name for messages: a path, "the server's arguments" or a variable.
    pub name: String,
    /// The precedence.
    pub rank: Rank,
    /// The content.
    pub content: SourceContent,
}

/// The precedence of a source among settings of the same kind, relative to the user's own file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// The server's command line, or the file that it names; beats every other source.
    Line,
    /// A source that is stronger than the file with the user's own password.
    Before,
    /// The file with the user's own password.
    Own,
    /// As [`Self::After`], unless Jupyter takes the venv for the user's: it asks the login session
    /// that started the container for the user's name.
    Beside,
    /// A source that is weaker than the file with the user's own password.
    After,
    /// A variable with a token, which counts if nothing else configures one.
    Variable,
    /// A source that only rules out a default password: another server's file, or `--config`.
    Ignored,
}

/// All sources of Jupyter's configuration, highest precedence first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigSources(pub Vec<Source>);

impl ConfigSources {
    /// Returns the source, for messages, and the value of a trait that decides where the server
    /// listens and works. `name` is the trait's full name; a value of `None` is unknown.
    pub fn server_trait(&self, name: &str) -> Option<(String, Option<&str>)> {
        self.read().find_map(|source| {
            let mut named = source.content.server_traits.iter().rev();
            let named = named.find(|named| named.name == name)?;
            Some((at(&source.name, named.line), named.value.as_deref()))
        })
    }

    /// Reports whether no source surely sets a trait, and one may.
    pub fn may_set(&self, name: &str) -> bool {
        let named = self.read().flat_map(|source| &source.content.server_traits);
        let mut named = named.filter(|named| named.name == name).peekable();
        (self.hide_traits() || named.peek().is_some()) && named.all(|named| named.conditional)
    }

    /// Reports whether a source may set traits that it does not name.
    pub fn hide_traits(&self) -> bool {
        self.read().any(|source| source.content.hides_traits)
    }

    /// Reports whether a source decides where the server listens or who may log in. `own`: it is the
    /// file with the user's own password, of which only a blank one decides nothing. `overridden`:
    /// reports whether the server's arguments have a value for a trait.
    pub fn decides_access(&self, name: &str, own: bool, overridden: &dyn Fn(&str) -> bool) -> bool {
        let mut sources = self.0.iter().filter(|source| source.name == name);
        sources.any(|Source { content, .. }| {
            let mut traits = content.server_traits.iter().map(|named| &named.name);
            own || content.mentions_access
                || !content.settings.is_empty()
                || traits.any(|name| traits::is_of_access(name) && !overridden(name))
        })
    }

    /// Returns the sources that this server reads.
    pub(super) fn read(&self) -> impl Iterator<Item = &Source> {
        self.0.iter().filter(|source| source.rank != Rank::Ignored)
    }
}

impl Source {
    /// Returns the first part that cannot be interpreted, for messages.
    pub(super) fn unclear_part(&self) -> Option<String> {
        let Unclear { line, what } = self.content.unclear.as_ref()?;
        Some(format!("{} ({what})", at(&self.name, *line)))
    }

    /// Describes a setting of this source for messages, never with its value.
    pub(super) fn describe(&self, setting: &Setting) -> String {
        let path = setting.path.join(".");
        match path == self.name {
            true => path,
            false => format!("{path} in {}", at(&self.name, setting.line)),
        }
    }
}

/// Returns a place for messages.
fn at(name: &str, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("{name}:{line}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
