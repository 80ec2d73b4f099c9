//! Output of the subcommands: results on standard output, errors on standard error.

use std::{
    borrow::Cow,
    fmt::{Display, Write as _},
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
        let line = one_line(error);
        // What a running process rejects says so itself.
        let prefix = if line.starts_with("error: ") { "" } else { "error: " };
        print_error(&format!("{prefix}{line}"));
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
    _ = writeln!(io::stderr(), "{}", shown(&message.to_string()));
}

/// A text of others for a terminal: lines and tabs stay, and all else that a terminal obeys, or that turns the
/// direction of texts, is escaped as in JSON.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    let obeyed = |char: char| match char {
        '\n' | '\t' => false,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => true,
        char => char.is_control(),
    };
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if obeyed(char) {
            // Writing into a string cannot fail.
            _ = write!(escaped, "\\u{:04x}", u32::from(char));
        } else {
            escaped.push(char);
        }
    }
    Cow::Owned(escaped)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_commands_no_terminal() {
        let evil = "line 1:\u{1b}[2J\u{9b}31m\u{202e}\r\n\té";
        assert_eq!(shown(evil), "line 1:\\u001b[2J\\u009b31m\\u202e\\u000d\n\té");
        assert!(matches!(shown("plain\n"), Cow::Borrowed(_)));
    }
}
