//! Liveness and messages of consensus.
//!
//! **Invariants**:
//! - I1: a message is given to consensus with the number of its sender, of which `admit` made sure.
//! - I2: a file's pieces wait for one who takes them; no more than a few are in memory.

use std::sync::Arc;

use gophership_proto::peer::v1;
use gophership_proto::peer::v1::consensus_piece::Part;
use gophership_proto::peer::v1::consensus_server::Consensus;
use gophership_vault::ids::Epoch;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::admission::{CallKind, Shared};
use super::limits::{CONSENSUS_TIMEOUT, SEND_QUEUE, STALL_TIMEOUT};
use super::wire::uuid_bytes;
use crate::consensus::limits::SNAPSHOT_CHUNK_BYTES;

pub(super) struct ConsensusService(pub(super) Arc<Shared>);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Consensus for ConsensusService {
    async fn hello(&self, request: Request<v1::HelloRequest>) -> Answer<v1::HelloResponse> {
        let _admitted = self.0.admit(CallKind::Consensus, &request)?;
        let local = &self.0.setup.local;
        Ok(Response::new(v1::HelloResponse {
            cluster_id: uuid_bytes(local.cluster.0),
            node: local.node.get(),
            name: local.name.clone(),
            epoch: local.epoch().map_or(0, Epoch::get),
            boot_uuid: uuid_bytes(local.boot),
        }))
    }

    async fn send(&self, request: Request<v1::ConsensusMessage>) -> Answer<v1::ConsensusAnswer> {
        let admitted = self.0.admit(CallKind::Consensus, &request)?;
        let message = request.into_inner().message.into();
        let from = u64::from(admitted.from.get());
        let answer = async {
            let answer = tokio::time::timeout(CONSENSUS_TIMEOUT, self.0.handlers.consensus.receive(from, message));
            answer.await.map_err(|_| late())
        };
        let answer = self.0.until_stopped(answer).await?.into();
        Ok(Response::new(v1::ConsensusAnswer { answer }))
    }

    async fn send_file(&self, request: Request<Streaming<v1::ConsensusPiece>>) -> Answer<v1::ConsensusAnswer> {
        let admitted = self.0.admit(CallKind::Consensus, &request)?;
        let from = u64::from(admitted.from.get());
        let mut parts = request.into_inner();
        let answer = async {
            let Some(Part::Message(message)) = next(&mut parts).await? else {
                return Err(Status::invalid_argument("a file comes after its message"));
            };
            let (sender, pieces) = mpsc::channel(SEND_QUEUE);
            let taken = self.0.handlers.consensus.receive_file(from, message.into(), pieces);
            // Who takes them may end before the last piece, with an answer that says why.
            let (answer, given) = tokio::join!(taken, give(&mut parts, sender));
            given.map(|()| answer)
        };
        let answer = self.0.until_stopped(answer).await?.into();
        Ok(Response::new(v1::ConsensusAnswer { answer }))
    }
}

fn late() -> Status {
    Status::deadline_exceeded("it took too long")
}

async fn next(parts: &mut Streaming<v1::ConsensusPiece>) -> Result<Option<Part>, Status> {
    let next = tokio::time::timeout(STALL_TIMEOUT, parts.message()).await;
    let next = next.map_err(|_| late())??;
    next.map(|part| part.part.ok_or_else(|| Status::invalid_argument("a piece is missing")))
        .transpose()
}

/// Gives the pieces of a file to the one who takes them, until there are no more or nobody takes them.
async fn give(parts: &mut Streaming<v1::ConsensusPiece>, to: mpsc::Sender<Vec<u8>>) -> Result<(), Status> {
    while let Some(part) = next(parts).await? {
        let Part::Piece(piece) = part else {
            return Err(Status::invalid_argument("a file has one message"));
        };
        if piece.len() > SNAPSHOT_CHUNK_BYTES {
            return Err(Status::invalid_argument("a piece of a file is too large"));
        }
        if to.send(piece.into()).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
