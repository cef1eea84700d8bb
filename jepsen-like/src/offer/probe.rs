//! State of a node under load, seen from outside: its memory ten times a second, its zone once.
//!
//! **Owns**: [`Probe`], [`Reading`].

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const MEMORY_PERIOD: Duration = Duration::from_millis(100);
const ZONE_PERIOD: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_millis(500);
const ZONE_GAUGE: &str = "gophership_ingester_zone";

/// One reading of a node.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Reading {
    /// Time since the probe was started.
    pub at: Duration,
    /// `RssAnon` of `/proc/PID/status`.
    pub rss_anon_bytes: Option<u64>,
    /// The gauge `gophership_ingester_zone`, unchanged.
    pub zone: Option<f64>,
}

/// Reads a node's state until it is stopped.
pub struct Probe {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Reading>>>,
}

impl Probe {
    /// Starts to read the memory of the process and the metrics of the admin address, where they are given.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub fn start(pid: Option<u32>, admin: Option<SocketAddr>) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        if let Some(pid) = pid {
            let read = move |at| {
                rss_anon(pid).map(|bytes| Reading {
                    at,
                    rss_anon_bytes: Some(bytes),
                    zone: None,
                })
            };
            threads.push(every(MEMORY_PERIOD, &stop, read)?);
        }
        if let Some(admin) = admin {
            let read = move |at| {
                zone(admin).map(|zone| Reading {
                    at,
                    rss_anon_bytes: None,
                    zone: Some(zone),
                })
            };
            threads.push(every(ZONE_PERIOD, &stop, read)?);
        }
        Ok(Self { stop, threads })
    }

    /// Ends the probe and returns its readings.
    pub fn stop(self) -> Vec<Reading> {
        self.stop.store(true, Ordering::Relaxed);
        let readings = self.threads.into_iter().map(|thread| thread.join().unwrap_or_default());
        readings.flatten().collect()
    }
}

fn every(
    period: Duration,
    stop: &Arc<AtomicBool>,
    read: impl Fn(Duration) -> Option<Reading> + Send + 'static,
) -> std::io::Result<JoinHandle<Vec<Reading>>> {
    let stop = Arc::clone(stop);
    std::thread::Builder::new().name("probe".into()).spawn(move || {
        let (start, mut readings) = (Instant::now(), Vec::new());
        while !stop.load(Ordering::Relaxed) {
            readings.extend(read(start.elapsed()));
            std::thread::sleep(period);
        }
        readings
    })
}

/// Anonymous memory of a process; `None` when it is gone.
pub(crate) fn rss_anon(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn zone(admin: SocketAddr) -> Option<f64> {
    gauge(&metrics(admin).ok()?, ZONE_GAUGE)
}

/// The text of `/metrics`.
pub(crate) fn metrics(admin: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The greatest value of a metric of this name, over all its labels.
pub(crate) fn gauge(metrics: &str, name: &str) -> Option<f64> {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.split_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.trim().parse().ok()
    });
    values.reduce(f64::max)
}

/// CPU time of this process so far.
pub(crate) fn own_cpu() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name may hold spaces. Behind it, the state is field 3, utime and stime are fields 14 and 15.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_secs_f64(
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_is_found_by_its_whole_name() {
        let text = "# TYPE gophership_ingester_zone gauge\ngophership_ingester_zone_changes 9\n\
                    gophership_ingester_zone 2\nother{shard=\"0\"} 3\nother{shard=\"1\"} 5\n";
        assert_eq!(gauge(text, ZONE_GAUGE), Some(2.0));
        assert_eq!(gauge(text, "other"), Some(5.0));
        assert_eq!(gauge(text, "gophership"), None);
    }

    #[test]
    fn a_process_has_memory_and_cpu() {
        assert!(rss_anon(std::process::id()).unwrap() > 0);
        assert!(own_cpu().is_some());
    }
}
