//! The reader of a replicated log's commands: whatever it takes for one is written and read again as the same.

#![no_main]

use gophership_catalogue::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(request) = Request::decode(input) {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
});
