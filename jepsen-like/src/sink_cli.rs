//! `jepsen-like sink`: a recording sink on its own, controlled by lines on its standard input.
//!
//! **Owns**: [`SinkOptions`] and their execution.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use clap::{Args, ValueEnum as _};
use serde::Serialize;

use crate::sink::{LedgerSummary, Mode, Sink};

/// Ports and first mode of a sink.
#[derive(Debug, Args)]
pub struct SinkOptions {
    /// Port of loopback for OTLP over gRPC; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    grpc: u16,
    /// Port of loopback for OTLP over HTTP; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    http: u16,
    /// The mode in which it starts
    #[arg(long, value_enum, default_value_t = Mode::Ok)]
    mode: Mode,
}

#[derive(Serialize)]
struct Stats {
    #[serde(flatten)]
    ledger: LedgerSummary,
    requests: BTreeMap<String, u64>,
}

/// Listens until its standard input ends: a line with the name of a mode switches to it, `stats` prints counts as JSON,
/// as does the end.
///
/// # Errors
///
/// A port is taken, or the system has no thread left.
pub async fn run(options: &SinkOptions) -> anyhow::Result<()> {
    let sink = Sink::at(Ipv4Addr::LOCALHOST, [options.grpc, options.http], options.mode).await?;
    eprintln!("gRPC at {}, HTTP at {}", sink.grpc, sink.http);
    let (send, mut lines) = tokio::sync::mpsc::channel(1);
    // The reader has a thread of its own, which nothing waits for, since a read of the standard input cannot be
    // cancelled.
    let read = move || {
        let lines = std::io::stdin().lines();
        lines.map_while(Result::ok).all(|line| send.blocking_send(line).is_ok())
    };
    std::thread::Builder::new().name("stdin".into()).spawn(read)?;
    while let Some(line) = lines.recv().await {
        match (line.trim(), Mode::from_str(line.trim(), true)) {
            ("stats", _) => print_stats(&sink)?,
            (_, Ok(mode)) => sink.switch(mode),
            (other, Err(_)) => eprintln!("neither `stats` nor a mode: {other}"),
        }
    }
    print_stats(&sink)
}

fn print_stats(sink: &Sink) -> anyhow::Result<()> {
    let stats = Stats {
        ledger: sink.summary(),
        requests: sink.requests(),
    };
    println!("{}", serde_json::to_string(&stats)?);
    Ok(())
}
