#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ai_lab_entrypoint_fuzz::command_line::holds(bytes));
