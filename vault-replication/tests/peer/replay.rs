//! Logs of a peer, read for a replay.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gophership_vault::StoredEntry;
use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{EntryNumber, Lsn, SegmentIndex, ShardId, TenantId};
use gophership_vault::time::TimeRange;
use gophership_vault_replication::peer::limits::REPLAY_CALLS_MAX;
use gophership_vault_replication::peer::{Handlers, PeerClient, PeerError, ReplayFound, ReplayHandler, ReplayReading};
use tokio::sync::mpsc;

use crate::support::*;

/// Entries of a peer, as many as are sent in several parts and over two segments.
fn entries() -> Vec<StoredEntry> {
    let entry = |n: u32| StoredEntry {
        node: node(1),
        shard: ShardId::new(3),
        lsn: Lsn::at(
            SegmentIndex::new(1 + n / 150).unwrap(),
            EntryNumber::new(1 + n % 150).unwrap(),
        ),
        meta: EntryMeta {
            received_ns: n.into(),
            min_event_ns: 7,
            max_event_ns: 8,
            record_count: n,
            tenant: TenantId::DEFAULT,
            encoding: Encoding::Identity,
            state: EntryState::PLAIN,
        },
        payload: vec![n as u8; 16 << 10],
    };
    (0..300).map(entry).collect()
}

/// The part of a plan whose reading never ends by itself.
const ENDLESS: &[u8] = b"endless";
/// The part of a plan whose reading waits for something that does not come.
const WAITS: &[u8] = b"waits";

/// The part of a plan whose reading panics in its middle.
const PANICS: &[u8] = b"panics";

/// A reading that was asked for: the part, the time, the position.
type Asked = (Vec<u8>, TimeRange, Option<Lsn>);

struct Reads {
    asked: Mutex<Vec<Asked>>,
    fails: bool,
    /// Told when a reading was given up because nobody takes what it finds.
    given_up: mpsc::UnboundedSender<()>,
}

impl ReplayHandler for Reads {
    fn plan(&self, time: TimeRange) -> Result<Vec<Vec<u8>>, String> {
        assert_eq!(time, TimeRange { min: 1, max: 9 });
        Ok(vec![b"one".to_vec(), b"two".to_vec()])
    }

    fn read(&self, reading: ReplayReading<'_>, take: &mut dyn FnMut(ReplayFound) -> bool) -> Result<(), String> {
        let ReplayReading {
            part,
            time,
            done,
            wanted,
        } = reading;
        self.asked.lock().unwrap().push((part.to_vec(), time, done));
        if part == WAITS {
            let begun = Instant::now();
            while wanted() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !wanted() {
                let _ = self.given_up.send(());
            }
            return Ok(());
        }
        let times = if part == ENDLESS { usize::MAX } else { 1 };
        for entry in std::iter::repeat_n(entries(), times).flatten() {
            if !take(ReplayFound::Entry(entry)) {
                let _ = self.given_up.send(());
                return Ok(());
            }
        }
        assert!(part != PANICS, "a fault of the program");
        let all = take(ReplayFound::Missing(b"a hole".to_vec()));
        assert!(all || self.fails);
        if self.fails {
            return Err("the disk".to_owned());
        }
        Ok(())
    }
}

fn reads(fails: bool) -> (Arc<Reads>, Handlers, mpsc::UnboundedReceiver<()>) {
    let (given_up, told) = mpsc::unbounded_channel();
    let reads = Arc::new(Reads {
        asked: Mutex::default(),
        fails,
        given_up,
    });
    let handlers = Handlers {
        replay: Arc::clone(&reads) as Arc<dyn ReplayHandler>,
        ..nothing()
    };
    (reads, handlers, told)
}

