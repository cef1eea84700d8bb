//! One shard's segments on their way to one replica: it does what the shard's `TailSender` says.
//!
//! **Owns**: the connection to the replica, the frame that is being read or sent, and the times of the next attempts.
//!
//! **Invariants**:
//! - I1: one frame of a stream is in memory beside the newest ones that all streams share.
//! - I2: answers are taken while a frame is read or sent, so that a slow way to the replica delays no acknowledgement.
//! - I3: it sleeps until there is news of its shard, an answer, or the time of an attempt.
//!
//! **Not here**: what is sent when (`sender`); which replicas there are (`streams`).

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use gophership_catalogue::{Actor, CatalogueError, Command};
use gophership_vault::ids::{EntryNumber, LogId, NodeId, SegmentId, SegmentIndex};
use gophership_vault::{FrameReader, OwnedFrame, VaultError};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use uuid::Uuid;

use super::backoff::backoff;
use super::live::{LivePosition, LiveTail};
use super::sender::{SenderAction, SenderEvent, TailSender};
use super::shared::{Shared, Wants};
use crate::limits::{TAIL_BACKOFF_MAX, TAIL_CONNECT_TIMEOUT};
use crate::peer::wire::tail::TailMessage;
use crate::peer::{PeerError, TailAnswers, TailFrames};

/// Something that is to be sent, in its order.
enum Outgoing {
    Message(TailMessage),
    Frame {
        index: SegmentIndex,
        after: Option<EntryNumber>,
        frame_no: u32,
    },
}

/// What came of reading a frame, with its reader.
type FrameRead = (FrameReader, Result<Option<OwnedFrame>, VaultError>);

type Sending = Pin<Box<dyn Future<Output = Result<(), PeerError>> + Send>>;

/// One shard's stream to one replica.
pub(super) struct Stream {
    shared: Arc<Shared>,
    log: LogId,
    peer: NodeId,
    live: LiveTail,
    wants: Arc<Wants>,
    changed: watch::Receiver<()>,
    sender: TailSender,
    seen: LivePosition,
    /// Messages for the present stream.
    outgoing: VecDeque<Outgoing>,
    /// The frame that is being read from the disk.
    reading: Option<JoinHandle<FrameRead>>,
    /// The reader of the segment of which a frame was read last.
    reader: Option<(SegmentIndex, FrameReader)>,
    /// The time at which what failed is tried again.
    retry_at: Option<Instant>,
    /// The stream is to be made anew.
    reconnect: bool,
    /// Holders that are being put on record.
    additions: JoinSet<()>,
}

impl Stream {
    pub(super) fn new(
        shared: Arc<Shared>,
        log: LogId,
        peer: NodeId,
        live: LiveTail,
        wants: Arc<Wants>,
        changed: watch::Receiver<()>,
    ) -> Self {
        Self {
            shared,
            log,
            peer,
            live,
            wants,
            changed,
            sender: TailSender::new(),
            seen: LivePosition::default(),
            outgoing: VecDeque::new(),
            reading: None,
            reader: None,
            retry_at: None,
            reconnect: false,
            additions: JoinSet::new(),
        }
    }

