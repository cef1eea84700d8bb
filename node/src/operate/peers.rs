//! Questions to the other nodes, whose answers an operator sees together.
//!
//! **Invariants**:
//! - I1: a node that is not heard is not asked, and one that does not answer delays the others for a bounded time.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use gophership_vault::ids::NodeId;
use gophership_vault_replication::consensus::raft_types::Member;
use gophership_vault_replication::peer::{PeerClient, PeerError};

use crate::peers::Peers;

/// The answers of nodes, or the reason why there is none.
pub(super) type Answers<T> = BTreeMap<NodeId, Result<T, String>>;

/// Asks each of these nodes, all at once.
pub(super) async fn ask<Q, T, F>(
    peers: &Arc<Peers>,
    questions: BTreeMap<NodeId, Q>,
    question: impl Fn(PeerClient, NodeId, Member, Q) -> F,
) -> Answers<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, PeerError>> + Send + 'static,
{
    let answers = questions.into_iter().map(|(node, asked)| {
        let answer = member(peers, node).map(|member| {
            // Connections belong to the runtime on which they are made.
            peers.runtime.spawn(question(peers.client.clone(), node, member, asked))
        });
        async move {
            let answer = match answer {
                Ok(answer) => answer.await,
                Err(why) => return (node, Err(why)),
            };
            let answer = answer.map_err(|error| format!("the question ended abruptly: {error}"));
            (
                node,
                answer.and_then(|answer| answer.map_err(|error| error.to_string())),
            )
        }
    });
    join_all(answers).await.into_iter().collect()
}

/// The address of a node that can be asked.
///
/// # Errors
/// The reason why it cannot.
pub(super) fn member(peers: &Peers, node: NodeId) -> Result<Member, String> {
    if !(peers.is_alive)(node) {
        return Err(format!("node {node} was not heard lately"));
    }
    peers
        .member(node)
        .ok_or_else(|| format!("node {node} has not described itself"))
}
