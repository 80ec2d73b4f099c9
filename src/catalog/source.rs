//! Reads the catalog's NDJSON: one branded link a line, in the field names of the branded-link REST entity, so that
//! an existing export loads. Unknown fields are ignored, as exports carry many.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
};

use serde::de::IgnoredAny;

use super::{Catalog, LoadError, Report, compile::Compiler, entity::LinkEntity};
use crate::config;

/// Maximum length of a line, in bytes.
pub const MAX_LINE: usize = 1 << 20;

/// Compiles the configured file.
///
/// # Errors
/// When it cannot be read, when more lines are bad than `max_bad_ratio` allows, or when it is truncated.
pub fn load_file(config: &config::Catalog) -> Result<(Catalog, Report), LoadError> {
    let name = config.file.display().to_string();
    let unreadable = |source| LoadError::Read { file: name.clone(), source };
    let file = File::open(&config.file).map_err(unreadable)?;
    let (catalog, report) = load(BufReader::with_capacity(1 << 20, file), config).map_err(unreadable)?;
    let unfinished = report.unfinished.is_some();
    // The unfinished line apart: in a foreign file most lines are bad, and the first one shows why.
    if (report.bad - u64::from(unfinished)) as f64 > report.lines as f64 * config.max_bad_ratio {
        let first = report.problems.first().map(|problem| format!("; the first is {problem}")).unwrap_or_default();
        let (bad, lines, allowed) = (report.bad, report.lines, config.max_bad_ratio);
        return Err(LoadError::TooManyBadLines { file: name, bad, lines, allowed, first });
    }
    if let Some(line) = report.unfinished {
        return Err(LoadError::Truncated { file: name, line });
    }
    Ok((catalog, report))
}

/// Compiles NDJSON. Empty lines are skipped; bad lines are reported and skipped.
///
/// # Errors
/// Only those of the reader.
pub fn load(mut input: impl BufRead, config: &config::Catalog) -> std::io::Result<(Catalog, Report)> {
    let mut compiler = Compiler::new(config);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if input.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.last() != Some(&b'\n') && line.len() == MAX_LINE {
            input.skip_until(b'\n')?;
            compiler.reject(number, format!("the line is longer than {MAX_LINE} bytes"));
            continue;
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        match serde_json::from_slice::<LinkEntity>(text) {
            Ok(link) => compiler.add(number, &link),
            Err(error) => {
                if line.last() != Some(&b'\n') && is_unfinished(text) {
                    compiler.unfinished(number);
                }
                compiler.reject(number, reason(text, &error));
            }
        }
    }
    Ok(compiler.finish())
}

/// Whether a last line without line feed is a part of a line. A whole one is JSON, even if it is not a link.
fn is_unfinished(text: &[u8]) -> bool {
    !is_utf_16(text) && serde_json::from_slice::<IgnoredAny>(text).is_err()
}

/// Whether a line looks like text in UTF-16: a mark, or a 0 among its first two bytes. A tail of zeros is not: a crash
/// leaves it in a file that was being written.
fn is_utf_16(text: &[u8]) -> bool {
    text.starts_with(&[0xff, 0xfe]) || text.starts_with(&[0xfe, 0xff]) || text.iter().take(2).any(|byte| *byte == 0)
}

/// Why a line is not a link. Names the encoding where that is the problem: a parser's words would hide it.
fn reason(text: &[u8], error: &serde_json::Error) -> String {
    if is_utf_16(text) || text.contains(&0) {
        return "the line holds NUL bytes, as text in UTF-16 does; write the file in UTF-8".into();
    }
    match std::str::from_utf8(text) {
        Err(_) => "the line is not text in UTF-8".into(),
        Ok(_) => error.to_string(),
    }
}
