//! The parts of the command line that clap's derive does not express: an example for every verb.

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::arg::cli::Cli;

/// Verbs, and examples of each.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("status", &["gs-ctl status", "gs-ctl status -o json | jq .debt"]),
    (
        "check",
        &["gs-ctl check", "gs-ctl check -o json | jq -r .problems[].what"],
    ),
    ("cluster status", &["gs-ctl cluster status"]),
    (
        "cluster provision",
        &[
            "gs-ctl cluster provision",
            "gs-ctl cluster provision --abort",
            "gs-ctl cluster provision --restore-from s3://logs/prod --dry-run",
            "gs-ctl cluster provision --restore-from s3://logs/prod",
            "gs-ctl cluster provision --restore-from file:///mnt/archive --scan --full",
        ],
    ),
    ("node list", &["gs-ctl node list"]),
    (
        "node drain",
        &["gs-ctl node drain node-4 --dry-run", "gs-ctl node drain node-4"],
    ),
    ("node undrain", &["gs-ctl node undrain node-4"]),
    (
        "node remove",
        &["gs-ctl node remove node-4", "gs-ctl node remove 7 --accept-loss"],
    ),
    (
        "node stop",
        &["gs-ctl node stop", "gs-ctl node stop --wait --timeout 10m"],
    ),
    ("node can-stop", &["gs-ctl node can-stop node-2"]),
    ("raft status", &["gs-ctl raft status"]),
    (
        "events",
        &[
            "gs-ctl events --since -1d",
            "gs-ctl events --follow -o json | jq -r .what",
        ],
    ),
    (
        "top",
        &[
            "gs-ctl top",
            "gs-ctl top --interval 5s --count 12 -o json >a-minute.jsonl",
        ],
    ),
    (
        "config get",
        &["gs-ctl config get", "gs-ctl config get vault.retention -o json"],
    ),
    (
        "config set",
        &[
            "gs-ctl config set vault.retention 48h --dry-run",
            "gs-ctl config set vault.retention 48h --seen 12",
            "gs-ctl config set archive.url=s3://logs archive.endpoint=https://minio:9000 archive.region=none",
        ],
    ),
    ("config diff", &["gs-ctl config diff"]),
    (
        "exporter set",
        &["gs-ctl exporter set backend.yaml", "gs-ctl exporter set - --dry-run"],
    ),
    ("exporter remove", &["gs-ctl exporter remove old-backend"]),
    (
        "exporter list",
        &["gs-ctl exporter list", "gs-ctl exporter list -o wide"],
    ),
    ("tail", &["gs-ctl tail", "gs-ctl tail -n 20 -o json | jq .resourceLogs"]),
    ("exporter describe", &["gs-ctl exporter describe backend"]),
    ("exporter pause", &["gs-ctl exporter pause backend"]),
    ("exporter resume", &["gs-ctl exporter resume backend"]),
    ("exporter forget", &["gs-ctl exporter forget old-backend --accept-loss"]),
    (
        "exporter seek",
        &[
            "gs-ctl exporter seek backend --to -15m",
            "gs-ctl exporter seek backend --to oldest",
        ],
    ),
    (
        "dead-letter list",
        &["gs-ctl dead-letter list --exporter backend --limit 20"],
    ),
    (
        "dead-letter show",
        &[
            "gs-ctl dead-letter show backend 1/0/42:7 | jq .",
            "gs-ctl dead-letter show backend 1/0/42:7 -o json",
        ],
    ),
    (
        "dead-letter replay",
        &[
            "gs-ctl dead-letter replay backend 1/0/42:7",
            "gs-ctl dead-letter replay backend --all",
        ],
    ),
    (
        "dead-letter drop",
        &["gs-ctl dead-letter drop backend --all --accept-loss"],
    ),
    (
        "override",
        &[
            "gs-ctl override --zone red --reason 'a drill'",
            "gs-ctl override --clear",
        ],
    ),
    (
        "segment list",
        &["gs-ctl segment list --shard 0", "gs-ctl segment list --lacking"],
    ),
    ("segment describe", &["gs-ctl segment describe 1/0/42"]),
    (
        "segment seal",
        &["gs-ctl segment seal", "gs-ctl segment seal --shard 0"],
    ),
    ("segment forget", &["gs-ctl segment forget 1/0/42 --accept-loss"]),
    (
        "segment verify",
        &[
            "gs-ctl segment verify 1/0/42",
            "gs-ctl segment verify --file 000000000042.seg",
        ],
    ),
    (
        "replay start",
        &[
            "gs-ctl replay start --from -2h --to -1h --sink exporter:backend",
            "gs-ctl replay start --from 2026-11-24T02:00:00Z --sink file:night.lenpb.zst",
            "gs-ctl replay start --sink otlp-grpc://127.0.0.1:14317 --rate 10MiB --detach",
            "gs-ctl replay start --from -1d --sink otlp-https://logs.example:443/v1/logs --ca ca.pem --timeout 5m",
            "gs-ctl replay start --from -5m --sink - | jq .",
            "gs-ctl replay start --source archive --from -7d --to -1d --sink file:check.lenpb",
        ],
    ),
    ("replay list", &["gs-ctl replay list"]),
    ("replay status", &["gs-ctl replay status 3"]),
    ("replay cancel", &["gs-ctl replay cancel 3"]),
    ("archive status", &["gs-ctl archive status"]),
    (
        "archive pause",
        &["gs-ctl archive pause", "gs-ctl archive pause --for 30m"],
    ),
    ("archive resume", &["gs-ctl archive resume"]),
    (
        "archive list",
        &[
            "gs-ctl archive list",
            "gs-ctl archive list -o json | jq -r '.objects[].key'",
        ],
    ),
    (
        "archive cat",
        &[
            "gs-ctl archive cat x.binpb.zst",
            "gs-ctl archive cat x.binpb.zst -o json | jq .",
            "gs-ctl archive cat s3://logs/prod --from 2026-11-24T02:00:00Z --to 2026-11-24T02:01:00Z",
            "gs-ctl archive cat file:///srv/archive --from -1h --scan",
        ],
    ),
    (
        "archive ls",
        &[
            "gs-ctl archive ls s3://logs/prod --from -1d",
            "gs-ctl archive ls s3://logs/prod --endpoint http://minio:9000 -o json | jq -r .objects[].key",
        ],
    ),
    (
        "archive verify",
        &[
            "gs-ctl archive verify x.binpb.zst y.binpb.zst",
            "gs-ctl archive verify s3://logs/prod",
            "gs-ctl archive verify file:///srv/archive --full",
        ],
    ),
    (
        "wal dump",
        &["gs-ctl wal dump data/wal/0000000001/0000/000000000043.wal"],
    ),
    ("schema", &["gs-ctl schema status"]),
    (
        "completions",
        &["gs-ctl completions bash >/usr/share/bash-completion/completions/gs-ctl"],
    ),
    ("man", &["gs-ctl man /usr/local/share/man/man1"]),
];

