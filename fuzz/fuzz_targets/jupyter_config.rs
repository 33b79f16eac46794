#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ai_lab_entrypoint_fuzz::jupyter_config::holds(bytes));
