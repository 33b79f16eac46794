//! The record of the notebook defaults: what is understood is written as it was meant, and
//! names nothing outside the volume.

use ai_lab_entrypoint::volume::manifest::{Manifest, Unreadable};

pub fn holds(text: &[u8]) {
    match Manifest::parse(text) {
        Ok(manifest) => {
            for path in manifest.entries.keys() {
                let plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..");
                assert!(path.split(|byte| *byte == b'/').all(plain));
                assert!(!path.contains(&0));
            }
            let written = manifest.render();
            assert_eq!(Manifest::parse(&written).as_ref(), Ok(&manifest));
            // A link and a directory take a word, each byte of a name two at most.
            assert!(written.len() <= 2 * text.len() + 64 * 1024);
        }
        Err(Unreadable::Newer) => assert!(text.starts_with(b"# ai-lab notebooks ")),
        Err(Unreadable::Stopped) => panic!("stopped, and nothing asked for it"),
        Err(Unreadable::Damaged(line)) => {
            let lines = text.split(|byte| *byte == b'\n').count();
            assert!((1..=lines).contains(&line), "{line} of {lines}");
        }
    }
}
