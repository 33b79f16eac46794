//! The settings file: any text is settings or a list of errors, and never a crash.
#![no_main]

use std::path::Path;

use ai_lab_entrypoint::settings::file::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(errors) = parse(text, Path::new("/f.toml")) {
        assert!(!errors.is_empty());
        let lines = text.matches('\n').count() + 1;
        for error in errors {
            let line = error.origin.strip_prefix("/f.toml:").unwrap();
            assert!((1..=lines).contains(&line.parse().unwrap()), "{error}");
        }
    }
});
