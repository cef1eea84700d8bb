//! The Unix socket: made so that no other user can connect, with every peer's user checked.
//!
//! **Invariants**:
//! - I1: only root and the node's own user are served, whatever the modes of files and folders say.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use futures_util::stream::{self, Stream};
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};

use super::limits::ACCEPT_PAUSE;

/// The socket's name in the data folder.
pub const SOCKET_NAME: &str = "gophership.sock";

/// Longest path of a socket that Linux accepts, in bytes.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The control socket cannot be opened.
#[derive(Debug, Error)]
pub enum ControlSocketError {
    /// A file that is no socket has its name.
    #[error("{path} is in the way of the control socket and is no socket: move it away")]
    InTheWay {
        /// The path of that file.
        path: PathBuf,
    },
    /// Its path is too long.
    #[error("{path} is too long for the control socket: it has {} bytes, and Linux takes {SOCKET_PATH_BYTES_MAX}. \
        Choose a shorter node.data_dir, or a relative one", .path.as_os_str().len())]
    TooLong {
        /// The socket's path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {what} the control socket {path}: {source}")]
    Io {
        /// The operation, as a verb.
        what: &'static str,
        /// The socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Opens `<data>/gophership.sock`, 0600. The caller holds the lock of the data folder, so an existing socket is that of
/// a process that has ended.
///
/// # Errors
///
/// A file that is no socket has its name, its path is too long, or the system refuses.
pub fn listen(data: &Path) -> Result<StdListener, ControlSocketError> {
    let path = data.join(SOCKET_NAME);
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        return Err(ControlSocketError::TooLong { path });
    }
    let failed = |what, source| ControlSocketError::Io {
        what,
        path: path.clone(),
        source,
    };
    match fs::symlink_metadata(&path) {
        Ok(found) if found.file_type().is_socket() => {
            fs::remove_file(&path).map_err(|e| failed("remove the old", e))?
        }
        Ok(_) => return Err(ControlSocketError::InTheWay { path }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("look for", error)),
    }
    // Until its mode is set, the folder's own mode, 0700, keeps others out; and each peer is checked.
    let listener = StdListener::bind(&path).map_err(|e| failed("make", e))?;
    fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(|e| failed("protect", e))?;
    listener.set_nonblocking(true).map_err(|e| failed("prepare", e))?;
    Ok(listener)
}

/// Connections of users who may talk to the node. The stream never ends.
pub(crate) fn connections(listener: UnixListener) -> impl Stream<Item = io::Result<UnixStream>> {
    let own = rustix::process::geteuid().as_raw();
    stream::unfold(listener, move |listener| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => match stream.peer_cred() {
                    Ok(peer) if may_talk(peer.uid(), own) => return Some((Ok(stream), listener)),
                    Ok(peer) => tracing::warn!(
                        uid = peer.uid(),
                        pid = peer.pid(),
                        own_uid = own,
                        "control.peer.refused"
                    ),
                    Err(error) => tracing::warn!(%error, "control.peer.unknown"),
                },
                Err(error) => {
                    tracing::warn!(%error, "control.accept.failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

fn may_talk(peer: u32, own: u32) -> bool {
    peer == 0 || peer == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_only_root_and_the_own_user_may_talk() {
        assert!(may_talk(0, 1000));
        assert!(may_talk(1000, 1000));
        assert!(!may_talk(1001, 1000));
        assert!(!may_talk(1000, 0), "a node of root's does not talk to others");
    }

    #[test]
    fn a_socket_of_a_dead_process_makes_room_and_a_file_does_not() {
        let dir = tempfile::tempdir().unwrap();
        drop(listen(dir.path()).unwrap());
        let path = dir.path().join(SOCKET_NAME);
        assert!(path.exists(), "a listener that is dropped leaves its file");
        drop(listen(dir.path()).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(matches!(listen(dir.path()), Err(ControlSocketError::InTheWay { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
