//! The state, which the user can write: it reads back as it was, and nothing in it speaks
//! to the terminal of who asks for it.

use ai_lab_entrypoint::commands::status::state_text;
use ai_lab_entrypoint::state::parse;

pub fn holds(text: &[u8]) {
    let Ok(state) = parse(text) else {
        return;
    };
    let written = serde_json::to_vec_pretty(&state).unwrap();
    assert_eq!(parse(&written).unwrap(), state);
    for now in [0, 1_800_000_000_000, u64::MAX] {
        let told = state_text(&state, now, None);
        // One row each, and those that are always there.
        let rows = 7 + state.degradations.len();
        assert!(told.lines().count() <= rows, "{told}");
        assert!(!told.contains(|char: char| char.is_control() && char != '\n'));
    }
}
