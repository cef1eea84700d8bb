//! Fence, report, copies made anew and fetched entries between three stores.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use gophership_vault::ids::{EntryNumber, NodeId, SegmentId};
use gophership_vault::{
    CompleteCopy, HeldReport, SegmentEnd, SegmentHeader, StoredEntry, TakeEntry, VaultError, segment_end,
};
use gophership_vault_replication::consensus::raft_types::Member;
use gophership_vault_replication::peer::{Handlers, PeerClient, PeerError, PeerServer, RecoveryHandler};
use gophership_vault_replication::tail::{TailAnswer, TailRefusal};
use tokio::runtime::Handle;

use crate::segment;
use crate::support::*;
use crate::tail::{Copies, Stream};

/// The part of a node in recoveries, as its driver gives it to the port.
struct Part {
    copies: Arc<Copies>,
    client: PeerClient,
    members: Arc<Mutex<BTreeMap<NodeId, Member>>>,
    runtime: Handle,
}

impl RecoveryHandler for Part {
    fn fence(&self, _: NodeId, id: SegmentId, number: u64) -> Result<HeldReport, VaultError> {
        self.copies.receiver.lock().unwrap().fence(id, number)
    }

    fn rebuild(
        &self,
        _: NodeId,
        header: SegmentHeader,
        number: u64,
        end: SegmentEnd,
    ) -> Result<CompleteCopy, VaultError> {
        let mut fetch = |holder, first, last, take: TakeEntry<'_>| {
            let member = self.members.lock().unwrap()[&holder].clone();
            let mut taken = Ok(());
            let all = |some: Vec<StoredEntry>| {
                taken = some.into_iter().try_for_each(&mut *take);
                taken.is_ok()
            };
            let fetched = self.client.fetch(holder, &member, header.id, (first, last), all);
            let fetched = self.runtime.block_on(fetched);
            fetched.map_err(|e| VaultError::Unreadable {
                id: header.id,
                why: e.to_string(),
            })?;
            taken
        };
        let mut receiver = self.copies.receiver.lock().unwrap();
        receiver.rebuild(&header, number, &end, &mut fetch)
    }

    fn entries(
        &self,
        id: SegmentId,
        first: EntryNumber,
        last: EntryNumber,
        take: &mut dyn FnMut(StoredEntry) -> bool,
    ) -> Result<(), VaultError> {
        self.copies.store.read_entries(id, first, last, take)
    }
}

#[test]
fn three_stores_end_with_one_copy_of_what_any_of_them_had() {
    let segment = segment::write(60);
    let id = segment.header.id;
    runtime().block_on(async {
        let authority = Authority::new();
        let members = Arc::<Mutex<BTreeMap<NodeId, Member>>>::default();
        let mut servers: Vec<PeerServer> = Vec::new();
        let mut stores = Vec::new();
        for n in 2..=4 {
            let (copies, setup) = (Copies::new(n), setup(n, &authority));
            stores.push(copies.store.clone());
            let recovery = Arc::new(Part {
                copies: Arc::clone(&copies),
                client: PeerClient::new(Arc::clone(&setup)),
                members: Arc::clone(&members),
                runtime: Handle::current(),
            });
            let (server, member) = serve(
                &setup,
                Handlers {
                    recovery,
                    ..copies.handlers()
                },
            );
            members.lock().unwrap().insert(node(n), member);
            servers.push(server);
        }
        let member = |n: u32| members.lock().unwrap()[&node(n)].clone();
        let owner = PeerClient::new(setup(1, &authority));
        for (n, frames) in [(2, 60), (3, 25)] {
            let (mut stream, _) = Stream::begin(&owner, (n, &member(n)), 1, &segment).await;
            stream.copy(&segment.frames[..frames]).await;
        }
        // The owner is gone. Node 1 leads the recovery, which any node may.
        let mut reports = Vec::new();
        for n in 2..=4 {
            let report = owner.fence(node(n), &member(n), id, 2).await.unwrap();
            assert_eq!(report, stores[n as usize - 2].report(id).unwrap());
            reports.push(report);
        }
        let lengths: Vec<_> = reports.iter().map(|r| r.last().map_or(0, EntryNumber::get)).collect();
        assert_eq!(lengths, [60, 25, 0]);
        let (_stream, answer) = Stream::begin(&owner, (3, &member(3)), 2, &segment).await;
        assert_eq!(answer, TailAnswer::Refused(TailRefusal::Fenced));
        let end = segment_end(&reports[1..]).unwrap();
        let stale = owner
            .rebuild(node(3), &member(3), &segment.header, 1, end)
            .await
            .unwrap_err();
        assert_eq!(
            stale,
            PeerError::StaleRecovery {
                node: node(3),
                promised: 2
            }
        );
        let end = segment_end(&reports).unwrap();
        for n in 2..=4 {
            let copy = owner
                .rebuild(node(n), &member(n), &segment.header, 2, end.clone())
                .await
                .unwrap();
            assert_eq!((copy.digest, copy.stats.entries), (segment.digest, 60), "node {n}");
        }
        let number = |n| EntryNumber::new(n).unwrap();
        let mut fetched = Vec::new();
        let range = (number(20), number(50));
        owner
            .fetch(node(4), &member(4), id, range, |some| {
                fetched.extend(some);
                true
            })
            .await
            .unwrap();
        let mut held = Vec::new();
        let mut hold = |entry| {
            held.push(entry);
            true
        };
        stores[0].read_entries(id, number(20), number(50), &mut hold).unwrap();
        assert_eq!(fetched, held);
        // What a node does not have all of is an error, and so is an answer that a node cannot give.
        let range = (number(50), number(61));
        let more = owner.fetch(node(4), &member(4), id, range, |_| true).await.unwrap_err();
        assert!(matches!(more, PeerError::Failed { .. }), "{more}");
        let stale = owner.fence(node(4), &member(4), id, 1).await.unwrap_err();
        assert_eq!(
            stale,
            PeerError::StaleRecovery {
                node: node(4),
                promised: 2
            }
        );
        for server in servers {
            server.stop().await;
        }
    });
}
