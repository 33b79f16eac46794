//! Finds in the server's log that it needs no login. Jupyter says so and goes on: only it knows
//! what the whole of its configuration means.

use crate::degradation::Degradation;

/// What the server says. The second line is for a server that listens on all addresses.
const PHRASES: [&str; 2] = [
    "All authentication is disabled.",
    "and not using authentication.",
];

/// Reports whether a line of the server's log says that it needs no login.
pub fn is_told(line: &str) -> bool {
    PHRASES.iter().any(|phrase| line.contains(phrase))
}

/// Returns the degradation for such a server.
pub fn degradation() -> Degradation {
    Degradation::new(
        "the server needs no login, as its log says: everybody who reaches the port can use it",
        "configure a password or a token that is not empty, or set JUPYTER_PASSWORD",
    )
}
