//! `clickedge catalog import`: turns the export of another service into a catalog.
//!
//! The conversions are pure, one module a service: a record goes in, links and domains come out, and every field is
//! counted as taken, changed or left behind.

mod bitly;
mod draft;
mod dub;
mod fields;
mod input;
mod kutt;
mod output;
mod rebrandly;
mod shlink;
mod short_io;
mod table;
mod tally;
mod yourls;

#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, ValueEnum};

use super::Outcome;
use crate::{
    catalog::source,
    cli::{
        exit,
        output::{failed, print, print_error},
    },
    config,
    runtime::Class,
};
use fields::Fields;
use input::{Record, records};
use output::{Defaults, Output};

/// Arguments of `catalog import`.
#[derive(Args, Debug)]
pub struct Import {
    /// Service that the export is of; `csv` for a table of any origin.
    #[arg(long, value_name = "SERVICE")]
    pub from: Service,
    /// Exports: JSON or CSV, also compressed by gzip or zstd. `-` reads standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Catalog to write, replaced as a whole; `-` writes to standard output.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// Domain of links that name none.
    #[arg(long, value_name = "HOST")]
    pub domain: Option<String>,
    /// Workspace of links that name none.
    #[arg(long, value_name = "ID")]
    pub workspace: Option<String>,
}

/// A service whose exports can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Service {
    Rebrandly,
    Dub,
    Shlink,
    Yourls,
    Bitly,
    ShortIo,
    Kutt,
    Csv,
}

pub(super) fn run(import: &Import) -> Outcome {
    let Import { from, files, output, domain, workspace } = import;
    let mut result = Output::new(Defaults { domain: domain.clone(), workspace: workspace.clone() }, check);
    for file in files {
        let records = open(file)
            .and_then(records)
            .map_err(|error| failed(Class::of_read(&error), &format!("cannot import {}: {error}", file.display())))?;
        let prefix = if files.len() > 1 { format!("{}, ", file.display()) } else { String::new() };
        for record in records {
            convert(*from, record, &prefix, &mut result);
        }
    }
    let (lines, tally) = result.into_lines();
    if lines.is_empty() {
        print_error(&tally.to_string().trim_end());
        return Err(failed(
            Class::Data,
            &"no record is a link: nothing is written; is this an export of that service?",
        ));
    }
    let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    if output.as_os_str() == "-" {
        print(&text)?;
    } else {
        replace(output, text.as_bytes())
            .map_err(|error| failed(Class::Io, &format!("cannot write {}: {error}", output.display())))?;
    }
    print_error(&tally.to_string().trim_end());
    let rejected = read_back(text.as_bytes());
    if let Some(rejected) = &rejected {
        print_error(rejected);
    }
    let is_whole = tally.skipped == 0 && rejected.is_none();
    Ok(if is_whole { ExitCode::SUCCESS } else { exit::code(Class::Data) })
}

fn open(file: &Path) -> io::Result<Box<dyn Read>> {
    Ok(if file.as_os_str() == "-" { Box::new(io::stdin()) } else { Box::new(File::open(file)?) })
}

/// Converts one record, or counts why not.
fn convert(from: Service, record: Record, prefix: &str, out: &mut Output) {
    out.tally.read += 1;
    let converter = match from {
        _ if record.is_row => table::convert,
        Service::Rebrandly => rebrandly::convert,
        Service::Dub => dub::convert,
        Service::Shlink => shlink::convert,
        Service::Yourls => yourls::convert,
        Service::Bitly => bitly::convert,
        Service::ShortIo => short_io::convert,
        Service::Kutt => kutt::convert,
        Service::Csv => table::convert,
    };
    let named = |fields| if from == Service::Csv && !record.is_row { table::renamed(fields) } else { fields };
    let converted = record.content.map(named).and_then(|fields| converter(Fields::new(fields), out));
    if let Err(reason) = converted {
        out.tally.skip(&format!("{prefix}{}", record.place), &reason);
    }
}

/// Writes a file as a whole: next to it first. What is no file, such as a pipe, is written to.
fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let existing = fs::metadata(file).ok();
    if existing.as_ref().is_some_and(|metadata| !metadata.is_file()) {
        return File::options().write(true).open(file)?.write_all(content);
    }
    // A link stays, and what it leads to is replaced.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    let written = File::create(&new).and_then(|mut out| {
        if let Some(metadata) = existing {
            out.set_permissions(metadata.permissions())?;
        }
        out.write_all(content)?;
        out.sync_all()
    });
    written.and_then(|()| fs::rename(&new, &file)).inspect_err(|_| _ = fs::remove_file(&new))
}

/// Checks lines as an edge does.
fn check(lines: &str) -> Result<(), String> {
    let loaded = source::load(lines.as_bytes(), &config::Catalog::default());
    let (_, report) = loaded.map_err(|error| error.to_string())?;
    report.problems.into_iter().next().map_or(Ok(()), |problem| Err(problem.reason))
}

/// What an edge would still reject of the result: two spellings of one address, for example.
fn read_back(text: &[u8]) -> Option<String> {
    let (_, report) = source::load(text, &config::Catalog::default()).ok()?;
    let first = report.problems.first()?;
    Some(format!("error: the catalog has bad lines, {} of {}; the first is {first}", report.bad, report.lines))
}
