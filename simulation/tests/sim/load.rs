//! The clients: they send to the hosts that take load, a few entries at a time.

use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{EntryNumber, Lsn, SegmentId, ShardId, TenantId};
use gophership_vault::testkit::Entry;

use crate::world::{Event, World};

impl World {
    /// A client sends to a host, and comes again.
    pub(crate) fn load(&mut self, host: usize) {
        if self.healed || host >= self.setup.owners {
            return;
        }
        let again = self.now + 1 + self.rng.below(self.setup.pace_ms);
        self.at(again, Event::Load(host));
        let shard = ShardId::new(self.rng.below(u64::from(self.setup.shards)) as u16);
        for _ in 0..1 + self.rng.below(3) {
            self.append(host, shard);
        }
    }

    /// The next entry of a segment, which no other is equal to.
    pub(crate) fn payload(&mut self, id: SegmentId) -> Entry {
        let number = EntryNumber::new(self.written(id) + 1).expect("it is not zero");
        let (salt, len) = (self.rng.next(), self.rng.below(90) as usize);
        let mut payload = salt.to_le_bytes().to_vec();
        payload.resize(8 + len, salt as u8);
        let received_ns = 1_000_000 * self.now + 1;
        let entry = Entry {
            lsn: Lsn::at(id.index, number),
            meta: EntryMeta {
                received_ns,
                min_event_ns: received_ns,
                max_event_ns: received_ns,
                record_count: 1,
                tenant: TenantId::DEFAULT,
                encoding: Encoding::Identity,
                state: EntryState::PLAIN,
            },
            payload,
        };
        self.remember(id, &entry);
        entry
    }
}
