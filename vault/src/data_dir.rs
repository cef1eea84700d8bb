//! The data directory: its identity, its lock, and the check that its file system keeps promises.
//!
//! **Invariants**:
//! - I1: a directory is used by one process at a time.
//! - I2: marker, WAL and segments carry the same storage_uuid, or the directory is refused.
//! - I3: a directory that belongs to a cluster is opened by a node of this cluster only.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{OpenError, VaultError};
use crate::file_io;
use crate::ids::{ClusterId, Epoch, NodeId};
use crate::keep::ballast;
use crate::listing;

const FORMAT: u32 = 1;
/// Folders that hold data, and carry the storage_uuid.
const DATA: [&str; 2] = ["wal", "segments"];

/// The identity of a data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The cluster; a single node is one of its own.
    pub cluster_id: ClusterId,
    /// The node.
    pub node_id: NodeId,
    /// The storage: this very directory.
    pub storage_uuid: Uuid,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    format: u32,
    cluster_id: ClusterId,
    node_id: NodeId,
    storage_uuid: Uuid,
    /// The name of the cluster that the directory belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
}

impl Marker {
    fn identity(&self) -> Identity {
        Identity {
            cluster_id: self.cluster_id,
            node_id: self.node_id,
            storage_uuid: self.storage_uuid,
        }
    }

    fn write(&self, path: &Path) -> Result<(), VaultError> {
        let json = serde_json::to_vec(self).map_err(|e| VaultError::io("describe", path)(io::Error::other(e)))?;
        file_io::write_whole(path, &json)
    }
}

/// A data directory that this process holds, until it is dropped.
pub struct DataDir {
    path: PathBuf,
    identity: Identity,
    cluster: Option<String>,
    fresh: bool,
    /// The files that hold the locks: the folder, since the marker is replaced when a directory is made, and the
    /// marker.
    locked: [File; 2],
}

impl DataDir {
    /// Opens a data directory, or makes it that of the first node of a cluster of its own, and locks it for this
    /// process.
    ///
    /// # Errors
    ///
    /// It is in use, of another format, incomplete, or on a file system that is not supported (see `any_filesystem`).
    pub fn open(path: &Path, any_filesystem: bool) -> Result<Self, OpenError> {
        Self::open_or_join(path, any_filesystem, |_| Ok((ClusterId(Uuid::new_v4()), NodeId::FIRST)))
    }

    /// Opens a data directory, or makes it where there is none yet: `admit` grants the cluster and the node id for a
    /// new storage. A call that was interrupted asks for the same storage again, so that one storage never gets two
    /// ids.
    ///
    /// # Errors
    ///
    /// As [`Self::open`], and those of `admit`.
    pub fn open_or_join(
        path: &Path,
        any_filesystem: bool,
        admit: impl FnOnce(Uuid) -> Result<(ClusterId, NodeId), OpenError>,
    ) -> Result<Self, OpenError> {
        Self::open_as(path, any_filesystem, None, admit)
    }

    /// Opens the data directory of a node of the cluster with this name. One that is there may not belong to it yet
    /// ([`Self::cluster`]); one that is made belongs to it from the beginning.
    ///
    /// # Errors
    ///
    /// As [`Self::open_or_join`].
    pub fn open_in_cluster(
        path: &Path,
        any_filesystem: bool,
        cluster: &str,
        admit: impl FnOnce(Uuid) -> Result<(ClusterId, NodeId), OpenError>,
    ) -> Result<Self, OpenError> {
        Self::open_as(path, any_filesystem, Some(cluster), admit)
    }

    fn open_as(
        path: &Path,
        any_filesystem: bool,
        cluster: Option<&str>,
        admit: impl FnOnce(Uuid) -> Result<(ClusterId, NodeId), OpenError>,
    ) -> Result<Self, OpenError> {
        file_io::create_dir(path)?;
        close_to_others(path)?;
        check_filesystem(path, any_filesystem)?;
        let marker_path = path.join("node.json");
        let folder = File::open(path).map_err(VaultError::io("open", path))?;
        lock(&folder, path)?;
        let fresh = !marker_path.exists();
        if fresh {
            make(path, &marker_path, cluster, admit)?;
        }
        let mut file = File::open(&marker_path).map_err(VaultError::io("open", &marker_path))?;
        lock(&file, &marker_path)?;
        let marker = marker_of(path, &mut file, &marker_path)?;
        check_cluster(&marker_path, marker.cluster.as_deref(), cluster)?;
        Ok(Self {
            path: path.to_path_buf(),
            identity: marker.identity(),
            cluster: marker.cluster,
            fresh,
            locked: [folder, file],
        })
    }

