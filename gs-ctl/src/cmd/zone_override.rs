//! `gs-ctl override`.

use gophership_proto::control::v1::{ClearOverrideRequest, SetOverrideRequest, Zone};

use crate::arg::cli::{ForcedZone, Override};
use crate::arg::format::Format;
use crate::connect::Client;
use crate::out::outcome::{Outcome, refused};
use crate::out::output::print;
use gophership_proto::view::zone::ZoneView;

/// Forces a zone, or clears the override; answers with the new state of the zone.
pub(crate) async fn zone_override(node: &mut Client, asked: Override, format: Format) -> anyhow::Result<Outcome> {
    // The command line has made sure that a zone is named exactly where nothing is cleared.
    let answer = match asked.zone {
        Some(zone) => {
            let zone = match zone {
                ForcedZone::Green => Zone::Green,
                ForcedZone::Yellow => Zone::Yellow,
                ForcedZone::Red => Zone::Red,
            };
            let asked = SetOverrideRequest {
                zone: zone.into(),
                reason: asked.reason.unwrap_or_default(),
            };
            node.set_override(asked).await
        }
        None => node.clear_override(ClearOverrideRequest {}).await,
    };
    let zone = answer.map_err(|e| refused(&e))?.into_inner();
    print(&ZoneView::from(zone), format)?;
    Ok(Outcome::Done)
}
