//! The command line: words between NUL bytes. What is COMMAND's is COMMAND's, byte for
//! byte; what is refused is refused with a code that tells so.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use ai_lab_entrypoint::cli;
use ai_lab_entrypoint::cli::{Action, verbs};
use ai_lab_entrypoint::server::argv::{ArgvInput, merge};

pub fn holds(bytes: &[u8]) {
    let mut words = vec![OsString::from("ai-lab-entrypoint")];
    let typed = bytes.split(|byte| *byte == 0);
    words.extend(typed.map(|word| OsString::from_vec(word.to_vec())));
    match cli::parse(&words) {
        Err(error) => assert!(matches!(cli::exit_code(&error), 0 | 2)),
        Ok(Action::Verb { .. }) => {
            assert!(verbs::NAMES.iter().any(|name| words[1] == *name));
        }
        Ok(Action::Start { command, .. }) => {
            assert!(words.ends_with(&command), "{command:?} of {words:?}");
            if !command.is_empty() {
                let again = [&words[..1], &["--".into()], &command[..]].concat();
                let Ok(Action::Start { command: same, .. }) = cli::parse(&again) else {
                    panic!("{again:?} is no start");
                };
                assert_eq!(same, command);
            }
            merged(&command);
        }
    }
}

/// As a server's arguments: of those that name one value none is there twice, whatever has
/// no name of ours stays, and merging what was merged changes nothing.
fn merged(command: &[OsString]) {
    let plan = ArgvInput {
        hub: false,
        root_dir: Some(Path::new("/n")),
        default_url: None,
        ip: None,
        port: Some(1),
        certificate: Some("/c"),
        base_url: None,
        as_root: false,
        configured: &|_| false,
        may_be_configured: &|_| false,
    };
    let argv = merge(plan, &[], command);
    for name in ["--ServerApp.port=", "--ServerApp.root_dir="] {
        let named = |word: &&OsString| word.as_bytes().starts_with(name.as_bytes());
        let count = argv.args.iter().filter(named).count();
        assert!(count <= 1, "{name} is there {count} times: {:?}", argv.args);
    }
    for word in command
        .iter()
        .filter(|word| !word.as_bytes().starts_with(b"-"))
    {
        // Unless it is the value of what a later one replaced.
        let before = command
            .iter()
            .any(|word| word.as_bytes().starts_with(b"--"));
        assert!(before || argv.args.contains(word), "{word:?} is gone");
    }
    assert_eq!(merge(plan, &[], &argv.args).args, argv.args);
}
