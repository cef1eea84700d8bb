//! A vault that finds itself fenced while it runs: it takes a new epoch by itself, loses nothing that was acknowledged,
//! and acknowledges nothing that it took before.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gophership_vault::ids::Lsn;
use gophership_vault::{AppendError, ShardWriter, Vault};
use support::{FaultyLedger, Mood, meta, open, options, payload, payloads, sealed, wait, wait_acked, wait_recovered};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a client sent, and what of it was acknowledged.
#[derive(Default)]
struct Sent {
    /// How often each payload was taken.
    times: BTreeMap<Vec<u8>, usize>,
    acked: Vec<Vec<u8>>,
}

/// A client of one shard, which says again what is refused, as an ingest worker has its clients do.
struct Client {
    writer: ShardWriter,
    sent: Sent,
}

impl Client {
    fn new(writer: ShardWriter) -> Self {
        Self {
            writer,
            sent: Sent::default(),
        }
    }

    /// Sends these until all are acknowledged.
    fn store(&mut self, mut payloads: Vec<Vec<u8>>) {
        let deadline = Instant::now() + PATIENCE;
        while !payloads.is_empty() {
            assert!(Instant::now() < deadline, "ingest never went on");
            let mut waiting: Vec<(Lsn, Vec<u8>)> = Vec::new();
            let mut refused = Vec::new();
            for payload in payloads {
                match self
                    .writer
                    .must_append(&meta(1), payload.len(), std::iter::once(&payload[..]))
                {
                    Ok(lsn) => {
                        *self.sent.times.entry(payload.clone()).or_default() += 1;
                        waiting.push((lsn, payload));
                    }
                    Err(AppendError::Fenced | AppendError::NoSpare) => refused.push(payload),
                    Err(error) => panic!("{error}"),
                }
            }
            self.answer(waiting, &mut refused);
            payloads = refused;
            if !payloads.is_empty() {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Waits until each is acknowledged or refused.
    fn answer(&mut self, mut waiting: Vec<(Lsn, Vec<u8>)>, refused: &mut Vec<Vec<u8>>) {
        let watermark = self.writer.watermark();
        loop {
            let is_fenced = watermark.fenced().is_some();
            let acked = watermark.acked();
            let (done, left): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(lsn, _)| Some(*lsn) <= acked);
            self.sent.acked.extend(done.into_iter().map(|(_, payload)| payload));
            waiting = left;
            if is_fenced {
                refused.extend(waiting.into_iter().map(|(_, payload)| payload));
                self.writer.must_renew();
                return;
            }
            if waiting.is_empty() {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Sent {
    /// Compares what is read with what was sent.
    fn check(&self, stored: &[Vec<u8>]) {
        let mut counts: BTreeMap<&[u8], usize> = BTreeMap::new();
        for payload in stored {
            *counts.entry(payload).or_default() += 1;
        }
        for payload in &self.acked {
            assert!(counts.contains_key(&payload[..]), "an acknowledged entry is lost");
        }
        for (payload, count) in counts {
            let sent = self.times.get(payload).copied().unwrap_or(0);
            assert!(
                count <= sent,
                "an entry is there {count} times, and was sent {sent} times"
            );
        }
    }
}

/// Has the clients stop, also where the test fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Another boot of the node takes over, and the vault finds out.
fn fence_at_rest(ledger: &FaultyLedger, vault: &Vault, writer: &mut ShardWriter) {
    ledger.next_epoch();
    let watermark = writer.watermark();
    wait("the fence", || {
        // A roll asks for a further spare.
        vault.seal_open(None);
        writer.must_tick();
        watermark.fenced().is_some()
    });
}

/// Another boot of the node takes over, and the vault takes a later epoch, under load.
fn fence(ledger: &FaultyLedger, vault: &Vault) {
    let other = ledger.next_epoch();
    wait("an epoch above the other one", || vault.epoch() > other);
}

#[test]
fn a_vault_that_is_fenced_under_load_goes_on_by_itself_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, writers) = open(dir.path(), &ledger, &options(2));
    let (stop, stored) = (AtomicBool::new(false), AtomicU64::new(0));
    let clients: Vec<Client> = thread::scope(|scope| {
        let (stop, stored) = (&stop, &stored);
        let of_shard = writers.into_iter().zip(0u64..).map(|(writer, shard)| {
            scope.spawn(move || {
                let mut client = Client::new(writer);
                let mut n = shard << 32;
                while !stop.load(Ordering::Relaxed) {
                    client.store((n..n + 8).map(|n| payload(n, 1000)).collect());
                    n += 8;
                    stored.fetch_add(8, Ordering::Relaxed);
                }
                client
            })
        });
        let clients: Vec<_> = of_shard.collect();
        let end = StopAtEnd(stop);
        for _ in 0..5 {
            let before = stored.load(Ordering::Relaxed);
            fence(&ledger, &vault);
            wait("ingest to go on", || stored.load(Ordering::Relaxed) > before + 400);
        }
        drop(end);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    wait_recovered(&vault);
    // One at least for each epoch: none of them was written by two.
    assert!(sealed(&vault).len() >= 10);
    let (writers, sent): (Vec<_>, Vec<_>) = clients.into_iter().map(|client| (client.writer, client.sent)).unzip();
    let check = |vault: &Vault| {
        for (shard, sent) in (0u16..).zip(&sent) {
            sent.check(&payloads(vault, shard));
        }
    };
    check(&vault);
    vault.close(writers);
    let (vault, writers) = open(dir.path(), &ledger, &options(2));
    wait_recovered(&vault);
    check(&vault);
    vault.close(writers);
}

#[test]
fn what_was_taken_before_a_fence_is_never_acknowledged_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let mut writer = writers.remove(0);
    let first = support::append(&mut writer, 1, b"before");
    wait_acked(&writer, first);
    let watermark = writer.watermark();
    fence_at_rest(&ledger, &vault, &mut writer);
    let acked = watermark.acked();
    let refused = writer.must_append(&meta(2), 5, std::iter::once(&b"never"[..]));
    assert_eq!(refused, Err(AppendError::Fenced));
    wait("a file of the new epoch", || writer.must_renew());
    assert_eq!((watermark.acked(), watermark.fenced()), (acked, None));
    let later = support::append(&mut writer, 3, b"after");
    wait_acked(&writer, later);
    assert!(later.index() > first.index(), "a new epoch writes to a new file");
    wait_recovered(&vault);
    assert_eq!(payloads(&vault, 0), [b"before".to_vec(), b"after".to_vec()]);
    vault.close(vec![writer]);
}

#[test]
fn a_new_epoch_is_asked_for_until_it_is_granted() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let mut client = Client::new(writers.remove(0));
    client.store(vec![b"first".to_vec()]);
    // What is granted unheard is of no use to anybody.
    for mood in [Mood::Unheard, Mood::Refusing] {
        let asked = ledger.epochs_asked();
        ledger.grant_epochs(mood);
        if mood == Mood::Unheard {
            fence_at_rest(&ledger, &vault, &mut client.writer);
        }
        wait("it to ask again", || ledger.epochs_asked() > asked + 1);
        assert!(!client.writer.must_renew());
    }
    ledger.grant_epochs(Mood::Willing);
    client.store(vec![b"second".to_vec()]);
    wait_recovered(&vault);
    client.sent.check(&payloads(&vault, 0));
    assert_eq!(client.sent.acked.len(), 2);
    vault.close(vec![client.writer]);
}

#[test]
fn a_reader_that_follows_waits_for_the_recovery_of_a_fenced_file_and_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let mut client = Client::new(writers.remove(0));
    let shard = client.writer.shard();
    let mut follower = vault.follower(shard, None);
    let mut followed = Vec::new();
    let mut n = 0;
    let mut store = |client: &mut Client| {
        client.store((n..n + 10).map(|n| payload(n, 1000)).collect());
        n += 10;
    };
    for _ in 0..3 {
        store(&mut client);
        wait("spares", || vault.status().open_segments >= 3);
        // The file that takes entries is fenced while it holds some.
        ledger.be(Mood::Refusing);
        ledger.next_epoch();
        let (first, watermark) = (client.writer.last_written().unwrap(), client.writer.watermark());
        vault.seal_open(None);
        client.writer.must_tick();
        store(&mut client);
        assert!(
            client.writer.last_written().unwrap().index() > first.index(),
            "it rolled"
        );
        follower.extend(vault.readable(shard));
        let behind = client.sent.acked.len() - followed.len();
        followed.extend(follower.by_ref().take(behind - 3).map(|read| read.unwrap().payload));
        ledger.be(Mood::Willing);
        wait("the fence", || watermark.fenced().is_some());
        wait("a file of the new epoch", || client.writer.must_renew());
        store(&mut client);
        follower.extend(vault.readable(shard));
        followed.extend(follower.by_ref().map(|read| read.unwrap().payload));
    }
    wait("the end", || {
        follower.extend(vault.readable(shard));
        followed.extend(follower.by_ref().map(|read| read.unwrap().payload));
        followed.len() == client.sent.acked.len()
    });
    assert_eq!(followed, client.sent.acked, "each once, in order");
    vault.close(vec![client.writer]);
}
