//! One argument of the server: the trait that it sets, and the words that it consists of.

use std::ffi::{OsStr, OsString};

use crate::jupyter_config::traits;
use crate::jupyter_config::traits::canonical;

/// Flags without a value, and the trait that each sets.
const FLAGS: [(&str, &str); 2] = [
    ("no-browser", "ServerApp.open_browser"),
    ("allow-root", "ServerApp.allow_root"),
];

/// The server's class, and its parent class as it begins an argument.
pub const CLASS: &str = "ServerApp.";
/// See [`Argument::yield_to_files`].
pub const YIELDING: &str = "--JupyterApp.";

/// One argument with its value, and the trait it sets.
#[derive(Debug, Clone)]
pub struct Argument {
    /// The full name of the trait; `None`: it sets none.
    pub name: Option<String>,
    /// The value, if it is in the words.
    pub value: Option<OsString>,
    /// One word, or the name and the value.
    pub words: Vec<OsString>,
}

impl Argument {
    /// Reports whether it sets one of these traits.
    pub fn sets_any(&self, traits: &[&str]) -> bool {
        let name = self.name.as_deref();
        name.is_some_and(|name| traits.contains(&name))
    }

    /// Returns the word if it is no option: the file or directory that the server opens.
    pub fn positional(&self) -> Option<&OsStr> {
        let word = self.words.first()?;
        (self.name.is_none() && !starts_with_dash(word)).then_some(word)
    }

    /// Gives the value to the parent class of the server's: traitlets prefers a value for the class
    /// itself, wherever it is from. Which one is effective is not known then.
    pub fn yield_to_files(&mut self) {
        let (Some(name), Some(value)) = (&self.name, self.value.take()) else {
            return;
        };
        let mut word = OsString::from(name.replace(CLASS, YIELDING));
        word.push("=");
        word.push(value);
        self.words = vec![word];
    }
}

/// Returns the arguments that the words of a command line are.
pub fn parse(words: &[OsString]) -> Vec<Argument> {
    let mut arguments = Vec::new();
    let mut rest = words.iter().peekable();
    while let Some(word) = rest.next() {
        let mut argument = Argument {
            name: None,
            value: None,
            words: vec![word.clone()],
        };
        if let Some(option) = word.to_str().and_then(option) {
            if let Some((name, value)) = option.split_once('=') {
                argument.name = Some(canonical(name));
                argument.value = Some(value.into());
            } else if let Some((_, name)) = FLAGS.iter().find(|(flag, _)| *flag == option) {
                argument.name = Some((*name).into());
            } else if takes_value(option)
                && let Some(value) = rest.next_if(|next| !starts_with_dash(next))
            {
                argument.name = Some(canonical(option));
                argument.value = Some(value.clone());
                argument.words.push(value.clone());
            }
        }
        arguments.push(argument);
    }
    arguments
}

/// Returns the option in a word, without dashes. Traitlets accepts a full name after one dash, too.
fn option(word: &str) -> Option<&str> {
    let one_dash = || word.strip_prefix('-').filter(|name| name.contains('.'));
    word.strip_prefix("--").or_else(one_dash)
}

fn takes_value(option: &str) -> bool {
    option.contains('.') || traits::is_alias(option)
}

fn starts_with_dash(word: &OsStr) -> bool {
    word.as_encoded_bytes().first() == Some(&b'-')
}
