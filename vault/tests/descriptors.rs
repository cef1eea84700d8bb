//! A process that is short of descriptors. This test has a binary of its own, since the limit belongs to the process.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod support;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use gophership_vault::ids::ShardId;
use gophership_vault::time::TimeRange;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::*;

const SHARD: ShardId = ShardId::new(0);

fn limit_to(descriptors: u64) {
    let limit = Rlimit {
        current: Some(descriptors),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[test]
fn a_lack_of_descriptors_costs_a_reader_time_and_no_entry() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    let all: Vec<Vec<u8>> = (0..300).map(|n| payload(n, 1000)).collect();
    for (n, payload) in (0..).zip(&all) {
        append(&mut writers[0], n, payload);
    }
    wait_acked(&writers[0], writers[0].last_written().unwrap());
    wait("some seals", || sealed(&vault).len() >= 3);
    let enough = getrlimit(Resource::Nofile).current.unwrap();

    limit_to(0);
    let mut follower = vault.follower(SHARD, None);
    let nothing = follower.next();
    let why = follower.waits().map(str::to_owned);
    limit_to(enough);
    assert!(nothing.is_none(), "{nothing:?}");
    assert!(
        why.as_ref().is_some_and(|why| why.contains("Too many open files")),
        "{why:?}"
    );
    let got: Vec<Vec<u8>> = follower.map(|found| found.unwrap().payload).collect();
    assert!(got == all, "{} of {}", got.len(), all.len());

    limit_to(0);
    let reader = {
        let vault = vault.clone();
        thread::spawn(move || vault.cursor(SHARD, None, TimeRange::ALL).collect::<Vec<_>>())
    };
    thread::sleep(Duration::from_millis(250));
    limit_to(enough);
    let got: Vec<Vec<u8>> = reader
        .join()
        .unwrap()
        .into_iter()
        .map(|found| found.unwrap().payload)
        .collect();
    assert!(got == all, "{} of {}", got.len(), all.len());
    vault.close(writers);
}
