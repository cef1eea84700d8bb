//! The invitation that a candidate has accepted, kept in its folder (`docs/formats.md`).
//!
//! **Invariants**:
//! - I1: it is durable before it is said to be accepted.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use gophership_catalogue::restore::RestoreOrigin;
use gophership_vault::ids::ClusterId;
use gophership_vault::{VaultError, write_whole};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::JoinError;
use super::limits::INVITATION_BYTES_MAX;
use super::restoring::StoredOrigin;

/// The format without a restore, and that with one. A version that knows no restore refuses the latter.
const FORMAT: u32 = 1;
const FORMAT_WITH_RESTORE: u32 = 2;

/// An invitation to a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invitation {
    /// The id that the cluster will have.
    pub cluster: ClusterId,
    /// The wish to provision that it comes from.
    pub request: Uuid,
    /// The name of the node that begins the cluster.
    pub first: String,
    /// What the cluster is to take in, at the node that begins it; the others learn it from the catalogue.
    pub restore: Option<RestoreOrigin>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    cluster: String,
    cluster_id: ClusterId,
    request: Uuid,
    first: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restore: Option<StoredOrigin>,
}

impl Invitation {
    /// The invitation that is kept in the folder, to a cluster of this name.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is damaged, or is about a cluster of another name.
    pub fn load(folder: &Path, cluster: &str) -> Result<Option<Self>, JoinError> {
        let path = path(folder);
        let mut text = String::new();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed("open", path, source)),
        };
        let read = file.take(INVITATION_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|source| failed("read", path.clone(), source))?;
        let bad = |what: String| JoinError::BadInvitation {
            path: path.clone(),
            what,
        };
        let stored: Stored = serde_json::from_str(&text).map_err(|e| bad(format!("it cannot be read: {e}")))?;
        let expected = format_of(stored.restore.is_some());
        if stored.format != expected {
            return Err(bad(format!(
                "it has format {}, and this version knows {FORMAT}, and {FORMAT_WITH_RESTORE} with a restore",
                stored.format
            )));
        }
        if stored.cluster != cluster {
            let other = stored.cluster;
            return Err(bad(format!(
                "it is to cluster {other:?}, and cluster.name is {cluster:?}"
            )));
        }
        Ok(Some(Self {
            cluster: stored.cluster_id,
            request: stored.request,
            first: stored.first,
            restore: stored.restore.map(StoredOrigin::origin),
        }))
    }

    /// True where another one differs in nothing but in what was read of the archive that is to be restored.
    pub(super) fn is_continued_by(&self, other: &Self) -> bool {
        let what = |of: &Self| (of.cluster, of.request, of.restore.as_ref().map(|restore| restore.id));
        what(self) == what(other) && self.first == other.first
    }

    /// Keeps it in the folder.
    pub(super) fn save(&self, folder: &Path, cluster: &str) -> Result<(), JoinError> {
        let stored = Stored {
            format: format_of(self.restore.is_some()),
            cluster: cluster.to_owned(),
            cluster_id: self.cluster,
            request: self.request,
            first: self.first.clone(),
            restore: self.restore.as_ref().map(StoredOrigin::of),
        };
        let json = serde_json::to_vec(&stored).expect("texts and numbers have a form in JSON");
        Ok(write_whole(&path(folder), &json)?)
    }

    /// Removes what is kept in the folder, if anything is.
    ///
    /// # Errors
    ///
    /// The file cannot be removed.
    pub fn remove(folder: &Path) -> Result<(), JoinError> {
        let path = path(folder);
        match fs::remove_file(&path).and_then(|()| File::open(folder)?.sync_all()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(failed("remove", path, source)),
        }
    }
}

fn format_of(has_restore: bool) -> u32 {
    if has_restore { FORMAT_WITH_RESTORE } else { FORMAT }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("invitation.json")
}

fn failed(what: &'static str, path: PathBuf, source: io::Error) -> JoinError {
    VaultError::Io { what, path, source }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_read_as_it_was_kept_and_by_its_own_cluster_only() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Invitation::load(folder.path(), "prod").unwrap(), None);
        let invitation = Invitation {
            cluster: ClusterId(Uuid::from_bytes([1; 16])),
            request: Uuid::from_bytes([2; 16]),
            first: "node-1".to_owned(),
            restore: None,
        };
        invitation.save(folder.path(), "prod").unwrap();
        let text = fs::read_to_string(path(folder.path())).unwrap();
        let golden = r#"{"format":1,"cluster":"prod","cluster_id":"01010101-0101-0101-0101-010101010101","request":"02020202-0202-0202-0202-020202020202","first":"node-1"}"#;
        assert_eq!(text, golden);
        assert_eq!(Invitation::load(folder.path(), "prod").unwrap(), Some(invitation));
        let other = Invitation::load(folder.path(), "test").unwrap_err().to_string();
        assert!(other.contains("cluster.name is \"test\""), "{other}");
        fs::write(path(folder.path()), &text[..20]).unwrap();
        assert!(matches!(
            Invitation::load(folder.path(), "prod"),
            Err(JoinError::BadInvitation { .. })
        ));
        Invitation::remove(folder.path()).unwrap();
        Invitation::remove(folder.path()).unwrap();
        assert_eq!(Invitation::load(folder.path(), "prod").unwrap(), None);
    }
    #[test]
    fn an_invitation_to_a_restore_has_a_format_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let invitation = Invitation {
            cluster: ClusterId(Uuid::from_bytes([1; 16])),
            request: Uuid::from_bytes([2; 16]),
            first: "node-1".to_owned(),
            restore: Some(RestoreOrigin {
                id: Uuid::from_bytes([3; 16]),
                store: Uuid::from_bytes([4; 16]),
                url: "s3://logs".to_owned(),
                first_node: gophership_vault::ids::NodeId::new(8).unwrap(),
                generation: 2,
            }),
        };
        invitation.save(folder.path(), "prod").unwrap();
        let text = fs::read_to_string(path(folder.path())).unwrap();
        let golden = r#"{"format":2,"cluster":"prod","cluster_id":"01010101-0101-0101-0101-010101010101","request":"02020202-0202-0202-0202-020202020202","first":"node-1","restore":{"id":"03030303-0303-0303-0303-030303030303","store_id":"04040404-0404-0404-0404-040404040404","url":"s3://logs","first_node":8,"generation":2}}"#;
        assert_eq!(text, golden);
        assert_eq!(Invitation::load(folder.path(), "prod").unwrap(), Some(invitation));
        // The format of one without a restore.
        fs::write(path(folder.path()), text.replace("\"format\":2", "\"format\":1")).unwrap();
        let refused = Invitation::load(folder.path(), "prod").unwrap_err().to_string();
        assert!(refused.contains("it has format 1"), "{refused}");
    }
}
