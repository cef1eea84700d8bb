//! The kinds of value that a key takes: each reads a word into its place in [`Config`], shows it, and says what it accepts.
//!
//! Invariants:
//! - I1: what [`Field::show`] gives, [`Field::read`] takes and gives the same setting.
//! - I2: [`Field::read`] changes nothing where it refuses.
//!
//! Not here: which key has which kind (`keys.rs`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::bounds;
use super::settings::{Auto, Config};
use super::units::{self, DURATION_FORM, SIZE_FORM};

/// The place of a setting.
pub(super) type At<T> = fn(&mut Config) -> &mut T;

/// The kind of a key, its bounds (both inclusive) and its place.
#[derive(Clone, Copy)]
pub(super) enum Field {
    /// A name that can stand in a certificate.
    Name(At<String>),
    /// A file or folder.
    Path(At<PathBuf>),
    /// A file that need not be given.
    OptionalPath(At<Option<PathBuf>>),
    /// An IP address and a port.
    Address(At<SocketAddr>),
    /// `true` or `false`.
    Flag(At<bool>),
    /// A whole number.
    Count(At<u16>, u16, u16),
    /// A whole number or `auto`.
    CountOrAuto(At<Auto<u16>>, u16, u16),
    /// Bytes.
    Size(At<u64>, u64, u64),
    /// Bytes or `auto`.
    SizeOrAuto(At<Auto<u64>>, u64, u64),
    /// A duration.
    Time(At<Duration>, Duration, Duration),
    /// A duration or `auto`.
    TimeOrAuto(At<Auto<Duration>>, Duration, Duration),
}

/// The word was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused;

impl Field {
    /// Reads a word into its place.
    pub(super) fn read(self, config: &mut Config, text: &str) -> Result<(), Refused> {
        match self {
            Self::Name(at) => *at(config) = name(text)?.into(),
            Self::Path(at) => *at(config) = path(text)?,
            Self::OptionalPath(at) => {
                let file = path(text)?;
                *at(config) = Some(file);
            }
            Self::Address(at) => *at(config) = text.parse().map_err(|_| Refused)?,
            Self::Flag(at) => {
                *at(config) = match text {
                    "true" => true,
                    "false" => false,
                    _ => return Err(Refused),
                }
            }
            Self::Count(at, least, most) => *at(config) = within(count(text), least, most)?,
            Self::CountOrAuto(at, least, most) => {
                *at(config) = or_auto(text, |text| within(count(text), least, most))?;
            }
            Self::Size(at, least, most) => *at(config) = within(units::parse_size(text), least, most)?,
            Self::SizeOrAuto(at, least, most) => {
                *at(config) = or_auto(text, |text| within(units::parse_size(text), least, most))?;
            }
            Self::Time(at, least, most) => *at(config) = within(units::parse_duration(text), least, most)?,
            Self::TimeOrAuto(at, least, most) => {
                *at(config) = or_auto(text, |text| within(units::parse_duration(text), least, most))?;
            }
        }
        Ok(())
    }

    /// The setting as it is written, or nothing where it is not set.
    pub(super) fn show(self, config: &mut Config) -> Option<String> {
        let shown_path = |path: &PathBuf| path.to_string_lossy().into_owned();
        match self {
            Self::Name(at) => Some(at(config).clone()),
            Self::Path(at) => Some(shown_path(at(config))).filter(|path| !path.is_empty()),
            Self::OptionalPath(at) => at(config).as_ref().map(shown_path),
            Self::Address(at) => Some(at(config).to_string()),
            Self::Flag(at) => Some(at(config).to_string()),
            Self::Count(at, ..) => Some(at(config).to_string()),
            Self::CountOrAuto(at, ..) => Some(show_auto(*at(config), |count| count.to_string())),
            Self::Size(at, ..) => Some(units::show_size(*at(config))),
            Self::SizeOrAuto(at, ..) => Some(show_auto(*at(config), units::show_size)),
            Self::Time(at, ..) => Some(units::show_duration(*at(config))),
            Self::TimeOrAuto(at, ..) => Some(show_auto(*at(config), units::show_duration)),
        }
    }

    /// What the key accepts, for a person.
    pub(super) fn accepted(self) -> String {
        let sizes = |least, most| {
            format!(
                "{SIZE_FORM}, from {} to {}",
                units::show_size(least),
                units::show_size(most)
            )
        };
        let times = |least, most| {
            format!(
                "{DURATION_FORM}, from {} to {}",
                units::show_duration(least),
                units::show_duration(most)
            )
        };
        match self {
            Self::Name(_) => format!(
                "letters, digits, `-`, `_` and `.`, starting and ending with a letter or digit, at most {} bytes",
                bounds::NAME_BYTES_MAX
            ),
            Self::Path(_) | Self::OptionalPath(_) => "a path".into(),
            Self::Address(_) => "an IP address and a port, such as 127.0.0.1:4317, 0.0.0.0:4317 or [::]:4317".into(),
            Self::Flag(_) => "true or false".into(),
            Self::Count(_, least, most) => format!("a whole number from {least} to {most}"),
            Self::CountOrAuto(_, least, most) => format!("auto, or a whole number from {least} to {most}"),
            Self::Size(_, least, most) => sizes(least, most),
            Self::SizeOrAuto(_, least, most) => format!("auto, or {}", sizes(least, most)),
            Self::Time(_, least, most) => times(least, most),
            Self::TimeOrAuto(_, least, most) => format!("auto, or {}", times(least, most)),
        }
    }

    /// Whether its words are written in quotes.
    pub(super) fn is_text(self) -> bool {
        match self {
            Self::Name(_) | Self::Path(_) | Self::OptionalPath(_) | Self::Address(_) => true,
            Self::Flag(_)
            | Self::Count(..)
            | Self::CountOrAuto(..)
            | Self::Size(..)
            | Self::SizeOrAuto(..)
            | Self::Time(..)
            | Self::TimeOrAuto(..) => false,
        }
    }
}

fn name(text: &str) -> Result<&str, Refused> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let good = text.len() <= bounds::NAME_BYTES_MAX
        && text.bytes().all(inner)
        && edge(text.bytes().next())
        && edge(text.bytes().next_back());
    if good { Ok(text) } else { Err(Refused) }
}

fn path(text: &str) -> Result<PathBuf, Refused> {
    if text.is_empty() || text.contains('\0') {
        Err(Refused)
    } else {
        Ok(PathBuf::from(text))
    }
}

/// A whole number in plain digits: no sign, as `u16::from_str` would take one.
fn count(text: &str) -> Option<u16> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

fn within<T: PartialOrd>(value: Option<T>, least: T, most: T) -> Result<T, Refused> {
    value.filter(|value| *value >= least && *value <= most).ok_or(Refused)
}

fn or_auto<T>(text: &str, fixed: impl FnOnce(&str) -> Result<T, Refused>) -> Result<Auto<T>, Refused> {
    if text == "auto" {
        Ok(Auto::Auto)
    } else {
        fixed(text).map(Auto::Fixed)
    }
}

fn show_auto<T>(value: Auto<T>, show: impl FnOnce(T) -> String) -> String {
    match value {
        Auto::Auto => "auto".into(),
        Auto::Fixed(value) => show(value),
    }
}