    /// Runs until it is stopped.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            // One whose stopper is gone is stopped.
            _ = stop.wait_for(|stopped| *stopped) => {}
            () = self.go_on() => {}
        }
        self.wants.set(self.peer, false);
        self.end_reading().await;
        self.shared.forget(self.log.shard, self.peer);
    }

    async fn go_on(&mut self) {
        let mut failures = 0_u32;
        loop {
            match self.connect().await {
                Ok((frames, answers)) => {
                    let since = Instant::now();
                    let why = self.serve(frames, answers).await;
                    tracing::info!(shard = %self.log.shard, peer_id = %self.peer, error = why, "tail.stream.ended");
                    self.shared.disconnected(self.log.shard, self.peer, why);
                    if since.elapsed() > TAIL_BACKOFF_MAX {
                        failures = 0;
                    }
                }
                Err(why) => {
                    // Each attempt of an absence fails alike.
                    if failures == 0 {
                        tracing::warn!(shard = %self.log.shard, peer_id = %self.peer, error = why, "tail.stream.none");
                    }
                    self.shared.disconnected(self.log.shard, self.peer, why);
                }
            }
            failures = failures.saturating_add(1);
            self.meanwhile(tokio::time::sleep(pause(failures))).await;
        }
    }

    async fn connect(&mut self) -> Result<(TailFrames, TailAnswers), String> {
        let peer = self.peer;
        let member = (self.shared.members)().remove(&peer);
        let member = member.ok_or_else(|| format!("no address of node {peer} is known"))?;
        let client = self.shared.client.clone();
        let begun = async move { client.tail(peer, &member, TAIL_CONNECT_TIMEOUT).await };
        self.meanwhile(begun).await.map_err(|e| e.to_string())
    }

    /// Waits for something, and hears the news of the shard meanwhile.
    async fn meanwhile<T>(&mut self, wait: impl Future<Output = T>) -> T {
        let mut wait = pin!(wait);
        loop {
            tokio::select! {
                done = &mut wait => return done,
                () = changed(&mut self.changed) => self.hear(),
            }
        }
    }

    /// Serves a stream to its end, and says why it ended.
    async fn serve(&mut self, frames: TailFrames, mut answers: TailAnswers) -> String {
        let id = self.shared.next_stream();
        tracing::info!(shard = %self.log.shard, peer_id = %self.peer, number = id.number(), "tail.stream.begin");
        self.shared.connected(self.log.shard, self.peer);
        let frames = Arc::new(frames);
        let mut sending: Option<Sending> = None;
        // The end of the frame that is being sent.
        let mut sent: Option<(SegmentIndex, EntryNumber)> = None;
        self.hear();
        self.step(SenderEvent::Connected(id));
        let why = loop {
            if self.reconnect {
                break "a new one is to begin".to_owned();
            }
            if sending.is_none() && self.reading.is_none() {
                (sending, sent) = self.send_next(&frames);
            }
            tokio::select! {
                answer = answers.next() => match answer {
                    Ok(Some((segment, answer))) if segment.shard == self.log.shard => {
                        let index = segment.index;
                        self.step(SenderEvent::Answered { stream: id, index, answer });
                    }
                    Ok(Some((segment, _))) => break format!("an answer about {segment}, which is of another shard"),
                    Ok(None) => break "the peer ended it".to_owned(),
                    Err(e) => break e.to_string(),
                },
                () = changed(&mut self.changed) => self.hear(),
                done = until(&mut sending) => match done {
                    Ok(()) => {
                        sending = None;
                        if let Some((index, last)) = sent.take() {
                            self.step(SenderEvent::Sent { stream: id, index, last });
                        }
                    }
                    Err(e) => break e.to_string(),
                },
                read = until(&mut self.reading) => {
                    self.reading = None;
                    match self.frame_of(read) {
                        Some(frame) => {
                            sent = Some((frame.id.index, frame.last_lsn.number()));
                            sending = Some(send(&frames, TailMessage::Frame(Arc::new(frame).into())));
                        }
                        None => self.step(SenderEvent::NotRead(id)),
                    }
                }
                () = at(self.retry_at) => {
                    self.retry_at = None;
                    self.step(SenderEvent::Retry);
                }
            }
        };
        self.end_reading().await;
        self.outgoing.clear();
        (self.retry_at, self.reconnect) = (None, false);
        self.step(SenderEvent::Disconnected(id));
        why
    }

    /// Begins to send what is next. A frame that is not among the newest is read first.
    fn send_next(&mut self, frames: &Arc<TailFrames>) -> (Option<Sending>, Option<(SegmentIndex, EntryNumber)>) {
        match self.outgoing.pop_front() {
            None => (None, None),
            Some(Outgoing::Message(message)) => (Some(send(frames, message)), None),
            Some(Outgoing::Frame { index, after, frame_no }) => match self.live.frame(index, frame_no, after) {
                Some(frame) => {
                    // It has caught up: the file that it read is let go.
                    self.reader = None;
                    let sent = (index, frame.last_lsn.number());
                    (Some(send(frames, TailMessage::Frame(frame.into()))), Some(sent))
                }
                None => {
                    self.read(index, after, frame_no);
                    (None, None)
                }
            },
        }
    }

    fn read(&mut self, index: SegmentIndex, after: Option<EntryNumber>, frame_no: u32) {
        let known = self.reader.take().filter(|(of, _)| *of == index);
        let mut reader = known.map_or_else(|| self.shared.vault.frames(self.id(index)), |(_, reader)| reader);
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let frame = reader.frame(frame_no, after);
            (reader, frame)
        }));
    }

    /// The frame that was read, if it could be.
    fn frame_of(&mut self, read: Result<FrameRead, tokio::task::JoinError>) -> Option<OwnedFrame> {
        match read {
            Ok((reader, Ok(Some(frame)))) => {
                self.reader = Some((frame.id.index, reader));
                Some(frame)
            }
            // The file is just being replaced.
            Ok((_, Ok(None))) => None,
            Ok((_, Err(error))) => {
                tracing::warn!(shard = %self.log.shard, %error, "tail.frame.unread");
                None
            }
            Err(error) => {
                tracing::error!(shard = %self.log.shard, %error, "tail.frame.panicked");
                None
            }
        }
    }

    /// Waits for the frame that is being read, and for nothing longer: whoever reads has the vault.
    async fn end_reading(&mut self) {
        if let Some(reading) = self.reading.take() {
            let _unsent = reading.await;
        }
        self.reader = None;
    }

    fn id(&self, index: SegmentIndex) -> SegmentId {
        let LogId { node, shard } = self.log;
        SegmentId { node, shard, index }
    }

    /// Tells the sender what is new of the shard.
    fn hear(&mut self) {
        for event in self.live.events_since(&mut self.seen, self.peer) {
            self.step(event);
        }
    }

    fn step(&mut self, event: SenderEvent) {
        for action in self.sender.step(event) {
            self.act(action);
        }
        let progress = self.sender.progress();
        self.shared.progress(self.log.shard, self.peer, progress);
        if self.wants.set(self.peer, self.sender.wants_frame()) {
            self.shared.vault.wake_cutter(self.id(SegmentIndex::FIRST));
        }
    }

    fn act(&mut self, action: SenderAction) {
        let (vault, peer) = (&self.shared.vault, self.peer);
        match action {
            SenderAction::Begin(index) => {
                // One that is forgotten meanwhile is dropped with the next news.
                if let (Some(header), Some(stream)) = (self.live.header(index), self.sender.stream()) {
                    self.queue(TailMessage::Begin(stream, header));
                }
            }
            SenderAction::Read { index, after, frame_no } => {
                self.outgoing.push_back(Outgoing::Frame { index, after, frame_no });
            }
            SenderAction::Complete { index, digest } => self.queue(TailMessage::Complete(self.id(index), digest)),
            SenderAction::Leave(index) => self.queue(TailMessage::Leave(self.id(index))),
            SenderAction::Mark(lsn) => vault.copy_synced(self.log.shard, peer, lsn),
            SenderAction::Restarted { index, has } => vault.copy_restarted(self.id(index), peer, has),
            SenderAction::Holder { index, digest } => vault.copy_completed(self.id(index), peer, digest),
            SenderAction::AddHolder { index, digest } => {
                let addition = add_holder(Arc::clone(&self.shared), self.id(index), peer, digest);
                while self.additions.try_join_next().is_some() {}
                self.additions.spawn(addition);
            }
            SenderAction::Fenced(index) => {
                let id = self.id(index);
                tracing::warn!(segment = %id, peer_id = %peer, "tail.segment.fenced");
                vault.fenced(id);
            }
            SenderAction::Differs(index) => {
                let id = self.id(index);
                tracing::error!(
                    segment = %id, peer_id = %peer,
                    "tail.segment.differs: the copy there is none of this segment; look at the quarantine of that node"
                );
                self.shared.differs(self.log.shard, peer);
            }
            SenderAction::Failed { index, failures } => {
                let (id, pause) = (self.id(index), pause(failures));
                tracing::warn!(segment = %id, peer_id = %peer, count = failures, "tail.segment.failed");
                let again = Instant::now() + pause;
                self.retry_at = Some(self.retry_at.map_or(again, |at| at.min(again)));
            }
            SenderAction::Reconnect => self.reconnect = true,
        }
    }

    fn queue(&mut self, message: TailMessage) {
        self.outgoing.push_back(Outgoing::Message(message));
    }
}

