//! The reader of a manifest, over any bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| gophership_archiver::fuzzing::manifest(input));
