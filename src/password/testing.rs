//! A home with configuration of Jupyter's, for the tests of this room.
#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::identity::Dropped;
use crate::jupyter_config::ConfigLocation;
use crate::jupyter_config::location::ConfigInputs;
use crate::password::{Applied, Outcome, PasswordError, Secret, Wanted, apply};
use crate::sys::effects::Effects;

/// Returns a hash that takes no time to verify.
pub fn legacy(text: &str) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(text);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256::{hex}")
}

/// A home with Jupyter's configuration, and what else decides.
pub struct Home {
    pub directory: tempfile::TempDir,
    pub variables: Vec<(&'static str, String)>,
    pub owns_venv: bool,
    pub prefix: Option<&'static str>,
    pub line: Vec<&'static str>,
}

impl Home {
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
            owns_venv: false,
            prefix: None,
            line: Vec::new(),
        }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn own(&self) -> PathBuf {
        self.at("home/.jupyter/jupyter_server_config.json")
    }

    pub fn put(&self, name: &str, content: &str) {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn put_own(&self, content: &Value) {
        let name = "home/.jupyter/jupyter_server_config.json";
        self.put(name, &content.to_string());
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.own()).unwrap()).unwrap()
    }

    pub fn place(&self) -> ConfigLocation {
        ConfigLocation::resolve(&ConfigInputs {
            own_config_name: crate::jupyter_config::location::LAB_CONFIG_NAME.into(),
            environment: &|name| {
                let found = self.variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.into())
            },
            home: &self.at("home"),
            venv: Some(&self.at("venv")),
            prefix: self.prefix.map(|prefix| self.at(prefix)),
            owns_venv: self.owns_venv,
            working_dir: Some(&self.at("notebooks")),
            line: crate::jupyter_config::CommandLine::of(self.line.iter().map(OsStr::new)),
            password_dir: None,
        })
    }

    pub fn apply(&self, wanted: &Wanted) -> Result<Applied, PasswordError> {
        apply(&Dropped::for_tests(), &self.place(), wanted, Effects::Make)
    }

    pub fn outcome(&self, wanted: &Wanted) -> Outcome {
        self.apply(wanted).unwrap().outcome
    }
}

pub fn secret(text: &str) -> Secret {
    Secret::new(text.into())
}

pub fn default() -> Wanted {
    Wanted::Default(secret("ailab"))
}

pub fn forced() -> Wanted {
    Wanted::Forced(secret("new"))
}

pub fn provider(hash: &str) -> Value {
    json!({"PasswordIdentityProvider": {"hashed_password": hash}})
}
