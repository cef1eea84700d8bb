//! Decides which manifests of a cluster count, and finds what is missing. Manifests are a chain: each has the hash of
//! the one before it. So they are taken from the newest one back.
//!
//! **Invariants**:
//! - I1: the chain goes on, from a manifest to the one before it, without a fault only if the bytes of that one have
//!   the hash that the manifest names.
//! - I2: a number without such a manifest is a fault. Whole manifests of that number and of lower ones still give their
//!   objects.
//!
//! Several manifests may have the same number, since nodes race for it. The catalogue took one of them, but the objects
//! that the others list were committed as well. So all of them give their objects.

use gophership_vault::ids::ClusterId;
use thiserror::Error;

use crate::round::Manifest;
use crate::store::{StoreError, StoreId};

/// A part of a store's contents that is not as it was written, or cannot be read.
#[derive(Debug, Error)]
pub enum ContentsFault {
    /// Manifests are missing.
    #[error("manifests {first} to {last} of cluster {} are missing: what they alone list is not known", cluster.0)]
    Missing {
        /// The cluster.
        cluster: ClusterId,
        /// The lowest number that is missing.
        first: u64,
        /// The highest one.
        last: u64,
    },
    /// A manifest is not what was written under its name.
    #[error("{key} is damaged: {what}")]
    Changed {
        /// Its name.
        key: String,
        /// The fault.
        what: String,
    },
    /// Several manifests of one number name different manifests before them.
    #[error("manifest {seq} is there several times, and they follow different ones: {}", keys.join(", "))]
    Forked {
        /// The number.
        seq: u64,
        /// Their names.
        keys: Vec<String>,
    },
    /// A manifest cannot be read now.
    #[error("{key} is not read")]
    Unread {
        /// Its name.
        key: String,
        /// The cause.
        source: StoreError,
    },
    /// The store does not list all its objects.
    #[error("the objects are not all listed")]
    Listing(#[from] StoreError),
}

impl ContentsFault {
    /// True where something is damaged or missing; false where the store did not answer.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Changed { .. } | Self::Forked { .. } => true,
            Self::Unread { .. } | Self::Listing(_) => false,
        }
    }
}

/// A manifest that was fetched.
pub(super) struct Candidate {
    /// The first bytes of the hash of its bytes, as its name has them.
    pub(super) name_hash: [u8; 4],
    /// The manifest and the hash of its bytes.
    pub(super) read: Result<(Manifest, [u8; 32]), ContentsFault>,
}

impl Candidate {
    /// Checks bytes that this store has under the name of a manifest. They may be anything.
    pub(super) fn of(
        store: StoreId,
        cluster: ClusterId,
        key: String,
        seq: u64,
        name_hash: [u8; 4],
        bytes: &[u8],
    ) -> Self {
        let hash = *blake3::hash(bytes).as_bytes();
        let read = match Manifest::decode(bytes) {
            _ if hash[..4] != name_hash => Err("its bytes do not have the hash in its name".to_owned()),
            Err(error) => Err(error.to_string()),
            Ok(manifest) if (manifest.cluster, manifest.seq) != (cluster, seq) => {
                Err("it is the manifest of another name".to_owned())
            }
            Ok(manifest) if manifest.store != store.0 => {
                Err(format!("it lists objects of another store, {}", manifest.store))
            }
            Ok(manifest) => Ok((manifest, hash)),
        };
        let read = read.map_err(|what| ContentsFault::Changed { key, what });
        Self { name_hash, read }
    }
}

/// The whole manifests of one number, and the faults that were found with it.
#[derive(Default)]
pub(super) struct Taken {
    /// Each with the hash of its bytes.
    pub(super) manifests: Vec<(Manifest, [u8; 32])>,
    pub(super) faults: Vec<ContentsFault>,
}

