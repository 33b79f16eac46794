//! `scripts/density`, which says what many servers cost besides Jupyter: that it still
//! does. Its figures are for a quiet machine, and no matter here, but for the memory.

use std::process::Command;

use serde_json::Value;

use crate::support::docker::{IMAGE, text};
use crate::support::hub;

/// Megabytes that the script which this program replaces keeps beside Jupyter.
const PREDECESSOR: f64 = 19.0;

#[test]
fn every_server_of_a_hub_costs_less_than_a_third_of_the_predecessors_memory() {
    let output = Command::new(hub::path("scripts/density"))
        .args([
            "--servers",
            "3",
            "--fake",
            "--seconds",
            "1",
            "--image",
            IMAGE,
        ])
        .arg("--hub")
        .arg(hub::venv(hub::NEWEST))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let result = std::fs::read(hub::path("target/density.json")).unwrap();
    let result: Value = serde_json::from_slice(&result).unwrap();
    assert_eq!(result["starts"].as_array().unwrap().len(), 3);
    assert_eq!(result["stops"].as_array().unwrap().len(), 3);
    let rows = result["rows"].as_array().unwrap();
    let resident = rows.iter().find(|row| row["figure"] == "PID 1, resident");
    let resident = resident.unwrap()["this"].as_f64().unwrap();
    assert!(resident > 0.0 && resident < PREDECESSOR / 3.0, "{resident}");
}
