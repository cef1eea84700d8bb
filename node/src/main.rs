//! The daemon `gophership`: the process's allocator and cryptography, then the command line.

use std::process::ExitCode;

use clap::Parser;
use gophership::cli::{Cli, dispatch};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    // Only an earlier installation makes this fail, and this is the first thing that the process does.
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nothing was installed before main");
    match dispatch(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gophership: {error:#}");
            ExitCode::FAILURE
        }
    }
}
