//! The protobuf as it is made from JSON, notes on what was met on the way, and the verdict.

use serde::de::Error;
use serde_json::error::Category;

use super::JsonError;
use super::fault::{JsonFault, JsonReason};
use super::schema::Field;

/// Counts of what the protobuf leaves out or changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// Strings that were not Unicode: each bad byte or lone surrogate became U+FFFD.
    pub not_unicode: u32,
    /// Fields with names that OTLP does not have, which were ignored together with their values.
    pub unknown_fields: u32,
}

/// The protobuf so far, and what was met on the way.
pub(super) struct Output<'a> {
    pub(super) bytes: &'a mut Vec<u8>,
    limit: usize,
    pub(super) converted: Converted,
    pub(super) records: u64,
    /// Unknown fields that may have held records.
    pub(super) unknown_above_records: u64,
    /// The fault, where serde_json cannot know it.
    reason: Option<JsonReason>,
    /// The innermost field with a fault.
    pub(super) field: Option<&'static Field>,
    too_large: bool,
}

impl<'a> Output<'a> {
    pub(super) fn new(bytes: &'a mut Vec<u8>, limit: usize) -> Self {
        Self {
            bytes,
            limit,
            converted: Converted::default(),
            records: 0,
            unknown_above_records: 0,
            reason: None,
            field: None,
            too_large: false,
        }
    }

    #[cold]
    pub(super) fn fail<E: Error>(&mut self, reason: JsonReason) -> E {
        self.reason = Some(reason);
        E::custom("see the reason")
    }

    pub(super) fn result(&self, read: Result<(), serde_json::Error>) -> Result<Converted, JsonError> {
        let fault = |reason, line, column| {
            let place = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            JsonError::NotOtlpJson(JsonFault {
                reason,
                field: self.field.map(|field| field.name),
                line: place(line),
                column: place(column),
            })
        };
        match read {
            Ok(()) if self.records == 0 && self.unknown_above_records > 0 => Err(fault(JsonReason::NothingKnown, 0, 0)),
            Ok(()) => Ok(self.converted),
            Err(_) if self.too_large => Err(JsonError::TooLarge { limit: self.limit }),
            Err(error) => {
                let reason = self.reason.unwrap_or(match error.classify() {
                    Category::Io | Category::Syntax => JsonReason::Syntax,
                    Category::Eof => JsonReason::EndsEarly,
                    Category::Data => JsonReason::Wanted(self.field.map_or("an object", Field::wanted)),
                });
                Err(fault(reason, error.line(), error.column()))
            }
        }
    }

    /// Appends `text` with U+FFFD for each byte or surrogate that is not Unicode; `false` where that is too long.
    #[must_use]
    pub(super) fn put_text(&mut self, text: &[u8]) -> bool {
        if std::str::from_utf8(text).is_ok() {
            self.bytes.extend_from_slice(text);
            return true;
        }
        self.converted.not_unicode += 1;
        self.put_replaced(text)
    }

    #[cold]
    fn put_replaced(&mut self, mut text: &[u8]) -> bool {
        while let Some(chunk) = text.utf8_chunks().next() {
            let valid = chunk.valid().len();
            self.bytes.extend_from_slice(chunk.valid().as_bytes());
            let bad = match text[valid..] {
                [] => break,
                // A surrogate, as an escape in JSON produces it.
                [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => 3,
                _ => chunk.invalid().len(),
            };
            self.bytes.extend_from_slice("\u{fffd}".as_bytes());
            if self.bytes.len() > self.limit {
                self.too_large = true;
                return false;
            }
            text = &text[valid + bad..];
        }
        true
    }
}