    /// Notes in the directory that it belongs to the cluster with this name.
    ///
    /// # Errors
    ///
    /// It belongs to another one, or cannot be written.
    pub fn enter_cluster(&mut self, cluster: &str) -> Result<(), OpenError> {
        let marker_path = self.path.join("node.json");
        check_cluster(&marker_path, self.cluster.as_deref(), Some(cluster))?;
        let marker = Marker {
            format: FORMAT,
            cluster_id: self.identity.cluster_id,
            node_id: self.identity.node_id,
            storage_uuid: self.identity.storage_uuid,
            cluster: Some(cluster.to_owned()),
        };
        marker.write(&marker_path)?;
        // It is another file now; the lock of the folder kept others out meanwhile.
        let file = File::open(&marker_path).map_err(VaultError::io("open", &marker_path))?;
        lock(&file, &marker_path)?;
        self.locked[1] = file;
        self.cluster = marker.cluster;
        Ok(())
    }

    /// True where the folder of segments carries the storage_uuid of this directory, as it did at the start.
    pub(crate) fn is_ours(&self) -> bool {
        check_stamp(&self.path.join(DATA[1]), self.identity.storage_uuid).is_ok()
    }

    /// Checks that the directory could be opened, and changes nothing. `existing` is the directory, or the nearest
    /// existing one above it, and `cluster` the name of the node's cluster. Returns the identity of the directory,
    /// where it has one.
    ///
    /// # Errors
    ///
    /// As [`Self::open`] and [`Self::open_in_cluster`].
    pub fn check(existing: &Path, any_filesystem: bool, cluster: Option<&str>) -> Result<Option<Identity>, OpenError> {
        check_filesystem(existing, any_filesystem)?;
        let folder = File::open(existing).map_err(VaultError::io("open", existing))?;
        match folder.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse {
                    path: existing.to_path_buf(),
                });
            }
            // The lock is dropped with the descriptor.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let marker_path = existing.join("node.json");
        match File::open(&marker_path) {
            Ok(mut file) => {
                let marker = marker_of(existing, &mut file, &marker_path)?;
                check_cluster(&marker_path, marker.cluster.as_deref(), cluster)?;
                Ok(Some(marker.identity()))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => refuse_data(existing).map(|()| None),
            Err(e) => Err(VaultError::io("open", &marker_path)(e).into()),
        }
    }

    /// Frees the ballast where the file system has less room than a start needs, so that a start succeeds on a full
    /// disk. Returns whether it did.
    ///
    /// # Errors
    ///
    /// The ballast cannot be freed.
    pub fn make_room(&self, shards: u16, segment_size: u64) -> Result<bool, VaultError> {
        ballast::make_room(&self.path, ballast::start_bytes(shards, segment_size))
    }

    /// The highest epoch in the headers of the directory's WAL files: the catalogue may be an older backup than the
    /// log.
    ///
    /// # Errors
    ///
    /// The folders cannot be listed.
    pub fn highest_epoch(&self) -> Result<Option<Epoch>, VaultError> {
        listing::highest_epoch(&self.path, self.identity.node_id)
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity of the directory.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The name of the cluster that it belongs to; `None` for that of a single node.
    pub fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// True where this call made it.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }
}

/// Sets the folder's mode to 0700, where this user may: a folder that the system prepared for its group (a Kubernetes
/// volume with `fsGroup`) belongs to another user.
fn close_to_others(path: &Path) -> Result<(), VaultError> {
    let mode = |path| fs::metadata(path).map(|found| found.permissions().mode() & 0o7777);
    let found = mode(path).map_err(VaultError::io("look at", path))?;
    if found == 0o700 {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(0o700)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(path = %path.display(), mode = format!("{found:04o}"), %error, "data.folder.mode_kept");
            Ok(())
        }
        set => set.map_err(VaultError::io("set the permissions of", path)),
    }
}

fn lock(file: &File, path: &Path) -> Result<(), OpenError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: path.to_path_buf(),
        }),
        Err(TryLockError::Error(e)) => Err(VaultError::io("lock", path)(e).into()),
    }
}

