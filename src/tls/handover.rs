//! Hands a certificate and its key to the server without a file that others could read.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

use rustix::fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

use crate::identity::Dropped;
use crate::tls::Certificate;

/// The lowest file descriptor for the file: high, so that it is the same in each start and in a
/// dry run.
const DESCRIPTOR: i32 = 100;

/// A file in memory that the server inherits. It is filled last, because the server's arguments
/// name its path before it is known whether the server needs it.
///
/// Jupyter reads the certificate's file for each connection, so the file stays open.
#[derive(Debug)]
pub struct Handover(File);

impl Handover {
    /// Makes the file, which the user owns.
    ///
    /// # Errors
    /// The kernel cannot make one.
    pub fn new(_: &Dropped) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let make = |flags| memfd_create("tls", flags);
        // Linux before 6.3 lacks the flag; newer kernels may be configured to require it.
        let file = make(flags | MemfdFlags::NOEXEC_SEAL).or_else(|_| make(flags))?;
        fchmod(&file, Mode::RUSR)?;
        // The limit of open files may be lower than this number.
        let descriptor =
            fcntl_dupfd_cloexec(&file, DESCRIPTOR).or_else(|_| fcntl_dupfd_cloexec(&file, 3))?;
        Ok(Self(descriptor.into()))
    }

    /// Returns the path under which the server finds the file.
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }

    /// Writes the certificate and its key, for good, and lets the server inherit the file. Programs
    /// that the server starts with `subprocess` do not: Python closes what it did not open.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn fill(&mut self, certificate: &Certificate) -> io::Result<()> {
        self.0.write_all(certificate.pem().as_bytes())?;
        let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        fcntl_add_seals(&self.0, all)?;
        Ok(fcntl_setfd(&self.0, FdFlags::empty())?)
    }
}
