//! `gs-ctl replay start`: a job that the node runs and this command follows, or a stream that it writes down.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use gophership_proto::control::v1::replay_sink::Kind;
use gophership_proto::control::v1::{
    ReplayChunk, ReplayEnd, ReplayJob, ReplayJobRef, ReplayProgress, ReplaySink, ReplaySource, ReplaySpec, ReplayState,
    StatusRequest,
};
use schemars::JsonSchema;
use serde::Serialize;
use tonic::{Code, Streaming};
use uuid::Uuid;

use super::replay_watch::{self, Progress, Watch};

use crate::arg::format::Format;
use crate::arg::replay::ReplayStart;
use crate::arg::sink::Sink;
use crate::arg::when::{Patience, now_unix_nano};
use crate::connect::Client;
use crate::out::file_sink::{self, FileSink, NotWritable};
use crate::out::human;
use crate::out::outcome::{Failure, Outcome, refused};
use crate::out::output::{Answer, print};
use crate::out::table::pairs;
use crate::view::jobs::{JobView, of_archive};

/// Limit of entries that could not be written and are named one by one.
const NAMED_MAX: u64 = 20;

/// Checks that a request is possible.
///
/// # Errors
///
/// It is not.
pub(crate) fn check(asked: &ReplayStart) -> Result<(), Failure> {
    let by_node = matches!(asked.sink, Sink::Node(_));
    let usage = |what: &str| Err(Failure::Usage(what.to_owned()));
    if asked.detach && !by_node {
        return usage("--detach does not go with a file or standard output: this command itself writes them");
    }
    if asked.into_self && !by_node {
        return usage("--into-self goes only with a sink that the node sends to");
    }
    if asked.request.is_some() && !by_node {
        return usage("--request goes only with a sink that the node sends to");
    }
    if asked.detach && asked.timeout.is_some() {
        return usage("--timeout does not go with --detach: nobody would look at the clock");
    }
    let over_tls = asked.sink.clone().tls().is_some();
    if asked.insecure && (over_tls || !matches!(asked.sink, Sink::Node(Kind::OtlpGrpc(_) | Kind::OtlpHttp(_)))) {
        return usage("--insecure goes only with otlp-grpc:// and otlp-http://");
    }
    if asked.ca.is_some() && !over_tls {
        return usage("--ca goes only with otlp-grpcs:// and otlp-https://");
    }
    if asked.force && !matches!(asked.sink, Sink::File(_)) {
        return usage("--force goes only with a file");
    }
    let now = now_unix_nano();
    if asked.from.is_some_and(|t| t.unix_nano(now) > now) {
        return usage("--from is in the future: there is nothing yet");
    }
    match (asked.from.map(|t| t.unix_nano(now)), asked.to.map(|t| t.unix_nano(now))) {
        (Some(from), Some(to)) if from >= to => usage("the range is empty: --to is not after --from"),
        _ => Ok(()),
    }
}

/// Runs a replay.
pub(crate) async fn start(node: &mut Client, asked: &ReplayStart, format: Format) -> anyhow::Result<Outcome> {
    let mut to = asked.sink.clone();
    if let (Some(file), Some(tls)) = (&asked.ca, to.tls()) {
        let pem = std::fs::read_to_string(file);
        tls.ca_pem = pem.with_context(|| format!("cannot read the authorities in {}", file.display()))?;
    }
    say_what_is_waited_for(node).await?;
    match &to {
        Sink::Node(kind) => run_job(node, asked, kind.clone(), format).await,
        Sink::Stdout => write_down(node, asked, FileSink::stdout(), None, format).await,
        Sink::File(spec) => {
            let sink = FileSink::create(spec, asked.force)?;
            write_down(node, asked, sink, Some(spec.path.clone()), format).await
        }
    }
}

