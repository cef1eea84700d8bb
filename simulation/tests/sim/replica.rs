//! The driver of the replica's end: the real `TailReceiver` over real files.

use gophership_vault::TailFrame;
use gophership_vault_replication::tail::TailAnswer;

use crate::bug::Bug;
use crate::network::{Down, LinkId, Up};
use crate::world::{Event, World};

/// The longest time between a frame and the sync that does for it.
const SYNC_MAX: u64 = 10;

impl World {
    /// A message of an owner arrived.
    pub(crate) fn replica_takes(&mut self, link: LinkId, message: Up) {
        let (host, stream) = (self.network.links[&link].replica.0, self.network.links[&link].stream);
        let (index, answer) = match message {
            Up::Begin(header) => {
                let id = header.id;
                let Some(answer) = self.run(host, |process| process.receiver.begin(stream, &header)) else {
                    return;
                };
                self.note(format_args!("{host} begins {id}: {answer:?}"));
                (id.index, Some(answer))
            }
            Up::Frame {
                id,
                epoch,
                frame_no,
                frame,
            } => {
                let taken = TailFrame {
                    id,
                    epoch,
                    frame_no,
                    bytes: &frame.bytes,
                    crc: frame.crc,
                    last_lsn: frame.last_lsn,
                };
                let Some(answer) = self.run(host, |process| process.receiver.frame(stream, taken)) else {
                    return;
                };
                if answer.is_none() {
                    self.sync_soon(host);
                }
                let early = self
                    .has(Bug::AnswerBeforeSync)
                    .then_some(TailAnswer::Synced(taken.last_lsn.number()));
                (id.index, answer.or(early))
            }
            Up::Complete(id, digest) => {
                let complete = |process: &mut crate::world::Process| process.receiver.complete(stream, id, digest);
                let Some(answer) = self.run(host, complete) else { return };
                self.note(format_args!("{host} completes {id}: {answer:?}"));
                (id.index, Some(answer))
            }
            Up::Leave(id) => {
                self.run(host, |process| process.receiver.leave(stream, id));
                return;
            }
        };
        if let Some(answer) = answer {
            self.send_down(link, Down { index, answer });
        }
    }

    /// The streams of a host get the answers that no message of theirs asked for.
    pub(crate) fn answer_unasked(&mut self, host: usize) {
        let boot = self.hosts[host].boot;
        let links = self.network.links.iter();
        let here = links.filter(|(_, link)| link.replica == (host, boot) && link.replica_open);
        let here: Vec<_> = here.map(|(id, link)| (*id, link.log, link.stream)).collect();
        for (link, log, stream) in here {
            let Some(process) = &mut self.hosts[host].process else {
                return;
            };
            for (id, answer) in process.receiver.unasked(log, stream) {
                self.note(format_args!("{host} says of {id}: {answer:?}"));
                let index = id.index;
                self.send_down(link, Down { index, answer });
            }
        }
    }

    fn sync_soon(&mut self, host: usize) {
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        if !process.syncs {
            process.syncs = true;
            let boot = self.hosts[host].boot;
            let at = self.now + 1 + self.rng.below(SYNC_MAX);
            self.at(at, Event::ReplicaSync(host, boot));
        }
    }

    /// The replica syncs all that came meanwhile, and answers.
    pub(crate) fn replica_sync(&mut self, host: usize) {
        let sync = |process: &mut crate::world::Process| {
            process.syncs = false;
            process.receiver.sync()
        };
        let Some(answers) = self.run(host, sync) else { return };
        for (stream, id, answer) in answers {
            self.note(format_args!("{host} synced {id}: {answer:?}"));
            let boot = self.hosts[host].boot;
            let link = self.network.links.iter().find(|(_, link)| {
                link.log == id.log() && link.replica == (host, boot) && link.stream == stream && link.replica_open
            });
            if let Some(link) = link.map(|(link, _)| *link) {
                self.send_down(
                    link,
                    Down {
                        index: id.index,
                        answer,
                    },
                );
            }
        }
    }

    /// The replica's side of a stream ends.
    pub(crate) fn replica_end(&mut self, id: LinkId) {
        let Some(link) = self.network.links.get(&id).filter(|link| link.replica_open) else {
            return;
        };
        let ((host, boot), log, stream) = (link.replica, link.log, link.stream);
        self.close_replica_side(id);
        if self.hosts[host].runs(boot) {
            self.run(host, |process| process.receiver.disconnected(log, stream));
        }
    }
}
