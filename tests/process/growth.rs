//! `scripts/growth`, which says how the time of what is done grows with how much there
//! is: that it still does, with small numbers. Its figures are for a quiet machine, and no
//! matter here.

use std::fs;
use std::path::Path;

use crate::support::grown;
use crate::support::grown::Grown;

/// What is measured, how many sizes it has, and whether memory is measured, too.
const SERIES: [(&str, usize, bool); 6] = [
    ("owners, all right", 3, true),
    ("owners, all to change", 3, true),
    ("defaults, first install", 3, true),
    ("defaults, nothing new", 3, true),
    ("orphans, until all are reaped", 3, false),
    ("the server's log", 3, true),
];

#[test]
fn what_is_done_is_measured_beside_what_others_take_and_drawn() {
    let parts = ["files", "defaults", "orphans", "log"];
    let parts = parts.map(|part| ["--only", part]).concat();
    let grown = Grown::measure(&parts, env!("CARGO_BIN_EXE_ai-lab-entrypoint"));
    grown.assert_has(&SERIES);
}

#[test]
fn the_plot_in_the_docs_is_about_what_the_table_is_about() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let table = fs::read_to_string(docs.join("growth.md")).unwrap();
    let plot = fs::read_to_string(docs.join("growth.svg")).unwrap();
    let texts = grown::texts(&plot);
    let more = ["the n-th container answers", "PID 1 of each container"];
    for name in SERIES.iter().map(|series| series.0).chain(more) {
        assert!(table.contains(&format!("| {name}")), "{name}");
        assert!(texts.iter().any(|text| text == name), "{name}: {texts:?}");
    }
}
