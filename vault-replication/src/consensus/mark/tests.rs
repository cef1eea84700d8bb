use super::*;
use crate::consensus::wire::tests::{golden, hex, id};

fn mark(boot: u64, term: u64, index: u64) -> Mark {
    Mark {
        boot,
        vote: Some(Vote::new_committed(term, 2)),
        last: Some(id(term, 2, index)),
    }
}

fn opened(path: &Path) -> Mark {
    MarkFile::open(path).unwrap().unwrap().get()
}

#[test]
fn a_slot_is_what_it_always_was() {
    let slots = [write_slot(0, &Mark::default()), write_slot(5, &mark(3, 7, 99))];
    golden(
        "raft_mark.txt",
        &slots.each_ref().map(|slot| hex(&slot[..BODY_BYTES + 4])),
    );
    assert!(slots[1][BODY_BYTES + 4..].iter().all(|b| *b == 0));
    assert_eq!(read_slot(&slots[0]).unwrap(), (0, Mark::default()));
    assert_eq!(read_slot(&slots[1]).unwrap(), (5, mark(3, 7, 99)));
}

#[test]
fn i1_the_newest_mark_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raft.mark");
    assert!(MarkFile::open(&path).unwrap().is_none());
    let mut file = MarkFile::create(&path).unwrap();
    assert_eq!(opened(&path), Mark::default());
    for n in 1..10 {
        file.set(mark(n, n, 20 - n)).unwrap();
        assert_eq!(opened(&path), mark(n, n, 20 - n));
    }
}

#[test]
fn i2_a_torn_write_leaves_the_mark_before_it_and_two_are_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raft.mark");
    let mut file = MarkFile::create(&path).unwrap();
    file.set(mark(1, 1, 1)).unwrap();
    file.set(mark(2, 2, 2)).unwrap();
    let whole = fs::read(&path).unwrap();
    for at in 0..BODY_BYTES + 4 {
        let mut torn = whole.clone();
        torn[at] ^= 0x40;
        fs::write(&path, &torn).unwrap();
        // Magic and version are in the checksum too.
        assert_eq!(opened(&path), mark(1, 1, 1), "byte {at}");
        torn[SLOT_BYTES + at] ^= 0x40;
        fs::write(&path, &torn).unwrap();
        let failed = MarkFile::open(&path).unwrap_err();
        assert!(matches!(failed, CatalogueError::OlderCopy { .. }), "{failed}");
    }
}

#[test]
fn i2_a_newer_version_in_either_slot_stops_the_reader() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raft.mark");
    let mut file = MarkFile::create(&path).unwrap();
    file.set(mark(1, 1, 1)).unwrap();
    let whole = fs::read(&path).unwrap();
    for slot in [0, SLOT_BYTES] {
        let mut newer = whole.clone();
        newer[slot + 4] = 2;
        let crc = crc32fast::hash(&newer[slot..slot + BODY_BYTES]).to_le_bytes();
        newer[slot + BODY_BYTES..slot + BODY_BYTES + 4].copy_from_slice(&crc);
        fs::write(&path, &newer).unwrap();
        let failed = MarkFile::open(&path).unwrap_err();
        assert!(matches!(failed, CatalogueError::OtherVersion { .. }), "{failed}");
    }
}

#[test]
fn what_has_less_than_was_promised_is_behind_in_a_named_part() {
    let promised = mark(3, 7, 50);
    let ahead = [mark(3, 7, 50), mark(4, 8, 51), mark(3, 8, 1)];
    for held in ahead {
        assert_eq!(promised.behind(&held), None, "{held:?}");
    }
    let behind = [
        (mark(2, 7, 50), "start 2", "start 3"),
        (Mark { vote: None, ..promised }, "vote none", "vote T7-N2:committed"),
        (
            Mark {
                vote: Some(Vote::new(7, 2)),
                ..promised
            },
            "vote T7-N2:uncommitted",
            "vote T7-N2:committed",
        ),
        (
            Mark { last: None, ..promised },
            "last entry none",
            "last entry T7-N2-50",
        ),
        (
            Mark {
                last: Some(id(6, 9, 99)),
                ..promised
            },
            "last entry T6-N9-99",
            "last entry T7-N2-50",
        ),
    ];
    for (held, had, was) in behind {
        assert_eq!(promised.behind(&held), Some((had.to_owned(), was.to_owned())));
    }
}
