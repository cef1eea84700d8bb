use super::*;
use crate::apply::apply;
use crate::event::EventNumber;
use crate::limits::EVENT_TEXT_BYTES_MAX;
use crate::setting::SettingSet;
use crate::testkit::{
    accepted_loss, configure, entry, exporter, letter, node, open, register, seal_record, segment, up, uuid,
};

/// A state that has applied these, without their events.
fn state_of(commands: &[Command]) -> State {
    let mut state = State::default();
    for command in commands {
        apply(&mut state, command).unwrap();
    }
    state
}

fn submit(state: &mut State, actor: Actor, command: Command) {
    apply_request(state, &Request { actor, command }).unwrap();
}

fn jo(at_ns: u64) -> Actor {
    Actor::operator("jo").asking_at(at_ns)
}

fn note(what: What, subject: &str, at_ns: u64) -> Command {
    Command::Note {
        what,
        subject: subject.to_owned(),
        detail: String::new(),
        at_ns,
    }
}

fn numbers(state: &State) -> Vec<EventNumber> {
    state.events_after(0).map(|(number, _)| number).collect()
}

#[test]
fn what_an_operator_changes_is_on_record_with_who_what_and_when() {
    let id = |index| segment(1, 0, index);
    let seal = |index| Command::Seal {
        seal: seal_record(id(index), 1, 2),
    };
    let begin = |index| Command::BeginRecovery {
        id: id(index),
        request: uuid(1),
        at_ns: 3,
    };
    let known = [
        register(1),
        register(2),
        register(3),
        register(4),
        up(1, 1),
        open(id(1), 1),
        open(id(2), 1),
        open(id(3), 1),
        begin(1),
        seal(2),
        exporter("a"),
        Command::AddDeadLetters {
            letters: vec![letter("a", id(2), 1), letter("a", id(2), 2)],
        },
        Command::CreateJob {
            request: uuid(1),
            spec: String::new(),
            at_ns: 3,
        },
        configure(1, &[]),
    ];
    let draining = |state| Command::SetNodeState {
        node: node(2),
        state,
        seen: None,
    };
    let paused = |paused| Command::SetExporter {
        exporter: "a".to_owned(),
        paused,
        at_ns: 4,
    };
    let set = Command::SetConfig {
        key: "k".to_owned(),
        value: Some("v".to_owned()),
        seen: None,
        at_ns: 4,
    };
    let loss = accepted_loss("jo", 4, 1);
    let cases = [
        (draining(NodeState::Draining), "node_draining node 2 "),
        (draining(NodeState::Active), "node_undrained node 2 "),
        (
            Command::RemoveNode {
                node: node(4),
                accept_loss: true,
                seen: None,
            },
            "node_removed node 4 a loss was accepted",
        ),
        (
            Command::SegmentLost { id: id(3), at_ns: 4 },
            "segment_lost segment 1/0/3 ",
        ),
        (
            Command::AcceptCopyLoss {
                id: id(2),
                loss: loss.clone(),
                asked: None,
            },
            &format!("copies_given_up segment 1/0/2 {}", loss.passed_over),
        ),
        (paused(true), "exporter_paused exporter a "),
        (paused(false), "exporter_resumed exporter a "),
        (
            Command::SeekExporter {
                exporter: "a".to_owned(),
                node: node(1),
                shards: vec![],
                at_ns: 4,
            },
            "exporter_sought exporter a in the logs of node 1",
        ),
        (
            Command::DropDeadLetters {
                exporter: "a".to_owned(),
                letters: vec![entry(id(2), 1)],
            },
            "dead_letters_dropped exporter a 1 letters",
        ),
        (
            Command::CreateJob {
                request: uuid(2),
                spec: String::new(),
                at_ns: 4,
            },
            "job_started job 2 ",
        ),
        (
            Command::CancelJob {
                job: JobId::FIRST,
                at_ns: 4,
            },
            "job_cancelled job 1 ",
        ),
        (set, "setting_changed setting k v"),
        (
            Command::ForgetExporter {
                exporter: "a".to_owned(),
            },
            "exporter_forgotten exporter a with its dead letters: 1",
        ),
        (
            note(What::LettersReplayed, "exporter a", 70),
            "dead_letters_replayed exporter a ",
        ),
    ];
    let (mut state, mut by_nodes) = (state_of(&known), state_of(&known));
    for (command, expected) in cases {
        submit(&mut state, jo(70), command.clone());
        submit(&mut by_nodes, Actor::Node, command);
        let (_, event) = state.events_after(0).last().unwrap();
        let told = format!("{} {} {}", event.what.name(), event.subject, event.detail);
        assert_eq!((told.as_str(), event.who.as_str(), event.at_ns), (expected, "jo", 70));
    }
    assert_eq!(numbers(&state), (1..=14).collect::<Vec<_>>());
    let told: Vec<_> = by_nodes.events_after(0).map(|(_, event)| event.what).collect();
    assert_eq!(
        told,
        [What::LettersReplayed],
        "what nodes do by themselves is none of an operator's"
    );
}

