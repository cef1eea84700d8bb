//! `gs-ctl top` as a process: lines where stdout is a pipe, a screen on a pseudo-terminal.
#![allow(clippy::unwrap_used)] // the helpers are of the tests

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;
use support::{Fake, wait};
use tempfile::TempDir;

fn fake() -> (TempDir, PathBuf, Fake) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("x.sock");
    let fake = Fake::at(&socket);
    (dir, socket, fake)
}

fn top(socket: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("gs-ctl"));
    command
        .env_remove("GS_SOCKET")
        .env_remove("NO_COLOR")
        .arg("--socket")
        .arg(socket)
        .args(["top", "--interval", "100ms"])
        .args(words);
    command
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn lines_come_one_an_interval_and_end_with_the_count() {
    let (_dir, socket, fake) = fake();
    let run = top(&socket, &["--count", "3"]).output().unwrap();
    let out = String::from_utf8(run.stdout).unwrap();
    assert_eq!((run.status.code(), out.lines().count()), (Some(0), 3), "{out}");
    assert!(
        out.lines()
            .all(|l| l.contains(" zone=yellow ") && l.contains(" ack_p50=500µs ")),
        "{out}"
    );
    assert_eq!(fake.polls(), 4, "one before the first interval");
    let run = top(&socket, &["--count", "2", "-o", "json"]).output().unwrap();
    for line in String::from_utf8(run.stdout).unwrap().lines() {
        let figures: Value = serde_json::from_str(line).unwrap();
        let interval = &figures["interval"];
        let records = interval["records_per_second"].as_f64().unwrap() * interval["seconds"].as_f64().unwrap();
        assert!((records - 1000.0).abs() < 1e-6, "{line}");
    }
    fake.end();
}

#[test]
fn a_node_that_goes_away_is_told_and_found_again() {
    let (_dir, socket, fake) = fake();
    let mut child = top(&socket, &[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains(" zone=yellow "));
    fake.end();
    let silent = lines.find(|l| l.contains("no answer since")).unwrap();
    assert!(silent.contains("Z no answer since 20"), "{silent}");
    fs::remove_file(&socket).unwrap();
    let again = Fake::at(&socket);
    lines.find(|l| l.contains(" zone=yellow ")).unwrap();
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    again.end();
}

#[test]
fn a_count_that_ends_in_silence_has_the_exit_code_of_a_node_that_is_not_there() {
    let (_dir, socket, fake) = fake();
    // It must not be at its end before the node is gone.
    let mut child = top(&socket, &["--count", "100"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.next().unwrap();
    fake.end();
    assert_eq!(lines.count(), 99);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_reader_that_goes_away_ends_it_well() {
    let (_dir, socket, fake) = fake();
    let mut child = top(&socket, &[]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    fake.end();
}

/// A pseudo-terminal of 80 by 24, and the text written to it.
struct Terminal {
    ours: File,
    theirs: File,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn open() -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let path = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let theirs = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&theirs, size).unwrap();
        let ours = File::from(ours);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut from, to) = (ours.try_clone().unwrap(), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut some) {
                to.lock().unwrap().extend_from_slice(&some[..n]);
            }
        });
        Self { ours, theirs, seen }
    }

    fn spawn(&self, mut command: Command) -> Child {
        let end = || Stdio::from(self.theirs.try_clone().unwrap());
        command
            .env("TERM", "xterm-256color")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap()
    }

    fn saw(&self, text: &str) -> bool {
        let seen = self.seen.lock().unwrap();
        seen.windows(text.len()).any(|w| w == text.as_bytes())
    }

    fn modes(&self) -> String {
        let modes = tcgetattr(&self.theirs).unwrap();
        format!(
            "{:?} {:?} {:?}",
            modes.input_modes, modes.output_modes, modes.local_modes
        )
    }
}

/// A function that ends a watch.
type Leave<'a> = &'a dyn Fn(&mut Terminal, &Child);

const ALTERNATE_SCREEN: &str = "\u{1b}[?1049h";
const USUAL_SCREEN: &str = "\u{1b}[?1049l";

#[test]
fn keys_and_signals_leave_the_terminal_as_it_was() {
    let (_dir, socket, fake) = fake();
    let leave: [Leave<'_>; 5] = [
        &|t, _| t.ours.write_all(b"q").unwrap(),
        &|t, _| t.ours.write_all(b"\x1b").unwrap(),
        &|t, _| t.ours.write_all(b"\x03").unwrap(),
        &|_, child| signal(child, Signal::TERM),
        &|_, child| signal(child, Signal::INT),
    ];
    for (i, leave) in leave.into_iter().enumerate() {
        let mut terminal = Terminal::open();
        let before = terminal.modes();
        let mut child = terminal.spawn(top(&socket, &[]));
        wait("the screen", || terminal.saw("YELLOW") && terminal.saw("backend"));
        assert!(terminal.saw(ALTERNATE_SCREEN) && !terminal.saw(USUAL_SCREEN));
        assert_ne!(terminal.modes(), before, "keys are read as they come");
        leave(&mut terminal, &child);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{i}");
        assert_eq!(terminal.modes(), before, "{i}");
        wait("the usual screen", || terminal.saw(USUAL_SCREEN));
    }
    fake.end();
}

#[test]
fn the_screen_says_when_the_node_goes_away_and_gives_the_terminal_back_before_it_tells_of_it() {
    let (_dir, socket, fake) = fake();
    let terminal = Terminal::open();
    let before = terminal.modes();
    let mut child = terminal.spawn(top(&socket, &["--count", "100"]));
    wait("the screen", || terminal.saw("YELLOW"));
    fake.end();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert_eq!(terminal.modes(), before);
    wait("the last words", || terminal.saw("gs-ctl: "));
    assert!(terminal.saw("no answer since"));
    let seen = terminal.seen.lock().unwrap();
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.find(USUAL_SCREEN).unwrap() < seen.find("gs-ctl: ").unwrap());
}
