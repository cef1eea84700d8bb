//! The rounds that archive segments, as state machines without a socket, a file or a clock: `step` takes an event and
//! returns actions. What has no answer is repeated at each `Retry`; a caller pauses between these.
//!
//! - [`next_object`] (`plan`): which segments become one object, and when.
//! - [`ObjectRound`] (`object_round`): one object, from the lease of its segments to its commit.
//! - [`Manifest`] (`manifest`): the content of a manifest. [`ManifestRound`] (`manifest_round`): one manifest, put,
//!   read back and committed, which lists what was committed. Then its segments are archived.

mod manifest;
mod manifest_round;
mod object_round;
mod plan;

pub use manifest::{Listed, Manifest};
pub use manifest_round::{ManifestAction, ManifestEnding, ManifestEvent, ManifestRound};
pub use object_round::{ObjectAction, ObjectEnding, ObjectEvent, ObjectRound};
pub use plan::{Candidate, PlanSettings, next_object};
