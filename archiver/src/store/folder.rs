//! The client for a folder.

use std::io::ErrorKind;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use tokio::task::spawn_blocking;

use super::archive_store::{Client, Folder};
use super::error::StoreError;
use super::folder_calls::FolderCalls;
use super::settings::StoreSettings;

/// The client for the folder at an absolute path, which is there. Where it is not, `if_missing` says what to do.
pub(super) async fn folder(
    settings: &StoreSettings,
    path: &str,
    if_missing: &'static str,
) -> Result<Client, StoreError> {
    if settings.endpoint.is_some() || settings.region.is_some() {
        return Err(settings.fault("a folder has no endpoint and no region: leave them out"));
    }
    if !FsPath::new(path).is_absolute() {
        return Err(settings.fault("a folder is named from the root on, with three slashes: file:///FOLDER"));
    }
    let calls = FolderCalls::of(&settings.url);
    let (settings, path) = (settings.clone(), PathBuf::from(path));
    let of_client = Arc::clone(&calls);
    let opening = async move {
        let opened = spawn_blocking(move || open(&settings, &path, if_missing, of_client)).await;
        opened.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    };
    calls.limited(0, opening).await
}

fn open(
    settings: &StoreSettings,
    path: &FsPath,
    if_missing: &str,
    calls: Arc<FolderCalls>,
) -> Result<Client, StoreError> {
    // A folder that is missing may be a mount that is missing: nothing may be written in its place.
    let folder = match path.canonicalize() {
        Ok(folder) if folder.is_dir() => folder,
        Ok(_) => return Err(settings.fault("this is no folder")),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(StoreError::denied_folder(&settings.url, path, &error));
        }
        Err(error) => return Err(settings.fault(format!("{error}: {if_missing}"))),
    };
    let objects = LocalFileSystem::new_with_prefix(&folder).map_err(|error| settings.fault(error.to_string()))?;
    Ok(Client {
        url: settings.url.clone(),
        objects: Arc::new(objects.with_fsync(true)),
        damaging: None,
        folder: Some(Folder { path: folder, calls }),
        prefix: Path::default(),
    })
}
