//! The settings of the archive, as plain typed values.
//!
//! **Owns**: [`Archive`] and its defaults; the notation of a store's URL.
//!
//! **Invariants**:
//! - I1: there is no secret among them: credentials come from the environment of the process.
//!
//! **Not here**: names, documentation and bounds of the keys (`keys.rs`), the rules between them (`check.rs`).

use std::time::Duration;

use super::choice::choice;
use super::export::Endpoint;

/// `archive`: the store that sealed segments are copied to before they may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The URL of the store; `None` where nothing is archived.
    pub url: Option<String>,
    /// An S3 service that is not Amazon's.
    pub endpoint: Option<Endpoint>,
    /// True where the operator accepts plaintext to a service on another machine.
    pub insecure: bool,
    /// The region of the bucket.
    pub region: Option<String>,
    /// The compression level of Zstandard.
    pub zstd_level: u32,
    /// Bytes of segment files from which on an object is made at once.
    pub object_size: u64,
    /// The longest time for which a sealed segment waits for others.
    pub max_delay: Duration,
    /// How an object is checked once it is in the store.
    pub verify: ArchiveVerify,
    /// True where a store is used that cannot keep two writers from overwriting each other's object.
    pub unsafe_store: bool,
}

choice! {
    /// The check of an object that was put.
    pub enum ArchiveVerify {
        /// All of it is read back and compared.
        Full = "full",
        /// Its length is asked for, of a store that refuses objects which were damaged on the way.
        Head = "head",
    }
}

impl Default for Archive {
    fn default() -> Self {
        Self {
            url: None,
            endpoint: None,
            insecure: false,
            region: None,
            zstd_level: 3,
            object_size: 64 << 20,
            max_delay: Duration::from_secs(5 * 60),
            verify: ArchiveVerify::Full,
            unsafe_store: false,
        }
    }
}

impl Archive {
    /// The word for the URL where there is none.
    pub(super) const NONE: &'static str = gophership_catalogue::setting::ARCHIVE_NONE;

    /// True where the store is a folder.
    pub(crate) fn is_folder(&self) -> bool {
        self.url.as_ref().is_some_and(|url| url.starts_with("file://"))
    }

    /// The text of a URL, where it names a store: a bucket, or a folder by its absolute path. It is shown and on
    /// record, so it can hold neither a user nor a query.
    pub(super) fn parse_url(text: &str) -> Option<String> {
        let (scheme, rest) = text.split_once("://")?;
        let names_one = match scheme {
            "s3" => !rest.is_empty() && !rest.starts_with('/'),
            "file" => rest.len() > 1 && rest.starts_with('/'),
            _ => false,
        };
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['@', '?', '#']);
        let fits = text.len() <= gophership_catalogue::limits::SETTING_URL_BYTES_MAX;
        (names_one && is_plain && fits).then(|| text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, load_text, with_settings};
    use crate::machine::Machine;

    const MACHINE: Machine = Machine {
        cores: 1,
        memory: 4 << 30,
    };

    fn read(archive: &str) -> Result<Config, Vec<String>> {
        let read = load_text(&format!("archive: {{{archive}}}"), &Environment::default(), &MACHINE);
        read.map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_store_is_a_bucket_or_a_folder_and_what_is_wrong_is_told_at_once() {
        let archive =
            read("url: 's3://logs/a', endpoint: 'http://127.0.0.1:9000', region: eu-1, verify: head").unwrap();
        let archive = archive.archive;
        assert_eq!(archive.url.as_deref(), Some("s3://logs/a"));
        assert_eq!(archive.endpoint.unwrap().to_string(), "http://127.0.0.1:9000");
        assert_eq!(archive.verify, ArchiveVerify::Head);
        assert_eq!(read("url: none").unwrap().archive, Archive::default());
        let many =
            "url: 's3://key:secret@logs', endpoint: 'https://h/path', zstd_level: 20, object_size: 1KiB, level: 3";
        let faults = read(many).unwrap_err();
        let keys = [
            "archive.url",
            "archive.endpoint",
            "archive.zstd_level",
            "archive.object_size",
            "archive.level",
        ];
        assert_eq!(faults.len(), keys.len(), "{faults:?}");
        assert!(
            keys.iter().all(|key| faults.iter().any(|fault| fault.contains(key))),
            "{faults:?}"
        );
        for url in [
            "logs/a",
            "s3://",
            "s3:///a",
            "file://a",
            "file:///",
            "gs://logs",
            "s3://logs?x=1",
            "s3://lo gs",
        ] {
            assert!(read(&format!("url: '{url}'")).is_err(), "{url}");
        }
    }

    #[test]
    fn plaintext_to_another_machine_is_spelled_out() {
        let bucket = "url: 's3://logs', endpoint: 'http://minio.lan:9000'";
        let faults = read(bucket).unwrap_err();
        assert!(
            faults[0].contains("archive.endpoint") && faults[0].contains("`insecure: true`"),
            "{faults:?}"
        );
        assert!(read(&format!("{bucket}, insecure: true")).is_ok());
        assert!(read("url: 's3://logs', endpoint: 'https://minio.lan:9000', insecure: true").is_err());
        // Of a folder they do not count, so that a cluster can set them before the URL of a bucket, and leave them
        // behind.
        assert!(read("url: 'file:///mnt/a', endpoint: 'http://minio.lan:9000', region: eu-1").is_ok());
        assert_eq!(read("url: 's3://logs', endpoint: none").unwrap().archive.endpoint, None);
    }

    #[test]
    fn the_archive_of_the_cluster_is_taken_whole_and_nothing_of_a_files_is_left() {
        let own = read("url: 'file:///mnt/own', object_size: 1MiB").unwrap();
        let on_record = [
            ("archive.endpoint", "http://minio.lan:9000"),
            ("archive.insecure", "true"),
            ("archive.url", "s3://logs"),
        ];
        let on_record = on_record.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let settings = on_record.into_iter().collect();
        let (taken, refused) = with_settings(&own, &settings, &Environment::default(), &MACHINE);
        assert_eq!(
            (taken.archive.url.as_deref(), refused.len()),
            (Some("s3://logs"), 0),
            "{refused:?}"
        );
        assert_eq!(taken.archive.object_size, Archive::default().object_size);
    }
}
