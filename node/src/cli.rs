//! The command line of `gophership`: its commands, and the rooms that run them.
//!
//! **Owns**: [`Cli`] and [`dispatch`].
//!
//! **Not here**: the commands' work; `gs-ctl`, the operator's tool for a running node.

mod catalogue;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::certs::{self, Role};
use crate::config::{self, Config, Environment, Faults, Footprint};
use crate::machine::Machine;
use crate::{demo, dev, health, logging, preflight, run};

/// A durable aggregation tier for OpenTelemetry logs: acknowledges a batch only when it is on disk.
#[derive(Debug, Parser)]
#[command(name = "gophership", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node until SIGTERM. Without a file it listens on loopback and keeps its data in ./data. SIGHUP takes
    /// certificates and what else can change into use: exporters, unless they are the cluster's, and some keys of vault
    Run(ConfigFile),
    /// Run a node, or a cluster of several, to try things out, on loopback
    Dev(Dev),
    /// Show what GopherShip does: a cluster accepts real OTLP load, one node is killed and its disk deleted, and every
    /// acknowledged byte is compared
    Demo(Demo),
    /// Check, print or describe the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Repair the catalogue of a node that is stopped
    Catalogue {
        #[command(subcommand)]
        command: CatalogueCommand,
    },
    /// Make a certificate authority and the certificates of nodes and clients
    Certs(Certs),
    /// Ask a node whether it is ready: exit code 0 when it is, 1 when not. For probes
    Health(Health),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write manual pages, one for each command
    Man {
        /// The folder to write to
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The YAML file; without one, the defaults. GS_ variables override it: GS_NODE_NAME sets node.name
    #[arg(long = "config", value_name = "FILE", env = "GS_CONFIG")]
    file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration: report everything that would keep a node from starting with it on this machine, each with
    /// its path, or OK and the disk and memory that it will take here
    Check(ConfigFile),
    /// Print the effective configuration as YAML, defaults and overrides included
    Print(ConfigFile),
    /// Print the JSON Schema of the configuration, for editors and CI
    Schema,
}

#[derive(Debug, Subcommand)]
enum CatalogueCommand {
    /// Make a lost or damaged catalogue anew from the segment and WAL files of node.data_dir, or add to an older backup
    /// what it lacks. The existing file is kept beside it
    Rebuild(ConfigFile),
}

#[derive(Debug, Args)]
struct Dev {
    /// Number of nodes. One node runs in this process, with its data in ./data; several are child processes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=5))]
    nodes: u16,
    /// The folder of a cluster's data, configurations and logs. A cluster that is there goes on
    #[arg(long, value_name = "DIR", default_value = "cluster")]
    dir: PathBuf,
}

#[derive(Debug, Args)]
struct Demo {
    /// Number of nodes. With one, the node is killed and started again, and its sink dies and returns
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=5))]
    nodes: u16,
    /// Lose one acknowledged entry on purpose, to see that the comparison finds it
    #[arg(long, hide = true)]
    lose_one: bool,
}

#[derive(Debug, Args)]
struct Certs {
    /// The folder to write to. An existing authority (ca.pem, ca.key) is reused
    #[arg(long, value_name = "DIR", default_value = "certs")]
    out: PathBuf,
    /// Make the certificate of a node of this name (node.name)
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "client",
        conflicts_with = "client"
    )]
    name: Option<String>,
    /// Make the certificate of a client of this name instead
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// A further DNS name or IP address of the node. May be repeated; localhost and loopback are always included
    #[arg(long, value_name = "NAME|IP", conflicts_with = "client")]
    san: Vec<String>,
    /// Replace the certificate and key where they exist. The authority is never replaced
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct Health {
    #[command(flatten)]
    config: ConfigFile,
    /// The admin address to ask, host:port; by default that of the configuration
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
}

impl ConfigFile {
    fn load(&self, machine: &Machine) -> Result<Config, Faults> {
        config::load(self.file.as_deref(), &Environment::of_process(), machine)
    }
}

/// Verbs, and examples of each.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "run",
        &[
            "gophership run --config node.yaml",
            "GS_NODE_DATA_DIR=/srv/gophership gophership run",
        ],
    ),
    ("dev", &["gophership dev", "gophership dev --nodes 3"]),
    ("demo", &["gophership demo", "gophership demo --nodes 1"]),
    (
        "catalogue rebuild",
        &["gophership catalogue rebuild --config node.yaml"],
    ),
    ("config check", &["gophership config check --config node.yaml"]),
    ("config print", &["gophership config print --config node.yaml"]),
    ("config schema", &["gophership config schema >node.schema.json"]),
    (
        "certs",
        &[
            "gophership certs --out certs --name node-1 --san logs.internal",
            "gophership certs --out certs --client collector",
        ],
    ),
    ("health", &["gophership health --config node.yaml"]),
    (
        "completions",
        &["gophership completions bash >/usr/share/bash-completion/completions/gophership"],
    ),
    ("man", &["gophership man /usr/local/share/man/man1"]),
];

