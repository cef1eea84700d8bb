//! Where answers go: stdout, as a table for people or as data.

use std::io::{self, Write};

use anyhow::Context;
use gophership_proto::view;
use serde::Serialize;
use serde_json::Value;

use super::yaml;
use crate::arg::format::Format;

/// An answer.
pub(crate) trait Answer: Serialize {
    /// For people, lines with their ends.
    fn table(&self) -> String;

    /// The same with nothing cut.
    fn wide(&self) -> String {
        self.table()
    }
}

/// An answer as JSON.
pub(crate) fn json(answer: &impl Serialize) -> anyhow::Result<Value> {
    view::json(answer).context("cannot write the answer as data")
}

/// Writes an answer.
pub(crate) fn print(answer: &impl Answer, format: Format) -> anyhow::Result<()> {
    let text = match format {
        Format::Table => answer.table(),
        Format::Wide => answer.wide(),
        Format::Json => format!("{:#}\n", json(answer)?),
        Format::Yaml => yaml::document(&json(answer)?),
    };
    say(text.as_bytes())
}

/// Writes to stdout. A reader that has gone away (`| head`) has read enough.
pub(crate) fn say(bytes: &[u8]) -> anyhow::Result<()> {
    offer(bytes).map(|_| ())
}

/// Writes to stdout; whether anybody still reads it.
pub(crate) fn offer(bytes: &[u8]) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to stdout"),
    }
}