/// The command line.
pub(crate) fn command() -> Command {
    EXAMPLES.iter().fold(Cli::command(), |command, (verb, examples)| {
        let words: Vec<&str> = verb.split(' ').collect();
        with_examples(command, &words, examples)
    })
}

fn with_examples(command: Command, verb: &[&str], examples: &[&str]) -> Command {
    match verb {
        [] => command.after_help(format!("Examples:\n  {}", examples.join("\n  "))),
        [first, rest @ ..] => command.mut_subcommand(first, |inner| with_examples(inner, rest, examples)),
    }
}

/// The completions of a shell.
pub(crate) fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), "gs-ctl", &mut text);
    // clap_complete writes a hyphen in the program's name in two ways, so that bash would complete the first word only.
    String::from_utf8_lossy(&text).replace("gs__subcmd__ctl", "gs__ctl")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// Collects the verbs that have no verbs below themselves.
    fn leaves(command: &Command, above: &str, out: &mut Vec<String>) {
        for inner in command.get_subcommands().filter(|c| c.get_name() != "help") {
            let name = format!("{above}{}", inner.get_name());
            if inner.has_subcommands() {
                leaves(inner, &format!("{name} "), out);
            } else {
                out.push(name);
            }
        }
    }

    #[test]
    fn every_verb_has_examples_and_each_is_a_command_line() {
        let mut verbs = Vec::new();
        leaves(&Cli::command(), "", &mut verbs);
        for verb in verbs {
            let found = EXAMPLES.iter().find(|(name, _)| *name == verb);
            let (_, examples) = found.unwrap_or_else(|| panic!("`{verb}` has no example"));
            for example in *examples {
                assert!(example.starts_with(&format!("gs-ctl {verb}")), "{example}");
                let line = example.split(['|', '>']).next().unwrap().replace("'a drill'", "drill");
                let parsed = Cli::try_parse_from(line.split_whitespace());
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn bash_completes_every_word_of_every_verb() {
        let text = completions(Shell::Bash);
        let commands = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("cmd=\"")?.strip_suffix('"'));
        let commands: Vec<&str> = commands.filter(|name| !name.is_empty()).collect();
        assert!(commands.len() > 30, "{commands:?}");
        for name in commands {
            assert!(
                text.contains(&format!("\n        {name})\n")),
                "{name} completes nothing"
            );
        }
    }

    #[test]
    fn help_shows_them() {
        let mut command = command();
        let replay = command.find_subcommand_mut("replay").unwrap();
        let help = replay
            .find_subcommand_mut("start")
            .unwrap()
            .render_long_help()
            .to_string();
        assert!(help.contains("Examples:\n  gs-ctl replay start --from -2h"), "{help}");
    }
}