#[test]
fn settings_that_are_changed_at_once_are_one_event_of_those_that_change() {
    let mut state = state_of(&[register(1)]);
    let settings = ["archive.url", "vault.retention"].map(|key| (key.to_owned(), "a".to_owned()));
    let begin = Command::BeginSettings {
        node: node(1),
        settings: settings.to_vec(),
        at_ns: 3,
    };
    submit(&mut state, Actor::Node, begin);
    let set = |key: &str, value: &str, seen| SettingSet {
        key: key.to_owned(),
        value: value.to_owned(),
        seen,
    };
    let settings = vec![
        set("archive.url", "b", 1),
        set("vault.retention", "a", 2),
        set("archive.region", "eu-1", 0),
    ];
    let all = Command::SetSettings { settings, at_ns: 4 };
    submit(&mut state, jo(70), all.clone());
    submit(&mut state, jo(71), all);
    let told: Vec<_> = state
        .events_after(1)
        .map(|(_, e)| format!("{} {}: {}", e.who, e.subject, e.detail))
        .collect();
    assert_eq!(told, ["jo settings: archive.url from a to b; archive.region eu-1"]);
}

#[test]
fn a_change_of_the_configuration_is_told_from_what_to_what_and_the_first_values_with_their_node() {
    let mut state = state_of(&[register(1)]);
    let set = |key: &str, value: Option<&str>| Command::SetConfig {
        key: key.to_owned(),
        value: value.map(str::to_owned),
        seen: None,
        at_ns: 4,
    };
    let begin = Command::BeginSettings {
        node: node(1),
        settings: vec![("vault.retention".to_owned(), "24h".to_owned())],
        at_ns: 3,
    };
    let long = |endpoint: &str| format!("{{\"a\":\"{}\",\"endpoint\":\"{endpoint}\"}}", "ä".repeat(200));
    submit(&mut state, Actor::Node, begin);
    for (key, value) in [
        ("vault.retention", Some("48h".to_owned())),
        ("exporter.a", Some(long("http://one"))),
        ("exporter.a", Some(long("http://other"))),
        ("exporter.a", None),
    ] {
        submit(&mut state, jo(70), set(key, value.as_deref()));
    }
    let told: Vec<_> = state
        .events_after(0)
        .map(|(_, e)| format!("{} {} {}", e.who, e.subject, e.detail))
        .collect();
    assert_eq!(
        told[0],
        "node settings first values: those of the configuration of node 1"
    );
    assert_eq!(told[1], "jo setting vault.retention from 24h to 48h");
    assert!(
        told[3].contains("http://one") && told[3].contains("http://other"),
        "{}",
        told[3]
    );
    assert!(
        told[4].contains("from {") && told[4].ends_with("… to removed"),
        "{}: what is cut is marked",
        told[4]
    );
}

