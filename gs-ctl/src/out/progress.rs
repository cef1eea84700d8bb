//! A progress bar on stderr, where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar in bytes. indicatif itself draws nothing where stderr is no terminal.
pub(crate) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar that is never drawn, for a terminal to which something else is written.
    pub(crate) fn hidden() -> Self {
        Self {
            bar: ProgressBar::hidden(),
        }
    }

    pub(crate) fn new() -> Self {
        let style = ProgressStyle::with_template("{spinner} {bytes} of {total_bytes} [{bar:30}] {bytes_per_sec} {msg}");
        let bar = ProgressBar::new(0);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar }
    }

    pub(crate) fn show(&self, done: u64, total: u64, message: &str) {
        self.bar.set_length(total.max(done));
        self.bar.set_position(done);
        self.bar.set_message(message.to_owned());
    }

    /// Prints a line above the bar, or simply on stderr.
    pub(crate) fn line(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
