//! The harness's command line. Exit codes: 0 passed, 1 not passed, 2 the run could not be done.

use std::process::ExitCode;

use clap::Parser as _;
use jepsen_like::cli::{Cli, dispatch};
use jepsen_like::network;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = if cli.needs_network() {
        network::isolate()
    } else {
        Ok(())
    };
    let done = done
        .and_then(|()| Ok(tokio::runtime::Runtime::new()?))
        .and_then(|runtime| runtime.block_on(dispatch(cli)));
    done.unwrap_or_else(|error| {
        eprintln!("jepsen-like: {error:#}");
        ExitCode::from(2)
    })
}
