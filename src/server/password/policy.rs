//! Decides from everything that Jupyter reads: may a default password be set, and which
//! hash is effective? Pure: the files are read elsewhere.

use std::path::Path;

use serde_json::Value as Json;

use super::super::traits::{self, Named};

/// What one source says about authentication.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// The settings, in the order of the source.
    pub settings: Vec<Setting>,
    /// The first part of it that cannot be judged.
    pub unclear: Option<Unclear>,
    /// The traits that it sets and that decide where the server listens and works.
    pub serving: Vec<Named>,
}

/// A setting about authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The line in its file, if that is known; 1 is the first.
    pub line: Option<usize>,
    /// Classes and trait: `["ServerApp", "password"]`.
    pub path: Vec<String>,
    /// What is assigned.
    pub value: Value,
}

/// A value, as far as it is known without running anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// This text.
    Text(String),
    /// Something else, or only Python knows.
    Unknown,
}

/// What cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclear {
    /// The line, if it is a line.
    pub line: Option<usize>,
    /// What is there: a statement, or why nothing could be read.
    pub what: String,
}

impl Said {
    /// Nothing but something that cannot be judged.
    pub fn unclear(what: impl Into<String>) -> Self {
        Self {
            unclear: Some(Unclear {
                line: None,
                what: what.into(),
            }),
            ..Self::default()
        }
    }

    /// Remembers the first line that cannot be judged.
    pub fn unclear_at(&mut self, line: usize, what: String) {
        let line = Some(line);
        self.unclear.get_or_insert(Unclear { line, what });
    }

    /// What a JSON file says. Jupyter ignores one that does not parse, but somebody meant
    /// something by it.
    pub fn json(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        match serde_json::from_slice(bytes) {
            Ok(content) => {
                let mut said = Self::default();
                collect(&content, &mut Vec::new(), &mut said);
                said
            }
            Err(_) => Self::unclear("not valid JSON"),
        }
    }
}

/// Collects the settings of a JSON document. The parser has limited its depth.
fn collect(content: &Json, path: &mut Vec<String>, said: &mut Said) {
    let Json::Object(map) = content else {
        return;
    };
    for (key, value) in map {
        path.push(key.clone());
        if value.is_object() {
            collect(value, path, said);
        } else if let [.., class, name] = &path[..]
            && let Some(name) = traits::known(class, name)
        {
            let value = value.as_str().map(str::to_owned);
            let line = None;
            said.serving.push(Named { name, line, value });
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

/// Parts of the names of traits that let people in or keep them out.
const WORDS: [&str; 9] = [
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

/// Traits with such names that decide about nobody.
const HARMLESS: [&str; 4] = [
    "allow_password_change",
    "allow_unauthenticated_access",
    "authenticate_prometheus",
    "password_required",
];

/// Reports whether a word names something about authentication.
pub fn mentions_authentication(word: &str) -> bool {
    let word = word.to_lowercase();
    !HARMLESS.contains(&word.as_str()) && WORDS.iter().any(|known| word.contains(known))
}

/// Reports whether a trait is about authentication. Its class does not matter: traitlets
/// takes a trait's value from the sections of parent classes, too (`JupyterApp.password`).
pub fn is_about_authentication(path: &[String]) -> bool {
    path.last()
        .is_some_and(|name| mentions_authentication(name))
}

/// What a setting decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// A password's hash. The winner comes first, whatever file each is in.
    Nested,
    NestedBase,
    Provider,
    Old,
    /// The old trait in a section that is merged into the server's.
    Merged,
    Base,
    /// A token.
    Token,
    /// Other ways in.
    Other,
}

impl Kind {
    fn of(path: &[String]) -> Self {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        match names[..] {
            ["ServerApp", "PasswordIdentityProvider", "hashed_password"] => Self::Nested,
            ["ServerApp", "IdentityProvider", "hashed_password"] => Self::NestedBase,
            ["PasswordIdentityProvider", "hashed_password"] => Self::Provider,
            ["ServerApp", "password"] => Self::Old,
            ["NotebookApp" | "LabApp", "password"] => Self::Merged,
            ["IdentityProvider", "hashed_password"] => Self::Base,
            [.., name] if name.to_lowercase().contains("token") => Self::Token,
            _ => Self::Other,
        }
    }

    fn is_password(self) -> bool {
        self < Self::Token
    }
}

/// A source and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name for messages: a path, "the server's arguments", a variable.
    pub name: String,
    /// Where it stands.
    pub rank: Rank,
    /// What it says.
    pub said: Said,
}

/// Where a source stands among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// Is on the server's command line, which beats every file.
    Line,
    /// Beats the file with the user's own password.
    Before,
    /// Is the file with the user's own password.
    Own,
    /// Is beaten by it.
    After,
    /// This server does not read it, but another one would.
    Unread,
}

/// May a default password be set?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is configured.
    Unset,
    /// Nothing but an empty token, there. Alone it would let everyone in.
    EmptyToken(String),
    /// A password, a token or another way in, there.
    Configured(String),
    /// An empty password and an empty token, there: a person wants no authentication.
    Off(String),
    /// Something that cannot be judged, there.
    Undecided(String),
}

