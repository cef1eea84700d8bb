//! The kinds of values of keys: each reads a word into its setting in [`Config`], shows it, and describes the words
//! that it accepts.
//!
//! **Invariants**:
//! - I1: [`Field::read`] accepts a text of [`Field::show`], and yields the same setting.
//! - I2: [`Field::read`] changes nothing where it refuses.
//!
//! **Not here**: the kinds of the individual keys (`keys.rs`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::archive::Archive;
use super::bounds;
use super::choice::Choice;
use super::export::Endpoint;
use super::origins::Origins;
use super::settings::{Auto, Config};
use super::units::{self, DURATION_FORM, SIZE_FORM};

/// The access to a setting in `R`: the whole configuration, or an element of a list.
pub(super) type At<R, T> = fn(&mut R) -> &mut T;

/// The kind of a key, its bounds (both inclusive) and its setting.
pub(super) enum Field<R = Config> {
    /// A name that can stand in a certificate.
    Name(At<R, String>),
    /// A word that is optional.
    OptionalLabel(At<R, Option<String>>),
    /// A word, or `none`.
    LabelOrNone(At<R, Option<String>>),
    /// A host and a port.
    HostAddress(At<R, String>),
    /// A file or folder.
    Path(At<R, PathBuf>),
    /// A file that is optional.
    OptionalPath(At<R, Option<PathBuf>>),
    /// An IP address and a port.
    Address(At<R, SocketAddr>),
    /// `true` or `false`.
    Flag(At<R, bool>),
    /// A whole number.
    Count(At<R, u16>, u16, u16),
    /// A whole number or `auto`.
    CountOrAuto(At<R, Auto<u16>>, u16, u16),
    /// A size in bytes.
    Size(At<R, u64>, u64, u64),
    /// A size in bytes, or `auto`.
    SizeOrAuto(At<R, Auto<u64>>, u64, u64),
    /// A duration.
    Time(At<R, Duration>, Duration, Duration),
    /// A duration or `auto`.
    TimeOrAuto(At<R, Auto<Duration>>, Duration, Duration),
    /// A duration or `none`.
    TimeOrNone(At<R, Option<Duration>>, Duration, Duration),
    /// A whole number of 32 bits.
    Number(At<R, u32>, u32, u32),
    /// A fraction.
    Fraction(At<R, f64>, f64, f64),
    /// One of a few words.
    Choice(&'static [&'static str], fn(&mut R) -> &mut dyn Choice),
    /// The name of an exporter.
    ExporterName(At<R, String>),
    /// The URL of a sink.
    Endpoint(At<R, Endpoint>),
    /// The URL of a service, without a path; optional.
    OptionalEndpoint(At<R, Option<Endpoint>>),
    /// The URL of a store for the archive, or `none`.
    ArchiveUrl(At<R, Option<String>>),
    /// The name that a server's certificate must carry.
    ServerName(At<R, Option<String>>),
    /// A list of web origins.
    Origins(At<R, Origins>),
}

impl<R> Clone for Field<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Field<R> {}

/// The word was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused;

