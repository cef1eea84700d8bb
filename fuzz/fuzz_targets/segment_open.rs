//! The reader of a segment file, over files with arbitrary damage.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| gophership_vault::fuzzing::segment(input));