/// A chain that is read from its newest manifest back.
pub(super) struct Chain {
    cluster: ClusterId,
    /// The number that is expected next: one less than the last one that was taken. `None` before the first, and where
    /// the manifest of that number is in another store.
    next: Option<u64>,
    /// The hash that the manifest of that number must have; `None` where it is not known.
    named: Option<[u8; 32]>,
}

impl Chain {
    pub(super) fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            next: None,
            named: None,
        }
    }

    /// Takes all manifests of `seq`, which is the next lower number that the store has.
    pub(super) fn take(&mut self, seq: u64, candidates: Vec<Candidate>) -> Taken {
        let mut taken = Taken::default();
        if let Some(next) = self.next.filter(|next| seq < *next) {
            taken.faults.push(self.missing(seq + 1, next));
            self.named = None;
        }
        self.next = Some(seq - 1);
        let (mut whole, mut bad) = (Vec::new(), Vec::new());
        for candidate in candidates {
            match candidate.read {
                Ok(read) => whole.push(read),
                Err(fault) => bad.push((candidate.name_hash, fault)),
            }
        }
        let mut before = None;
        match self.named.take() {
            Some(named) => match whole.iter().position(|(_, hash)| *hash == named) {
                Some(that) => {
                    // The other manifests of this number give their objects, too. One that lost the race for the number
                    // lists nothing that a later one does not list. One from before the catalogue was lost may.
                    whole.swap(0, that);
                    before = Some(whole[0].0.prev);
                    if whole.iter().any(|(other, _)| Some(other.prev) != before) {
                        taken.faults.push(forked(seq, &whole));
                    }
                }
                None => {
                    let is_it = |(name, _): &(_, _)| *name == named[..4];
                    let fault = match bad.iter().position(is_it) {
                        Some(that) => bad.swap_remove(that).1,
                        None => self.missing(seq, seq),
                    };
                    taken.faults.push(fault);
                }
            },
            None => {
                // A manifest that the store damaged was put anew with a higher attempt: then the damaged one is no
                // fault.
                let is_put_anew = whole.iter().any(|(manifest, _)| manifest.attempt > 1);
                let counts = |fault: &ContentsFault| !(is_put_anew && fault.is_damage());
                taken
                    .faults
                    .extend(bad.into_iter().map(|(_, fault)| fault).filter(counts));
            }
        }
        if before.is_none() {
            before = whole.first().map(|(manifest, _)| manifest.prev);
            if whole.iter().any(|(other, _)| Some(other.prev) != before) {
                before = None;
                taken.faults.push(forked(seq, &whole));
            }
        }
        self.named = before;
        if seq == 1 && self.named.take().is_some_and(|before| before != [0; 32]) {
            let what = "it is the first one, and names one before it".to_owned();
            let key = whole.first().map(|(manifest, hash)| manifest_key(manifest, hash));
            let key = key.unwrap_or_default();
            taken.faults.push(ContentsFault::Changed { key, what });
        }
        if whole
            .first()
            .is_some_and(|(manifest, _)| manifest.prev_store != manifest.store)
        {
            // The manifest before this one is in another store. Still older ones may be in this store.
            (self.next, self.named) = (None, None);
        }
        taken.manifests = whole;
        taken
    }

    /// The fault for the lowest numbers, where the last manifest that was taken is not the first of the chain.
    pub(super) fn end(&self) -> Option<ContentsFault> {
        self.next.filter(|next| *next > 0).map(|next| self.missing(1, next))
    }

    fn missing(&self, first: u64, last: u64) -> ContentsFault {
        ContentsFault::Missing {
            cluster: self.cluster,
            first,
            last,
        }
    }
}

fn forked(seq: u64, manifests: &[(Manifest, [u8; 32])]) -> ContentsFault {
    let keys = manifests.iter().map(|(manifest, hash)| manifest_key(manifest, hash));
    ContentsFault::Forked {
        seq,
        keys: keys.collect(),
    }
}