/// The marker of the directory, which the stamps of its folders confirm.
fn marker_of(path: &Path, marker: &mut File, marker_path: &Path) -> Result<Marker, OpenError> {
    let marker = read_marker(marker, marker_path)?;
    for name in DATA {
        check_stamp(&path.join(name), marker.storage_uuid)?;
    }
    check_layout(&path.join("wal"))?;
    Ok(marker)
}

/// Refuses a directory of one cluster for a node of another, or of none. One of a single node may become a cluster's.
fn check_cluster(marker_path: &Path, its: Option<&str>, nodes: Option<&str>) -> Result<(), OpenError> {
    let refuse = |what: String, remedy| {
        let path = marker_path.to_path_buf();
        Err(OpenError::Identity { path, what, remedy })
    };
    match (its, nodes) {
        (None, _) => Ok(()),
        (Some(its), Some(nodes)) if its == nodes => Ok(()),
        (Some(its), Some(nodes)) => refuse(
            format!("the folder belongs to cluster {its:?}, and cluster.name is {nodes:?}"),
            "Set cluster.name to the cluster of the folder, or start with an empty node.data_dir",
        ),
        (Some(its), None) => refuse(
            format!("the folder belongs to cluster {its:?}, and the configuration has no `cluster`"),
            "Put `cluster` back into the configuration, or start with an empty node.data_dir",
        ),
    }
}

/// Refuses a directory that holds data and no marker.
fn refuse_data(path: &Path) -> Result<(), OpenError> {
    for name in DATA {
        let dir = path.join(name);
        if file_io::list(&dir)?
            .iter()
            // A start that was interrupted leaves either of these.
            .any(|p| {
                p.file_name()
                    .is_none_or(|name| name != "storage_uuid" && name != "storage_uuid.tmp")
            })
        {
            return Err(OpenError::Identity {
                path: dir,
                what: "there is data, and no node.json beside it".to_owned(),
                remedy: "Put node.json back from a backup, or move the data away and start as a new node",
            });
        }
    }
    Ok(())
}

/// Makes a directory a node's: data folders with their stamps first, the marker last.
fn make(
    path: &Path,
    marker_path: &Path,
    cluster: Option<&str>,
    admit: impl FnOnce(Uuid) -> Result<(ClusterId, NodeId), OpenError>,
) -> Result<(), OpenError> {
    refuse_data(path)?;
    let stamp = fs::read_to_string(path.join(DATA[0]).join("storage_uuid")).ok();
    let storage_uuid = stamp
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or_else(Uuid::new_v4);
    for name in DATA {
        let dir = path.join(name);
        file_io::create_dir(&dir)?;
        file_io::write_whole(&dir.join("storage_uuid"), storage_uuid.to_string().as_bytes())?;
    }
    let (cluster_id, node_id) = admit(storage_uuid)?;
    let marker = Marker {
        format: FORMAT,
        cluster_id,
        node_id,
        storage_uuid,
        cluster: cluster.map(str::to_owned),
    };
    Ok(marker.write(marker_path)?)
}

fn read_marker(file: &mut File, path: &Path) -> Result<Marker, OpenError> {
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(VaultError::io("read", path))?;
    let marker: Marker = serde_json::from_str(&text).map_err(|e| OpenError::Identity {
        path: path.to_path_buf(),
        what: format!("it cannot be read: {e}"),
        remedy: "Put it back from a backup, or move the whole data directory away and start as a new node",
    })?;
    if marker.format != FORMAT {
        return Err(VaultError::Format {
            path: path.to_path_buf(),
            found: marker.format,
            known: FORMAT,
        }
        .into());
    }
    Ok(marker)
}