/// The effective hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effective {
    /// This one.
    Hash(String),
    /// There is none.
    Nothing,
    /// Only the server knows, because of this.
    Unknown(String),
}

/// Everything that Jupyter reads, winners first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Everything(pub Vec<Source>);

impl Everything {
    /// Decides whether a default password may be set. The hash that `jupyter server
    /// password` writes is left out: a default of ours is kept in its place.
    pub fn standing(&self) -> Standing {
        let (mut no_password, mut no_token) = (None, None);
        for (source, setting) in self.settings() {
            let kind = Kind::of(&setting.path);
            if source.rank == Rank::Own && kind == Kind::Base {
                continue;
            }
            match &setting.value {
                Value::Text(text) if text.is_empty() && kind == Kind::Token => {
                    no_token.get_or_insert_with(|| shown(source, setting));
                }
                Value::Text(text) if text.is_empty() => {
                    no_password.get_or_insert_with(|| shown(source, setting));
                }
                _ => return Standing::Configured(shown(source, setting)),
            }
        }
        let unclear = self.0.iter().find_map(unclear);
        match (unclear, no_password, no_token) {
            (Some(unclear), ..) => Standing::Undecided(unclear),
            (None, Some(password), Some(token)) => Standing::Off(format!("{password} and {token}")),
            (None, Some(password), None) => Standing::Configured(password),
            (None, None, Some(token)) => Standing::EmptyToken(token),
            (None, None, None) => Standing::Unset,
        }
    }

    /// Returns the places of a base hash outside of `own` that `public` knows and of what is
    /// configured beside it; `None` where one of the two is missing.
    pub fn beside_base_hash(&self, own: &Path, public: impl Fn(&str) -> bool) -> Option<String> {
        let own = own.display().to_string();
        let read =
            |(source, _): &(&Source, &Setting)| source.rank != Rank::Unread && source.name != own;
        let is_public = |setting: &Setting| match &setting.value {
            Value::Text(hash) => Kind::of(&setting.path) == Kind::Base && public(hash),
            Value::Unknown => false,
        };
        let (publics, others): (Vec<_>, Vec<_>) = self
            .settings()
            .filter(read)
            .partition(|(_, setting)| is_public(setting));
        let ((source, public), (beside, other)) = (publics.first()?, others.first()?);
        Some(format!(
            "{} beside {}",
            shown(source, public),
            shown(beside, other)
        ))
    }

