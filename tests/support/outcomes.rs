//! What was tried and how it ended, for the table of `scripts/faults`: lines of
//! fault, phase and outcome in the file that `AI_LAB_FAULTS_RECORD` names.

use std::fs::OpenOptions;
use std::io::Write;

pub fn record(fault: &str, phase: &str, outcome: &str) {
    let Ok(path) = std::env::var("AI_LAB_FAULTS_RECORD") else {
        return;
    };
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    let line = format!("{fault}\t{phase}\t{outcome}\n");
    file.write_all(line.as_bytes()).unwrap();
}
