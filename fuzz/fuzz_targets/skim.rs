//! The skim against prost, on arbitrary bytes.

#![no_main]

#[path = "../../proto/tests/support/mirror.rs"]
mod mirror;
#[path = "../../proto/tests/support/oracle.rs"]
mod oracle;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| oracle::assert_same(payload, 7));
