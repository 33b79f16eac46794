//! Decides, from all sources that Jupyter reads, whether a default password may be set and which
//! hash is effective.

use std::path::Path;

use crate::jupyter_config::sources::{ConfigSources, Rank, Setting, Source, Value};

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
    /// A secret of something else, such as `GitHubConfig.access_token`, or a trait about the token.
    /// It may be a login, but it does not replace Jupyter's, and an empty one turns nothing off.
    OtherSecret,
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
            [.., name] if name.to_lowercase().contains("token") => Self::OtherSecret,
            [class, _, ..] if !replaces_login(class, &names) => Self::OtherSecret,
            _ => Self::Other,
        }
    }

    fn is_password(self) -> bool {
        self < Self::Token
    }
}

/// Reports whether a setting about authentication is one of a server, or names a part of its login.
fn replaces_login(class: &str, names: &[&str]) -> bool {
    const PARTS: [&str; 3] = ["identityprovider", "loginhandler", "configfile"];
    let is_part = |name: &&str| {
        let name = name.to_lowercase().replace('_', "");
        PARTS.iter().any(|part| name.contains(part))
    };
    class.ends_with("App") || names.iter().any(is_part)
}

/// A setting with its kind and its source.
#[derive(Clone, Copy)]
struct Ranked<'a> {
    kind: SettingKind,
    source: &'a Source,
    setting: &'a Setting,
}

impl Ranked<'_> {
    fn describe(&self) -> String {
        self.source.describe(self.setting)
    }
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
    /// No: one of these is configured in a file that only another server or an extension reads.
    ConfiguredElsewhere(String),
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

