//! Refusals of requests: reasons, and answers to their clients.
//!
//! - `reason`: the closed set of reasons.
//! - `wording`: text and codes of each.
//! - `table`: the encoded forms, made once.
//! - `answer`: the answers that are sent.

mod answer;
mod reason;
mod table;
mod wording;

pub use reason::Refusal;

#[cfg(test)]
mod tests;
