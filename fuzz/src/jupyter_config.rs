//! Jupyter's configuration: a password is put into whatever is JSON, and nothing else of it
//! changes; what is not is refused and left as it is.

use std::fs;

use ai_lab_entrypoint::effects::Effects;
use ai_lab_entrypoint::jupyter_config::precedence::Effective;
use ai_lab_entrypoint::jupyter_config::sources::{ConfigSources, Rank, Source, SourceContent};
use ai_lab_entrypoint::password::config_file::Document;

use serde_json::{Map, Value};

const HASH: &str = "sha1:s:0123456789abcdef0123456789abcdef01234567";

pub fn holds(bytes: &[u8]) {
    let directory = super::directory();
    for force in [false, true] {
        let path = super::file(&directory, "jupyter_server_config.json", bytes);
        let set = Document::read(&path).and_then(|mut document| {
            document.check_replaceable()?;
            if force {
                document.force(HASH.into(), false, false)?;
            } else {
                document.set_default(HASH.into())?;
            }
            document.write(Effects::Make)
        });
        let after = fs::read(&path).unwrap();
        if set.is_err() {
            assert_eq!(after, bytes, "a refused file is left alone");
            continue;
        }
        let (old, new) = (object(bytes), object(&after));
        let everything = ConfigSources(vec![Source {
            name: String::new(),
            rank: Rank::Own,
            content: SourceContent::json(&after),
        }]);
        everything.default_decision();
        let given = new["IdentityProvider"]["hashed_password"].as_str();
        assert_eq!(given, Some(HASH));
        if force && !everything.is_nested() && everything.other_login().is_none() {
            assert_eq!(everything.effective(), Effective::Hash(HASH.into()));
        }
        kept(&old, &new);
        // The same once more changes not a byte.
        let mut document = Document::read(&path).unwrap();
        match force {
            true => document.force(HASH.into(), false, false).unwrap(),
            false => document.set_default(HASH.into()).unwrap(),
        }
        document.write(Effects::Make).unwrap();
        assert_eq!(fs::read(&path).unwrap(), after);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// A blank file has nothing in it.
fn object(bytes: &[u8]) -> Map<String, Value> {
    match bytes.trim_ascii().is_empty() {
        true => Map::new(),
        false => serde_json::from_slice(bytes).unwrap(),
    }
}

/// ConfigSources but passwords is as it was, numbers to the last digit, and in its order.
fn kept(old: &Map<String, Value>, new: &Map<String, Value>) {
    let others = |content: &Map<String, Value>| -> Vec<String> {
        let mut others = Vec::new();
        for (class, section) in content {
            match (class.as_str(), section) {
                (
                    "PasswordIdentityProvider"
                    | "IdentityProvider"
                    | "ServerApp"
                    | "NotebookApp"
                    | "LabApp",
                    Value::Object(section),
                ) => {
                    let traits = section.iter();
                    let traits = traits.filter(|(name, _)| !name.ends_with("password"));
                    others.extend(traits.map(|(name, value)| format!("{class}.{name}={value}")));
                }
                _ => others.push(format!("{class}={section}")),
            }
        }
        others
    };
    assert_eq!(others(old), others(new));
}
