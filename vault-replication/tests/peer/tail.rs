//! The tail stream, with copies behind it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use gophership_vault::CopyStore;
use gophership_vault::ids::{Epoch, LogId, NodeId, SegmentId, ShardId};
use gophership_vault_replication::peer::wire::tail::{SentFrame, TailMessage};
use gophership_vault_replication::peer::{Handlers, PeerClient, PeerError, TailAnswers, TailFrames, TailHandler};
use gophership_vault_replication::tail::receiver::TailReceiver;
use gophership_vault_replication::tail::{Held, StreamId, TailAnswer, TailRefusal};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::segment::{self, Segment};
use crate::support::*;

/// The copies of a node, as its driver gives them to the port.
pub(crate) struct Copies {
    pub(crate) receiver: Mutex<TailReceiver>,
    gone: Mutex<Vec<(NodeId, StreamId)>>,
    _folder: TempDir,
    pub(crate) store: CopyStore,
}

impl Copies {
    pub(crate) fn new(n: u32) -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let store = CopyStore::in_folder(folder.path(), node(n)).unwrap();
        Arc::new(Self {
            receiver: Mutex::new(TailReceiver::new(store.clone())),
            gone: Mutex::default(),
            _folder: folder,
            store,
        })
    }

    pub(crate) fn handlers(self: &Arc<Self>) -> Handlers {
        Handlers {
            tail: Arc::clone(self) as Arc<dyn TailHandler>,
            ..nothing()
        }
    }
}

impl TailHandler for Copies {
    fn take(&self, _: LogId, stream: StreamId, messages: Vec<TailMessage>) -> Vec<(SegmentId, TailAnswer)> {
        let mut receiver = self.receiver.lock().unwrap();
        let mut answers = Vec::new();
        for message in messages {
            let id = message.segment();
            let answer = match message {
                TailMessage::Begin(stream, header) => Some(receiver.begin(stream, &header)),
                TailMessage::Frame(frame) => receiver.frame(stream, frame.borrow()),
                TailMessage::Complete(id, digest) => Some(receiver.complete(stream, id, digest)),
                TailMessage::Leave(id) => {
                    receiver.leave(stream, id);
                    None
                }
            };
            answers.extend(answer.map(|answer| (id, answer)));
        }
        answers.extend(receiver.sync().into_iter().map(|(_, id, answer)| (id, answer)));
        answers
    }

    fn disconnected(&self, log: LogId, stream: StreamId) {
        self.receiver.lock().unwrap().disconnected(log, stream);
        self.gone.lock().unwrap().push((log.node, stream));
    }
}

fn stream_id(number: u64) -> StreamId {
    StreamId::new(Epoch::FIRST, number)
}

/// One stream of node 1.
pub(crate) struct Stream {
    frames: TailFrames,
    answers: TailAnswers,
}

impl Stream {
    /// Begins a stream with a segment, and gives the answer.
    pub(crate) async fn begin(
        client: &PeerClient,
        to: (u32, &gophership_vault_replication::consensus::raft_types::Member),
        stream: u64,
        segment: &Segment,
    ) -> (Self, TailAnswer) {
        let (frames, answers) = client.tail(node(to.0), to.1, PATIENCE).await.unwrap();
        let mut stream_of = Self { frames, answers };
        stream_of
            .send(&TailMessage::Begin(stream_id(stream), segment.header.clone()))
            .await;
        let (id, answer) = stream_of.answer().await.unwrap().unwrap();
        assert_eq!(id, segment.header.id);
        (stream_of, answer)
    }

    async fn send(&self, message: &TailMessage) {
        self.frames.send(message).await.unwrap();
    }

    async fn answer(&mut self) -> Result<Option<(SegmentId, TailAnswer)>, PeerError> {
        soon("an answer", self.answers.next()).await
    }

    /// Sends frames and waits until the last of them is answered.
    pub(crate) async fn copy(&mut self, frames: &[SentFrame]) {
        for frame in frames {
            self.send(&TailMessage::Frame(frame.clone())).await;
        }
        let last = frames.last().unwrap().last_lsn.number();
        while self.answer().await.unwrap() != Some((frames[0].id, TailAnswer::Synced(last))) {}
    }

    pub(crate) async fn complete(&mut self, segment: &Segment) {
        let id = segment.header.id;
        self.send(&TailMessage::Complete(id, segment.digest)).await;
        let answer = self.answer().await.unwrap();
        assert_eq!(answer, Some((id, TailAnswer::Completed(segment.digest))));
    }
}

/// A way to an address that can be cut.
async fn wire_to(address: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let wire = tokio::spawn(async move {
        let (mut one, _) = listener.accept().await.unwrap();
        let mut other = TcpStream::connect(address).await.unwrap();
        let _ended = tokio::io::copy_bidirectional(&mut one, &mut other).await;
    });
    (at, wire)
}

