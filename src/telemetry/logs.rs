//! Logs: JSON for machines or text for people, on standard error.
//!
//! Levels are a contract: ERROR means that data was lost or that an operator must act, WARN that something unexpected
//! was handled, INFO reports starts, stops and reloads. Nothing is logged per click.
//!
//! Libraries log through the same lines, with two limits that no setting lifts, because below WARN they print request
//! headers and peer addresses: only WARN and above is logged, and what looks like an address or a request is removed
//! from their text (`scrub`). Beyond a number of lines each second they are only counted. Panics are logged and
//! scrubbed, too: their messages tend to quote the data that the code was working on.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    borrow::Cow,
    fmt::Write as _,
    net::IpAddr,
    panic::{self, PanicHookInfo},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    thread,
};

use log::{LevelFilter, Log, Metadata, Record};
use tracing::Subscriber;
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter as Most, Targets},
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
};

use crate::{
    config::{LogFormat, LogLevel, Telemetry},
    runtime::clock,
};

/// Sends every line to standard error from now on. A second call in a process has no effect.
pub fn init(config: &Telemetry) {
    let subscriber = subscriber(config, std::io::stderr);
    if tracing::subscriber::set_global_default(subscriber).is_ok() && log::set_logger(&LIBRARIES).is_ok() {
        log::set_max_level(LevelFilter::Warn);
        panic::set_hook(Box::new(log_panic));
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = scrub(panic.payload_as_str().unwrap_or("no message"));
    let place = panic.location().map(tracing::field::display);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(tracing::field::display(backtrace));
    tracing::error!(thread = thread::current().name(), place, backtrace, "panicked: {message}");
}

fn subscriber<W>(config: &Telemetry, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let own = match config.log_level {
        LogLevel::Error => Most::ERROR,
        LogLevel::Warn => Most::WARN,
        LogLevel::Info => Most::INFO,
        LogLevel::Debug => Most::DEBUG,
        LogLevel::Trace => Most::TRACE,
    };
    // Libraries that log through `tracing` itself (the S3 client) cannot be scrubbed here, so they are not logged.
    let filter = Targets::new().with_target("clickedge", own).with_target(LIBRARY, own.min(Most::WARN));
    let lines = match config.log_format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
        LogFormat::Pretty => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            fmt::layer().with_ansi(colours).with_writer(writer).boxed()
        }
    };
    tracing_subscriber::registry().with(lines.with_filter(filter))
}

/// Target of the lines of libraries.
const LIBRARY: &str = "library";

/// Lines of libraries that are written each second. A client can make a proxy log as often as it likes.
const LIBRARY_LINES_A_SECOND: u32 = 20;

/// Receives what libraries log through the `log` crate.
static LIBRARIES: Libraries = Libraries { second: AtomicU64::new(0), lines: AtomicU32::new(0) };

struct Libraries {
    second: AtomicU64,
    lines: AtomicU32,
}

impl Libraries {
    /// Whether one more line may be written this second; and how many were suppressed before, reported once.
    fn admit(&self, second: u64) -> (bool, u32) {
        let mut suppressed = 0;
        if self.second.swap(second, Ordering::Relaxed) != second {
            suppressed = self.lines.swap(0, Ordering::Relaxed).saturating_sub(LIBRARY_LINES_A_SECOND);
        }
        (self.lines.fetch_add(1, Ordering::Relaxed) < LIBRARY_LINES_A_SECOND, suppressed)
    }
}

impl Log for Libraries {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // rustls warns of what clients send, with their bytes; the front counts how handshakes end.
        let most = if metadata.target().starts_with("rustls") { log::Level::Error } else { log::Level::Warn };
        metadata.level() <= most
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (admitted, suppressed) = self.admit(clock::unix_secs());
        if suppressed > 0 {
            tracing::warn!(target: LIBRARY, suppressed, "library log lines suppressed");
        }
        if !admitted {
            return;
        }
        let message = record.args().to_string();
        let message = scrub(&message);
        // A library's error is not a loss of data and rarely needs an operator: a client that hangs up is one.
        tracing::warn!(target: LIBRARY, from = record.target(), "{message}");
    }

    fn flush(&self) {}
}

/// Removes addresses and requests from a library's line. What follows `buf:` is a request as it was received.
fn scrub(message: &str) -> Cow<'_, str> {
    let (message, cut) = message.split_once("buf:").map_or((message, false), |(start, _)| (start, true));
    let mut clean = String::with_capacity(message.len());
    for token in
        message.split_inclusive(|c: char| !(c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '[' | ']' | '%')))
    {
        let end = token.trim_end_matches(|c: char| !(c.is_ascii_hexdigit() || c == ']'));
        let ends_in_colons = token.get(..end.len() + 2).is_some_and(|run| run.ends_with("::") && holds_address(run));
        if holds_address(end) || ends_in_colons {
            clean.push_str("<address>");
            clean.push_str(&token[end.len()..]);
        } else {
            clean.push_str(token);
        }
    }
    if cut {
        let _ = write!(clean, "<request>");
    }
    if clean == message { Cow::Borrowed(message) } else { Cow::Owned(clean) }
}

/// Whether a run of address characters is an address, alone, with a port, or with punctuation around it.
fn holds_address(run: &str) -> bool {
    let run = run.trim_matches(|c| matches!(c, '.' | '[' | ']'));
    let without_port = run.rsplit_once(':').map_or(run, |(host, _)| host);
    let candidates = [run, without_port, without_port.trim_end_matches(']'), run.trim_start_matches(':')];
    candidates.iter().any(|text| text.len() > 2 && text.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_limit_are_suppressed_and_reported_once() {
        let libraries = Libraries { second: AtomicU64::new(0), lines: AtomicU32::new(0) };
        let admitted = (0..100).filter(|_| libraries.admit(7).0).count();
        assert_eq!(admitted, LIBRARY_LINES_A_SECOND as usize);
        assert_eq!(libraries.admit(8), (true, 100 - LIBRARY_LINES_A_SECOND));
        assert_eq!(libraries.admit(8), (true, 0));
    }

    #[test]
    fn addresses_and_requests_are_removed_from_library_lines() {
        let clean = [
            ("Downstream handshake error from 127.3.4.5:6123: eof", "Downstream handshake error from <address>: eof"),
            ("from [2001:db8::1]:443: eof", "from <address>: eof"),
            ("peer: 192.0.2.1, tls: false", "peer: <address>, tls: false"),
            ("InvalidHTTPHeader buf: GET / HTTP/1.1 X-Forwarded-For: 192.0.2.1", "InvalidHTTPHeader <request>"),
            ("V4(203.0.113.7:80)", "V4(<address>)"),
            ("2001:db8::7 went away", "<address> went away"),
            ("2001:db8:: went away", "<address>:: went away"),
        ];
        for (line, expected) in clean {
            assert_eq!(scrub(line), expected);
        }
        assert_eq!(scrub("tries: 3, code 502 in 10.5 s: a.b"), "tries: 3, code 502 in 10.5 s: a.b");
    }
}
