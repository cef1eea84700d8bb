//! Decides which requests are events.
//!
//! A request of an operator is one, where it changed something; so are changes of nodes and recoveries. The standing
//! work of nodes is none: segments, cursors, copies, trims.

use std::time::Duration;

use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::ledger::SealRecord;

use super::decide;
use super::decision::Decision;
use crate::actor::Actor;
use crate::command::{Command, Outcome, Reply, Request};
use crate::event::{Event, What};
use crate::job::{JobId, JobResult};
use crate::limits::EVENTS_MAX;
use crate::node::NodeState;
use crate::restore::{RestoreEnd, RestoreRecord};
use crate::segment::SegmentRecord;
use crate::setting::{SettingSet, is_of_cluster};
use crate::state::{Change, State};

/// Decides on a request: on its command, and on the event that it leaves.
///
/// # Errors
///
/// The command is refused.
pub fn decide_request(state: &State, request: &Request) -> Decision {
    let (reply, mut changes) = decide(state, &request.command)?;
    let event = match &request.command {
        Command::Note { what, subject, .. } if is_known(state, *what, subject, request) => None,
        Command::Note { .. } => event_of(state, request, reply),
        // It was submitted before.
        _ if changes.is_empty() => None,
        _ => event_of(state, request, reply),
    };
    if let Some(event) = event {
        let number = state.newest_event() + 1;
        changes.push(Change::Event(number, event));
        let gone = number
            .checked_sub(EVENTS_MAX)
            .filter(|gone| state.events.contains_key(gone));
        changes.extend(gone.map(Change::EventGone));
    }
    Ok((reply, changes))
}

/// Applies a request.
///
/// # Errors
///
/// The command is refused.
pub fn apply_request(state: &mut State, request: &Request) -> Outcome {
    let (reply, changes) = decide_request(state, request)?;
    changes.into_iter().for_each(|change| state.install(change));
    Ok(reply)
}

/// True where a note says nothing new: the node is on record as the leader, or as dead since it came up last, or the
/// note itself was submitted before.
fn is_known(state: &State, what: What, subject: &str, request: &Request) -> bool {
    let newest_first = || state.events.values().rev();
    match what {
        What::LeaderChanged => newest_first()
            .find(|event| event.what == what)
            .is_some_and(|event| event.subject == subject),
        What::NodeDead => newest_first()
            .find(|event| matches!(event.what, What::NodeDead | What::NodeUp) && event.subject == subject)
            .is_some_and(|event| event.what == what),
        _ => event_of(state, request, Reply::Done)
            .is_some_and(|event| newest_first().next().is_some_and(|newest| *newest == event)),
    }
}