fn manifest_key(manifest: &Manifest, hash: &[u8; 32]) -> String {
    crate::store::manifest_key(manifest.cluster, manifest.seq, hash)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(7));
    const STORE: StoreId = StoreId(Uuid::from_u128(9));

    fn manifest(seq: u64, attempt: u32, before: &[u8]) -> Vec<u8> {
        let manifest = Manifest {
            cluster: CLUSTER,
            store: STORE.0,
            seq,
            prev: match before {
                [] => [0; 32],
                before => *blake3::hash(before).as_bytes(),
            },
            prev_store: STORE.0,
            attempt,
            objects: Vec::new(),
        };
        manifest.encode()
    }

    /// A candidate of these bytes, under the name of `named`.
    fn under(seq: u64, named: &[u8], bytes: &[u8]) -> Candidate {
        let hash = *blake3::hash(named).as_bytes();
        let key = crate::store::manifest_key(CLUSTER, seq, &hash);
        Candidate::of(STORE, CLUSTER, key, seq, [hash[0], hash[1], hash[2], hash[3]], bytes)
    }

    /// The numbers of the manifests that gave objects, and the texts of the faults.
    fn read(numbers: Vec<(u64, Vec<Candidate>)>) -> (Vec<u64>, Vec<String>) {
        let mut chain = Chain::new(CLUSTER);
        let (mut given, mut faults) = (Vec::new(), Vec::new());
        for (seq, candidates) in numbers {
            let taken = chain.take(seq, candidates);
            given.extend(taken.manifests.iter().map(|(manifest, _)| manifest.seq));
            faults.extend(taken.faults.iter().map(ToString::to_string));
        }
        faults.extend(chain.end().iter().map(ToString::to_string));
        (given, faults)
    }

    #[test]
    fn i1_a_chain_is_whole_where_each_has_the_hash_that_the_next_one_names() {
        let a = manifest(1, 1, b"");
        let b = manifest(2, 1, &a);
        let c = manifest(3, 1, &b);
        let whole = |seq, bytes: &[u8]| (seq, vec![under(seq, bytes, bytes)]);
        let (given, faults) = read(vec![whole(3, &c), whole(2, &b), whole(1, &a)]);
        assert_eq!((given, faults.len()), (vec![3, 2, 1], 0), "{faults:?}");

        // Number 2 has another manifest that lost the race, and number 3 one that the store had damaged before it was
        // put anew.
        let (again, overtaken) = (manifest(3, 2, &b), manifest(2, 9, &a));
        let numbers = vec![
            (3, vec![under(3, &c, b"damaged"), under(3, &again, &again)]),
            (2, vec![under(2, &overtaken, &overtaken), under(2, &b, &b)]),
            whole(1, &a),
        ];
        assert_eq!(read(numbers), (vec![3, 2, 2, 1], vec![]));
        let mut chain = Chain::new(CLUSTER);
        chain.take(3, vec![under(3, &c, &c)]);
        let taken = chain.take(2, vec![under(2, &overtaken, &overtaken), under(2, &b, &b)]);
        let attempts: Vec<_> = taken.manifests.iter().map(|(manifest, _)| manifest.attempt).collect();
        assert_eq!(
            attempts,
            [1, 9],
            "the one of the chain first; what the other lists was committed, too"
        );
    }

    #[test]
    fn i2_what_is_missing_or_damaged_is_named_and_the_others_give_their_objects() {
        let a = manifest(1, 1, b"");
        let b = manifest(2, 1, &a);
        let c = manifest(3, 1, &b);
        let other = manifest(2, 1, b"something else");
        let stores = [STORE.0.to_string(), Uuid::from_u128(10).to_string()];
        let moved = String::from_utf8(a.clone())
            .unwrap()
            .replace(&stores[0], &stores[1])
            .into_bytes();
        let whole = |seq, bytes: &[u8]| (seq, vec![under(seq, bytes, bytes)]);
        for (numbers, expected, says) in [
            (vec![whole(3, &c), whole(1, &a)], vec![3, 1], "manifests 2 to 2 "),
            (vec![whole(3, &c)], vec![3], "manifests 1 to 2 "),
            (
                vec![whole(3, &c), whole(2, &other), whole(1, &a)],
                vec![3, 2],
                "manifests 2 to 2 ",
            ),
            (
                vec![whole(3, &c), (2, vec![under(2, &b, b"?")]), whole(1, &a)],
                vec![3, 1],
                "hash in its name",
            ),
            (
                vec![(3, vec![under(3, &c, b"?")]), whole(2, &b), whole(1, &a)],
                vec![2, 1],
                "hash in its name",
            ),
            (
                vec![(3, vec![under(3, &b, &b)]), whole(2, &b), whole(1, &a)],
                vec![2, 1],
                "of another name",
            ),
            (vec![(1, vec![under(1, b"{}", b"{}")])], vec![], "missing field"),
            (vec![whole(1, &moved)], vec![], "objects of another store"),
            (vec![whole(1, &manifest(1, 1, b"x"))], vec![1], "names one before it"),
        ] {
            let (given, faults) = read(numbers);
            assert!(faults[0].contains(says), "{says}: {faults:?}");
            assert!(expected.iter().all(|seq| given.contains(seq)), "{says}: {given:?}");
        }
    }

    #[test]
    fn i2_what_is_in_another_store_is_not_missing() {
        let a = manifest(1, 1, b"");
        let b = manifest(2, 1, &a);
        // 3 to 5 are in another store.
        let (here, there) = (STORE.0.to_string(), Uuid::from_u128(10).to_string());
        let f = String::from_utf8(manifest(6, 1, b"in the other store")).unwrap();
        let f = f.replace(
            &format!("\"prev_store_id\":\"{here}"),
            &format!("\"prev_store_id\":\"{there}"),
        );
        let f = f.into_bytes();
        let g = manifest(7, 1, &f);
        let whole = |seq, bytes: &[u8]| (seq, vec![under(seq, bytes, bytes)]);
        let back = vec![whole(7, &g), whole(6, &f), whole(2, &b), whole(1, &a)];
        assert_eq!(read(back), (vec![7, 6, 2, 1], vec![]));
        assert_eq!(read(vec![whole(7, &g), whole(6, &f)]), (vec![7, 6], vec![]));
        let (_, faults) = read(vec![whole(7, &g), whole(6, &f), whole(2, &b)]);
        assert!(faults[0].contains("manifests 1 to 1 "), "{faults:?}");
    }

    #[test]
    fn a_fork_is_named_with_its_keys() {
        let a = manifest(1, 1, b"");
        let (b, other) = (manifest(2, 1, &a), manifest(2, 2, &a));
        let (c, forked) = (manifest(3, 1, &b), manifest(3, 1, &other));
        let both = |seq, bytes: [&[u8]; 2]| (seq, bytes.map(|bytes| under(seq, bytes, bytes)).into());
        let (given, faults) = read(vec![both(3, [&c, &forked]), both(2, [&b, &other]), both(1, [&a, &a])]);
        assert!(
            given.contains(&3) && given.contains(&2) && given.contains(&1),
            "{given:?}"
        );
        let key = |bytes: &[u8]| crate::store::manifest_key(CLUSTER, 3, blake3::hash(bytes).as_bytes());
        let is_named = |fault: &String| fault.contains(&key(&c)) && fault.contains(&key(&forked));
        assert!(faults.len() == 1 && is_named(&faults[0]), "{faults:?}");

        // The fork is named, too, where a longer chain shows which of the two counts.
        let d = manifest(4, 1, &c);
        let (given, faults) = read(vec![
            (4, vec![under(4, &d, &d)]),
            both(3, [&c, &forked]),
            (2, vec![under(2, &b, &b)]),
            (1, vec![under(1, &a, &a)]),
        ]);
        assert_eq!(given, [4, 3, 3, 2, 1]);
        assert!(faults.len() == 1 && is_named(&faults[0]), "{faults:?}");
    }
}
