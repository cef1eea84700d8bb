//! The harness's command line. Exit codes: 0 passed, 1 not passed, 2 the run could not be done.

use std::process::ExitCode;

use clap::Parser as _;
use jepsen_like::cli::{Cli, dispatch};

#[tokio::main]
async fn main() -> ExitCode {
    match dispatch(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("jepsen-like: {error:#}");
            ExitCode::from(2)
        }
    }
}