#[test]
fn a_stream_that_is_cut_goes_on_from_what_the_replica_has() {
    let segment = segment::write(40);
    runtime().block_on(async {
        let authority = Authority::new();
        let copies = Copies::new(2);
        let (server, member) = serve(&setup(2, &authority), copies.handlers());
        let owner = setup(1, &authority);
        owner.list.replace((1..=4).map(|n| (name(n), Some(node(n)))));
        let (wired, wire) = wire_to(member.address.parse().unwrap()).await;
        let wired = crate::support::member(2, wired);
        let client = PeerClient::new(Arc::clone(&owner));
        let (mut stream, answer) = Stream::begin(&client, (2, &wired), 1, &segment).await;
        assert_eq!(answer, TailAnswer::Has(None));
        stream.copy(&segment.frames[..10]).await;
        // These may arrive or not.
        for frame in &segment.frames[10..15] {
            stream.send(&TailMessage::Frame(frame.clone())).await;
        }
        wire.abort();
        while let Ok(answer) = stream.answer().await {
            assert!(answer.is_some(), "a stream that is cut has not ended well");
        }
        soon("the end of the stream there", async {
            while copies.gone.lock().unwrap().is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        let (mut stream, answer) = Stream::begin(&client, (2, &member), 2, &segment).await;
        let TailAnswer::Has(Some(Held { last, frames })) = answer else {
            panic!("{answer:?}")
        };
        assert!((10..=15).contains(&frames), "{frames}");
        assert_eq!(segment.frames[frames as usize - 1].last_lsn.number(), last);
        stream.copy(&segment.frames[frames as usize..]).await;
        stream.complete(&segment).await;
        // An owner that ends its stream is told so, and so is the handler.
        drop(stream.frames);
        assert_eq!(soon("the end", stream.answers.next()).await, Ok(None));
        soon("the end there", async {
            while *copies.gone.lock().unwrap() != [(node(1), stream_id(1)), (node(1), stream_id(2))] {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        assert!(copies.store.report(segment.header.id).unwrap().entries.has_all(
            segment.frames[0].last_lsn.number(),
            segment.frames[39].last_lsn.number()
        ));
        server.stop().await;
    });
}

#[test]
fn an_owner_speaks_of_its_own_segments_on_a_stream_of_one_number() {
    let segment = segment::write(3);
    runtime().block_on(async {
        let authority = Authority::new();
        let copies = Copies::new(2);
        let (_server, member) = serve(&setup(2, &authority), copies.handlers());
        let owner = PeerClient::new(setup(1, &authority));
        let other = PeerClient::new(setup(3, &authority));
        let (mut well, answer) = Stream::begin(&owner, (2, &member), 1, &segment).await;
        assert_eq!(answer, TailAnswer::Has(None));
        let begin = |stream| TailMessage::Begin(stream_id(stream), segment.header.clone());
        let frame = TailMessage::Frame(segment.frames[0].clone());
        let mut of_another_cluster = segment.header.clone();
        of_another_cluster.cluster_id.0 = uuid::Uuid::nil();
        let of_another_cluster = TailMessage::Begin(stream_id(5), of_another_cluster);
        let mut of_another_log = segment.header.clone();
        of_another_log.id.shard = ShardId::new(7);
        let of_another_log = TailMessage::Begin(stream_id(5), of_another_log);
        let mut large = segment.frames[0].clone();
        large.bytes = vec![0; 4 << 20].into();
        for (says, client, messages) in [
            ("a segment's owner", &other, vec![begin(5)]),
            ("a segment's cluster", &owner, vec![of_another_cluster]),
            ("the begin of a segment", &owner, vec![frame.clone()]),
            ("the number of the stream", &owner, vec![begin(5), begin(6)]),
            ("the log or", &owner, vec![begin(5), of_another_log]),
            ("too large", &owner, vec![begin(5), TailMessage::Frame(large)]),
        ] {
            let (frames, mut answers) = client.tail(node(2), &member, PATIENCE).await.unwrap();
            for message in &messages {
                // It may have ended before the last one.
                let _sent = frames.send(message).await;
            }
            let refused = loop {
                match soon("a refusal", answers.next()).await {
                    Ok(answer) => assert!(answer.is_some(), "{says}: it ended well"),
                    Err(e) => break e,
                }
            };
            assert!(
                matches!(&refused, PeerError::Failed { why, .. } if why.contains(says)),
                "{says}: {refused}"
            );
        }
        // Stream 5 took the segment over from stream 1, which is told so by nobody; a new one goes on.
        let (mut next, answer) = Stream::begin(&owner, (2, &member), 7, &segment).await;
        assert_eq!(answer, TailAnswer::Has(None));
        next.copy(&segment.frames).await;
        let (_old, answer) = Stream::begin(&owner, (2, &member), 4, &segment).await;
        assert_eq!(answer, TailAnswer::Refused(TailRefusal::Failed));
        next.complete(&segment).await;
        drop(well.frames);
        assert_eq!(soon("the end", well.answers.next()).await, Ok(None));
    });
}

#[test]
fn a_server_that_is_stopped_ends_its_streams() {
    let segment = segment::write(3);
    runtime().block_on(async {
        let authority = Authority::new();
        let copies = Copies::new(2);
        let (server, member) = serve(&setup(2, &authority), copies.handlers());
        let client = PeerClient::new(setup(1, &authority));
        let (mut stream, _) = Stream::begin(&client, (2, &member), 1, &segment).await;
        stream.copy(&segment.frames).await;
        server.stop().await;
        while let Ok(Some(_)) = stream.answer().await {}
        assert_eq!(*copies.gone.lock().unwrap(), [(node(1), stream_id(1))]);
        assert!(client.hello(node(2), &member, PATIENCE).await.is_err());
    });
}
