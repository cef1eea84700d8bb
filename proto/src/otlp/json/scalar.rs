//! Scalars that OTLP/JSON writes as strings.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// base64 as proto3's JSON mapping lets a receiver accept it: either alphabet, padded or not.
const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);

/// The integer in a floating-point number: proto3 accepts 1e3 and 5.0 as integers. A value beyond the range of an i128
/// becomes that range's end, which no field can hold.
pub(super) fn integral(value: f64) -> Option<i128> {
    (value.fract() == 0.0).then_some(value as i128)
}

pub(super) fn parse_integer(text: &str) -> Option<i128> {
    text.parse::<i128>().ok().or_else(|| integral(parse_double(text)?))
}

pub(super) fn parse_double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // Rust would also accept "inf" and "nan", and read 1e999 as infinite.
        _ => text.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}

/// The number of a severity's name, such as `SEVERITY_NUMBER_WARN2`.
pub(super) fn severity(name: &str) -> Option<i128> {
    let name = name.strip_prefix("SEVERITY_NUMBER_")?;
    let base = name.trim_end_matches(['2', '3', '4']);
    let step = match &name[base.len()..] {
        "" => 0,
        "2" => 1,
        "3" => 2,
        "4" => 3,
        _ => return None,
    };
    match base {
        "UNSPECIFIED" => (step == 0).then_some(0),
        _ => {
            let rank = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]
                .iter()
                .position(|&known| known == base)?;
            Some(rank as i128 * 4 + 1 + step)
        }
    }
}

pub(super) fn decode_base64(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let engine = if text.contains(['-', '_']) { BASE64_URL } else { BASE64 };
    engine.decode_vec(text, out).ok()
}

pub(super) fn decode_hex(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    for &[high, low] in pairs {
        out.push(digit(high)? << 4 | digit(low)?);
    }
    odd.is_empty().then_some(())
}
