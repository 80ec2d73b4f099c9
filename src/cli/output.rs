//! Output of the subcommands: results on standard output, errors on standard error.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use serde::Serialize;

use super::exit;
use crate::{config::ConfigError, pipeline::preflight::Rejection, runtime::Class};

/// Reports an error, and returns the exit code of its class.
pub(super) fn failed(class: Class, message: &dyn Display) -> ExitCode {
    print_error(&format!("error: {message}"));
    exit::code(class)
}

/// Reports an error. What is wrong with a configuration and its files formats itself; other errors are one line with
/// their causes.
pub(super) fn report(error: &anyhow::Error) {
    if let Some(config) = error.downcast_ref::<ConfigError>() {
        print_error(config);
    } else if let Some(rejection) = error.downcast_ref::<Rejection>() {
        print_error(rejection);
    } else {
        print_error(&format!("error: {}", one_line(error)));
    }
}

/// An error and its causes, without those whose text is in what comes before.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// Writes to standard error. If that is closed, the exit code still reports the failure.
pub(super) fn print_error(message: &dyn Display) {
    _ = writeln!(io::stderr(), "{message}");
}

/// Writes to standard output. A reader that closed it (`| head`) is no failure.
pub(super) fn print(text: &str) -> Result<(), ExitCode> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(failed(Class::Io, &format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Formats a value as indented JSON with a line end.
pub(super) fn json(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// A number with its noun.
pub(super) fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}