impl<R> Field<R> {
    /// Reads a word into the setting.
    pub(super) fn read(self, config: &mut R, text: &str) -> Result<(), Refused> {
        match self {
            Self::Name(at) => *at(config) = name(text)?.into(),
            Self::OptionalLabel(at) => {
                let label = label(text)?;
                *at(config) = Some(label);
            }
            Self::LabelOrNone(at) => {
                *at(config) = match text {
                    Archive::NONE => None,
                    text => Some(label(text)?),
                }
            }
            Self::HostAddress(at) => *at(config) = host_address(text)?,
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
            Self::TimeOrNone(at, least, most) => {
                *at(config) = match text {
                    "none" => None,
                    text => Some(within(units::parse_duration(text), least, most)?),
                }
            }
            Self::Number(at, least, most) => *at(config) = within(count(text), least, most)?,
            Self::Fraction(at, least, most) => *at(config) = within(fraction(text), least, most)?,
            Self::Choice(_, at) => {
                if !at(config).choose(text) {
                    return Err(Refused);
                }
            }
            Self::ExporterName(at) => *at(config) = exporter_name(text)?.into(),
            Self::Endpoint(at) => *at(config) = Endpoint::parse(text).ok_or(Refused)?,
            Self::OptionalEndpoint(at) => {
                let endpoint = || Endpoint::parse(text).filter(|to| to.path.is_empty()).ok_or(Refused);
                *at(config) = match text {
                    Archive::NONE => None,
                    _ => Some(endpoint()?),
                };
            }
            Self::ArchiveUrl(at) => {
                *at(config) = match text {
                    Archive::NONE => None,
                    text => Some(Archive::parse_url(text).ok_or(Refused)?),
                }
            }
            Self::ServerName(at) => {
                let name = server_name(text)?;
                *at(config) = Some(name);
            }
            Self::Origins(at) => *at(config) = Origins::parse(text).ok_or(Refused)?,
        }
        Ok(())
    }

    /// The setting in the configuration's notation; `None` where it is not set.
    pub(super) fn show(self, config: &mut R) -> Option<String> {
        let shown_path = |path: &PathBuf| path.to_string_lossy().into_owned();
        match self {
            Self::Name(at) | Self::HostAddress(at) => Some(at(config).clone()).filter(|text| !text.is_empty()),
            Self::OptionalLabel(at) => at(config).clone(),
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
            Self::TimeOrNone(at, ..) => Some(at(config).map_or("none".into(), units::show_duration)),
            Self::Number(at, ..) => Some(at(config).to_string()),
            Self::Fraction(at, ..) => Some(at(config).to_string()),
            Self::Choice(_, at) => Some(at(config).word().into()),
            Self::ExporterName(at) => Some(at(config).clone()).filter(|name| !name.is_empty()),
            Self::Endpoint(at) => Some(at(config))
                .filter(|to| !to.host.is_empty())
                .map(|to| to.to_string()),
            Self::OptionalEndpoint(at) => {
                let endpoint = at(config).as_ref().map(ToString::to_string);
                Some(endpoint.unwrap_or_else(|| Archive::NONE.to_owned()))
            }
            Self::ArchiveUrl(at) | Self::LabelOrNone(at) => {
                Some(at(config).clone().unwrap_or_else(|| Archive::NONE.to_owned()))
            }
            Self::ServerName(at) => at(config).clone(),
            Self::Origins(at) => Some(at(config).to_string()).filter(|list| !list.is_empty()),
        }
    }