fn check_stamp(dir: &Path, storage_uuid: Uuid) -> Result<(), OpenError> {
    let path = dir.join("storage_uuid");
    let refuse = |what: String| {
        Err(OpenError::Identity {
            path: path.clone(),
            what,
            remedy: "The folder is not this node's: put back the one that is (or the node.json that belongs to it), or \
                     start with an empty node.data_dir",
        })
    };
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().parse() == Ok(storage_uuid) => Ok(()),
        Ok(text) => refuse(format!("it says {}, and node.json says {storage_uuid}", text.trim())),
        // The other two folders say whose it is: only the sealed segments are gone, and the WAL is not to be thrown
        // away.
        Err(e) if e.kind() == io::ErrorKind::NotFound && dir.ends_with("segments") => Err(OpenError::Identity {
            path: path.clone(),
            what: "it is missing".to_owned(),
            remedy: "Mount its file system, or move segments/ back. Where segments/ is lost for good, make it empty, and \
                     copy wal/storage_uuid into it: a cluster makes its copies anew",
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => refuse("it is missing".to_owned()),
        Err(e) => Err(VaultError::io("read", &path)(e).into()),
    }
}

/// Refuses a folder in which shards stand directly below `wal/`, as before the first release.
fn check_layout(wal: &Path) -> Result<(), OpenError> {
    let is_shard = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str());
        path.is_dir() && name.is_some_and(|n| n.len() == 4 && n.parse::<u16>().is_ok())
    };
    match file_io::list(wal)?.into_iter().find(is_shard) {
        None => Ok(()),
        Some(path) => Err(OpenError::Identity {
            path,
            what: "it is a shard's folder as versions before the first release kept it; now it stands below its node's"
                .to_owned(),
            remedy: "With the node stopped, make the folder `wal/0000000001` (0700) and move it there",
        }),
    }
}

/// The support for a file system, by its magic number.
enum Support {
    Full,
    /// It works, and forgets in a power cut (tmpfs) or promises less (overlay).
    Warned(&'static str),
    Refused(&'static str),
}

fn support(magic: u64) -> Support {
    match magic {
        0xEF53 | 0x5846_5342 => Support::Full,
        0x0102_1994 => Support::Warned("tmpfs, which forgets everything in a power cut"),
        0x794c_7630 => Support::Warned("overlayfs: put node.data_dir on a volume of its own"),
        0x9123_683E => Support::Refused("btrfs"),
        0x2FC1_2FC1 => Support::Refused("ZFS"),
        0x6969 => Support::Refused("NFS"),
        0xFF53_4D42 | 0xFE53_4D42 | 0x517B => Support::Refused("SMB"),
        0x6573_5546 => Support::Refused("FUSE"),
        0x0102_1997 => Support::Refused("9p"),
        0x00C3_6400 => Support::Refused("Ceph"),
        _ => Support::Warned("a file system that it was not tested on"),
    }
}

fn check_filesystem(path: &Path, any: bool) -> Result<(), OpenError> {
    let stat = rustix::fs::statfs(path).map_err(|e| VaultError::io("look at the file system of", path)(e.into()))?;
    match support(stat.f_type.cast_unsigned() as u64) {
        Support::Full => Ok(()),
        Support::Warned(filesystem) => {
            tracing::warn!(path = %path.display(), filesystem, "data.filesystem.weak");
            Ok(())
        }
        Support::Refused(filesystem) if any => {
            tracing::warn!(path = %path.display(), filesystem, "data.filesystem.unsupported");
            Ok(())
        }
        Support::Refused(filesystem) => Err(OpenError::Filesystem {
            path: path.to_path_buf(),
            filesystem,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_of_a_cluster_is_read_and_written_as_it_was() {
        let golden = include_str!("../testdata/v1/node_of_cluster.json");
        let marker: Marker = serde_json::from_str(golden).unwrap();
        let (node, cluster) = (NodeId::new(3).unwrap(), Some("Grün"));
        assert_eq!(
            (marker.format, marker.node_id, marker.cluster.as_deref()),
            (FORMAT, node, cluster)
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.json");
        marker.write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), golden);
    }

    #[test]
    fn i1_a_second_opener_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path(), true).unwrap();
        assert!(first.is_fresh());
        assert!(matches!(DataDir::open(dir.path(), true), Err(OpenError::InUse { .. })));
        let identity = first.identity();
        drop(first);
        let again = DataDir::open(dir.path(), true).unwrap();
        assert_eq!(again.identity(), identity);
        assert!(!again.is_fresh());
    }

    #[test]
    fn the_folder_is_closed_to_others_where_this_user_owns_it() {
        let dir = tempfile::tempdir().unwrap();
        let mode = || fs::metadata(dir.path()).unwrap().permissions().mode() & 0o7777;
        fs::set_permissions(dir.path(), Permissions::from_mode(0o2770)).unwrap();
        drop(DataDir::open(dir.path(), true).unwrap());
        assert_eq!(mode(), 0o700);
    }

    #[test]
    fn i2_a_folder_of_another_node_is_refused() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&a, &b] {
            drop(DataDir::open(dir.path(), true).unwrap());
        }
        fs::copy(b.path().join("wal/storage_uuid"), a.path().join("wal/storage_uuid")).unwrap();
        assert!(matches!(DataDir::open(a.path(), true), Err(OpenError::Identity { .. })));
    }

