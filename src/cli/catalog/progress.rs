//! Progress of a long command on standard error: a bar on a terminal, elsewhere a line every 5 seconds.

use std::{
    cell::Cell,
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{DecimalBytes, HumanCount, ProgressBar, ProgressStyle};

use crate::cli::output::print_error;

/// Time between two lines.
const EVERY: Duration = Duration::from_secs(5);

/// Items between two looks at the clock.
const BATCH: u64 = 1 << 10;

/// Bytes between two looks at the clock.
const BATCH_BYTES: u64 = 1 << 20;

/// What is known beforehand of the work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Total {
    Bytes(u64),
    Items(u64),
    /// A pipe, for example.
    Unknown,
}

/// Progress of one step.
pub struct Progress {
    /// What is done, such as `read`, and with what, such as `links`.
    verb: &'static str,
    noun: &'static str,
    total: Total,
    items: Cell<u64>,
    bytes: Cell<u64>,
    started: Instant,
    shown: Cell<Instant>,
    /// On a terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    pub fn new(verb: &'static str, noun: &'static str, total: Total) -> Self {
        let bar = io::stderr().is_terminal().then(|| bar(total));
        let now = Instant::now();
        Self { verb, noun, total, items: Cell::new(0), bytes: Cell::new(0), started: now, shown: Cell::new(now), bar }
    }

    /// One item more.
    pub fn item(&self) {
        let items = self.items.get() + 1;
        self.items.set(items);
        if items.is_multiple_of(BATCH) {
            self.show();
        }
    }

    /// Bytes more.
    pub fn bytes(&self, more: u64) {
        let bytes = self.bytes.get() + more;
        self.bytes.set(bytes);
        if bytes / BATCH_BYTES != (bytes - more) / BATCH_BYTES {
            self.show();
        }
    }

    /// Prints something else on standard error.
    pub fn suspend(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn show(&self) {
        if let Some(bar) = &self.bar {
            bar.set_position(match self.total {
                Total::Items(_) => self.items.get(),
                Total::Bytes(_) | Total::Unknown => self.bytes.get(),
            });
            bar.set_message(self.line(self.started.elapsed()));
        } else if self.shown.get().elapsed() >= EVERY {
            self.shown.set(Instant::now());
            print_error(&self.line(self.started.elapsed()));
        }
    }

    fn line(&self, elapsed: Duration) -> String {
        let Self { verb, noun, .. } = self;
        let (items, bytes) = (self.items.get(), self.bytes.get());
        let rate = |count: u64| (count as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
        let read = match self.total {
            Total::Bytes(all) => format!("{} of {}", DecimalBytes(bytes), DecimalBytes(all)),
            Total::Items(_) | Total::Unknown => DecimalBytes(bytes).to_string(),
        };
        if items == 0 {
            return format!("{verb} {read}, {} a second", DecimalBytes(rate(bytes)));
        }
        let count = match self.total {
            Total::Items(all) => format!("{} of {}", HumanCount(items), HumanCount(all)),
            Total::Bytes(_) | Total::Unknown => HumanCount(items).to_string(),
        };
        let read = if bytes == 0 { String::new() } else { format!(", {read}") };
        format!("{verb} {count} {noun}, {} a second{read}", HumanCount(rate(items)))
    }
}

impl Drop for Progress {
    /// What is printed next begins where the bar was.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: Total) -> ProgressBar {
    let (bar, template) = match total {
        Total::Bytes(all) | Total::Items(all) => (ProgressBar::new(all), "{msg} [{bar:24}] {percent} %, {eta} left"),
        Total::Unknown => (ProgressBar::new_spinner(), "{spinner} {msg}"),
    };
    // It is a constant, and right.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style.progress_chars("=> "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_items_their_rate_and_the_bytes_of_all() {
        let progress = Progress::new("read", "links", Total::Bytes(2_000_000));
        (0..1_500).for_each(|_| progress.item());
        progress.bytes(70_000);
        let line = progress.line(Duration::from_secs(2));
        assert_eq!(line, "read 1,500 links, 750 a second, 70.00 kB of 2.00 MB");
    }

    #[test]
    fn what_is_not_known_beforehand_is_left_out() {
        let piped = Progress::new("read", "links", Total::Unknown);
        piped.item();
        piped.bytes(1_500);
        assert_eq!(piped.line(Duration::from_secs(1)), "read 1 links, 1 a second, 1.50 kB");
        let copied = Progress::new("copied", "links", Total::Unknown);
        copied.bytes(30_000);
        assert_eq!(copied.line(Duration::from_secs(3)), "copied 30.00 kB, 10.00 kB a second");
        let written = Progress::new("wrote", "links", Total::Items(12_000));
        written.item();
        assert_eq!(written.line(Duration::from_secs(1)), "wrote 1 of 12,000 links, 1 a second");
    }
}
