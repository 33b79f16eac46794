//! The server's certificate: reads a named one, or makes and keeps one, and hands it to the server.
//! Which of these is wanted, and whether Jupyter's own settings win, is decided elsewhere.
//!
//! [`read`] runs before root is dropped, because only root may be able to read a key. The rest
//! runs as the user. Whatever the origin of a certificate, the server finds it and its key in a
//! sealed file in memory ([`Handover`]): exactly what was checked, and no file that others read.

mod certificate;
mod handover;
mod read;
mod self_signed;

pub use certificate::Certificate;
pub use handover::Handover;
pub use read::{FileProblem, read, read_pair};
pub use self_signed::{CertificateFile, Found, Made};
