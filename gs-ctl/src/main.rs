//! `gs-ctl`, the operator's tool: asks a node over its control socket, and reads files without one.

mod cli;
mod cmd;
mod connect;
mod exporters;
mod file_sink;
mod histogram;
mod human;
mod jobs;
mod letters;
mod outcome;
mod output;
mod progress;
mod sink;
mod size;
mod status;
mod table;
mod top;
mod when;
mod yaml;
mod zone;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cmd::dispatch(cli) {
        Ok(outcome) => outcome.into(),
        Err(error) => outcome::report(&error),
    }
}
