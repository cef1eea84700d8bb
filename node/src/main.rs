//! The daemon `gophership`: the process's allocator and cryptography, then the command line.

use std::process::ExitCode;

use clap::FromArgMatches;
use gophership::cli::{Cli, command, dispatch, story};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    // This fails only after an earlier installation, and it is the first action of the process.
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nothing was installed before main");
    let matches = command().get_matches();
    // The matches come from this same command line, so they fit its type.
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gophership: {}", story(&error));
            ExitCode::FAILURE
        }
    }
}
