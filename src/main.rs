//! The command `ai-lab-entrypoint`.

fn main() {}
