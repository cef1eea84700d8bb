//! The reader of an archive object, over objects with arbitrary damage.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| gophership_archiver::fuzzing::object(input));
