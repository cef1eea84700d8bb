//! The meaning of each answer of a store.

use std::error::Error;
use std::path::Path;

use gophership_vault::Disposition;
use jiff::Timestamp;
use thiserror::Error;
use uuid::Uuid;

/// A call to a store that did not do what it was to do.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The settings name no store that can be used.
    #[error("archive {url:?}: {what}")]
    Settings {
        /// The URL of the settings.
        url: String,
        /// The fault, and what to do.
        what: String,
    },
    /// There is nothing of this name. By itself it is no loss: the store may be another one than it was.
    #[error("archive {store}: there is no {key}, or no such bucket or folder")]
    NotFound {
        /// The store's URL.
        store: String,
        /// The object's name.
        key: String,
        /// The answer.
        source: Box<object_store::Error>,
    },
    /// The credentials do not allow it, or there are none.
    #[error(
        "archive {store}: access to {key} is denied, or there are no credentials (they come from the environment, a web \
         identity, or the machine's metadata): they must allow to read it and to list, and a node's to write it"
    )]
    Denied {
        /// The store's URL.
        store: String,
        /// The object's name.
        key: String,
        /// The answer.
        source: Box<object_store::Error>,
    },
    /// The user of this process may not use a folder, or something in it.
    #[error("archive {store}: this user (uid {uid}) may not read or write {path}: {why}")]
    DeniedFolder {
        /// The store's URL.
        store: String,
        /// The path.
        path: String,
        /// The number of the user.
        uid: u32,
        /// The answer of the system.
        why: String,
    },
    /// The object is there, and cannot be read before it is restored from a colder class of storage.
    #[error("archive {store}: {key} is in cold storage: have the store restore it, then it can be read")]
    Frozen {
        /// The store's URL.
        store: String,
        /// The object's name.
        key: String,
        /// The answer.
        source: Box<object_store::Error>,
    },
    /// The store does not know how to do this (HTTP 501).
    #[error("archive {store}: {key}: the store cannot do what it was asked for (501): use another store")]
    Unsupported {
        /// The store's URL.
        store: String,
        /// The object's name.
        key: String,
        /// The answer.
        source: Box<object_store::Error>,
    },
    /// The store does not take the request as it is, and would not take it later.
    #[error("archive {store}: {key}: the store refuses the request: look at its URL, endpoint and region")]
    Refused {
        /// The store's URL.
        store: String,
        /// The object's name.
        key: String,
        /// The answer.
        source: Box<object_store::Error>,
    },
    /// There was no answer, or one that asks to come back. What was asked for may have been done.
    #[error("archive {store}: {key}: the store did not do it now; it can be tried again")]
    Temporary {
        /// The store's URL.
        store: String,
        /// The object's name.
        key: String,
        /// The answer, or why there was none.
        source: Box<object_store::Error>,
    },
    /// A folder did not answer in time. What was asked for may still be done.
    #[error(
        "archive {store}: the folder has not answered since {}: look at its mount, and at the server behind it. It is \
         tried again; where it is back and this stays, restart the node",
        since.strftime("%Y-%m-%dT%H:%M:%SZ")
    )]
    NoAnswer {
        /// The store's URL.
        store: String,
        /// The time at which the oldest call began that has no answer yet.
        since: Timestamp,
    },
    /// There is another object of this name. It stays as it is.
    #[error("archive {store}: {key} is there with other content: it is not overwritten")]
    OtherContent {
        /// The store's URL.
        store: String,
        /// The object's name.
        key: String,
    },
    /// The object has more bytes than are taken into memory.
    #[error(
        "archive {store}: {key} has {found} bytes, and at most {limit} are read: it was not written by this program"
    )]
    TooLarge {
        /// The store's URL.
        store: String,
        /// The object's name.
        key: String,
        /// Bytes that it has.
        found: u64,
        /// Limit of such bytes.
        limit: u64,
    },
    /// `store.json` is not what this version writes.
    #[error(
        "archive {store}: {key} cannot be read: it is damaged, or of a later version: use that, or an empty prefix"
    )]
    NotAStore {
        /// The store's URL.
        store: String,
        /// The object's name.
        key: String,
        /// The fault.
        source: serde_json::Error,
    },
    /// A store whose id is known has no `store.json`.
    #[error(
        "archive {store}: v1/store.json is missing, and the archive is in the store {id}: is a mount missing, or is \
         the folder not the same on all nodes? Mend that. Where only this file was lost, put it back with this \
         content: {{\"format\":1,\"store_id\":\"{id}\"}}"
    )]
    IdMissing {
        /// The store's URL.
        store: String,
        /// The id that it has to have.
        id: Uuid,
    },
    /// It is another store than the one whose id is known.
    #[error(
        "archive {store}: this is the store {found}, and the archive is in the store {id}: is a mount missing, or is \
         the folder not the same on all nodes? Mend that; another store is taken under another archive.url"
    )]
    OtherId {
        /// The store's URL.
        store: String,
        /// The id that it has.
        found: Uuid,
        /// The id that it has to have.
        id: Uuid,
    },
    /// The archive was restored into another cluster, which goes on with it.
    #[error(
        "archive {store}: cluster {cluster} was restored from this archive elsewhere (restore {restore}, as {key} \
         says), and the restored cluster goes on with it: this one puts nothing more there and deletes nothing. Stop \
         this cluster, or give it another archive.url"
    )]
    Superseded {
        /// The store's URL.
        store: String,
        /// The cluster.
        cluster: Uuid,
        /// The name of the marker.
        key: String,
        /// The id of the restore that has the say.
        restore: String,
    },
    /// The store overwrites objects although it was told not to, or cannot be told.
    #[error(
        "archive {store}: the store {how} (If-None-Match), so two writers could overwrite each other's objects: use \
         another store, or set archive.unsafe_store where nothing but this cluster ever writes below that prefix"
    )]
    Overwrites {
        /// The store's URL.
        store: String,
        /// The operation, as a verb.
        how: &'static str,
    },
}

