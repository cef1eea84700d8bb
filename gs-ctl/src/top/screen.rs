//! A watch on a terminal.
//!
//! **Invariants**:
//! - I1: however it ends (key, signal, error, panic), the terminal is as it was before.

use std::time::Duration;

use anyhow::Context;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::draw::draw;
use super::poll::Poller;
use super::stop::{Stop, seen};
use super::watch::Watch;
use crate::arg::cli::Top;
use crate::arg::when::now_unix_nano;
use crate::out::outcome::Outcome;

/// Ages on the screen grow at least this often, whatever the interval.
const REDRAW: Duration = Duration::from_secs(1);

/// Shows the watch until a key, the count or a signal ends it.
pub(super) async fn run(mut watch: Watch, mut poller: Poller, asked: &Top) -> anyhow::Result<Outcome> {
    let mut stop = Stop::new()?;
    let mut screen = Screen::open()?;
    let mut events = events();
    let mut redraw = interval(REDRAW);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut left = asked.count;
    loop {
        screen.show(&watch, asked.interval.0)?;
        tokio::select! {
            poll = poller.next() => {
                let Some(poll) = poll else {
                    break;
                };
                watch.take(poll);
                left = left.map(|n| n - 1);
                if left == Some(0) {
                    break;
                }
            }
            // Where the keys cannot be read, signals still end it.
            Some(event) = events.recv() => {
                if leaves(&event) {
                    return Ok(Outcome::Done);
                }
            }
            _ = redraw.tick() => {}
            () = stop.asked() => return Ok(Outcome::Done),
        }
    }
    drop(screen);
    seen(&watch)
}

/// The terminal's events, read on a thread of its own: the read cannot be interrupted, and ends with the process.
fn events() -> mpsc::Receiver<Event> {
    let (tell, events) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if tell.blocking_send(event).is_err() {
                return;
            }
        }
    });
    events
}

fn leaves(event: &Event) -> bool {
    match event {
        Event::Key(KeyEvent {
            code,
            modifiers,
            kind: KeyEventKind::Press,
            ..
        }) => match code {
            KeyCode::Char('q') | KeyCode::Esc => true,
            KeyCode::Char('c') => modifiers.contains(KeyModifiers::CONTROL),
            _ => false,
        },
        _ => false,
    }
}

/// The terminal while the watch uses it.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    fn open() -> anyhow::Result<Self> {
        // This also makes a panic restore the terminal before its message is printed.
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                ratatui::restore();
                Err(error).context("cannot use this terminal; with `| cat` there are lines instead")
            }
        }
    }

    /// Draws the whole screen, in the size that the terminal has now.
    fn show(&mut self, watch: &Watch, interval: Duration) -> anyhow::Result<()> {
        self.terminal
            .draw(|frame| draw(frame, watch, interval, now_unix_nano()))
            .context("cannot draw on this terminal")?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_keys_leave() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        assert!(leaves(&key(KeyCode::Char('q'), KeyModifiers::NONE)));
        assert!(leaves(&key(KeyCode::Esc, KeyModifiers::NONE)));
        assert!(leaves(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        for stays in [
            key(KeyCode::Char('c'), KeyModifiers::NONE),
            key(KeyCode::Char('x'), KeyModifiers::NONE),
            Event::Resize(80, 24),
        ] {
            assert!(!leaves(&stays), "{stays:?}");
        }
    }
}
