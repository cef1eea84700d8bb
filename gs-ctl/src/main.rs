//! `gs-ctl`, the operator's tool: asks a node over its control socket, and reads files without one.

mod cli;
mod cmd;
mod connect;
mod file_sink;
mod human;
mod jobs;
mod outcome;
mod output;
mod progress;
mod sink;
mod size;
mod table;
mod when;
mod yaml;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cmd::dispatch(cli) {
        Ok(outcome) => outcome.into(),
        Err(error) => outcome::report(&error),
    }
}
