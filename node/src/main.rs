//! The daemon `gophership`: the process's allocator and cryptography, then the command line.

use std::process::ExitCode;

use clap::FromArgMatches;
use gophership::cli::{Cli, command, dispatch, story};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    // Only an earlier installation makes this fail, and this is the first thing that the process does.
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nothing was installed before main");
    let matches = command().get_matches();
    // What was parsed by this command line is one of its values.
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gophership: {}", story(&error));
            ExitCode::FAILURE
        }
    }
}
