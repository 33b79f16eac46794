//! Ports that no other test has, and nobody else either.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};

use rustix::fs::{FlockOperation, flock};

/// Below the ports that the kernel gives to whoever asks for any, and those that Swarm
/// and Kubernetes publish.
const FIRST: u32 = 20_000;
const COUNT: u32 = 10_000;

/// A port that is free, and this process's as long as it lives.
pub fn free_port() -> u16 {
    let locks = std::env::temp_dir().join("ai-lab-test-ports");
    fs::create_dir_all(&locks).unwrap();
    // Each process looks elsewhere first.
    let offset = std::process::id().wrapping_mul(16);
    let ports = (0..COUNT).map(|n| FIRST + offset.wrapping_add(n) % COUNT);
    for port in ports.map(|port| u16::try_from(port).unwrap()) {
        let lock = File::create(locks.join(port.to_string())).unwrap();
        let ours = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
        if ours && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            // Never closed: the lock ends with the process.
            std::mem::forget(lock);
            return port;
        }
    }
    panic!("no port is free");
}
