//! Decides, from all sources that Jupyter reads, whether a default password may be set and which
//! hash is effective. It does no I/O: `location` reads the files.

use std::path::Path;

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
        if bytes.is_empty() {
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
            let line = None;
            said.server_traits
                .push(ConfiguredTrait { name, line, value });
        } else if value.is_object() {
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

/// Reports whether a word is or contains what looks like a trait about authentication.
pub fn mentions_authentication(word: &str) -> bool {
    let word = word.to_lowercase();
    !NON_AUTH_TRAITS.contains(&word.as_str()) && AUTH_WORDS.iter().any(|known| word.contains(known))
}

/// Reports whether a trait is about authentication. Its class does not matter, because traitlets
/// also takes a trait's value from the sections of parent classes (`JupyterApp.password`).
pub fn is_about_authentication(path: &[String]) -> bool {
    path.last()
        .is_some_and(|name| mentions_authentication(name))
}

/// The kinds of settings. Those of a hash come first, in order of precedence across all files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum SettingKind {
    /// `ServerApp.PasswordIdentityProvider.hashed_password`.
    Nested,
    NestedBase,
    Provider,
    Old,
    /// The old trait `password` in a section that Jupyter merges into `ServerApp`.
    Merged,
    Base,
    /// A token.
    Token,
    /// A token of something else, such as `GitHubConfig.access_token`, or a trait about the token.
    /// It may be a login, but an empty one does not turn Jupyter's token off.
    OtherToken,
    /// Another way to log in.
    Other,
}

impl SettingKind {
    fn of(path: &[String]) -> Self {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        match names[..] {
            ["ServerApp", "PasswordIdentityProvider", "hashed_password"] => Self::Nested,
            ["ServerApp", "IdentityProvider", "hashed_password"] => Self::NestedBase,
            ["PasswordIdentityProvider", "hashed_password"] => Self::Provider,
            ["ServerApp", "password"] => Self::Old,
            ["NotebookApp" | "LabApp", "password"] => Self::Merged,
            ["IdentityProvider", "hashed_password"] => Self::Base,
            // A variable's own name is a path of length 1.
            [_, .., "token"] => Self::Token,
            [name] if name.contains("TOKEN") => Self::Token,
            [.., name] if name.to_lowercase().contains("token") => Self::OtherToken,
            _ => Self::Other,
        }
    }

    fn is_password(self) -> bool {
        self < Self::Token
    }
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

/// The decision whether a default password may be set. Each text says which setting decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefaultDecision {
    /// Yes: nothing is configured.
    Unset,
    /// Yes: only an empty token is configured, which would otherwise let everyone in.
    EmptyToken(String),
    /// No: a password, a token or another way to log in is configured.
    Configured(String),
    /// No: password and token are both configured empty, so a person wants no authentication.
    Off(String),
    /// No: a part of the configuration cannot be interpreted.
    Undecided(String),
    /// No, but the token is configured empty, so that Jupyter makes none: there may be no login.
    MaybeOpen {
        /// The setting of the token.
        token: String,
        /// Why the default may not be set.
        cause: String,
    },
}

/// The effective hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effective {
    /// This hash.
    Hash(String),
    /// No hash is effective.
    Nothing,
    /// Only the server can decide; the text says which setting or line is the reason.
    Unknown(String),
}

/// All sources of Jupyter's configuration, highest precedence first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigSources(pub Vec<Source>);

impl ConfigSources {
    /// Decides whether a default password may be set. It ignores the hash that `jupyter server
    /// password` writes in the user's own file, because our default is stored under the same key.
    pub fn default_decision(&self) -> DefaultDecision {
        let (mut no_password, mut no_token, mut ruled_out) = (None, None, None);
        for (source, setting) in self.settings() {
            let kind = SettingKind::of(&setting.path);
            if source.rank == Rank::Own && kind == SettingKind::Base {
                continue;
            }
            let empty = match &setting.value {
                Value::Text(text) => text.is_empty(),
                Value::MaybeEmpty => true,
                Value::Unknown => false,
            };
            let described = || describe_setting(source, setting);
            let first = match (source.rank, empty, kind) {
                (Rank::Ignored, true, _) | (_, true, SettingKind::OtherToken) => continue,
                (Rank::Ignored, false, _) => &mut ruled_out,
                // The empty token of a file or argument beats that of a variable.
                (Rank::Variable, false, _) if no_token.is_some() => &mut ruled_out,
                (_, false, _) => return DefaultDecision::Configured(described()),
                (_, true, SettingKind::Token) => &mut no_token,
                (_, true, _) => &mut no_password,
            };
            first.get_or_insert_with(described);
        }
        let unclear = self.0.iter().find_map(unclear);
        match (no_password, no_token) {
            (Some(password), Some(token)) => {
                DefaultDecision::Off(format!("{password} and {token}"))
            }
            (None, Some(token)) => {
                let ruled_out = ruled_out.map(|by| format!("{by} rules it out"));
                let unclear = || Some(format!("{} may configure a login", unclear?));
                match ruled_out.or_else(unclear) {
                    Some(cause) => DefaultDecision::MaybeOpen { token, cause },
                    None => DefaultDecision::EmptyToken(token),
                }
            }
            (no_password, None) => match (ruled_out, unclear, no_password) {
                (Some(by), ..) => DefaultDecision::Configured(by),
                (None, Some(unclear), _) => DefaultDecision::Undecided(unclear),
                (None, None, Some(password)) => DefaultDecision::Configured(password),
                (None, None, None) => DefaultDecision::Unset,
            },
        }
    }