fn event_of(state: &State, request: &Request, reply: Reply) -> Option<Event> {
    let by_itself = |at_ns: u64, what, subject: String, detail: &str| {
        let who = request.actor.to_string();
        Some(Event::new(at_ns, what, &who, &subject, detail))
    };
    // One of a command of before has no time, and is not on record.
    let asked = |what, subject: String, detail: &str| match &request.actor {
        Actor::Operator { name, at_ns } if *at_ns > 0 => Some(Event::new(*at_ns, what, name, &subject, detail)),
        Actor::Operator { .. } | Actor::Node | Actor::Vault => None,
    };
    match &request.command {
        Command::Note {
            what,
            subject,
            detail,
            at_ns,
        } => by_itself(*at_ns, *what, subject.clone(), detail),
        Command::RegisterNode { at_ns, .. } => match reply {
            Reply::Registered(id) => by_itself(*at_ns, What::NodeRegistered, node(id), ""),
            Reply::Done | Reply::Up(_) | Reply::Job(_) | Reply::Recovering(_) => None,
        },
        Command::NodeUp { node: id, at_ns, .. } => match reply {
            Reply::Up(epoch) => by_itself(*at_ns, What::NodeUp, node(*id), &format!("epoch {epoch}")),
            Reply::Done | Reply::Registered(_) | Reply::Job(_) | Reply::Recovering(_) => None,
        },
        Command::SetNodeState {
            node: id, state: to, ..
        } => match to {
            NodeState::Draining => asked(What::NodeDraining, node(*id), ""),
            NodeState::Active => asked(What::NodeUndrained, node(*id), ""),
        },
        Command::RemoveNode {
            node: id,
            accept_loss,
            seen,
        } => {
            let loss = match (accept_loss, seen) {
                (true, Some(needed)) => format!("a loss was accepted: {needed}"),
                (true, None) => "a loss was accepted".to_owned(),
                (false, _) => String::new(),
            };
            asked(What::NodeRemoved, node(*id), &loss)
        }
        // Most segments of a node that died are spares, in which nothing is.
        Command::SealRecovered { seal, .. } if seal.stats.entries > 0 => by_itself(
            seal.sealed_ns,
            What::Recovered,
            segment(seal.id),
            &format!("{} entries{}", seal.stats.entries, since_it_began(state, seal)),
        ),
        Command::RecoveredNothing { id, at_ns, .. } => {
            by_itself(*at_ns, What::SegmentLost, segment(*id), "nothing of it was left")
        }
        Command::SegmentLost { id, .. } => asked(What::SegmentLost, segment(*id), ""),
        Command::AcceptLoss { id, loss } => asked(What::LossAccepted, segment(*id), &loss.passed_over),
        Command::AcceptCopyLoss { id, loss, .. } => asked(What::CopyLossAccepted, segment(*id), &loss.passed_over),
        Command::SetExporter {
            exporter: name, paused, ..
        } => match paused {
            true => asked(What::ExporterPaused, exporter(name), ""),
            false => asked(What::ExporterResumed, exporter(name), ""),
        },
        Command::SeekExporter {
            exporter: name,
            node: id,
            ..
        } => asked(
            What::ExporterSought,
            exporter(name),
            &format!("in the logs of node {id}"),
        ),
        Command::ForgetExporter { exporter: name } => {
            let letters = match state.dead_letter_count(name) {
                0 => String::new(),
                count => format!("with its dead letters: {count}"),
            };
            asked(What::ExporterForgotten, exporter(name), &letters)
        }
        Command::DropDeadLetters {
            exporter: name,
            letters,
        } => asked(
            What::LettersDropped,
            exporter(name),
            &format!("{} letters", letters.len()),
        ),
        Command::CreateJob { .. } => match reply {
            Reply::Job(id) => asked(What::JobStarted, job(id), ""),
            Reply::Done | Reply::Registered(_) | Reply::Up(_) | Reply::Recovering(_) => None,
        },
        Command::CancelJob { job: id, .. } => asked(What::JobCancelled, job(*id), ""),
        Command::FinishJob {
            job: id, result, at_ns, ..
        } => match result {
            JobResult::Done => by_itself(*at_ns, What::JobDone, job(*id), ""),
            JobResult::Failed(why) => by_itself(*at_ns, What::JobFailed, job(*id), why),
        },
        Command::SetConfig { key, value, .. } => asked(
            What::SettingChanged,
            format!("setting {key}"),
            &changed(state, key, value.as_deref()),
        ),
        Command::SetSettings { settings, .. } => {
            let is_new = |set: &&SettingSet| state.setting(&set.key).is_none_or(|known| known.value != set.value);
            let told = |set: &SettingSet| format!("{} {}", set.key, changed(state, &set.key, Some(&set.value)));
            let told: Vec<String> = settings.iter().filter(is_new).map(told).collect();
            asked(What::SettingChanged, "settings".to_owned(), &told.join("; "))
        }
        Command::BeginSettings { node: id, at_ns, .. } => by_itself(
            *at_ns,
            What::SettingChanged,
            "settings".to_owned(),
            &format!("first values: those of the configuration of node {id}"),
        ),
        Command::BeginRestore { origin, at_ns } => by_itself(
            *at_ns,
            What::RestoreBegun,
            format!("archive {}", origin.url),
            &format!("restore {}, generation {}", origin.id, origin.generation),
        ),
        Command::RestorePage { end: Some(end), .. } => state.restore().and_then(|restore| {
            by_itself(
                end.at_ns,
                What::RestoreEnded,
                format!("archive {}", restore.origin.url),
                &restored(restore, end),
            )
        }),
        Command::BeginRecovery { .. }
        | Command::RestorePage { .. }
        | Command::SealRecovered { .. }
        | Command::DescribeNode { .. }
        | Command::Roll { .. }
        | Command::Seal { .. }
        | Command::ReplicaAdded { .. }
        | Command::CopyPlanned { .. }
        | Command::Trim { .. }
        | Command::Unlinked { .. }
        | Command::UnlinkedOn { .. }
        | Command::KeepClock { .. }
        | Command::TakeJob { .. }
        | Command::JobProgress { .. }
        | Command::ConfigureExporters { .. }
        | Command::CommitCursors { .. }
        | Command::TakeExport { .. }
        | Command::CommitTakenCursors { .. }
        | Command::BeginExporter { .. }
        | Command::AddDeadLetters { .. }
        | Command::LetterCopied { .. }
        | Command::ArchiveLease { .. }
        | Command::ArchiveCommit { .. }
        | Command::ManifestCommit { .. }
        | Command::ArchiveDoom { .. } => None,
    }
}

/// The time for which a segment was recovered, in words.
fn since_it_began(state: &State, seal: &SealRecord) -> String {
    match state.segment(seal.id) {
        Some(SegmentRecord::Recovering { since_ns, .. }) => {
            let took = Duration::from_nanos(seal.sealed_ns.saturating_sub(since_ns));
            format!(", {:.1} s after its recovery began", took.as_secs_f64())
        }
        _ => String::new(),
    }
}

/// What a run of a restore came to, in words.
fn restored(restore: &RestoreRecord, end: &RestoreEnd) -> String {
    let missing = match (end.missing, end.accept_loss) {
        (0, _) => "complete".to_owned(),
        (missing, true) => format!("the loss of {missing} parts was accepted"),
        (missing, false) => format!("{missing} parts could not be taken in"),
    };
    format!("{} objects, {} segments; {missing}", restore.objects, restore.segments)
}

fn node(id: NodeId) -> String {
    format!("node {id}")
}

fn segment(id: SegmentId) -> String {
    format!("segment {id}")
}

fn exporter(name: &str) -> String {
    format!("exporter {name}")
}

/// The change of a setting; of one of the cluster's configuration from what to what. Of long values a part is shown
/// that differs.
fn changed(state: &State, key: &str, to: Option<&str>) -> String {
    const SHOWN_BYTES: usize = 110;
    let known = state.setting(key).map(|known| known.value.as_str());
    let (Some(from), true) = (known, is_of_cluster(key)) else {
        return to.unwrap_or("removed").to_owned();
    };
    let to = to.unwrap_or("removed");
    let alike = from.bytes().zip(to.bytes()).take_while(|(a, b)| a == b).count();
    let part = |text: &str| {
        let begin = text.floor_char_boundary(if text.len() > SHOWN_BYTES {
            alike.saturating_sub(30)
        } else {
            0
        });
        let end = text.floor_char_boundary(begin + SHOWN_BYTES);
        let cut = |is_cut| if is_cut { "…" } else { "" };
        format!("{}{}{}", cut(begin > 0), &text[begin..end], cut(end < text.len()))
    };
    format!("from {} to {}", part(from), part(to))
}

fn job(id: JobId) -> String {
    format!("job {id}")
}

#[cfg(test)]
mod tests;
