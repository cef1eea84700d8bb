//! `gs-ctl`, the operator's tool: asks a node over its control socket, and reads files without one.

mod arg;
mod cmd;
mod connect;
mod out;
mod top;
mod view;

use std::process::ExitCode;

use clap::FromArgMatches;

fn main() -> ExitCode {
    let matches = arg::help::command().get_matches();
    // The matches come from this same command line, so they fit its type.
    let cli = arg::cli::Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cmd::dispatch(cli) {
        Ok(code) => code,
        Err(error) => out::outcome::report(&error),
    }
}
