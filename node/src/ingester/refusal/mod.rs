//! Why a request is refused, and what its client is told.
//!
//! - `reason`: the closed set of reasons.
//! - `wording`: what each says, and by which codes.
//! - `table`: the encoded forms, made once.
//! - `answer`: the answers that are sent.

mod answer;
mod reason;
mod table;
mod wording;

pub use reason::Refusal;

#[cfg(test)]
mod tests;