/// Prints a note about segments that are still being recovered: a replay reads those too, once they are.
async fn say_what_is_waited_for(node: &mut Client) -> anyhow::Result<()> {
    let status = node
        .status(StatusRequest {})
        .await
        .map_err(|e| refused(&e))?
        .into_inner();
    let pending = status.recovery.map_or(0, |r| r.segments_pending);
    if pending > 0 {
        eprintln!(
            "gs-ctl: {} segments of earlier boots are still being recovered and are waited for",
            human::count(pending)
        );
    }
    Ok(())
}

fn spec(asked: &ReplayStart, sink: Option<Kind>) -> ReplaySpec {
    let now = now_unix_nano();
    ReplaySpec {
        from_unix_nano: asked.from.map(|t| t.unix_nano(now)),
        to_unix_nano: asked.to.map(|t| t.unix_nano(now)),
        source: ReplaySource::from(asked.source).into(),
        rate_limit_bytes_per_second: asked.rate.map_or(0, |rate| rate.0),
        sink: sink.map(|kind| ReplaySink {
            kind: Some(kind),
            into_self: asked.into_self,
            insecure: asked.insecure,
        }),
        ..ReplaySpec::default()
    }
}

// -------------------------------------------------------------------------------------------------- by the node

async fn run_job(node: &mut Client, asked: &ReplayStart, kind: Kind, format: Format) -> anyhow::Result<Outcome> {
    let request = asked.request.unwrap_or_else(Uuid::new_v4).to_string();
    let spec = ReplaySpec {
        request: request.clone(),
        ..spec(asked, Some(kind))
    };
    let job = match node.start_replay(spec).await {
        Ok(job) => job.into_inner(),
        Err(status) => {
            let error = anyhow::Error::from(refused(&status));
            return Err(match status.code() {
                Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal | Code::DeadlineExceeded => error
                    .context(format!(
                        "try again with --request {request}, which begins no second job should this try have begun one"
                    )),
                _ => error,
            });
        }
    };
    if asked.detach {
        print(&JobView::from(job), format)?;
        return Ok(Outcome::Done);
    }
    let id = job.id.clone();
    let followed = tokio::select! {
        followed = follow(node, &id, asked.timeout) => followed?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("cannot wait for an interrupt")?;
            eprintln!("gs-ctl: job {id} goes on; `gs-ctl replay status {id}` shows it and `gs-ctl replay cancel {id}` \
                stops it");
            return Ok(Outcome::Failed);
        }
    };
    let (job, outcome) = match followed {
        Some(progress) => {
            let done = progress.state() == ReplayState::Done;
            let progress = Some(progress);
            (
                ReplayJob { progress, ..job },
                if done { Outcome::Done } else { Outcome::Failed },
            )
        }
        None => {
            let cancelled = node.cancel_replay(ReplayJobRef { id }).await.map_err(|e| refused(&e))?;
            (cancelled.into_inner(), Outcome::GaveUp)
        }
    };
    print(&JobView::from(job), format)?;
    Ok(outcome)
}

/// Follows a job to its end. `None` where the command is to give it up.
async fn follow(node: &mut Client, id: &str, timeout: Option<Patience>) -> anyhow::Result<Option<ReplayProgress>> {
    let mut reports = node
        .watch_replay(ReplayJobRef { id: id.to_owned() })
        .await
        .map_err(|e| refused(&e))?
        .into_inner();
    let mut watch = Watch::new(format!("job {id}"), true, timeout.map(|t| t.0));
    let mut progress = ReplayProgress::default();
    let mut hinted = false;
    loop {
        if let Some(report) = replay_watch::next(&mut reports).await {
            progress = report.map_err(|e| refused(&e))?.ok_or_else(|| {
                Failure::Unreachable(format!(
                    "the node stopped reporting on job {id}; `gs-ctl replay status {id}` shows how it went on"
                ))
            })?;
            if progress.state() != ReplayState::Running {
                return Ok(Some(progress));
            }
        }
        if !progress.error.is_empty() && !hinted {
            hinted = true;
            watch.print(&format!("gs-ctl: job {id}: {}", human::one_line(&progress.error)));
            watch.print(&format!(
                "gs-ctl: Ctrl-C leaves the job to the node, which goes on trying; `gs-ctl replay cancel {id}` stops it"
            ));
        }
        if watch.show(progress_of(&progress), &progress.error, node).await {
            watch.print(&format!(
                "gs-ctl: giving up on job {id}: nothing was delivered for {}",
                human::span(watch.still())
            ));
            return Ok(None);
        }
    }
}