impl ConfigSources {
    /// Decides whether a default password may be set. It ignores the hash that `jupyter server
    /// password` writes in the user's own file, because our default is stored under the same key.
    pub fn default_decision(&self) -> DefaultDecision {
        let (mut no_password, mut no_token, mut ruled_out) = (None, None, None);
        for ranked in self.0.iter().flat_map(settings) {
            let (rank, kind) = (ranked.source.rank, ranked.kind);
            let is_empty = ranked.setting.value.may_be_empty();
            if rank == Rank::Own && kind == SettingKind::Base && !is_empty {
                continue;
            }
            let first = match (rank, is_empty, kind) {
                (Rank::Ignored, true, _) | (_, true, SettingKind::OtherSecret) => continue,
                (Rank::Ignored, false, _) => &mut ruled_out,
                // The empty token of a file or argument beats that of a variable.
                (Rank::Variable, false, _) if no_token.is_some() => &mut ruled_out,
                (_, false, _) => return DefaultDecision::Configured(ranked.describe()),
                (_, true, SettingKind::Token) => &mut no_token,
                (_, true, _) => &mut no_password,
            };
            first.get_or_insert_with(|| ranked.describe());
        }
        let unclear = self.0.iter().find_map(Source::unclear_part);
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
                // The file that `--config` names is one of this server's.
                (Some(by), ..) if self.has_named_file() => DefaultDecision::Configured(by),
                (Some(by), ..) => DefaultDecision::ConfiguredElsewhere(by),
                (None, Some(unclear), _) => DefaultDecision::Undecided(unclear),
                (None, None, Some(password)) => DefaultDecision::Configured(password),
                (None, None, None) => DefaultDecision::Unset,
            },
        }
    }

    /// Reports whether the server's arguments name a configuration file.
    fn has_named_file(&self) -> bool {
        let ignored = self.0.iter().filter(|source| source.rank == Rank::Ignored);
        let mut settings = ignored.flat_map(|source| &source.content.settings);
        settings.any(|setting| setting.path == ["--config"])
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
        let is_public = |ranked: &Ranked<'_>| match &ranked.setting.value {
            Value::Text(hash) => ranked.kind == SettingKind::Base && public(hash),
            Value::MaybeEmpty | Value::Unknown => false,
        };
        let (publics, others): (Vec<_>, Vec<_>) = self
            .read_settings()
            .filter(|ranked| ranked.source.name != own)
            .partition(is_public);
        let (public, other) = (publics.first()?, others.first()?);
        Some(format!("{} beside {}", public.describe(), other.describe()))
    }

    /// Decides which hash is effective.
    pub fn effective(&self) -> Effective {
        if let Some(other) = self.other_login() {
            return Effective::Unknown(other);
        }
        let winner = self.winner();
        // An unclear file of lower precedence cannot override such a hash in the user's own file.
        let decided = winner.is_some_and(|winner| {
            winner.kind <= SettingKind::Provider && winner.source.rank == Rank::Own
        });
        let relevant = |source: &&Source| !decided || source.rank == Rank::Before;
        let mut relevant = self.read().filter(relevant);
        if let Some(unclear) = relevant.find_map(Source::unclear_part) {
            return Effective::Unknown(unclear);
        }
        match winner {
            Some(winner) => match &winner.setting.value {
                Value::Text(hash) if hash.is_empty() => Effective::Nothing,
                Value::Text(hash) => Effective::Hash(hash.clone()),
                Value::MaybeEmpty | Value::Unknown => Effective::Unknown(winner.describe()),
            },
            None => Effective::Nothing,
        }
    }

    /// Returns the hash of the user's own file, if no setting beats it. A part that cannot be
    /// interpreted may do so.
    pub fn own_hash(&self) -> Option<&str> {
        let winner = self.winner()?;
        match &winner.setting.value {
            Value::Text(hash) if winner.source.rank == Rank::Own => Some(hash),
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
    fn winner(&self) -> Option<Ranked<'_>> {
        self.read_settings()
            .filter(|ranked| match ranked.kind {
                // For the old traits an empty text is the default, the same as no value.
                SettingKind::Old | SettingKind::Merged => !ranked.setting.value.may_be_empty(),
                kind => kind.is_password(),
            })
            // Of equal kinds the first source wins, and within a source the last setting.
            .reduce(|best, next| {
                let is_later = next.kind == best.kind && std::ptr::eq(next.source, best.source);
                if next.kind < best.kind || is_later {
                    next
                } else {
                    best
                }
            })
    }

    /// Returns the first setting of a way to log in other than password and token, such as an
    /// identity provider, with its source, for messages.
    pub fn other_login(&self) -> Option<String> {
        let mut others = self.read_settings();
        let other = others.find(|ranked| ranked.kind == SettingKind::Other);
        other.map(|ranked| ranked.describe())
    }

    /// Reports whether a token in a variable does not open the server: a source sets another one,
    /// or another way to log in.
    pub fn replaces_token(&self) -> bool {
        self.read_settings().any(|Ranked { kind, setting, .. }| {
            setting.path.len() > 1 && matches!(kind, SettingKind::Token | SettingKind::Other)
        })
    }

    /// Reports whether a source other than the user's own file may set the password, also one that
    /// only another server reads, or whether there may be another way to log in.
    pub fn is_contested(&self) -> bool {
        self.may_set_password(|rank| rank != Rank::Own) || self.other_login().is_some()
    }

    /// Reports whether a source that beats the user's own file, or may beat it, may set the password.
    pub fn is_overridden(&self) -> bool {
        self.may_set_password(|rank| matches!(rank, Rank::Before | Rank::Beside))
    }

    /// Reports whether a source may set the password that only Jupyter knows to beat the user's
    /// own file or not.
    pub fn may_be_overridden(&self) -> bool {
        self.may_set_password(|rank| rank == Rank::Beside)
    }

    fn may_set_password(&self, has_rank: impl Fn(Rank) -> bool) -> bool {
        let mut sources = self.0.iter().filter(|source| has_rank(source.rank));
        sources.any(|source| {
            source.content.unclear.is_some()
                || settings(source)
                    .any(|Ranked { kind, .. }| kind.is_password() || kind == SettingKind::Other)
        })
    }

    /// Reports whether a hash is inside the section `ServerApp`, where it beats all other hashes.
    pub fn is_nested(&self) -> bool {
        let mut all = self.0.iter().flat_map(settings);
        all.any(|ranked| ranked.kind <= SettingKind::NestedBase)
    }

    /// Returns the settings of the sources that this server reads.
    fn read_settings(&self) -> impl Iterator<Item = Ranked<'_>> {
        self.read().flat_map(settings)
    }
}

fn settings(source: &Source) -> impl Iterator<Item = Ranked<'_>> {
    let settings = source.content.settings.iter();
    settings.map(move |setting| Ranked {
        kind: SettingKind::of(&setting.path),
        source,
        setting,
    })
}

#[cfg(test)]
#[path = "precedence_tests.rs"]
mod tests;
