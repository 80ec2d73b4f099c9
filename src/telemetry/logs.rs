//! Logs: JSON for machines or text for people, on standard error.
//!
//! Levels are a contract: ERROR means that data was lost or that an operator must act, WARN that something unexpected
//! was handled, INFO reports starts, stops and reloads. Nothing is logged per click. Lines of the target [`AUDIT`],
//! one for each change of a link and each order of an operator, are written whatever the level is.
//!
//! Libraries log through the same lines, with two limits that no setting lifts, because below WARN they print request
//! headers and peer addresses: only WARN and above is logged, and what looks like an address or a request is removed
//! from their text (`scrub`). Beyond one line a minute of each place in their code they are only counted. Panics are
//! logged and scrubbed, too: their messages tend to quote the data that the code was working on.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    borrow::Cow,
    fmt::Write as _,
    net::IpAddr,
    panic::{self, PanicHookInfo},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
};

use log::{LevelFilter, Log, Metadata, Record};
use tracing::Subscriber;
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter as Most, Targets},
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    reload::{self, Handle},
};

use crate::{
    config::{LogFormat, LogLevel, Telemetry},
    runtime::clock,
};

/// Sends every line to standard error from now on. A second call in a process has no effect.
pub fn init(config: &Telemetry) {
    let (subscriber, level) = subscriber(config, std::io::stderr);
    if tracing::subscriber::set_global_default(subscriber).is_ok() && log::set_logger(&LIBRARIES).is_ok() {
        log::set_max_level(LevelFilter::Warn);
        panic::set_hook(Box::new(log_panic));
        _ = LEVEL.set(level);
    }
}

/// Changes the minimum level of all lines from now on.
pub fn set_level(level: LogLevel) {
    if let Some(filter) = LEVEL.get() {
        _ = filter.reload(targets(level));
    }
}

/// The level of the process, once it logs.
static LEVEL: OnceLock<Handle<Targets, tracing_subscriber::Registry>> = OnceLock::new();

fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = scrub(panic.payload_as_str().unwrap_or("no message"));
    let place = panic.location().map(tracing::field::display);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(tracing::field::display(backtrace));
    tracing::error!(thread = thread::current().name(), place, backtrace, "panicked: {message}");
}

fn targets(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => Most::ERROR,
        LogLevel::Warn => Most::WARN,
        LogLevel::Info => Most::INFO,
        LogLevel::Debug => Most::DEBUG,
        LogLevel::Trace => Most::TRACE,
    };
    // Libraries that log through `tracing` itself (the S3 client) cannot be scrubbed here, so they are not logged.
    Targets::new()
        .with_target("clickedge", own)
        .with_target(LIBRARY, own.min(Most::WARN))
        .with_target(AUDIT, Most::INFO)
}

fn subscriber<W>(
    config: &Telemetry,
    writer: W,
) -> (impl Subscriber + Send + Sync, Handle<Targets, tracing_subscriber::Registry>)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, level) = reload::Layer::new(targets(config.log_level));
    let lines = match config.log_format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
        LogFormat::Pretty => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            fmt::layer().with_ansi(colours).with_writer(writer).boxed()
        }
    };
    (tracing_subscriber::registry().with(lines.with_filter(filter)), level)
}

/// Target of lines that record who has changed what.
pub const AUDIT: &str = "audit";

/// Target of the lines of libraries.
const LIBRARY: &str = "library";

/// Places in libraries that are counted each for itself; further ones count as one.
const MAX_PLACES: usize = 256;

/// Receives what libraries log through the `log` crate.
static LIBRARIES: Libraries = Libraries { places: Mutex::new(Vec::new()) };

/// A client can make a library log as often as it likes: each place in its code has one line a minute, and the number
/// of further ones.
struct Libraries {
    places: Mutex<Vec<Place>>,
}

/// A place in a library's code that has logged.
struct Place {
    module: &'static str,
    line: u32,
    minute: u64,
    /// Lines that were not written, nor reported.
    suppressed: u64,
}

impl Libraries {
    /// Whether a place may write its line this minute: with the number of lines that were suppressed before.
    fn admit(&self, module: &'static str, line: u32, minute: u64) -> Option<u64> {
        // The search for addresses wants to see every line.
        #[cfg(debug_assertions)]
        if std::env::var_os("CLICKEDGE_LOG_ALL").is_some() {
            return Some(0);
        }
        let mut places = self.places();
        let known = places.iter().position(|place| (place.module, place.line) == (module, line));
        let at = match known {
            Some(at) => at,
            None if places.len() >= MAX_PLACES => MAX_PLACES - 1,
            None => {
                places.push(Place { module, line, minute, suppressed: 0 });
                return Some(0);
            }
        };
        let place = &mut places[at];
        if place.minute == minute {
            place.suppressed += 1;
            return None;
        }
        place.minute = minute;
        Some(std::mem::take(&mut place.suppressed))
    }

    /// The places with lines that were suppressed since the last call.
    fn suppressed(&self) -> Vec<(&'static str, u64)> {
        let mut places = self.places();
        let counts = places.iter_mut().map(|place| (place.module, std::mem::take(&mut place.suppressed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs how many lines of libraries were suppressed since the last call, one line a place.
pub fn report_suppressed() {
    for (from, suppressed) in LIBRARIES.suppressed() {
        tracing::warn!(target: LIBRARY, from, suppressed, "library log lines suppressed");
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
        let place = (record.module_path_static().unwrap_or_default(), record.line().unwrap_or_default());
        let Some(suppressed) = self.admit(place.0, place.1, clock::unix_secs() / 60) else { return };
        let suppressed = (suppressed > 0).then_some(suppressed);
        let message = record.args().to_string();
        let message = scrub(&message);
        // A library's error is not a loss of data and rarely needs an operator: a client that hangs up is one.
        tracing::warn!(target: LIBRARY, from = record.target(), suppressed, "{message}");
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
    fn each_place_has_a_line_a_minute_and_the_others_are_reported_once() {
        let libraries = Libraries { places: Mutex::new(Vec::new()) };
        let admitted = |line, minute| (0..100).filter_map(|_| libraries.admit("a", line, minute)).collect::<Vec<_>>();
        assert_eq!(admitted(1, 7), [0]);
        assert_eq!(admitted(2, 7), [0], "another place");
        assert_eq!(admitted(1, 8), [99], "with those of the minute before");
        assert_eq!(libraries.suppressed(), [("a", 99), ("a", 99)]);
        assert_eq!(libraries.suppressed(), []);
        assert_eq!(admitted(1, 9), [0]);
        for line in 0..10 * MAX_PLACES as u32 {
            libraries.admit("b", line, 9);
        }
        assert_eq!(libraries.places().len(), MAX_PLACES);
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