#[test]
fn what_nodes_and_recoveries_do_is_on_record_with_the_time_of_the_command() {
    let id = segment(1, 0, 1);
    let begin = |request, at_ns| Command::BeginRecovery {
        id,
        request: uuid(request),
        at_ns,
    };
    let mut state = State::default();
    let seal = seal_record(id, 1, 2);
    let finish = |result| Command::FinishJob {
        job: JobId::FIRST,
        term: 0,
        result,
        at_ns: 9,
    };
    for command in [
        register(1),
        up(1, 1),
        open(id, 1),
        begin(1, 5),
        begin(2, 6),
        Command::SealRecovered { seal, number: 2 },
        Command::CreateJob {
            request: uuid(1),
            spec: String::new(),
            at_ns: 8,
        },
        finish(JobResult::Failed("why".to_owned())),
    ] {
        submit(&mut state, Actor::Node, command);
    }
    let told: Vec<_> = state
        .events_after(0)
        .map(|(_, e)| format!("{} {} {} {} {}", e.at_ns, e.who, e.what.name(), e.subject, e.detail))
        .collect();
    let sealed_ns = seal.sealed_ns;
    let took = Duration::from_nanos(sealed_ns - 5).as_secs_f64();
    assert_eq!(
        told,
        [
            "1 node node_registered node 1 ",
            "2 node node_up node 1 epoch 1",
            &format!(
                "{sealed_ns} node segment_recovered segment 1/0/1 2 entries, {took:.1} s after its recovery began"
            ),
            "9 node job_failed job 1 why",
        ]
    );
}

#[test]
fn what_changes_nothing_or_is_refused_is_no_event() {
    let mut state = state_of(&[register(1), exporter("a")]);
    let pause = Command::SetExporter {
        exporter: "a".to_owned(),
        paused: true,
        at_ns: 4,
    };
    for at_ns in [70, 71] {
        submit(&mut state, jo(at_ns), pause.clone());
    }
    let unknown = Command::CancelJob {
        job: JobId::FIRST,
        at_ns: 5,
    };
    let refused = Request {
        actor: jo(72),
        command: unknown,
    };
    assert!(decide_request(&state, &refused).is_err());
    assert_eq!(numbers(&state), [1]);
}

#[test]
fn a_leader_and_a_dead_node_are_noted_once() {
    let mut state = state_of(&[register(1), register(2), register(3)]);
    for (command, events) in [
        (note(What::LeaderChanged, "node 1", 1), 1),
        (note(What::NodeDead, "node 3", 2), 2),
        (note(What::LeaderChanged, "node 1", 3), 2),
        (note(What::LeaderChanged, "node 2", 4), 3),
        // The new leader finds it dead, too.
        (note(What::NodeDead, "node 3", 5), 3),
        (note(What::NodeDead, "node 1", 6), 4),
        (up(3, 1), 5),
        (note(What::NodeDead, "node 3", 7), 6),
    ] {
        submit(&mut state, Actor::Node, command.clone());
        assert_eq!(numbers(&state).len(), events, "{command:?}");
    }
}

#[test]
fn i2_the_newest_events_are_kept_and_their_texts_are_bounded() {
    let mut state = State::default();
    let long = "ä".repeat(EVENT_TEXT_BYTES_MAX);
    for at_ns in 1..=EVENTS_MAX + 5 {
        let subject = if at_ns == EVENTS_MAX {
            long.as_str()
        } else {
            "exporter a"
        };
        submit(&mut state, Actor::Node, note(What::LettersReplayed, subject, at_ns));
    }
    let kept = numbers(&state);
    assert_eq!(kept, (6..=EVENTS_MAX + 5).collect::<Vec<_>>());
    let longest = state.events_after(0).map(|(_, event)| event.subject.len()).max();
    assert_eq!(longest, Some(EVENT_TEXT_BYTES_MAX));
    assert_eq!(state.events_after(EVENTS_MAX + 4).count(), 1);
}