    /// Reports whether password and token are both configured empty, and the user's own file has no
    /// hash that is effective all the same.
    pub fn is_login_off(&self) -> bool {
        matches!(self.default_decision(), DefaultDecision::Off(_))
            && self.own_hash().is_none_or(str::is_empty)
    }

    /// Finds, outside the file `own`, a default hash in `IdentityProvider` (`public` is true for it)
    /// and any other setting. Describes both for a message; `None`: one of them is missing.
    pub fn public_default_elsewhere(
        &self,
        own: &Path,
        public: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let own = own.display().to_string();
        let read =
            |(source, _): &(&Source, &Setting)| source.rank != Rank::Ignored && source.name != own;
        let is_public = |setting: &Setting| match &setting.value {
            Value::Text(hash) => {
                SettingKind::of(&setting.path) == SettingKind::Base && public(hash)
            }
            Value::MaybeEmpty | Value::Unknown => false,
        };
        let (publics, others): (Vec<_>, Vec<_>) = self
            .settings()
            .filter(read)
            .partition(|(_, setting)| is_public(setting));
        let ((source, public), (beside, other)) = (publics.first()?, others.first()?);
        Some(format!(
            "{} beside {}",
            describe_setting(source, public),
            describe_setting(beside, other)
        ))
    }

    /// Decides which hash is effective.
    pub fn effective(&self) -> Effective {
        let read = || self.0.iter().filter(|source| source.rank != Rank::Ignored);
        if let Some(other) = self.other_login() {
            return Effective::Unknown(other);
        }
        let winner = self.winner();
        // An unclear file of lower precedence cannot override such a hash in the user's own file.
        let decided = winner.is_some_and(|(kind, source, _)| {
            kind <= SettingKind::Provider && source.rank == Rank::Own
        });
        let relevant = |source: &&Source| !decided || source.rank == Rank::Before;
        if let Some(unclear) = read().filter(relevant).find_map(unclear) {
            return Effective::Unknown(unclear);
        }
        match winner {
            Some((_, source, setting)) => match &setting.value {
                Value::Text(hash) if hash.is_empty() => Effective::Nothing,
                Value::Text(hash) => Effective::Hash(hash.clone()),
                Value::MaybeEmpty | Value::Unknown => {
                    Effective::Unknown(describe_setting(source, setting))
                }
            },
            None => Effective::Nothing,
        }
    }

    /// Returns the hash of the user's own file, if no setting beats it. A part that cannot be
    /// interpreted may do so.
    pub fn own_hash(&self) -> Option<&str> {
        match self.winner()? {
            (_, source, setting) if source.rank == Rank::Own => match &setting.value {
                Value::Text(hash) => Some(hash),
                Value::MaybeEmpty | Value::Unknown => None,
            },
            _ => None,
        }
    }

    /// Reports whether nothing of the user's own file can be read.
    pub fn is_own_unreadable(&self) -> bool {
        let mut own = self.0.iter().filter(|source| source.rank == Rank::Own);
        own.any(|source| {
            let unclear = source.content.unclear.as_ref();
            unclear.is_some_and(|unclear| unclear.line.is_none())
        })
    }