    #[test]
    fn data_without_a_marker_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path(), true).unwrap());
        fs::create_dir(dir.path().join("wal/0000")).unwrap();
        fs::remove_file(dir.path().join("node.json")).unwrap();
        let Err(error) = DataDir::open(dir.path(), true) else {
            panic!("taken for a new node")
        };
        assert!(error.to_string().contains("no node.json"), "{error}");
        assert!(dir.path().join("wal/0000").exists());
    }

    #[test]
    fn shards_directly_below_wal_are_refused_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path(), true).unwrap());
        fs::create_dir(dir.path().join("wal/0003")).unwrap();
        let Err(error) = DataDir::open(dir.path(), true) else {
            panic!("its files would be passed over")
        };
        assert!(
            error.to_string().contains("wal/0003") && error.to_string().contains("wal/0000000001"),
            "{error}"
        );
    }

    #[test]
    fn file_systems_that_break_promises_are_refused_by_name() {
        assert!(matches!(support(0x9123_683E), Support::Refused("btrfs")));
        assert!(matches!(support(0x6969), Support::Refused("NFS")));
        assert!(matches!(support(0x5846_5342), Support::Full));
        assert!(matches!(support(0x0102_1994), Support::Warned(_)));
    }

    #[test]
    fn i3_a_folder_of_a_cluster_is_opened_by_a_node_of_this_cluster_only() {
        let dir = tempfile::tempdir().unwrap();
        let granted = |_| Ok((ClusterId(Uuid::from_bytes([7; 16])), NodeId::FIRST));
        let joined = DataDir::open_in_cluster(dir.path(), true, "prod", granted).unwrap();
        assert_eq!(joined.cluster(), Some("prod"));
        drop(joined);
        let refusals = [
            (
                DataDir::open_in_cluster(dir.path(), true, "test", granted),
                "cluster.name is \"test\"",
            ),
            (DataDir::open(dir.path(), true), "the configuration has no `cluster`"),
            (DataDir::open_or_join(dir.path(), true, granted), "has no `cluster`"),
        ];
        for (opened, why) in refusals {
            let error = opened.err().expect("opened").to_string();
            assert!(error.contains(why) && error.contains("\"prod\""), "{error}");
        }
        assert!(DataDir::check(dir.path(), true, None).is_err());
        assert!(DataDir::check(dir.path(), true, Some("prod")).unwrap().is_some());
        assert!(DataDir::open_in_cluster(dir.path(), true, "prod", granted).is_ok());
    }

    #[test]
    fn i3_a_single_nodes_folder_enters_one_cluster_and_stays_locked() {
        let dir = tempfile::tempdir().unwrap();
        let identity = DataDir::open(dir.path(), true).unwrap().identity();
        let nobody = |_| panic!("it has an identity");
        let mut data = DataDir::open_in_cluster(dir.path(), true, "prod", nobody).unwrap();
        assert_eq!((data.cluster(), data.identity()), (None, identity));
        data.enter_cluster("prod").unwrap();
        assert!(data.enter_cluster("test").is_err());
        let again = DataDir::open_in_cluster(dir.path(), true, "prod", nobody);
        assert!(matches!(again, Err(OpenError::InUse { .. })));
        drop(data);
        let data = DataDir::open_in_cluster(dir.path(), true, "prod", nobody).unwrap();
        assert_eq!((data.cluster(), data.identity()), (Some("prod"), identity));
    }

    #[test]
    fn a_join_that_was_broken_off_asks_for_the_same_storage_again() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = ClusterId(Uuid::from_bytes([7; 16]));
        let refused = || OpenError::Setting {
            name: "test",
            value: 0,
            why: "the cluster did not answer",
        };
        let mut asked = Vec::new();
        let mut open = |grants: bool| {
            DataDir::open_or_join(dir.path(), true, |storage| {
                asked.push(storage);
                let third = NodeId::new(3).unwrap();
                grants.then_some((cluster, third)).ok_or_else(refused)
            })
        };
        assert!(open(false).is_err());
        let joined = open(true).unwrap();
        let identity = joined.identity();
        drop(joined);
        assert_eq!(
            open(false).unwrap().identity(),
            identity,
            "nobody is asked once it is a node's"
        );
        assert_eq!((identity.cluster_id, identity.node_id.get()), (cluster, 3));
        assert_eq!(asked, [identity.storage_uuid; 2]);
    }
}
