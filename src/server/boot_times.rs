//! The times of the parts of a start: for the boot line, and for the state.

use std::time::Duration;

/// Formats the times of the boot line: `0.71 s (claim 3 ms, server 640 ms)`.
pub fn format_times(all: Duration, parts: &[(&'static str, Duration)]) -> String {
    let parts: Vec<String> = parts
        .iter()
        .map(|(name, time)| format!("{name} {} ms", time.as_millis()))
        .collect();
    format!("{:.2} s ({})", all.as_secs_f64(), parts.join(", "))
}

/// Converts the parts of the start to milliseconds, for the state.
pub fn milliseconds(parts: &[(&'static str, Duration)]) -> Vec<(String, u64)> {
    let number = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    parts
        .iter()
        .map(|(name, time)| ((*name).into(), number(time)))
        .collect()
}
