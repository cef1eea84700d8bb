//! `gophership certs`: a small certificate authority and the certificates that it signs.
//!
//! - `issue`: the procedure.
//! - `authority`: makes or opens the authority.
//! - `files`: writes the files.

mod authority;
mod files;
mod issue;

#[cfg(test)]
mod tests;

pub use files::CertsError;
pub use issue::{Issued, Role, issue};
