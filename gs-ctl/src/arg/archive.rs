//! The command line of `gs-ctl archive`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::when::{Patience, When};

#[derive(Debug, Subcommand)]
pub(crate) enum Archive {
    /// Show how archiving fares at the node, what of the cluster is archived, and what is not yet
    Status,
    /// Pause archiving on all nodes, as for work at the store; what is being put is put. It ends by itself. Meanwhile
    /// nothing that is not archived is removed, also where a disk fills, but for vault.on_full: drop_oldest, which
    /// drops the oldest segments
    Pause {
        /// Its length: 30m, 1h, 2d; a week at most
        #[arg(long = "for", value_name = "TIME", default_value = "1h")]
        length: Patience,
    },
    /// End a pause of archiving
    Resume,
    /// List the objects on record, by lease
    List,
    /// List the objects of a store by its manifests, in the order of their names, without a node. Exit code 4 when
    /// manifests are damaged or missing, 1 when some cannot be read now
    Ls {
        /// s3://BUCKET/PREFIX or file:///FOLDER; credentials for S3 come from the environment
        url: String,
        #[command(flatten)]
        range: TimesArgs,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Print the records of an object, or of a range of time out of a whole store, a line a record; with -o json a line
    /// of OTLP/JSON an entry. Of a range every payload that holds a record of it is printed, whole, in the order of
    /// each shard; of the objects only what is needed is read. Exit code 4 when not everything could be printed, 1
    /// when that is because it cannot be read now
    Cat {
        /// The object's file, .binpb.zst, or the URL of a store: s3://BUCKET/PREFIX or file:///FOLDER
        #[arg(value_name = "FILE|URL")]
        place: String,
        /// The object's name in the store, as `archive ls` shows it
        key: Option<String>,
        #[command(flatten)]
        range: TimesArgs,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Verify objects. Of files, and of a store with --full, every byte is read, and each segment compared with the
    /// digest that it was sealed with. Of a store the chain of manifests is verified first, and each object that they
    /// list is to be there with its length. Exit code 4 when anything is damaged or missing, 1 when something cannot
    /// be read now
    Verify {
        /// The objects' files, .binpb.zst, or the URL of one store: s3://BUCKET/PREFIX or file:///FOLDER
        #[arg(required = true, value_name = "FILE|URL")]
        places: Vec<String>,
        /// Read every byte of the objects of a store
        #[arg(long)]
        full: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// Options of a store.
#[derive(Debug, Default, Args)]
pub(crate) struct StoreArgs {
    /// The URL of an S3 service that is not Amazon's, with http:// or https://
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    /// The region of the bucket; without it AWS_REGION says it, or it is us-east-1
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
    /// The cluster, where the store has objects of several
    #[arg(long, value_name = "UUID")]
    pub(crate) cluster: Option<Uuid>,
    /// Take the objects that are there, by their names and their own indexes, instead of those that manifests list
    #[arg(long)]
    pub(crate) scan: bool,
}

impl StoreArgs {
    /// True where no option was given.
    pub(crate) fn is_empty(&self) -> bool {
        self.endpoint.is_none() && self.region.is_none() && self.cluster.is_none() && !self.scan
    }
}

/// A range of event times.
#[derive(Debug, Default, Args)]
pub(crate) struct TimesArgs {
    /// The first event time wanted: RFC 3339, Unix seconds or nanoseconds, `now`, or back from now as in -15m (units s,
    /// m, h, d). The time of receipt stands for it where an entry was not looked into
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub(crate) from: Option<When>,
    /// The first event time no longer wanted, in the same forms
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub(crate) to: Option<When>,
}

impl TimesArgs {
    /// True where no option was given.
    fn is_empty(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }
}

/// The objects of `archive cat`.
pub(crate) enum CatOf<'a> {
    File(PathBuf),
    Object(&'a str),
    Range,
}

/// What is to be printed; the error says what to write instead.
pub(crate) fn cat_of<'a>(
    place: &str,
    key: Option<&'a str>,
    range: &TimesArgs,
    store: &StoreArgs,
) -> Result<CatOf<'a>, &'static str> {
    match (is_url(place), key, range.is_empty()) {
        (false, None, true) if store.is_empty() => Ok(CatOf::File(place.into())),
        (false, ..) => Err("a file stands alone: options and the name of an object belong to the URL of a store"),
        (true, Some(key), true) if store.cluster.is_none() && !store.scan => Ok(CatOf::Object(key)),
        (true, Some(_), _) => Err("the name of an object excludes --from, --to, --cluster and --scan"),
        (true, None, true) => Err("name an object of the store, or a range of time with --from, --to or both"),
        (true, None, false) => Ok(CatOf::Range),
    }
}

/// The URL of the store that is to be verified; `None` for files. The error says what to write instead.
pub(crate) fn verify_of<'a>(
    places: &'a [String],
    full: bool,
    store: &StoreArgs,
) -> Result<Option<&'a str>, &'static str> {
    match places {
        [url] if is_url(url) => Ok(Some(url)),
        places if places.iter().any(|place| is_url(place)) => Err("a store is verified alone: name one URL"),
        _ if full || !store.is_empty() => {
            Err("these options belong to the URL of a store; a file is always read whole")
        }
        _ => Ok(None),
    }
}

fn is_url(place: &str) -> bool {
    place.contains("://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_store_are_refused_for_a_file_and_a_store_is_not_printed_unasked() {
        let (none, scan) = (
            StoreArgs::default(),
            StoreArgs {
                scan: true,
                ..StoreArgs::default()
            },
        );
        let (all, some) = (
            TimesArgs::default(),
            TimesArgs {
                from: Some(When::At(1)),
                to: None,
            },
        );
        let url = "s3://bucket/prefix";
        assert!(matches!(cat_of("x.zst", None, &all, &none), Ok(CatOf::File(_))));
        assert!(matches!(cat_of(url, Some("k"), &all, &none), Ok(CatOf::Object("k"))));
        assert!(matches!(cat_of(url, None, &some, &scan), Ok(CatOf::Range)));
        for (place, key, range, store) in [
            ("x.zst", Some("k"), &all, &none),
            ("x.zst", None, &some, &none),
            ("x.zst", None, &all, &scan),
            (url, None, &all, &none),
            (url, Some("k"), &some, &none),
            (url, Some("k"), &all, &scan),
        ] {
            assert!(
                cat_of(place, key, range, store).is_err(),
                "{place} {key:?} {range:?} {store:?}"
            );
        }
        let places = |places: &[&str]| places.iter().map(|place| (*place).to_owned()).collect::<Vec<_>>();
        assert_eq!(verify_of(&places(&[url]), true, &scan), Ok(Some(url)));
        assert_eq!(verify_of(&places(&["x", "y"]), false, &none), Ok(None));
        for (wrong, full, store) in [
            (&[url, "x"][..], false, &none),
            (&["x"], true, &none),
            (&["x"], false, &scan),
        ] {
            assert!(verify_of(&places(wrong), full, store).is_err(), "{wrong:?}");
        }
    }
}