    /// Returns the setting of a password that beats the others.
    fn winner(&self) -> Option<(SettingKind, &Source, &Setting)> {
        self.settings()
            .filter(|(source, _)| source.rank != Rank::Ignored)
            .map(|(source, setting)| (SettingKind::of(&setting.path), source, setting))
            .filter(|(kind, _, setting)| {
                // For the old traits an empty text is the default, the same as no value.
                let empty = matches!(&setting.value, Value::Text(text) if text.is_empty())
                    || setting.value == Value::MaybeEmpty;
                kind.is_password()
                    && !(matches!(kind, SettingKind::Old | SettingKind::Merged) && empty)
            })
            // Of equal kinds the first source wins, and within a source the last setting.
            .fold(
                None,
                |best: Option<(SettingKind, &Source, &Setting)>, next| {
                    let better = best.is_none_or(|(kind, source, _)| {
                        next.0 < kind || next.0 == kind && std::ptr::eq(source, next.1)
                    });
                    if better { Some(next) } else { best }
                },
            )
    }

    /// Returns the first setting of a way to log in other than password and token, such as an
    /// identity provider, with its source, for messages.
    pub fn other_login(&self) -> Option<String> {
        let read = self
            .settings()
            .filter(|(source, _)| source.rank != Rank::Ignored);
        let mut others =
            read.filter(|(_, setting)| SettingKind::of(&setting.path) == SettingKind::Other);
        others
            .next()
            .map(|(source, setting)| describe_setting(source, setting))
    }

    /// Reports whether a token in a variable does not open the server: a source sets another one,
    /// or another way to log in.
    pub fn replaces_token(&self) -> bool {
        let mut read = self
            .settings()
            .filter(|(source, _)| source.rank != Rank::Ignored);
        read.any(|(_, setting)| {
            let kind = SettingKind::of(&setting.path);
            setting.path.len() > 1 && matches!(kind, SettingKind::Token | SettingKind::Other)
        })
    }

    /// Reports whether a source that beats the user's own file, or may beat it, may set the password.
    pub fn is_overridden(&self) -> bool {
        self.may_set_password(Rank::Before) || self.may_be_overridden()
    }

    /// Reports whether a source may set the password that only Jupyter knows to beat the user's
    /// own file or not.
    pub fn may_be_overridden(&self) -> bool {
        self.may_set_password(Rank::Beside)
    }

    fn may_set_password(&self, rank: Rank) -> bool {
        let mut sources = self.0.iter().filter(|source| source.rank == rank);
        sources.any(|source| {
            let mut settings = source.content.settings.iter();
            source.content.unclear.is_some()
                || settings.any(|setting| {
                    let kind = SettingKind::of(&setting.path);
                    kind.is_password() || kind == SettingKind::Other
                })
        })
    }

    /// Reports whether a hash is inside the section `ServerApp`, where it beats all other hashes.
    pub fn is_nested(&self) -> bool {
        self.settings()
            .any(|(_, setting)| SettingKind::of(&setting.path) <= SettingKind::NestedBase)
    }

    /// Returns the source, for messages, and the value of a trait that decides where the server
    /// listens and works. `name` is the trait's full name; a value of `None` is unknown.
    pub fn server_trait(&self, name: &str) -> Option<(String, Option<&str>)> {
        let mut read = self.0.iter().filter(|source| source.rank != Rank::Ignored);
        read.find_map(|source| {
            let mut named = source.content.server_traits.iter().rev();
            let named = named.find(|named| named.name == name)?;
            let place = match named.line {
                Some(line) => format!("{}:{line}", source.name),
                None => source.name.clone(),
            };
            Some((place, named.value.as_deref()))
        })
    }

    /// Reports whether a source may set traits that it does not name.
    pub fn hide_traits(&self) -> bool {
        let mut read = self.0.iter().filter(|source| source.rank != Rank::Ignored);
        read.any(|source| source.content.hides_traits)
    }

    /// Reports whether a source decides where the server listens or who may log in. `overridden`:
    /// reports whether the server's arguments have a value for a trait.
    pub fn decides_access(&self, name: &str, overridden: &dyn Fn(&str) -> bool) -> bool {
        let mut sources = self.0.iter().filter(|source| source.name == name);
        sources.any(|Source { content, .. }| {
            let mut traits = content.server_traits.iter().map(|named| &named.name);
            content.mentions_access
                || !content.settings.is_empty()
                || traits.any(|name| traits::is_of_access(name) && !overridden(name))
        })
    }

    fn settings(&self) -> impl Iterator<Item = (&Source, &Setting)> {
        self.0.iter().flat_map(|source| {
            source
                .content
                .settings
                .iter()
                .map(move |found| (source, found))
        })
    }
}

/// Describes a setting and its source for messages, never with its value.
fn describe_setting(source: &Source, setting: &Setting) -> String {
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
    let Unclear { line, what } = source.content.unclear.as_ref()?;
    Some(match line {
        Some(line) => format!("{name}:{line} ({what})"),
        None => format!("{name} ({what})"),
    })
}

#[cfg(test)]
#[path = "precedence_tests.rs"]
mod tests;
