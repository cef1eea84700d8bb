//! Recovery of a segment whose owner is gone: fence it, collect the reports of its holders, copy its entries to enough
//! nodes, seal it.
//!
//! - `leader`: the node that recovers a segment, as a state machine.
//! - `recoveries`: all segments that a leader recovers. `led_recovery`: one of them, driven. `requests`: what it asks
//!   of nodes and of the catalogue.
//! - `parts`: what recoveries need of their node. `noted_events`: what only a leader knows, as events.
//! - `participant`: a node that is asked.
//! - `refetch`: files of its own segments that a node lacks, or that are bad, are fetched from another holder.
//! - `upkeep`: the leader's care of sealed segments. `repair`: a node that fetches the copies that are planned for it,
//!   and those that are bad. `retries`: the pauses between its attempts. `pacing`: the rate of work that goes on beside
//!   a node.
//!
//! Key terms: a recovery has a *number*, which the catalogue grants; holders promise to obey no lower one. Where
//! several leaders recover one segment, only the one with the highest number can seal it.

pub mod leader;
mod led_recovery;
mod noted_events;
pub(crate) mod pacing;
pub mod participant;
pub mod parts;
pub mod recoveries;
pub mod refetch;
pub mod repair;
mod requests;
mod retries;
pub mod upkeep;
