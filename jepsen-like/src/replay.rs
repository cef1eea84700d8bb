//! A replay by `gs-ctl` into a `.lenpb` file, and that file read back.
//!
//! **Owns**: [`replay`] and [`read_lenpb`].

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::check::Replayed;
use crate::node::NodeSetup;
use crate::payload::PayloadHash;

const PATIENCE: Duration = Duration::from_secs(180);
/// No payload of the harness comes near this size, so a longer one shows a broken file.
const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// The result of a replay.
#[derive(Debug)]
pub struct ReplayResult {
    /// The entries, in the order of the file.
    pub entries: Vec<Replayed>,
    /// Exit status of `gs-ctl`.
    pub status: ExitStatus,
    /// Text that `gs-ctl` printed.
    pub words: String,
    /// Duration of the replay.
    pub took: Duration,
}

/// Replays everything that the node has.
///
/// # Errors
///
/// `gs-ctl` cannot be run or does not end, or wrote no readable file.
pub async fn replay(setup: &NodeSetup) -> anyhow::Result<ReplayResult> {
    let path = setup.folder.join("replay.lenpb");
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let started = Instant::now();
    let mut command = Command::new(&setup.binaries.ctl);
    command
        .arg("--socket")
        .arg(setup.socket())
        .args(["replay", "start", "--sink"]);
    command
        .arg(format!("file:{}", path.display()))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.with_context(|| format!("gs-ctl replay took longer than {PATIENCE:?}"))?;
    let output = output.with_context(|| format!("cannot run {}", setup.binaries.ctl.display()))?;
    let words = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
        .join("\n");
    let file = File::open(&path).with_context(|| format!("gs-ctl ({}) wrote no file: {words}", output.status))?;
    let entries = read_lenpb(BufReader::with_capacity(1 << 20, file))?;
    fs::remove_file(&path)?;
    Ok(ReplayResult {
        entries,
        status: output.status,
        words,
        took: started.elapsed(),
    })
}

/// Reads payloads, each preceded by its length in four bytes, big-endian.
///
/// # Errors
///
/// The file ends in the middle of a payload, or a length makes no sense.
pub fn read_lenpb(mut from: impl Read) -> anyhow::Result<Vec<Replayed>> {
    let mut entries = Vec::new();
    let mut payload = Vec::new();
    loop {
        let mut length = [0; 4];
        if from.read(&mut length[..1])? == 0 {
            return Ok(entries);
        }
        from.read_exact(&mut length[1..]).context("the file ends in a length")?;
        let length = u32::from_be_bytes(length) as usize;
        ensure!(
            length <= PAYLOAD_BYTES_MAX,
            "entry {} claims {length} bytes",
            entries.len()
        );
        payload.resize(length, 0);
        from.read_exact(&mut payload)
            .with_context(|| format!("the file ends in entry {}", entries.len()))?;
        entries.push(Replayed {
            hash: PayloadHash::of(&payload),
            label: label(&payload),
        });
    }
}

/// The mark in a payload, or a note that there is none.
fn label(payload: &[u8]) -> String {
    match payload.windows(3).position(|window| window == b"jl/") {
        Some(at) => {
            let mark = payload[at..].iter().take_while(|byte| byte.is_ascii_graphic()).take(80);
            format!(
                "{} bytes marked {}",
                payload.len(),
                mark.map(|byte| char::from(*byte)).collect::<String>()
            )
        }
        None => format!("{} bytes without a mark", payload.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_read_in_order_and_a_torn_file_is_an_error() {
        let mut file = Vec::new();
        for payload in [&b"first"[..], b"", b"x jl/run/c1/7 y"] {
            file.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
            file.extend_from_slice(payload);
        }
        let read = read_lenpb(&file[..]).unwrap();
        assert_eq!(read.len(), 3);
        assert_eq!(read[0].hash, PayloadHash::of(b"first"));
        assert_eq!(read[2].label, "15 bytes marked jl/run/c1/7");
        assert!(read_lenpb(&file[..file.len() - 1]).is_err());
        assert!(read_lenpb(&file[..2]).is_err());
    }
}
