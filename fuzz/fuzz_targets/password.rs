//! Jupyter's configuration and hashes: whatever a volume holds, nothing crashes.
#![no_main]

use ai_lab_entrypoint::server::password::hash;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Verifying would take what the hash says it takes; its form is what is parsed here.
    if hash::well_formed(text) {
        assert!(text.contains(':'));
    }
});
