use std::fmt;
use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use gophership_vault::entry::{EntryMeta, EntryState};
use gophership_vault::ids::{ClusterId, SegmentId};
use gophership_vault::time::TimeRange;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};
use tempfile::TempDir;

use super::*;
use crate::limits;
use crate::object::tests::{Entry, entry, header, noise, number, object, segment};
use crate::round::{Listed, Manifest};
use crate::store::tests::server::{Fault, Server};
use crate::store::tests::{in_folder, on, over};
use crate::store::{ArchiveStore, StoreError, StoreReader, manifest_key};

const EVERYTHING: TimeRange = TimeRange { min: 0, max: u64::MAX };

/// Objects in memory, with a count of the bytes that were read, and a list that can break.
#[derive(Debug)]
struct Counted {
    inner: InMemory,
    read_bytes: AtomicU64,
    /// Names after which the next list fails; 0 for none that does.
    list_breaks_after: AtomicUsize,
}

impl Counted {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            read_bytes: AtomicU64::new(0),
            list_breaks_after: AtomicUsize::new(0),
        })
    }

    fn breaking(
        &self,
        found: BoxStream<'static, object_store::Result<ObjectMeta>>,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        match self.list_breaks_after.swap(0, Ordering::Relaxed) {
            0 => found,
            names => {
                let source = "the connection broke".into();
                let error = object_store::Error::Generic { store: "test", source };
                found.take(names).chain(stream::iter([Err(error)])).boxed()
            }
        }
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Counted {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let is_head = options.head;
        let found = self.inner.get_opts(path, options).await?;
        if !is_head {
            self.read_bytes
                .fetch_add(found.range.end - found.range.start, Ordering::Relaxed);
        }
        Ok(found)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.breaking(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.breaking(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn cluster() -> ClusterId {
    header(1).cluster_id
}

fn key(name: &str) -> String {
    format!("v1/logs/year=2026/month=11/day=23/hour=02/{name}.binpb.zst")
}

/// Puts an object of segments with these indexes and entries.
async fn put_object(store: &ArchiveStore, name: &str, segments: &[(u32, &[Entry])]) -> Listed {
    let dir = TempDir::new().unwrap();
    let paths: Vec<_> = segments
        .iter()
        .map(|(index, entries)| segment(dir.path(), *index, entries, vec![]))
        .collect();
    put_bytes(store, name, object(&paths, 1)).await
}

/// Puts an object of these bytes, and says what a manifest would.
async fn put_bytes(store: &ArchiveStore, name: &str, bytes: Vec<u8>) -> Listed {
    let (index, _, _) = crate::fuzzing::read(&bytes).unwrap();
    let times = |of: fn(&crate::object::Member) -> Option<TimeRange>| {
        index.members().iter().filter_map(of).reduce(TimeRange::union).unwrap()
    };
    let listed = Listed {
        key: key(name),
        bytes: bytes.len() as u64,
        digest: *blake3::hash(&bytes).as_bytes(),
        entries: index.members().iter().map(|member| member.stats.entries).sum(),
        records: index.members().iter().map(|member| member.stats.records).sum(),
        received: times(|member| member.stats.received),
        event: times(|member| member.stats.event),
        segments: index.members().iter().map(|member| member.header.id).collect(),
    };
    store.put(&listed.key, &Bytes::from(bytes)).await.unwrap();
    listed
}

/// Puts a manifest, and returns its name and its bytes.
async fn put_manifest(store: &ArchiveStore, seq: u64, before: &[u8], objects: Vec<Listed>) -> (String, Vec<u8>) {
    let manifest = Manifest {
        cluster: cluster(),
        store: store.id().0,
        seq,
        prev: match before {
            [] => [0; 32],
            before => *blake3::hash(before).as_bytes(),
        },
        prev_store: store.id().0,
        attempt: 1,
        objects,
    };
    let bytes = manifest.encode();
    let key = manifest_key(cluster(), seq, blake3::hash(&bytes).as_bytes());
    store.put(&key, &Bytes::from(bytes.clone())).await.unwrap();
    (key, bytes)
}

/// Three objects in two manifests.
async fn three(store: &ArchiveStore) -> [Listed; 3] {
    let small = |first: u32| -> Vec<Entry> { (first..first + 10).map(|n| entry(n, noise(n, 300))).collect() };
    let a = put_object(store, "a", &[(1, &small(1)), (2, &small(100))]).await;
    let b = put_object(store, "b", &[(4, &small(300))]).await;
    let c = put_object(store, "c", &[(3, &small(200))]).await;
    let (_, first) = put_manifest(store, 1, b"", vec![a.clone(), b.clone()]).await;
    put_manifest(store, 2, &first, vec![c.clone()]).await;
    [a, b, c]
}

async fn found(objects: impl Stream<Item = Result<Found, ContentsFault>>) -> (Vec<Found>, Vec<String>) {
    let all: Vec<_> = objects.collect().await;
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for one in all {
        match one {
            Ok(one) => found.push(one),
            Err(fault) => faults.push(fault.to_string()),
        }
    }
    found.sort_by(|a: &Found, b| a.key.cmp(&b.key));
    (found, faults)
}

/// The entries of a range, and the text of what was lost, in the order in which they come.
async fn entries(
    store: &StoreReader,
    objects: impl Stream<Item = Result<Found, ContentsFault>>,
    range: TimeRange,
) -> (Vec<(SegmentId, EntryMeta, Vec<u8>)>, Vec<String>) {
    let (mut given, mut lost) = (Vec::new(), Vec::new());
    let plan = RangePlan::of(store, objects, None, range, |fault| match fault {
        PlanFault::Contents(fault) => lost.push(fault.to_string()),
        PlanFault::Object(key, error) => lost.push(format!("{key}: {error}")),
    })
    .await;
    plan.read(store, |part| {
        match part {
            Part::Entries(member, entries) => {
                given.extend(
                    entries
                        .iter()
                        .map(|entry| (member.header.id, entry.meta, entry.payload.to_vec())),
                );
            }
            Part::Lost {
                key,
                segment,
                entries,
                error,
            } => lost.push(format!("{key} {segment} {entries:?}: {error}")),
        }
        ControlFlow::Continue(())
    })
    .await;
    (given, lost)
}

async fn has_its_contents(store: &ArchiveStore, reader: &StoreReader) {
    let objects = three(store).await;
    assert_eq!(clusters(reader).await.unwrap(), [cluster()]);
    let (by_manifest, faults) = found(listed(reader, cluster())).await;
    assert_eq!(faults, [""; 0]);
    let expected: Vec<_> = objects.iter().map(|object| Some(object.clone())).collect();
    assert_eq!(
        by_manifest.iter().map(|found| found.listed.clone()).collect::<Vec<_>>(),
        expected
    );
    let (by_scan, faults) = found(scan(reader)).await;
    assert_eq!(faults, [""; 0]);
    let plain = |all: &[Found]| {
        all.iter()
            .map(|found| (found.key.clone(), found.bytes))
            .collect::<Vec<_>>()
    };
    assert_eq!(plain(&by_scan), plain(&by_manifest));
    for object in by_manifest.iter().chain(&by_scan) {
        assert!(matches!(check_length(reader, object).await, Condition::Whole));
        let mut read = 0;
        let condition = check_bytes(reader, object, |bytes| read += bytes).await;
        assert!(matches!(condition, Condition::Whole), "{condition:?}");
        assert_eq!(read, object.bytes, "every byte, once");
    }
    let gone = Found {
        key: key("gone"),
        ..by_manifest[0].clone()
    };
    assert!(matches!(check_length(reader, &gone).await, Condition::Missing));
    assert!(reader.is_the_same().await.unwrap());
    let (from_manifests, lost) = entries(reader, listed(reader, cluster()), EVERYTHING).await;
    assert_eq!((from_manifests.len(), lost.len()), (40, 0), "{lost:?}");
    assert_eq!(entries(reader, scan(reader), EVERYTHING).await.0, from_manifests);
}

#[tokio::test]
async fn a_folder_a_bucket_and_memory_give_their_contents() {
    let dir = TempDir::new().unwrap();
    let (store, reader) = in_folder(dir.path()).await;
    has_its_contents(&store, &reader).await;
    let (store, reader) = over(Counted::new()).await;
    has_its_contents(&store, &reader).await;
    let server = Server::start().await;
    let (store, reader) = on(&server).await;
    has_its_contents(&store, &reader).await;
}

#[tokio::test]
async fn a_list_that_breaks_off_goes_on_where_it_was() {
    let objects = Counted::new();
    let (store, reader) = over(objects.clone()).await;
    three(&store).await;
    let whole = found(scan(&reader)).await;
    assert_eq!((whole.0.len(), whole.1.len()), (3, 0));
    objects.list_breaks_after.store(2, Ordering::Relaxed);
    assert_eq!(found(scan(&reader)).await, whole);
    assert_eq!(objects.list_breaks_after.load(Ordering::Relaxed), 0, "it broke");
}

#[tokio::test]
async fn a_manifest_that_is_gone_or_changed_is_named_and_the_others_are_read() {
    let dir = TempDir::new().unwrap();
    let (store, reader) = in_folder(dir.path()).await;
    let [a, b, c] = three(&store).await;
    let folder = dir.path().join(format!("v1/manifests/{}", cluster().0));
    let of = |seq: &str| {
        let mut names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        names
            .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(seq))
            .unwrap()
    };
    fs::write(folder.join("superseded-by"), "no manifest").unwrap();
    let first = of("1-");
    let whole = fs::read(&first).unwrap();
    fs::write(&first, &whole[1..]).unwrap();
    let (left, faults) = found(listed(&reader, cluster())).await;
    assert_eq!(left.iter().map(|found| &found.key).collect::<Vec<_>>(), [&c.key]);
    let name = first.file_name().unwrap().to_str().unwrap();
    assert!(faults.len() == 1 && faults[0].contains(name), "{faults:?}");

    fs::remove_file(&first).unwrap();
    let (left, faults) = found(listed(&reader, cluster())).await;
    assert_eq!(left.iter().map(|found| &found.key).collect::<Vec<_>>(), [&c.key]);
    assert!(
        faults.len() == 1 && faults[0].contains("manifests 1 to 1 "),
        "{faults:?}"
    );

    fs::write(&first, &whole).unwrap();
    let second = of("2-");
    fs::write(&second, "{}").unwrap();
    let (left, faults) = found(listed(&reader, cluster())).await;
    assert_eq!(
        left.iter().map(|found| &found.key).collect::<Vec<_>>(),
        [&a.key, &b.key],
        "what is behind a fault is read"
    );
    let name = second.file_name().unwrap().to_str().unwrap();
    assert!(faults.len() == 1 && faults[0].contains(name), "{faults:?}");
    fs::remove_file(&second).unwrap();
    let (left, faults) = found(listed(&reader, cluster())).await;
    assert_eq!(
        left.iter().map(|found| &found.key).collect::<Vec<_>>(),
        [&a.key, &b.key]
    );
    assert_eq!(faults, [""; 0], "that the newest one is gone only the catalogue knows");

    fs::remove_file(&first).unwrap();
    assert_eq!(found(listed(&reader, cluster())).await, (vec![], vec![]));
    assert_eq!(found(scan(&reader)).await.0.len(), 3);
}

#[tokio::test]
async fn i1_what_the_store_does_not_give_is_unread_and_says_why() {
    let server = Server::start().await;
    let (store, reader) = on(&server).await;
    let object = Found {
        key: key("a"),
        bytes: put_object(&store, "a", &[(1, &[entry(1, noise(1, 9000))])]).await.bytes,
        listed: None,
    };
    for (status, code) in [(403, "AccessDenied"), (403, "InvalidObjectState")] {
        // The length is asked for without a body, so what is said of it is a status alone.
        server.plan("GET", [Fault::Answer(status, code)]);
        let condition = check_bytes(&reader, &object, |_| ()).await;
        let Condition::Unread(ReadError::Store(error)) = condition else {
            panic!("{condition:?}")
        };
        let is_it = match code {
            "InvalidObjectState" => matches!(error, StoreError::Frozen { .. }),
            _ => matches!(error, StoreError::Denied { .. }),
        };
        assert!(is_it, "{code}: {error}");
    }
    server.plan(
        "GET",
        [const { Fault::Answer(500, "InternalError") }; limits::STORE_TRIES],
    );
    let condition = check_bytes(&reader, &object, |_| ()).await;
    assert!(
        matches!(
            condition,
            Condition::Unread(ReadError::Store(StoreError::Temporary { .. }))
        ),
        "{condition:?}"
    );
    assert!(matches!(check_bytes(&reader, &object, |_| ()).await, Condition::Whole));
}

#[tokio::test]
async fn every_kind_of_damage_to_an_object_is_found_by_reading_it() {
    let dir = TempDir::new().unwrap();
    let (store, reader) = in_folder(dir.path()).await;
    let [a, ..] = three(&store).await;
    let path = dir.path().join(&a.key);
    let whole = fs::read(&path).unwrap();
    let object = |listed: &Listed| Found {
        key: a.key.clone(),
        bytes: listed.bytes,
        listed: Some(listed.clone()),
    };
    let says = async |listed: &Listed, text: &str| {
        let condition = check_bytes(&reader, &object(listed), |_| ()).await;
        let Condition::Damaged(faults) = &condition else {
            panic!("{text}: {condition:?}")
        };
        assert!(
            faults.iter().any(|fault| fault.to_string().contains(text)),
            "{text}: {faults:?}"
        );
    };
    for (at, text) in [
        (0, "header frame"),
        (200, "offset 20: "),
        (whole.len() - 500, "index frame"),
        (whole.len() - 1, "no seek table"),
        (whole.len() - 20, "does not fit the index"),
    ] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        says(&a, text).await;
        assert!(
            matches!(check_length(&reader, &object(&a)).await, Condition::Whole),
            "a length shows no change"
        );
    }
    fs::write(&path, &whole[1..]).unwrap();
    says(&a, "its manifest says").await;
    assert!(matches!(
        check_length(&reader, &object(&a)).await,
        Condition::Damaged(_)
    ));
    fs::write(&path, &whole).unwrap();
    assert!(matches!(
        check_bytes(&reader, &object(&a), |_| ()).await,
        Condition::Whole
    ));
    says(
        &Listed {
            digest: [1; 32],
            ..a.clone()
        },
        "do not have the digest",
    )
    .await;
    says(
        &Listed {
            segments: vec![],
            ..a.clone()
        },
        "other segments",
    )
    .await;
}

/// Entries of one segment, each `step` after the one before, from `from` on, all in nanoseconds.
fn timed(seed: u32, count: u32, from: u64, step: u64, bytes: usize, state: EntryState) -> Vec<Entry> {
    let one = |n: u32| {
        let at = from + u64::from(n - 1) * step;
        let (_, meta, payload) = entry(1, noise(seed + n, bytes));
        let is_deferred = state.contains(EntryState::DEFERRED);
        let event = if is_deferred { 0 } else { at };
        let meta = EntryMeta {
            received_ns: at,
            min_event_ns: event,
            max_event_ns: event,
            record_count: if is_deferred { 0 } else { 1 },
            state,
            ..meta
        };
        (number(n), meta, payload)
    };
    (1..=count).map(one).collect()
}

#[tokio::test]
async fn a_minute_of_a_day_costs_no_more_than_a_hundredth_of_its_bytes() {
    const OBJECTS: u32 = 144;
    const STEP: u64 = 86_400_000_000_000 / (OBJECTS as u64 * 128);
    let objects = Counted::new();
    let (store, reader) = over(objects.clone()).await;
    let (mut all, mut total) = (Vec::new(), 0);
    for n in 0..OBJECTS {
        let (seed, from) = (n * 1000, u64::from(n) * 128 * STEP);
        let entries = timed(seed, 128, from, STEP, 8192, EntryState::PLAIN);
        let listed = put_object(&store, &n.to_string(), &[(n + 1, &entries)]).await;
        total += listed.bytes;
        all.push(listed);
    }
    put_manifest(&store, 1, b"", all).await;
    let minute = TimeRange {
        min: 70 * 128 * STEP + 10_000_000_000,
        max: 70 * 128 * STEP + 69_999_999_999,
    };
    objects.read_bytes.store(0, Ordering::Relaxed);
    let (given, lost) = entries(&reader, listed(&reader, cluster()), minute).await;
    let read = objects.read_bytes.load(Ordering::Relaxed);
    assert_eq!(lost, [""; 0]);
    let expected: Vec<_> = timed(70_000, 128, 70 * 128 * STEP, STEP, 8192, EntryState::PLAIN)
        .into_iter()
        .filter(|(_, meta, _)| meta.event_range().overlaps(minute))
        .map(|(_, meta, payload)| (header(71).id, meta, payload))
        .collect();
    assert!(
        given == expected && given.len() > 10,
        "{} entries of {}",
        given.len(),
        expected.len()
    );
    assert!(total > 100 << 20 && read * 100 <= total, "{read} bytes of {total}");
}

#[tokio::test]
async fn i1_i2_a_range_is_given_in_order_once_whatever_object_has_it() {
    let (store, reader) = over(Counted::new()).await;
    // Segments of one log in an order that no list of objects has, one of them in two objects.
    let of = |index: u32, state| timed(index * 100, 3, u64::from(index) * 1000, 10, 50, state);
    let plain = |index| of(index, EntryState::PLAIN);
    put_object(&store, "a", &[(1, &plain(1)), (4, &plain(4))]).await;
    put_object(&store, "b", &[(3, &of(3, EntryState::DEFERRED)), (2, &plain(2))]).await;
    put_object(&store, "c", &[(2, &plain(2)), (5, &plain(5))]).await;
    let range = TimeRange { min: 1010, max: 4000 };
    let (given, lost) = entries(&reader, scan(&reader), range).await;
    assert_eq!(lost, [""; 0]);
    let expected = [1, 2, 3, 4].into_iter().flat_map(|index| {
        let state = if index == 3 {
            EntryState::DEFERRED
        } else {
            EntryState::PLAIN
        };
        let inside = of(index, state)
            .into_iter()
            .filter(|(_, meta, _)| range.overlaps(meta.event_range()));
        inside.map(move |(_, meta, payload)| (header(index).id, meta, payload))
    });
    assert_eq!(given, expected.collect::<Vec<_>>());
    assert_eq!(given.len(), 2 + 3 + 3 + 1);
}

#[tokio::test]
async fn i3_a_damaged_block_and_a_lost_object_are_named_and_the_rest_is_given() {
    let dir = TempDir::new().unwrap();
    let (store, reader) = in_folder(dir.path()).await;
    let many = timed(1, 40, 1000, 1, 100_000, EntryState::PLAIN);
    let a = put_object(&store, "a", &[(1, &many)]).await;
    let b = put_object(&store, "b", &[(2, &timed(2, 2, 5000, 1, 50, EntryState::PLAIN))]).await;
    put_manifest(&store, 1, b"", vec![a.clone(), b.clone()]).await;
    let path = dir.path().join(&a.key);
    let mut bytes = fs::read(&path).unwrap();
    let (index, _, _) = crate::fuzzing::read(&bytes).unwrap();
    assert!(index.blocks().len() > 2, "{} blocks", index.blocks().len());
    let hit = &index.blocks()[1];
    bytes[hit.offset as usize + 9000] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (given, lost) = entries(&reader, listed(&reader, cluster()), EVERYTHING).await;
    assert_eq!(given.len(), 40 + 2 - hit.entries as usize);
    let [lost] = lost.as_slice() else { panic!("{lost:?}") };
    let named = format!("{} 2/3/1 Some(({:?}, {:?}))", a.key, hit.first, hit.last);
    assert!(lost.starts_with(&named) && lost.contains("CRC"), "{lost}");

    fs::remove_file(&path).unwrap();
    let (given, lost) = entries(&reader, listed(&reader, cluster()), EVERYTHING).await;
    assert_eq!(given.len(), 2);
    assert!(lost.len() == 1 && lost[0].starts_with(&a.key), "{lost:?}");
    fs::write(&path, &bytes[..2000]).unwrap();
    let (_, lost) = entries(&reader, listed(&reader, cluster()), EVERYTHING).await;
    assert!(lost.len() == 1 && lost[0].contains("has 2000 bytes"), "{lost:?}");
}
