//! The trace of a run: a line for each thing that happened, at its time. Two runs of a seed give the same bytes.

use std::fmt::Arguments;
use std::io::Write;

/// The lines of a run, of which the hash is always kept, and the text where it is asked for.
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    line: Vec<u8>,
    text: Option<String>,
}

impl Trace {
    /// An empty trace.
    pub(crate) fn new(keeps_text: bool) -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            line: Vec::new(),
            text: keeps_text.then(String::new),
        }
    }

    /// Adds a line.
    pub(crate) fn add(&mut self, now: u64, what: Arguments<'_>) {
        self.line.clear();
        writeln!(self.line, "{now:6} {what}").unwrap();
        self.hasher.update(&self.line);
        if let Some(text) = &mut self.text {
            text.push_str(&String::from_utf8_lossy(&self.line));
        }
    }

    /// The hash over all lines.
    pub(crate) fn hash(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }

    /// All lines.
    pub(crate) fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }
}
