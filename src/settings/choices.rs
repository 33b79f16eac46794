//! The settings whose value is one of a few words. A word and its meaning stand here once: the table
//! lists them in `--help`, and `resolve` reads them.

/// A type whose values are words.
pub trait Choice: Copy + 'static {
    /// The words, in the order of `--help`.
    const WORDS: &'static [&'static str];

    /// The value where no word says otherwise.
    const USUAL: Self;

    /// Returns the value of a word; `None`: it is not one of the words.
    fn from_word(word: &str) -> Option<Self>;
}

/// Defines a type whose values are words, the usual value first, and the word of each.
macro_rules! choice {
    ($(#[$about:meta])* $name:ident { $($(#[$meaning:meta])* $value:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$meaning])* $value,)+
        }

        impl Choice for $name {
            const WORDS: &'static [&'static str] = &[$($word),+];
            const USUAL: Self = [$(Self::$value),+][0];

            fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$value),)+
                    _ => None,
                }
            }
        }
    };
}

choice! {
    /// The policy for a server that ends by itself.
    Restart {
        /// It is never started again, and the container ends with it.
        Never = "never",
        /// It is started again unless it ended with exit code 0.
        OnFailure = "on-failure",
        /// It is always started again.
        Always = "always",
    }
}

choice! {
    /// The policy for a server that ends before it is ready.
    Rescue {
        /// It is started once more without the user's configuration and extensions.
        Auto = "auto",
        /// It is not rescued: the policy for restarts decides.
        Never = "never",
    }
}

choice! {
    /// The policy for processes that outlive their kernel or terminal.
    Orphans {
        /// They keep running.
        Keep = "keep",
        /// They get TERM, then KILL.
        End = "end",
    }
}

choice! {
    /// Whether the server serves https without a named certificate.
    TlsPolicy {
        /// It serves http.
        Off = "off",
        /// It serves https, with a certificate that is made for this container.
        Auto = "auto",
    }
}

choice! {
    /// The policy for the owner of the volume's files.
    VolumeOwner {
        /// `Adopt` for a bind mount of another ordinary user, `Chown` for everything else.
        Auto = "auto",
        /// All files are given to the user.
        Chown = "chown",
        /// The server runs as the volume's owner.
        Adopt = "adopt",
        /// No owner is changed.
        Keep = "keep",
    }
}

choice! {
    /// The policy for default notebooks that a newer image has changed.
    UpdateNotebooks {
        /// The new one replaces a notebook that the user did not change.
        Unmodified = "unmodified",
        /// As `Unmodified`; if the user changed the notebook, the new one is put beside it.
        Beside = "beside",
        /// No notebook is replaced.
        Never = "never",
    }
}

choice! {
    /// The policy for default notebooks that the user deleted.
    DeletedNotebooks {
        /// They are restored at the next start.
        Restore = "restore",
        /// They stay deleted.
        Respect = "respect",
    }
}

choice! {
    /// The format of our own log.
    LogFormat {
        /// Lines for people.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
        /// Lines as the predecessor, `entrypoint.py`, wrote them.
        Classic = "classic",
    }
}

impl Choice for tracing::Level {
    const WORDS: &'static [&'static str] = &["error", "warn", "info", "debug", "trace"];
    const USUAL: Self = Self::INFO;

    fn from_word(word: &str) -> Option<Self> {
        word.parse().ok()
    }
}
