//! `gophership certs`: a small certificate authority and the certificates that it signs.
//!
//! `issue` is the procedure; `authority` makes or reads the authority; `files` writes.

mod authority;
mod files;
mod issue;

#[cfg(test)]
mod tests;

pub use files::CertsError;
pub use issue::{Issued, Role, issue};
