//! Reads the catalog's NDJSON: one branded link a line, in the field names of the branded-link REST entity, so that
//! an existing export loads. Unknown fields are ignored, as exports carry many.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
};

use super::{Catalog, LoadError, Report, compile::Compiler, entity::LinkEntity};
use crate::config;

/// Longest line that is read, in bytes.
pub const MAX_LINE: usize = 1 << 20;

/// Compiles the configured file.
///
/// # Errors
/// When it cannot be read, or when more lines are bad than `max_bad_ratio` allows.
pub fn load_file(config: &config::Catalog) -> Result<(Catalog, Report), LoadError> {
    let name = config.file.display().to_string();
    let unreadable = |source| LoadError::Read { file: name.clone(), source };
    let file = File::open(&config.file).map_err(unreadable)?;
    let (catalog, report) = load(BufReader::with_capacity(1 << 20, file), config).map_err(unreadable)?;
    if report.bad as f64 > report.lines as f64 * config.max_bad_ratio {
        let first = report.problems.first().map(|problem| format!("; the first is {problem}")).unwrap_or_default();
        let (bad, lines, allowed) = (report.bad, report.lines, config.max_bad_ratio);
        return Err(LoadError::TooManyBadLines { file: name, bad, lines, allowed, first });
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
            Err(error) => compiler.reject(number, error.to_string()),
        }
    }
    Ok(compiler.finish())
}
