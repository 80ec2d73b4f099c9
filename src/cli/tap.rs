//! `clickedge tap`: events of a running edge as they are made.

use std::{
    io::{self, Write},
    num::NonZeroU32,
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use serde::Deserialize;
use url::form_urlencoded::Serializer;

use super::{
    edge::Reach,
    exit_code,
    output::{count, print_error, report, shown},
};

/// Arguments of `tap`.
#[derive(Args, Debug)]
pub struct Tap {
    /// Only events that this feed takes.
    #[arg(long, value_name = "NAME")]
    pub feed: Option<String>,
    /// Only events of links of this workspace.
    #[arg(long, value_name = "ID")]
    pub workspace: Option<String>,
    /// Only events of this link: `go.brand.com/spring`, or its id.
    #[arg(long, value_name = "LINK")]
    pub link: Option<String>,
    /// One event of so many.
    #[arg(long, value_name = "N", default_value = "1")]
    pub sample: NonZeroU32,
    /// End after so many events.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Configuration file of the edge.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/clickedge/clickedge.toml")]
    pub config: PathBuf,
    #[command(flatten)]
    pub reach: Reach,
}

/// A line that says how many events were left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dropped {
    dropped: u64,
}

pub(super) fn run(tap: &Tap) -> ExitCode {
    match watch(tap) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            exit_code(&error)
        }
    }
}

fn watch(tap: &Tap) -> anyhow::Result<()> {
    let edge = tap.reach.edge(&tap.config)?;
    let mut printer =
        Printer { out: io::stdout().lock(), part: Vec::new(), left: tap.count, watches: false, failed: None };
    edge.stream(&path(tap), |bytes| printer.take(bytes))?;
    match printer.failed {
        // A reader that has seen enough (`| head`) is no failure.
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn path(tap: &Tap) -> String {
    let Tap { feed, workspace, link, sample, .. } = tap;
    let mut query = Serializer::new(String::new());
    for (name, value) in [("feed", feed), ("workspace", workspace), ("link", link)] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    query.append_pair("sample", &sample.to_string());
    format!("/v1/tap?{}", query.finish())
}

/// Prints events line by line, and on standard error what was left out.
struct Printer<W> {
    out: W,
    /// The beginning of a line whose end is still to come.
    part: Vec<u8>,
    left: Option<u64>,
    /// Whether the edge has begun to answer.
    watches: bool,
    failed: Option<io::Error>,
}

impl<W: Write> Printer<W> {
    fn take(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        if !std::mem::replace(&mut self.watches, true) {
            print_error(&"watching: events are shown as they are made; end with Ctrl-C");
        }
        self.part.extend_from_slice(bytes);
        while let Some(end) = self.part.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.part.drain(..=end).collect();
            if let Err(error) = self.line(&line) {
                self.failed = Some(error);
                return ControlFlow::Break(());
            }
            if self.left == Some(0) {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        // The answer begins with one.
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        if let Ok(Dropped { dropped }) = serde_json::from_slice(line) {
            let events = count(dropped, "event");
            print_error(&format!("{events} not shown: too many for this reader; take a `--sample`"));
            return Ok(());
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        // Visitors choose parts of it. The same JSON, escaped.
        self.out.write_all(shown(&String::from_utf8_lossy(line)).as_bytes())?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_commands_no_terminal() {
        let line = "{\"value\":\"\u{9b}31m\u{202e}é\"}\n";
        let mut printer = Printer { out: Vec::new(), part: Vec::new(), left: None, watches: true, failed: None };
        _ = printer.take(line.as_bytes());
        let printed = String::from_utf8(printer.out).unwrap();
        assert_eq!(printed, "{\"value\":\"\\u009b31m\\u202eé\"}\n");
        let parse = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert_eq!(parse(&printed), parse(line));
    }

    #[test]
    fn lines_are_printed_whole_wherever_the_parts_end() {
        let mut printer = Printer { out: Vec::new(), part: Vec::new(), left: Some(3), watches: false, failed: None };
        for part in ["\n{\"id\":1}\n{\"i", "d\":2}\n{\"dropped\":7}\n", "", "{\"id\":3}\n{\"id\":4}\n"] {
            _ = printer.take(part.as_bytes());
        }
        assert_eq!(String::from_utf8(printer.out).unwrap(), "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n");
        assert!(printer.failed.is_none());
    }
}