/// Puts on record that a node holds a sealed segment, however often that must be said.
async fn add_holder(shared: Arc<Shared>, id: SegmentId, node: NodeId, digest: [u8; 32]) {
    let mut failures = 0_u32;
    loop {
        let catalogue = Arc::clone(&shared.catalogue);
        let command = Command::ReplicaAdded { id, node, digest };
        let added = tokio::task::spawn_blocking(move || catalogue.submit(Actor::Vault, command)).await;
        match added {
            Ok(Ok(_)) => return tracing::info!(segment = %id, peer_id = %node, "tail.holder.added"),
            Ok(Err(CatalogueError::Refused(error))) => {
                return tracing::warn!(segment = %id, peer_id = %node, %error, "tail.holder.refused");
            }
            Ok(Err(error)) => tracing::warn!(segment = %id, peer_id = %node, %error, "tail.holder.not_added"),
            Err(error) => return tracing::error!(segment = %id, peer_id = %node, %error, "tail.holder.panicked"),
        }
        failures = failures.saturating_add(1);
        tokio::time::sleep(pause(failures)).await;
    }
}

fn send(frames: &Arc<TailFrames>, message: TailMessage) -> Sending {
    let frames = Arc::clone(frames);
    Box::pin(async move { frames.send(&message).await })
}

fn pause(failures: u32) -> Duration {
    backoff(failures, Uuid::new_v4().as_u64_pair().0)
}

/// Completes when there is news. A shard that is gone has none.
async fn changed(of: &mut watch::Receiver<()>) {
    if of.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Completes with what is under way, if anything is.
async fn until<F: Future + Unpin>(of: &mut Option<F>) -> F::Output {
    match of {
        Some(of) => of.await,
        None => std::future::pending().await,
    }
}

/// Completes at a time, if there is one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
