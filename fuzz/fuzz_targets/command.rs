//! The reader of a replicated log's commands: any bytes that it accepts yield the same command when they are written
//! and read again.

#![no_main]

use gophership_catalogue::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(request) = Request::decode(input) {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
});
