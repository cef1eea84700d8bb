//! The node's own log: JSON on stderr, or text where stderr is a terminal.
//!
//! **Owns**: [`init`].
//!
//! **Invariants**:
//! - I1: a line that repeats is logged once a second, with a count of those left out (DEBUG and TRACE are logged in
//!   full, since somebody asked for them).
//! - I2: the number of lines left out is always logged, at most a second later.
//!
//! **Not here**: the counting (`repeats`).

mod repeats;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, fmt};

use repeats::{OncePerSecond, Repeats};

/// The reason for which the log was not set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is invalid.
    #[error(
        "{variable}={filter:?}: {reason}; accepted: a level (off, error, warn, info, debug, trace), target=level, or \
         several with commas, such as info,gophership::export=debug"
    )]
    BadFilter {
        /// The environment variable.
        variable: &'static str,
        /// The variable's value.
        filter: String,
        /// The fault in it.
        reason: String,
    },
    /// A log was set up before.
    #[error("the log is set up already: {0}")]
    Twice(#[from] TryInitError),
    /// The thread that logs the numbers of lines left out could not be started.
    #[error("the log's thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Sets up the log of this process, filtered by `GS_LOG`, else `RUST_LOG`, else `info`.
///
/// # Errors
///
/// The filter is invalid, or a log is set up already.
pub fn init() -> Result<(), LoggingError> {
    let filter = filter()?;
    let repeats = Arc::new(Repeats::default());
    let layer =
        layer(std::io::stderr().is_terminal(), std::io::stderr).with_filter(OncePerSecond::new(Arc::clone(&repeats)));
    tracing_subscriber::registry().with(filter).with(layer).try_init()?;
    std::thread::Builder::new().name("log-repeats".into()).spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            repeats.log_left_out(Instant::now());
        }
    })?;
    Ok(())
}

/// Checks the filter in `GS_LOG`, else in `RUST_LOG`.
///
/// # Errors
///
/// It is invalid.
pub fn check() -> Result<(), LoggingError> {
    filter().map(drop)
}

fn filter() -> Result<EnvFilter, LoggingError> {
    let set = ["GS_LOG", "RUST_LOG"]
        .into_iter()
        .find_map(|name| Some((name, std::env::var(name).ok()?)));
    let (variable, filter) = set.unwrap_or(("GS_LOG", String::new()));
    directives(&filter)
        .and_then(|directives| EnvFilter::builder().parse(directives).map_err(|e| e.to_string()))
        .map_err(|reason| LoggingError::BadFilter {
            variable,
            filter,
            reason,
        })
}

/// The directives of a filter, with `info` for every target that it does not name, and `error` for openraft.
///
/// A word alone must be a level: the parser would take it for a target, and so a mistyped level would silence
/// everything.
fn directives(filter: &str) -> Result<String, String> {
    let is_level = |text: &str| !text.is_empty() && text.parse::<LevelFilter>().is_ok();
    let mut all: Vec<&str> = filter.split(',').map(str::trim).filter(|d| !d.is_empty()).collect();
    for directive in &all {
        if !directive.contains(['=', '[']) && !is_level(directive) {
            return Err(format!("{directive:?} is no level"));
        }
        if let Some((target, level)) = directive.rsplit_once('=')
            && !level.ends_with(']')
            && (target.is_empty() || !is_level(level))
        {
            return Err(format!("{directive:?} is not target=level"));
        }
    }
    if !all.iter().any(|directive| is_level(directive)) {
        all.insert(0, "info");
        // It tells each of its steps, and warns of what is no fault. What an operator needs is logged by our own code.
        if !all.iter().any(|directive| directive.starts_with("openraft")) {
            all.insert(1, "openraft=error");
        }
    }
    Ok(all.join(","))
}

fn layer<S, W>(terminal: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    if terminal {
        fmt::layer().with_writer(writer).boxed()
    } else {
        fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_writer(writer)
            .boxed()
    }
}

#[cfg(test)]
mod tests;
