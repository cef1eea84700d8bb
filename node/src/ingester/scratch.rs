//! A worker's decoders for compressed messages and JSON. One set is enough, since a message is unpacked without an
//! await.

use gophership_proto::otlp::inflate::{Compression, InflateError, Inflater};
use gophership_proto::otlp::json::{self, Converted, JsonError};

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

    /// Unpacks `sent` into protobuf of at most `limit` bytes; also returns the changes made on the way. An empty input
    /// is an empty payload in every form.
    pub(super) fn must_unpack<'s>(
        &'s mut self,
        sent: &'s [u8],
        compression: Option<Compression>,
        json: bool,
        limit: usize,
    ) -> Result<(&'s [u8], Converted), Refusal> {
        self.used = true;
        let plain = match compression {
            Some(compression) if !sent.is_empty() => {
                self.inflater
                    .inflate(compression, sent, &mut self.inflated, limit)
                    .map_err(|error| match error {
                        InflateError::Corrupt | InflateError::Truncated => Refusal::NotInflatable,
                        InflateError::TooLarge { .. } => Refusal::InflatesTooLarge,
                    })?;
                &self.inflated
            }
            Some(_) | None => sent,
        };
        if !json {
            return Ok((plain, Converted::default()));
        }
        let converted = json::to_protobuf(plain, limit, &mut self.converted).map_err(refuse_json)?;
        Ok((&self.converted, converted))
    }

    /// Frees large buffers that were not used since the last tick.
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
fn refuse_json(error: JsonError) -> Refusal {
    match error {
        JsonError::NotOtlpJson(fault) => Refusal::MalformedJson(fault),
        JsonError::TooLarge { .. } => Refusal::InflatesTooLarge,
    }
}
