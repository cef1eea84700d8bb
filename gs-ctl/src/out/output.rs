//! Answers on stdout, as a table for people or as data.

use std::io::{self, Write};

use anyhow::Context;
use gophership_proto::view;
use serde::Serialize;
use serde_json::Value;

use super::yaml;
use crate::arg::format::Format;

/// An answer.
pub(crate) trait Answer: Serialize {
    /// The answer for people: lines with their ends.
    fn table(&self) -> String;

    /// The answer for people with nothing cut off.
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
    write_stdout(text.as_bytes())
}

/// Writes to stdout. A reader that has gone away (`| head`) has read enough, and is no error.
pub(crate) fn write_stdout(bytes: &[u8]) -> anyhow::Result<()> {
    write_while_read(bytes).map(|_| ())
}

/// Writes to stdout. Returns false where the reader has gone away.
pub(crate) fn write_while_read(bytes: &[u8]) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to stdout"),
    }
}
