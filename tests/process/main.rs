//! The program alone, as a process of this machine: nothing here needs an image.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod asking;
mod certificates;
mod command_mode;
mod compliance;
mod documented;
mod dry_run;
mod edited_meanwhile;
mod ending;
mod every_setting;
mod exchanged_meanwhile;
mod exit_codes;
mod faults;
mod file_systems;
mod foreground;
mod foreseen;
mod full_disk;
mod fuzzed;
mod growth;
mod hooks;
mod hostile_cost;
mod hostile_volume;
mod house;
mod json_log;
mod killed_anywhere;
mod left_over;
mod log_pump;
mod many_files;
mod merging;
mod merging_trouble;
mod never_waits;
mod no_escapes;
mod no_page;
mod no_root_left;
mod notebook_verbs;
mod odd_kernels;
mod one_story;
mod only_run;
mod passwords;
mod predecessor;
mod printed;
mod record;
mod rescue;
mod rescue_access;
mod rescued;
mod sealed;
mod serving;
mod snapshots;
mod stopped_start;
mod stopped_volume;
mod storms;
mod supply;
mod volume;