    /// The accepted values, in words for a person.
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
            Self::OptionalLabel(_) => format!("visible ASCII, at most {} bytes", bounds::LABEL_BYTES_MAX),
            Self::LabelOrNone(_) => format!("none, or visible ASCII, at most {} bytes", bounds::LABEL_BYTES_MAX),
            Self::HostAddress(_) => "HOST:PORT, the host a DNS name or an IP address, such as node-2:9097".into(),
            Self::Path(_) | Self::OptionalPath(_) => "a path".into(),
            Self::Address(_) => "an IP address and a port, such as 127.0.0.1:4317, 0.0.0.0:4317 or [::]:4317".into(),
            Self::Flag(_) => "true or false".into(),
            Self::Count(_, least, most) => format!("a whole number from {least} to {most}"),
            Self::CountOrAuto(_, least, most) => format!("auto, or a whole number from {least} to {most}"),
            Self::Size(_, least, most) => sizes(least, most),
            Self::SizeOrAuto(_, least, most) => format!("auto, or {}", sizes(least, most)),
            Self::Time(_, least, most) => times(least, most),
            Self::TimeOrAuto(_, least, most) => format!("auto, or {}", times(least, most)),
            Self::TimeOrNone(_, least, most) => format!("none, or {}", times(least, most)),
            Self::Number(_, least, most) => format!("a whole number from {least} to {most}"),
            Self::Fraction(_, least, most) => format!("a fraction from {least} to {most}"),
            Self::Choice(words, _) => words.join(" or "),
            Self::ExporterName(_) => format!(
                "lower-case letters, digits, `-` and `_`, at most {} of them",
                bounds::EXPORTER_NAME_BYTES_MAX
            ),
            Self::Endpoint(_) => "https://HOST:PORT or http://HOST:PORT, without a user or a fragment".into(),
            Self::OptionalEndpoint(_) => format!(
                "{}, https://HOST:PORT or http://HOST:PORT, without a user or a path",
                Archive::NONE
            ),
            Self::ArchiveUrl(_) => format!(
                "{}, s3://BUCKET/PREFIX, or file:///FOLDER, in visible ASCII without a user or a query",
                Archive::NONE
            ),
            Self::ServerName(_) => "a DNS name or an IP address".into(),
            Self::Origins(_) => format!(
                "a list of at most {} of https://HOST[:PORT], http://HOST[:PORT] and `*`; in a variable with commas",
                bounds::ORIGINS_MAX
            ),
        }
    }

    /// True where the value is written as a list; its word is then the list with commas.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::Origins(_))
    }

    /// True where the value is written in quotes.
    pub(super) fn is_text(self) -> bool {
        match self {
            Self::Name(_)
            | Self::OptionalLabel(_)
            | Self::LabelOrNone(_)
            | Self::HostAddress(_)
            | Self::Path(_)
            | Self::OptionalPath(_)
            | Self::Address(_)
            | Self::ExporterName(_)
            | Self::Endpoint(_)
            | Self::OptionalEndpoint(_)
            | Self::ArchiveUrl(_)
            | Self::ServerName(_)
            | Self::Origins(_) => true,
            Self::Flag(_)
            | Self::Count(..)
            | Self::CountOrAuto(..)
            | Self::Size(..)
            | Self::SizeOrAuto(..)
            | Self::Time(..)
            | Self::TimeOrAuto(..)
            | Self::TimeOrNone(..)
            | Self::Number(..)
            | Self::Fraction(..)
            | Self::Choice(..) => false,
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

fn label(text: &str) -> Result<String, Refused> {
    let good = (1..=bounds::LABEL_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(text.into()) } else { Err(Refused) }
}

/// Reads a host and a port, with which a connection can be made.
fn host_address(text: &str) -> Result<String, Refused> {
    let (host, port) = text.rsplit_once(':').ok_or(Refused)?;
    if count::<u16>(port).is_none_or(|port| port == 0) {
        return Err(Refused);
    }
    if text.parse::<SocketAddr>().is_err() {
        rustls_pki_types::DnsName::try_from(host).map_err(|_| Refused)?;
    }
    Ok(text.into())
}

fn path(text: &str) -> Result<PathBuf, Refused> {
    if text.is_empty() || text.contains('\0') {
        Err(Refused)
    } else {
        Ok(PathBuf::from(text))
    }
}

fn exporter_name(text: &str) -> Result<&str, Refused> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let good = (1..=bounds::EXPORTER_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(inner);
    if good { Ok(text) } else { Err(Refused) }
}

fn server_name(text: &str) -> Result<String, Refused> {
    match rustls_pki_types::ServerName::try_from(text) {
        Ok(_) => Ok(text.into()),
        Err(_) => Err(Refused),
    }
}

/// Reads plain digits with a point: `f64::from_str` would also accept `nan`, a sign and an exponent.
fn fraction(text: &str) -> Option<f64> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        text.parse().ok()
    } else {
        None
    }
}

/// Reads a whole number in plain digits, without the sign that `u16::from_str` would accept.
fn count<T: std::str::FromStr>(text: &str) -> Option<T> {
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