fn progress_of(progress: &ReplayProgress) -> Progress {
    let lsns = progress.positions.iter().filter_map(|p| p.lsn);
    Progress {
        entries: progress.entries_done,
        bytes: progress.bytes_done,
        bytes_total: progress.bytes_total_estimate,
        moves: lsns.fold(0, |sum: u64, lsn| {
            sum.wrapping_add(u64::from(lsn.segment_index) << 32 | u64::from(lsn.number))
        }),
    }
}

// ---------------------------------------------------------------------------------------- by this command

/// What was written.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Summary {
    file: Option<PathBuf>,
    /// A range was asked for: what was written are the whole payloads that touch it, which may hold records from
    /// outside.
    whole_payloads_of_a_range: bool,
    entries: u64,
    records: u64,
    bytes: u64,
    /// Of the entries those that came from the archive.
    archived_entries: u64,
    /// Their payload bytes.
    archived_bytes: u64,
    seconds: f64,
    bytes_per_second: f64,
    /// Entries known to be missing because they could not be read.
    unreadable_entries: u64,
    /// What is missing, in the node's own words.
    missing: Option<String>,
    /// Entries that were received and could not be written in this format.
    not_written: u64,
}

impl Answer for Summary {
    fn table(&self) -> String {
        let file = self
            .file
            .as_ref()
            .map_or_else(|| "standard output".to_owned(), |f| f.display().to_string());
        let took = Duration::try_from_secs_f64(self.seconds).unwrap_or_default();
        let mut rows = vec![
            ("Written to", file),
            ("Records", human::count(self.records)),
            ("Entries", human::count(self.entries)),
            (
                "Bytes",
                format!(
                    "{} in {}, {}/s",
                    human::bytes(self.bytes),
                    human::span(took),
                    human::bytes(self.bytes_per_second as u64)
                ),
            ),
        ];
        rows.push(("Archive", of_archive(self.archived_entries, self.archived_bytes)));
        if self.whole_payloads_of_a_range {
            rows.push((
                "Range",
                "whole payloads; they may hold records from outside it".to_owned(),
            ));
        }
        match &self.missing {
            Some(missing) => rows.push(("MISSING", missing.clone())),
            None => rows.push(("Missing", "nothing".to_owned())),
        }
        if self.not_written > 0 {
            rows.push((
                "NOT WRITTEN",
                format!("{} entries, named above", human::count(self.not_written)),
            ));
        }
        pairs(&rows)
    }
}

