//! `gs-ctl`, the operator's tool: asks a node over its control socket, and reads files without one.

mod cli;
mod cmd;
mod connect;
mod exporters;
mod file_sink;
mod help;
mod human;
mod jobs;
mod letters;
mod outcome;
mod output;
mod progress;
mod sink;
mod size;
mod table;
mod top;
mod when;
mod yaml;
mod zone;

use std::process::ExitCode;

use clap::FromArgMatches;

fn main() -> ExitCode {
    let matches = help::command().get_matches();
    // What was parsed by this command line is one of its values.
    let cli = cli::Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cmd::dispatch(cli) {
        Ok(outcome) => outcome.into(),
        Err(error) => outcome::report(&error),
    }
}
