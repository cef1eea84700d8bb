//! Every bound of zones and throttle that is not a setting, in one place.

use std::time::Duration;

/// The part of the threshold at which a zone was entered below which readings must fall before it is left.
pub(crate) const LEAVING_PART: f64 = 0.8;
/// Time for which readings must stay below it before each step down.
pub(crate) const DWELL: Duration = Duration::from_secs(2);
/// The longest rest between two blocks in Yellow and Green.
pub(crate) const REST_MAX: Duration = Duration::from_secs(1);
/// Factor by which an exporter must pay its debt faster than the debt grew before it rests.
pub(crate) const CATCH_UP_SPEED: u32 = 4;
/// The longest rest of an exporter that pays a debt, in times of its last block.
pub(crate) const CATCH_UP_REST_FACTOR: u32 = 3;
/// Rest of a job that goes on in Red, in times of its last block.
pub(crate) const RED_REST_FACTOR: u32 = 15;
/// The shortest rest in Red.
pub(crate) const RED_REST_MIN: Duration = Duration::from_millis(100);
/// The longest rest in Red.
pub(crate) const RED_REST_MAX: Duration = Duration::from_secs(2);

const _: () = assert!(LEAVING_PART > 0.0 && LEAVING_PART < 1.0);
const _: () = assert!(RED_REST_MIN.as_nanos() < RED_REST_MAX.as_nanos());
const _: () = assert!(
    REST_MAX.as_nanos() <= RED_REST_MAX.as_nanos() && RED_REST_FACTOR > CATCH_UP_REST_FACTOR,
    "Red never rests less than any other zone"
);
