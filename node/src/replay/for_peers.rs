//! Reads this node's files for replays that its peers run.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use gophership_catalogue::Catalogue;
use gophership_vault::ids::SegmentId;
use gophership_vault::time::TimeRange;
use gophership_vault::{ScanFault, SegmentState, Vault};
use gophership_vault_replication::peer::{ReplayFound, ReplayHandler, ReplayReading};
use serde::{Deserialize, Serialize};

use super::plan::{self, Dropped, Part};
use super::reader::{self, Found};

/// What is missing, on its way to a peer.
#[derive(Serialize, Deserialize)]
enum Missing {
    Fault(ScanFault),
    Dropped(SegmentId, Dropped),
}

impl Missing {
    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and a text have a form in JSON")
    }
}

/// What a peer found missing.
///
/// # Errors
/// A peer of another version sent it.
pub(super) fn missing_from(bytes: &[u8]) -> Result<Found, serde_json::Error> {
    Ok(match serde_json::from_slice(bytes)? {
        Missing::Fault(fault) => Found::Fault(fault),
        Missing::Dropped(first, dropped) => Found::Dropped(first, dropped),
    })
}

/// Reads for peers, once there is a vault.
#[derive(Default)]
pub(crate) struct ForPeers(OnceLock<(Vault, Arc<dyn Catalogue>)>);

impl ForPeers {
    /// Begins to read.
    pub(crate) fn begin(&self, vault: Vault, catalogue: Arc<dyn Catalogue>) {
        self.0.get_or_init(|| (vault, catalogue));
    }

    fn parts(&self) -> Result<&(Vault, Arc<dyn Catalogue>), String> {
        self.0.get().ok_or_else(|| "the node is starting".to_owned())
    }
}

impl ReplayHandler for ForPeers {
    fn plan(&self, time: TimeRange) -> Result<Vec<Vec<u8>>, String> {
        let (vault, catalogue) = self.parts()?;
        let parts = plan::own_parts(vault, &**catalogue, time);
        let parts = parts.iter().map(serde_json::to_vec);
        parts.collect::<Result<_, _>>().map_err(|e| e.to_string())
    }

    fn read(&self, reading: ReplayReading<'_>, take: &mut dyn FnMut(ReplayFound) -> bool) -> Result<(), String> {
        let ReplayReading {
            part,
            time,
            done,
            wanted,
        } = reading;
        let (vault, _) = self.parts()?;
        let part: Part = serde_json::from_slice(part).map_err(|e| format!("another version made the plan: {e}"))?;
        match reader::copy_not_here(vault, &part) {
            Some((segment, Some(SegmentState::Unreadable(what)))) => {
                let (numbers, is_for_now) = (None, true);
                let fault = ScanFault {
                    segment,
                    numbers,
                    what,
                    is_for_now,
                };
                take(ReplayFound::Missing(Missing::Fault(fault).to_bytes()));
                return Ok(());
            }
            Some((segment, _)) => return Err(format!("its copy of segment {segment} cannot be read yet")),
            None => {}
        }
        let _given_up = reader::read(vault, &part, time, done, move || !wanted(), &mut |found| {
            let found = match found {
                Found::Entry(entry) => ReplayFound::Entry(entry),
                Found::Fault(fault) => ReplayFound::Missing(Missing::Fault(fault).to_bytes()),
                Found::Dropped(first, dropped) => ReplayFound::Missing(Missing::Dropped(first, dropped).to_bytes()),
            };
            if take(found) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        Ok(())
    }
}