#[test]
fn a_log_is_read_as_the_peer_finds_it() {
    runtime().block_on(async {
        let authority = Authority::new();
        let (reads, handlers, _told) = reads(false);
        let (server, member) = serve(&setup(1, &authority), handlers);
        let client = PeerClient::new(setup(2, &authority));
        let time = TimeRange { min: 1, max: 9 };
        let plan = client.replay_plan(node(1), &member, time, PATIENCE).await.unwrap();
        assert_eq!(plan, [b"one".to_vec(), b"two".to_vec()]);
        let done = Some(entries()[4].lsn);
        let mut reading = client
            .replay_read(node(1), &member, &plan[1], time, done)
            .await
            .unwrap();
        let mut found = Vec::new();
        while let Some(some) = reading.next().await.unwrap() {
            found.extend(some);
        }
        let missing = found.pop();
        assert_eq!(missing, Some(ReplayFound::Missing(b"a hole".to_vec())));
        let all: Vec<ReplayFound> = entries().into_iter().map(ReplayFound::Entry).collect();
        assert!(found == all, "{} of {}", found.len(), all.len());
        assert_eq!(*reads.asked.lock().unwrap(), [(b"two".to_vec(), time, done)]);
        server.stop().await;
    });
}

#[test]
fn a_log_that_could_not_be_read_to_its_end_ends_with_an_error() {
    runtime().block_on(async {
        let authority = Authority::new();
        let (_reads, handlers, _told) = reads(true);
        let (server, member) = serve(&setup(1, &authority), handlers);
        let client = PeerClient::new(setup(2, &authority));
        for (part, expected) in [(&b""[..], "the disk"), (PANICS, "the reading has panicked")] {
            let mut reading = client
                .replay_read(node(1), &member, part, TimeRange::ALL, None)
                .await
                .unwrap();
            let error = loop {
                match reading.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("a log that was not read to its end has one"),
                    Err(error) => break error,
                }
            };
            assert!(
                matches!(&error, PeerError::Unanswered { why, .. } if why.starts_with(expected)),
                "{error}"
            );
        }
        server.stop().await;
    });
}

#[test]
fn a_reading_that_nobody_takes_is_given_up() {
    runtime().block_on(async {
        let authority = Authority::new();
        let (_reads, handlers, mut told) = reads(false);
        let (server, member) = serve(&setup(1, &authority), handlers);
        let client = PeerClient::new(setup(2, &authority));
        let mut reading = client
            .replay_read(node(1), &member, ENDLESS, TimeRange::ALL, None)
            .await
            .unwrap();
        reading.next().await.unwrap();
        drop(reading);
        soon("the end of the reading", told.recv()).await;
        server.stop().await;
    });
}

#[test]
fn readings_whose_takers_stand_still_hold_up_no_other() {
    runtime().block_on(async {
        let authority = Authority::new();
        let (_reads, handlers, _told) = reads(false);
        let (server, member) = serve(&setup(1, &authority), handlers);
        let client = PeerClient::new(setup(2, &authority));
        let read = |part: &'static [u8]| client.replay_read(node(1), &member, part, TimeRange::ALL, None);
        let mut standing = Vec::new();
        for _ in 0..REPLAY_CALLS_MAX - 1 {
            let mut reading = read(ENDLESS).await.unwrap();
            reading.next().await.unwrap();
            standing.push(reading);
        }
        let mut last = read(b"two").await.unwrap();
        let to_its_end = async { while last.next().await.unwrap().is_some() {} };
        soon("the end of the last reading", to_its_end).await;
        drop(standing);
        server.stop().await;
    });
}

#[test]
fn a_reading_that_waits_ends_when_its_caller_is_gone() {
    runtime().block_on(async {
        let authority = Authority::new();
        let (_reads, handlers, mut told) = reads(false);
        let (server, member) = serve(&setup(1, &authority), handlers);
        let client = PeerClient::new(setup(2, &authority));
        let reading = client
            .replay_read(node(1), &member, WAITS, TimeRange::ALL, None)
            .await
            .unwrap();
        drop(reading);
        soon("the end of the reading", told.recv()).await;
        server.stop().await;
    });
}

#[test]
fn a_peer_that_stops_ends_a_reading_with_an_error() {
    runtime().block_on(async {
        let authority = Authority::new();
        let (_reads, handlers, _told) = reads(false);
        let (server, member) = serve(&setup(1, &authority), handlers);
        let client = PeerClient::new(setup(2, &authority));
        let mut reading = client
            .replay_read(node(1), &member, ENDLESS, TimeRange::ALL, None)
            .await
            .unwrap();
        reading.next().await.unwrap();
        let stopping = tokio::spawn(server.stop());
        let end = loop {
            match reading.next().await {
                Ok(Some(_)) => {}
                end => break end,
            }
        };
        assert!(end.is_err(), "a log that was not read to its end has one: {end:?}");
        stopping.await.unwrap();
    });
}