/// The command line, with an example for every verb.
#[must_use]
pub fn command() -> clap::Command {
    EXAMPLES.iter().fold(Cli::command(), |command, (verb, examples)| {
        let words: Vec<&str> = verb.split(' ').collect();
        with_examples(command, &words, examples)
    })
}

fn with_examples(command: clap::Command, verb: &[&str], examples: &[&str]) -> clap::Command {
    match verb {
        [] => command.after_help(format!("Examples:\n  {}", examples.join("\n  "))),
        [first, rest @ ..] => command.mut_subcommand(first, |inner| with_examples(inner, rest, examples)),
    }
}

/// Runs the command of the command line.
///
/// # Errors
///
/// The command's error, for the operator to read.
pub fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Run(file) => {
            let config = file.load(&Machine::detect())?;
            logging::init()?;
            run::run(&config, file.file.as_deref())?;
        }
        Command::Dev(asked) if asked.nodes > 1 => dev::several(asked.nodes, &asked.dir)?,
        Command::Dev(_) => {
            let config = config::load(None, &Environment::of_process(), &Machine::detect())?;
            logging::init()?;
            dev::one(&config)?;
        }
        Command::Demo(demo) => demo::run(demo.nodes, demo.lose_one)?,
        Command::Config { command } => configuration(&command)?,
        Command::Catalogue {
            command: CatalogueCommand::Rebuild(file),
        } => print_line(&catalogue::rebuild(&file.load(&Machine::detect())?)?)?,
        Command::Certs(asked) => {
            let (name, role) = match (&asked.client, &asked.name) {
                (Some(client), _) => (client, Role::Client),
                (None, Some(name)) => (name, Role::Node),
                (None, None) => anyhow::bail!("--name or --client is needed"),
            };
            print_line(&certs::issue(&asked.out, name, role, &asked.san, asked.force)?)?;
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut command(), "gophership", &mut text);
            print_line(&String::from_utf8_lossy(&text))?;
        }
        Command::Man { folder } => clap_mangen::generate_to(command(), &folder)
            .with_context(|| format!("cannot write manual pages to {}", folder.display()))?,
        Command::Health(asked) => {
            let config = asked.config.load(&Machine::detect())?;
            let answer = health::ask(&config.listeners.admin, asked.admin.as_deref())?;
            print_line(&answer.text)?;
            return Ok(if answer.ready {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn configuration(command: &ConfigCommand) -> anyhow::Result<()> {
    let machine = Machine::detect();
    match command {
        ConfigCommand::Check(file) => {
            let inspect = |config: &Config| preflight::inspect(config, &machine);
            let config = config::check(file.file.as_deref(), &Environment::of_process(), &machine, inspect)?;
            let footprint = Footprint::new(&config, &machine);
            for warning in footprint.warnings().into_iter().chain(preflight::warnings(&config)) {
                eprintln!("warning: {warning}");
            }
            print_line(&format_args!("OK\n{footprint}"))
        }
        ConfigCommand::Print(file) => print_line(&config::print(&file.load(&machine)?)),
        ConfigCommand::Schema => print_line(&format_args!("{:#}", config::schema())),
    }
}

/// An error and its causes, without those whose text an error above already contains.
#[must_use]
pub fn story(error: &anyhow::Error) -> String {
    let causes = error.chain().map(ToString::to_string);
    causes.fold(String::new(), |told, cause| match told {
        told if told.is_empty() => cause,
        told if told.contains(&cause) => told,
        told => format!("{told}: {cause}"),
    })
}

/// Writes a line to stdout. A reader that has gone away (`| head`) has read enough, and is no error.
fn print_line(text: &dyn fmt::Display) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_example_is_a_command_line() {
        for example in EXAMPLES.iter().flat_map(|(_, examples)| *examples) {
            let line = example.split('>').next().expect("one part");
            let words = line.split_whitespace().skip_while(|word| word.contains('='));
            assert!(Cli::try_parse_from(words).is_ok(), "{example}");
        }
        let verbs = Cli::command().get_subcommands().count();
        let shown = EXAMPLES
            .iter()
            .map(|(verb, _)| verb.split(' ').next())
            .collect::<std::collections::BTreeSet<_>>();
        assert_eq!(shown.len(), verbs, "each verb has an example");
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("no such file")
            .context("cannot open x: no such file")
            .context("cannot start");
        assert_eq!(story(&error), "cannot start: cannot open x: no such file");
    }

    #[test]
    fn certs_takes_a_node_or_a_client_but_not_both() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["gophership", "certs"], words].concat());
        assert!(parse(&["--name", "node-1", "--san", "node-1.local"]).is_ok());
        assert!(parse(&["--client", "ops"]).is_ok());
        assert!(parse(&[]).is_err());
        assert!(parse(&["--name", "node-1", "--client", "ops"]).is_err());
        assert!(parse(&["--client", "ops", "--san", "x"]).is_err());
    }
}
