//! `jepsen-like offer`: the open loop on its own, against a node that someone else runs.
//!
//! **Owns**: [`OfferOptions`] and their execution.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::offer::{Burst, OfferSpec, Pattern, Probe, Reading, Summary, offer, own_cpu, per_second_csv};

/// The requests to offer, and the node to offer them to.
#[derive(Debug, Args)]
pub struct OfferOptions {
    /// Address that takes OTLP over gRPC
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// Requests per second, over all connections
    #[arg(long)]
    rate: f64,
    /// Length of the run, in seconds
    #[arg(long)]
    seconds: f64,
    /// Connections, used in turn
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=9999))]
    connections: u32,
    /// Records of each request
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    records: u32,
    /// Approximate bytes of each record
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(100..=30_000))]
    record_bytes: u32,
    /// Share of requests with gzip, in percent
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=100))]
    gzip: u8,
    /// Requests per second during a burst
    #[arg(long, requires = "burst_at", requires = "burst_seconds")]
    burst_rate: Option<f64>,
    /// Start of the burst, in seconds
    #[arg(long, requires = "burst_rate")]
    burst_at: Option<f64>,
    /// Length of the burst, in seconds
    #[arg(long, requires = "burst_rate")]
    burst_seconds: Option<f64>,
    /// Unanswered requests of a connection above which a request that is due is not sent
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight_max: u32,
    /// Time to wait for an answer, in seconds
    #[arg(long, default_value_t = 20.0)]
    timeout: f64,
    /// Process id of the node, to read its memory
    #[arg(long)]
    pid: Option<u32>,
    /// Admin address of the node, to read its zone
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// Also write the summary as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write one line for each second
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

impl OfferOptions {
    fn spec(&self) -> anyhow::Result<OfferSpec> {
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).context("a time in seconds");
        let burst = match (self.burst_rate, self.burst_at, self.burst_seconds) {
            (Some(rate), Some(at), Some(length)) => Some(Burst {
                rate,
                at: seconds(at)?,
                length: seconds(length)?,
            }),
            _ => None,
        };
        let rates = [Some(self.rate), burst.map(|burst| burst.rate)];
        ensure!(
            rates.iter().flatten().all(|rate| (0.0..=100_000.0).contains(rate)),
            "a rate is from 0 to 100000 requests per second"
        );
        let pattern = Pattern {
            rate: self.rate,
            length: seconds(self.seconds)?,
            burst,
        };
        Ok(OfferSpec {
            connections: self.connections,
            records: self.records as usize,
            record_bytes: self.record_bytes as usize,
            gzip_percent: self.gzip,
            in_flight_max: self.in_flight_max as usize,
            timeout: seconds(self.timeout)?,
            ..OfferSpec::new(resolve(&self.address)?, pattern)
        })
    }
}

/// Offers the requests, and prints the summary.
///
/// # Errors
///
/// Nothing listens at the address, or a file cannot be written.
pub async fn run(options: &OfferOptions) -> anyhow::Result<()> {
    let spec = options.spec()?;
    let admin = options.admin.as_deref().map(resolve).transpose()?;
    let (pid, (send, receive)) = (options.pid, mpsc::channel());
    let started = move || {
        let _ = send.send((own_cpu(), Probe::start(pid, admin)));
    };
    let offered = offer(spec, started).await?;
    let (cpu_before, probe) = receive.recv().context("the offer began")?;
    let cpu = own_cpu()
        .zip(cpu_before)
        .map(|(after, before)| after.saturating_sub(before));
    let readings: Vec<Reading> = probe?.stop();
    let summary = Summary::new(&spec.pattern, &offered, &readings, cpu.unwrap_or_default());
    println!("{summary}");
    if let Some(path) = &options.json {
        write(path, serde_json::to_string_pretty(&summary)?)?;
    }
    if let Some(path) = &options.csv {
        write(path, per_second_csv(&offered.samples, &readings))?;
    }
    Ok(())
}

fn resolve(address: &str) -> anyhow::Result<SocketAddr> {
    let found = address
        .to_socket_addrs()
        .with_context(|| format!("no address: {address}"))?;
    let found: Vec<_> = found.collect();
    found.first().copied().with_context(|| format!("no address: {address}"))
}

fn write(path: &Path, text: String) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