impl StoreError {
    /// The reaction that is right for a caller.
    pub fn disposition(&self) -> Disposition {
        match self {
            // An operator cures them at the store, while the node runs.
            Self::NotFound { .. }
            | Self::Denied { .. }
            | Self::DeniedFolder { .. }
            | Self::Frozen { .. }
            | Self::Temporary { .. }
            | Self::NoAnswer { .. }
            | Self::Superseded { .. }
            | Self::IdMissing { .. }
            | Self::OtherId { .. } => Disposition::Retry,
            Self::OtherContent { .. } | Self::TooLarge { .. } | Self::NotAStore { .. } => Disposition::Corrupt,
            Self::Settings { .. } | Self::Unsupported { .. } | Self::Refused { .. } | Self::Overwrites { .. } => {
                Disposition::Invalid
            }
        }
    }

    /// The refusal of a path in the folder of a store, with the answer of the system, or an error that it caused.
    pub(super) fn denied_folder(store: &str, path: &Path, error: &dyn Error) -> Self {
        let mut cause = error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        Self::DeniedFolder {
            store: store.to_owned(),
            path: path.display().to_string(),
            uid: rustix::process::geteuid().as_raw(),
            why: cause.to_string(),
        }
    }

    /// The meaning of an answer about `key`.
    pub(super) fn of(store: &str, key: &str, error: object_store::Error) -> Self {
        use object_store::Error as Answer;
        let text = chain(&error);
        let status = status_in(&text);
        let is = |code: &str| text.contains(code);
        let is_local_denied = is("Permission denied") || is("Read-only file system");
        if let (Some(folder), None, true) = (store.strip_prefix("file://"), status, is_local_denied) {
            return Self::denied_folder(store, &Path::new(folder).join(key), &error);
        }
        let (store, key) = (store.to_owned(), key.to_owned());
        let is_frozen = is("InvalidObjectState");
        let is_setting = matches!(
            error,
            Answer::InvalidPath { .. }
                | Answer::NotSupported { .. }
                | Answer::NotImplemented { .. }
                | Answer::UnknownConfigurationKey { .. }
        ) || is("redirect without LOCATION");
        let is_missing = matches!(error, Answer::NotFound { .. });
        let source = Box::new(error);
        match status {
            _ if is_missing => Self::NotFound { store, key, source },
            _ if is_frozen => Self::Frozen { store, key, source },
            Some(408 | 429) => Self::Temporary { store, key, source },
            Some(401 | 403) => Self::Denied { store, key, source },
            Some(501) => Self::Unsupported { store, key, source },
            // A 409 or 412 that says that the object is there does not come here: it is no failure yet.
            Some(300..=499) => Self::Refused { store, key, source },
            _ if is_setting => Self::Refused { store, key, source },
            _ => Self::Temporary { store, key, source },
        }
    }
}

/// An error and its causes, in one line: the reason is often the last of them.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// The HTTP status that an error's text names: the type that has it cannot be named outside of `object_store`.
fn status_in(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}
