//! The reader of a segment file with anything done to it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| gophership_vault::fuzzing::segment(input));
