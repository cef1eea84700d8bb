//! Every bound of zones and throttle that is not a setting, in one place.

use std::time::Duration;

/// What is full for each reading is 1.0; a zone is left below this part of the threshold that it was entered at.
pub(crate) const LEAVING_PART: f64 = 0.8;
/// How long readings must stay below it before each step down.
pub(crate) const DWELL: Duration = Duration::from_secs(2);
/// The longest rest between two blocks in Yellow and Green.
pub(crate) const REST_MAX: Duration = Duration::from_secs(1);
/// An exporter that pays a debt rests only while it pays so many times as fast as the debt grew,
pub(crate) const CATCH_UP_SPEED: u32 = 4;
/// and at most so many times as long as it works.
pub(crate) const CATCH_UP_REST_FACTOR: u32 = 3;
/// How many times as long as its last block a job rests that goes on in Red.
pub(crate) const RED_REST_FACTOR: u32 = 15;
/// The shortest of those rests.
pub(crate) const RED_REST_MIN: Duration = Duration::from_millis(100);
/// The longest.
pub(crate) const RED_REST_MAX: Duration = Duration::from_secs(2);

const _: () = assert!(LEAVING_PART > 0.0 && LEAVING_PART < 1.0);
const _: () = assert!(RED_REST_MIN.as_nanos() < RED_REST_MAX.as_nanos());
const _: () = assert!(
    REST_MAX.as_nanos() <= RED_REST_MAX.as_nanos() && RED_REST_FACTOR > CATCH_UP_REST_FACTOR,
    "Red never rests less than any other zone"
);
