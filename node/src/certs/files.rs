//! The files of certificates and keys, and their errors.
//!
//! **Invariants**:
//! - I1: a key file is 0600 from the moment it exists.
//! - I2: a file appears whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The reason for which certificates were not made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A file or folder could not be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The certificate exists already.
    #[error("{} exists already; choose another name, or --force to replace it", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Only one half of the authority exists.
    #[error("{} is there, but {} is not: put it back, or choose another folder for a new \
        authority", .found.display(), .missing.display())]
    HalfAuthority {
        /// The file that exists.
        found: PathBuf,
        /// The file that is missing.
        missing: PathBuf,
    },
    /// The files are no authority that can sign.
    #[error("{}: cannot be used as an authority: {reason}", .path.display())]
    NotAnAuthority {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The name would overwrite the authority or leave the folder.
    #[error("{name:?} is no name for a certificate; accepted: letters, digits, `-`, `_` and `.`, but not `ca`")]
    BadName {
        /// The name.
        name: String,
    },
    /// A subject alternative name that no certificate can carry.
    #[error("{san:?} is no DNS name and no IP address")]
    BadSan {
        /// The name.
        san: String,
    },
    /// The certificate could not be signed.
    #[error("the certificate for {name} could not be made: {source}")]
    Signing {
        /// The name of the certificate.
        name: String,
        /// The library's error.
        source: rcgen::Error,
    },
}

/// The readers of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody, for a certificate.
    Public,
    /// The owner, for a key.
    Private,
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Self::Public => 0o644,
            Self::Private => 0o600,
        }
    }
}

/// Writes a file under a temporary name, syncs it, and renames it; an existing file is replaced.
pub(super) fn write(path: &Path, text: &str, access: Access) -> Result<(), CertsError> {
    let io = |source| CertsError::Io {
        path: path.to_owned(),
        source,
    };
    let temporary = path.with_added_extension("tmp");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(access.mode())
        .open(&temporary)
        .map_err(io)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(io)?;
    fs::rename(&temporary, path).map_err(io)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

pub(super) fn read(path: &Path) -> Result<String, CertsError> {
    fs::read_to_string(path).map_err(|source| CertsError::Io {
        path: path.to_owned(),
        source,
    })
}
