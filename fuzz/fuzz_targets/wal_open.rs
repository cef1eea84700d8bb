//! The scan of a WAL file with arbitrary content.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| gophership_vault::fuzzing::wal(script));
