//! The image, in the real engine: JupyterLab, hubs, and people at a browser.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod adopt;
mod binary;
mod browser;
mod certificates;
mod deaths;
mod dev_container;
mod documented;
mod documented_trouble;
mod drop;
mod dry_run;
mod examples;
mod faults;
mod group_file;
mod growth;
mod health;
mod home_volume;
mod hub;
mod hub_density;
mod hub_kubernetes;
mod hub_old;
mod hub_swarm;
mod hub_trouble;
mod image;
mod json_log;
mod jupyters_own;
mod kubernetes;
mod lab;
mod limits;
mod merging;
mod names;
mod nb_user;
mod odd_kernels;
mod old_ways;
mod oldest;
mod one_command;
mod only_run;
mod opens;
mod password;
mod password_mounted;
mod password_traps;
mod podman;
mod quick_start;
mod reader;
mod readiness;
mod record;
mod remapped;
mod rescue;
mod restart;
mod secrets;
mod socket;
mod stop;
mod volume;
