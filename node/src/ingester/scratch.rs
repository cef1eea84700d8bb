//! What a worker inflates and converts with: one set, since that is done in one go.

use gophership_proto::otlp::inflate::{Compression, InflateError, Inflater};
use gophership_proto::otlp::json::{self, JsonError};

use super::refusal::Refusal;
use crate::limits::POOLED_BYTES_MAX;

/// Decoders and their output.
pub(super) struct Scratch {
    inflater: Inflater,
    inflated: Vec<u8>,
    converted: Vec<u8>,
    used: bool,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self {
            inflater: Inflater::new(),
            inflated: Vec::new(),
            converted: Vec::new(),
            used: false,
        }
    }

    /// The payload in `sent`, as protobuf, of `limit` bytes at most.
    pub(super) fn must_unpack<'s>(
        &'s mut self,
        sent: &'s [u8],
        compression: Option<Compression>,
        json: bool,
        limit: usize,
    ) -> Result<&'s [u8], Refusal> {
        self.used = true;
        let plain = match compression {
            None => sent,
            Some(compression) => {
                self.inflater
                    .inflate(compression, sent, &mut self.inflated, limit)
                    .map_err(|error| match error {
                        InflateError::Corrupt | InflateError::Truncated => Refusal::NotInflatable,
                        InflateError::TooLarge { .. } => Refusal::InflatesTooLarge,
                    })?;
                &self.inflated
            }
        };
        if !json {
            return Ok(plain);
        }
        json::to_protobuf(plain, &mut self.converted).map_err(|error| refuse_json(&error))?;
        if self.converted.len() > limit {
            return Err(Refusal::InflatesTooLarge);
        }
        Ok(&self.converted)
    }

    /// Lets go of large buffers that were not used since the last time.
    pub(super) fn tick(&mut self) {
        if !std::mem::take(&mut self.used) {
            for buffer in [&mut self.inflated, &mut self.converted] {
                buffer.clear();
                buffer.shrink_to(POOLED_BYTES_MAX);
            }
        }
    }
}

#[cold]
fn refuse_json(error: &JsonError) -> Refusal {
    match error {
        JsonError::NotOtlpJson(error) => {
            let place = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            Refusal::MalformedJson {
                line: place(error.line()),
                column: place(error.column()),
            }
        }
        JsonError::NotOtlp(error) => Refusal::Malformed(*error),
    }
}