    /// Decides which hash is effective.
    pub fn effective(&self) -> Effective {
        let read = || self.0.iter().filter(|source| source.rank != Rank::Unread);
        if let Some(other) = self.another_way_in() {
            return Effective::Unknown(other);
        }
        let winner = read()
            .flat_map(|source| {
                source
                    .said
                    .settings
                    .iter()
                    .map(move |found| (source, found))
            })
            .map(|(source, setting)| (Kind::of(&setting.path), source, setting))
            .filter(|(kind, _, setting)| {
                // An empty old value is the default, and so as good as absent.
                kind.is_password()
                    && !(matches!(kind, Kind::Old | Kind::Merged)
                        && setting.value == Value::Text(String::new()))
            })
            // Of equal ones the first, but within a file the last.
            .fold(None, |best: Option<(Kind, &Source, &Setting)>, next| {
                let better = best.is_none_or(|(kind, source, _)| {
                    next.0 < kind || next.0 == kind && std::ptr::eq(source, next.1)
                });
                if better { Some(next) } else { best }
            });
        // What nobody before it contradicts stands, whatever the files after it say.
        let decided = winner
            .is_some_and(|(kind, source, _)| kind <= Kind::Provider && source.rank == Rank::Own);
        let relevant = |source: &&Source| !decided || source.rank == Rank::Before;
        if let Some(unclear) = read().filter(relevant).find_map(unclear) {
            return Effective::Unknown(unclear);
        }
        match winner {
            Some((_, source, setting)) => match &setting.value {
                Value::Text(hash) if hash.is_empty() => Effective::Nothing,
                Value::Text(hash) => Effective::Hash(hash.clone()),
                Value::Unknown => Effective::Unknown(shown(source, setting)),
            },
            None => Effective::Nothing,
        }
    }

    /// The place of another way in than password and token, such as an identity provider
    /// of its own.
    pub fn another_way_in(&self) -> Option<String> {
        let read = self
            .settings()
            .filter(|(source, _)| source.rank != Rank::Unread);
        let mut others = read.filter(|(_, setting)| Kind::of(&setting.path) == Kind::Other);
        others
            .next()
            .map(|(source, setting)| shown(source, setting))
    }

    /// Reports whether a source before the user's own file may decide about the password.
    pub fn is_beaten(&self) -> bool {
        let mut before = self.0.iter().filter(|source| source.rank == Rank::Before);
        before.any(|source| {
            let mut settings = source.said.settings.iter();
            source.said.unclear.is_some()
                || settings.any(|setting| Kind::of(&setting.path) != Kind::Token)
        })
    }

    /// Reports whether a hash is inside of the server's own section, where it beats every
    /// other.
    pub fn is_nested(&self) -> bool {
        self.settings()
            .any(|(_, setting)| Kind::of(&setting.path) <= Kind::NestedBase)
    }

    /// Returns where a file that Jupyter reads names a trait about where the server listens and
    /// works, with its value.
    pub fn serving(&self, name: &str) -> Option<(String, Option<&str>)> {
        let mut read = self.0.iter().filter(|source| source.rank != Rank::Unread);
        read.find_map(|source| {
            let mut named = source.said.serving.iter().rev();
            let named = named.find(|named| named.name == name)?;
            let place = match named.line {
                Some(line) => format!("{}:{line}", source.name),
                None => source.name.clone(),
            };
            Some((place, named.value.as_deref()))
        })
    }

    fn settings(&self) -> impl Iterator<Item = (&Source, &Setting)> {
        self.0.iter().flat_map(|source| {
            source
                .said
                .settings
                .iter()
                .map(move |found| (source, found))
        })
    }
}

/// A setting and its place, for messages. Never its value.
fn shown(source: &Source, setting: &Setting) -> String {
    let name = &source.name;
    let path = setting.path.join(".");
    match setting.line {
        Some(line) => format!("{path} in {name}:{line}"),
        None if path == *name => path,
        None => format!("{path} in {name}"),
    }
}

fn unclear(source: &Source) -> Option<String> {
    let name = &source.name;
    let Unclear { line, what } = source.said.unclear.as_ref()?;
    Some(match line {
        Some(line) => format!("{name}:{line} ({what})"),
        None => format!("{name} ({what})"),
    })
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