async fn write_down(
    node: &mut Client,
    asked: &ReplayStart,
    sink: FileSink,
    file: Option<PathBuf>,
    format: Format,
) -> anyhow::Result<Outcome> {
    let part = sink.part().map(|p| p.display().to_string());
    let to_stdout = file.is_none();
    let began = Instant::now();
    let written = match receive(node, asked, sink).await {
        Ok(Some(written)) => written,
        // The reader of our output has closed it, so it has read enough.
        Ok(None) => return Ok(Outcome::Done),
        Err(error) => {
            return match part {
                Some(part) => {
                    Err(error.context(format!("the replay is not complete; what there is of it is in {part}")))
                }
                None => Err(error),
            };
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    let Written {
        end,
        missing,
        not_written,
    } = written;
    let summary = Summary {
        file,
        whole_payloads_of_a_range: asked.from.is_some() || asked.to.is_some(),
        entries: end.entries,
        records: end.records,
        bytes: end.bytes,
        archived_entries: end.archived_entries,
        archived_bytes: end.archived_bytes,
        seconds,
        bytes_per_second: end.bytes as f64 / seconds.max(1e-9),
        unreadable_entries: end.unreadable_entries,
        missing,
        not_written,
    };
    if to_stdout {
        // Standard output holds the data.
        eprint!("{}", summary.table());
    } else {
        print(&summary, format)?;
        // The table says it itself.
        if let (Some(missing), Format::Json | Format::Yaml) = (&summary.missing, format) {
            eprintln!("gs-ctl: {missing}");
        }
    }
    let whole = summary.missing.is_none() && summary.unreadable_entries == 0 && summary.not_written == 0;
    Ok(if whole { Outcome::Done } else { Outcome::Damage })
}

struct Written {
    end: ReplayEnd,
    missing: Option<String>,
    not_written: u64,
}

/// Writes all that the node sends. `None` when the reader of stdout has closed it.
async fn receive(node: &mut Client, asked: &ReplayStart, mut sink: FileSink) -> anyhow::Result<Option<Written>> {
    let mut chunks = node
        .stream_replay(spec(asked, None))
        .await
        .map_err(|e| refused(&e))?
        .into_inner();
    let to_stdout = sink.part().is_none();
    // The reader of standard output may write to the same terminal.
    let mut watch = Watch::new("replay".to_owned(), !to_stdout, asked.timeout.map(|t| t.0));
    let mut got = ReplayEnd::default();
    let (mut not_written, mut bytes_total) = (0, 0);
    let end = loop {
        if let Some(chunk) = replay_watch::next(&mut chunks).await {
            let chunk = chunk.map_err(|e| refused(&e))?;
            let chunk =
                chunk.ok_or_else(|| Failure::Unreachable("the node ended the replay before its end".to_owned()))?;
            if let Some(end) = chunk.end {
                break end;
            }
            match write_chunk(&mut sink, &chunk, &mut got, &mut not_written, &watch) {
                Ok(()) => bytes_total = chunk.bytes_total_estimate,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe && to_stdout => return Ok(None),
                Err(error) => return Err(error).context("cannot write what was replayed"),
            }
        }
        let progress = Progress {
            entries: got.entries,
            bytes: got.bytes,
            bytes_total,
            moves: got.entries,
        };
        if watch.show(progress, "", node).await {
            let still = human::span(watch.still());
            return Err(Failure::GaveUp(format!("nothing came from the node for {still}")).into());
        }
    };
    anyhow::ensure!(
        (got.entries, got.records, got.bytes) == (end.entries, end.records, end.bytes),
        "the node sent {} entries and says that it sent {}: this is a fault of the program",
        got.entries,
        end.entries
    );
    let missing = last_word(&mut chunks).await?;
    drop(watch);
    match sink.finish() {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe && to_stdout => return Ok(None),
        finished => finished.context("cannot finish what was replayed")?,
    }
    Ok(Some(Written {
        end,
        missing,
        not_written,
    }))
}

fn write_chunk(
    sink: &mut FileSink,
    chunk: &ReplayChunk,
    got: &mut ReplayEnd,
    not_written: &mut u64,
    watch: &Watch,
) -> io::Result<()> {
    for entry in &chunk.entries {
        got.entries += 1;
        got.records += u64::from(entry.record_count);
        got.bytes += entry.payload.len() as u64;
        if let Err(NotWritable(why)) = sink.write(entry)? {
            *not_written += 1;
            if *not_written <= NAMED_MAX {
                watch.print(&format!(
                    "gs-ctl: entry {} cannot be written so: {why}",
                    file_sink::name(entry)
                ));
            }
        }
    }
    Ok(())
}

/// Reads the node's report of what is missing, which follows the end of the data.
async fn last_word(chunks: &mut Streaming<ReplayChunk>) -> Result<Option<String>, Failure> {
    match chunks.message().await {
        Ok(_) => Ok(None),
        Err(status) if status.code() == Code::DataLoss => Ok(Some(status.message().to_owned())),
        Err(status) => Err(refused(&status)),
    }
}
