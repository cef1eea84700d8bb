//! The remedies by which errors are told apart.

/// The remedy that a caller has for an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// Passing: say it again later.
    Retry,
    /// Something is full: say it again when there is room.
    Overloaded,
    /// The caller's fault: it will never work so.
    Invalid,
    /// Stored bytes are not what was written.
    Corrupt,
    /// A newer epoch of the node took over: take a new one.
    Fenced,
    /// The process must end.
    Fatal,
}
