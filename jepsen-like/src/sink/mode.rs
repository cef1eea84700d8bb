//! The reaction of a sink to a request. Pure.
//!
//! **Owns**: [`Mode`], [`Reply`].

use std::time::Duration;

use clap::ValueEnum;

use crate::payload::PayloadId;

/// Delay that a refusal with a delay asks for.
pub const RETRY_AFTER: Duration = Duration::from_secs(2);

/// A sink's behaviour.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub enum Mode {
    /// Accepts everything.
    Ok,
    /// UNAVAILABLE, 503.
    Unavailable,
    /// UNAVAILABLE with RetryInfo, 503 with Retry-After.
    RetryLater,
    /// RESOURCE_EXHAUSTED with RetryInfo, 429 with Retry-After.
    Throttled,
    /// INVALID_ARGUMENT, 400.
    Invalid,
    /// INVALID_ARGUMENT, 400 for a request with a payload of a marked connection (one with an odd number); accepts the
    /// rest.
    InvalidMarked,
    /// UNAUTHENTICATED, 401.
    Unauthenticated,
    /// UNIMPLEMENTED, 404.
    NotFound,
    /// RESOURCE_EXHAUSTED without RetryInfo, 413 for a request with more than one payload; accepts single ones.
    TooLarge,
    /// Breaks the stream off in the middle of the request.
    Reset,
    /// Never answers.
    Hang,
    /// Accepts everything, and reports that it rejected one record.
    Partial,
    /// Reads slowly, then accepts everything.
    Drip,
    /// Does not listen: connections are refused.
    Down,
}

/// The reaction to one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reply {
    Accept {
        rejected_records: i64,
    },
    Refuse {
        grpc: u8,
        http: u16,
        retry_after: Option<Duration>,
    },
    Reset,
    Hang,
}

impl Mode {
    /// True where [`Self::InvalidMarked`] refuses this payload.
    pub fn marks(id: PayloadId) -> bool {
        id.connection % 2 == 1
    }

    /// The reaction to a request of `payloads` payloads, of which some are `marked`.
    pub(super) fn reply(self, payloads: usize, marked: bool) -> Reply {
        let refuse = |grpc, http, retry_after| Reply::Refuse {
            grpc,
            http,
            retry_after,
        };
        let accept = Reply::Accept { rejected_records: 0 };
        match self {
            Self::Ok | Self::Drip => accept,
            Self::Partial => Reply::Accept { rejected_records: 1 },
            Self::Unavailable => refuse(14, 503, None),
            Self::RetryLater => refuse(14, 503, Some(RETRY_AFTER)),
            Self::Throttled => refuse(8, 429, Some(RETRY_AFTER)),
            Self::Invalid => refuse(3, 400, None),
            Self::InvalidMarked if marked => refuse(3, 400, None),
            Self::TooLarge if payloads > 1 => refuse(8, 413, None),
            Self::InvalidMarked | Self::TooLarge => accept,
            Self::Unauthenticated => refuse(16, 401, None),
            Self::NotFound => refuse(12, 404, None),
            Self::Reset | Self::Down => Reply::Reset,
            Self::Hang => Reply::Hang,
        }
    }
}

impl Reply {
    /// The name under which replies are counted.
    pub(super) fn name(self) -> String {
        match self {
            Self::Accept { rejected_records: 0 } => "accepted".into(),
            Self::Accept { .. } => "accepted in part".into(),
            Self::Refuse { grpc, http, .. } => format!("refused, {grpc} or {http}"),
            Self::Reset => "reset".into(),
            Self::Hang => "hung".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditional_modes_take_what_their_condition_spares() {
        let accept = Reply::Accept { rejected_records: 0 };
        assert_eq!(Mode::TooLarge.reply(1, false), accept);
        assert_ne!(Mode::TooLarge.reply(2, false), accept);
        assert_eq!(Mode::InvalidMarked.reply(9, false), accept);
        assert_ne!(Mode::InvalidMarked.reply(9, true), accept);
    }
}
