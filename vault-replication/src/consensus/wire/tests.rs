use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

pub(crate) fn id(term: u64, node: u64, index: u64) -> RaftLogId {
    RaftLogId::new(CommittedLeaderId::new(term, node), index)
}

pub(crate) fn members(sets: &[&[u64]]) -> Membership {
    let sets: Vec<BTreeSet<u64>> = sets.iter().map(|set| set.iter().copied().collect()).collect();
    let nodes: BTreeMap<u64, Member> = (1..=4)
        .map(|node| {
            let (name, address) = (format!("node-{node}"), format!("10.0.0.{node}:9097"));
            (node, Member { name, address })
        })
        .collect();
    Membership::new(sets, nodes)
}

/// An entry of each kind.
pub(crate) fn golden_entries() -> Vec<Entry> {
    let payloads = [
        EntryPayload::Blank,
        EntryPayload::Normal(Proposal {
            ticket: Uuid::from_bytes([0xAB; 16]),
            request: b"a command".to_vec(),
        }),
        EntryPayload::Membership(members(&[&[1, 2, 3]])),
        EntryPayload::Membership(members(&[&[1, 2, 3], &[1, 2, 4]])),
    ];
    let at = |(n, payload)| Entry {
        log_id: id(7, 2, 0x0102_0304 + u64::from(n)),
        payload,
    };
    (0_u8..).zip(payloads).map(at).collect()
}

/// Compares with the lines of a golden file. What is added there is what a failure prints.
pub(crate) fn golden(file: &str, lines: &[String]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/v1")
        .join(file);
    let text = lines.join("\n") + "\n";
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{}", path.display());
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn i1_entries_are_stored_as_they_always_were() {
    let entries = golden_entries();
    let lines = entries
        .iter()
        .map(|e| format!("{} {}", e.log_id.index, hex(&stored_entry(e))));
    golden("log.txt", &lines.collect::<Vec<_>>());
    for entry in entries {
        let read = read_stored_entry(entry.log_id.index, &stored_entry(&entry)).unwrap();
        assert_eq!(read, entry);
    }
}

#[test]
fn i1_what_is_kept_beside_the_state_is_stored_as_it_always_was() {
    let stored = StoredMembership::new(Some(id(3, 1, 9)), members(&[&[1, 2, 3]]));
    let none = StoredMembership::new(None, members(&[&[1]]));
    let lines = [
        ("boot", versioned(|w| w.u64(0x0102))),
        ("vote", versioned(|w| w.vote(&Vote::new_committed(7, 2)))),
        ("vote", versioned(|w| w.vote(&Vote::new(8, 3)))),
        ("last_applied", versioned(|w| w.log_id(id(7, 2, 99)))),
        ("membership", versioned(|w| w.stored_membership(&stored))),
        ("membership", versioned(|w| w.stored_membership(&none))),
    ];
    golden(
        "consensus.txt",
        &lines.each_ref().map(|(name, bytes)| format!("{name} {}", hex(bytes))),
    );
    let read = |bytes: &[u8]| read_versioned("membership", bytes, |v| v.stored_membership()).unwrap();
    assert_eq!(read(&lines[4].1), stored);
    assert_eq!(read(&lines[5].1), none);
    for vote in [Vote::new_committed(7, 2), Vote::new(8, 3)] {
        let bytes = versioned(|w| w.vote(&vote));
        assert_eq!(read_versioned("vote", &bytes, |v| v.vote()).unwrap(), vote);
    }
}

#[test]
fn i3_an_entry_is_no_other_entry_and_a_damaged_one_is_none() {
    for entry in golden_entries() {
        let (index, stored) = (entry.log_id.index, stored_entry(&entry));
        assert!(read_stored_entry(index + 1, &stored).is_err());
        for at in 0..stored.len() {
            let mut damaged = stored.clone();
            damaged[at] ^= 1;
            assert!(read_stored_entry(index, &damaged).is_err(), "byte {at}");
            assert!(read_stored_entry(index, &stored[..at]).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn i2_a_voter_that_is_no_member_is_damage() {
    let bytes = Writer::default().u32(1).u32(1).u64(9).u32(0).done();
    let failed = Reader::new("members", &bytes).membership().unwrap_err();
    assert_eq!(failed.to_string(), "members is damaged: a voter is no member");
}

proptest! {
    #[test]
    fn i2_any_bytes_are_an_error_or_what_they_say(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(entry) = read_entry(&mut Reader::new("an entry", &bytes)) {
            let written = write_entry(Writer::default(), &entry).done();
            let again = read_entry(&mut Reader::new("an entry", &written)).unwrap();
            prop_assert_eq!(entry, again);
        }
        let _either = read_stored_entry(1, &bytes);
    }
}
