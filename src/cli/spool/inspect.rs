//! `clickedge spool inspect`: what one file of the spool holds.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs::File,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use serde::Serialize;

use super::Outcome;
use crate::{
    cli::{
        exit,
        output::{count, failed, json, print},
    },
    object::{
        ManifestKey, RollupKey,
        manifest::Manifest,
        reader::{Summary, summarize},
    },
    runtime::Class,
    spool::{
        journal::{
            Header,
            frames::{Frames, Piece},
            segment_number,
        },
        stored::ReadError,
    },
};

/// Arguments of `spool inspect`.
#[derive(Args, Debug)]
pub struct Inspect {
    /// File of the spool, `journal/0000000001.journal`, or an object, a manifest or a rollup from anywhere.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// What a file of the spool holds.
#[derive(Debug, Default, Serialize)]
struct Contents {
    file: PathBuf,
    kind: &'static str,
    bytes: u64,
    events: u64,
    first: String,
    last: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// Of a segment: events by feed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    feeds: BTreeMap<String, u64>,
    /// Of a segment: ranges that hold no frame.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damages: Vec<(u64, u64)>,
}

impl Contents {
    fn is_torn(&self) -> bool {
        self.damages.last().is_some_and(|(_, end)| *end == self.bytes)
    }
}

pub(super) fn run(args: &Inspect) -> Outcome {
    let contents = inspect_file(&args.file).map_err(|error| {
        let class = if matches!(error, ReadError::Damaged(_)) { Class::Data } else { Class::NoInput };
        failed(class, &format!("{}: {error}", args.file.display()))
    })?;
    if args.json {
        print(&json(&contents))?;
    } else {
        let Contents { kind, bytes, events, first, last, .. } = &contents;
        let mut text = format!("{}: {kind}, {bytes} bytes, {}\n", args.file.display(), count(*events, "event"));
        for (name, value) in [("first", first), ("last", last)] {
            if !value.is_empty() {
                _ = writeln!(text, "{name:<6}  {value}");
            }
        }
        if let Some(sha256) = &contents.sha256 {
            _ = writeln!(text, "sha256  {sha256}");
        }
        for (feed, events) in &contents.feeds {
            _ = writeln!(text, "feed    {feed}: {}", count(*events, "event"));
        }
        for (start, end) in &contents.damages {
            let torn = if end == bytes { "; the end is torn" } else { "" };
            _ = writeln!(text, "damage  bytes {start} to {end} hold no event{torn}");
        }
        print(&text)?;
    }
    Ok(if contents.damages.is_empty() { ExitCode::SUCCESS } else { exit::code(Class::Data) })
}

fn inspect_file(path: &Path) -> Result<Contents, ReadError> {
    if segment_number(path).is_some() {
        return inspect_whole_segment(path).map_err(ReadError::of);
    }
    let bytes = path.metadata().map_err(ReadError::Io)?.len();
    if key_of(path).is_some_and(|key| RollupKey::parse(&key).is_some()) {
        let sha256 = Some(summarize(path).map_err(ReadError::of)?.sha256);
        return Ok(Contents { file: path.into(), kind: "rollup", bytes, sha256, ..Contents::default() });
    }
    if key_of(path).is_some_and(|key| ManifestKey::parse(&key).is_some()) {
        let damaged = |error: &dyn std::error::Error| ReadError::Damaged(io::Error::other(error.to_string()));
        let manifest = std::fs::read(path).map_err(ReadError::Io)?;
        let manifest = Manifest::parse(&manifest).map_err(|error| damaged(&error))?;
        let (first, last) = (manifest.objects.first(), manifest.objects.last());
        let first = first.map(|object| object.first.clone()).unwrap_or_default();
        let last = last.map(|object| object.last.clone()).unwrap_or_default();
        let sha256 = Some(summarize(path).map_err(ReadError::of)?.sha256);
        let (file, events) = (path.into(), manifest.events);
        return Ok(Contents { file, kind: "manifest", bytes, events, first, last, sha256, ..Contents::default() });
    }
    let Summary { events, first, last, sha256 } = summarize(path).map_err(ReadError::of)?;
    if events == 0 {
        return Err(ReadError::Damaged(io::Error::other("it holds no event")));
    }
    let (file, sha256) = (path.into(), Some(sha256));
    Ok(Contents { file, kind: "object", bytes, events, first, last, sha256, ..Contents::default() })
}

/// The key of a manifest or a rollup is the end of its path.
fn key_of(path: &Path) -> Option<String> {
    let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
    parts.last_chunk::<4>().map(|key| key.join("/"))
}

/// A running edge may be writing the end of it: then it is read again.
fn inspect_whole_segment(path: &Path) -> io::Result<Contents> {
    let mut contents = inspect_segment(path)?;
    for _ in 0..5 {
        if !contents.is_torn() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        contents = inspect_segment(path)?;
    }
    Ok(contents)
}

fn inspect_segment(path: &Path) -> io::Result<Contents> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut contents = Contents { file: path.into(), kind: "segment", bytes, ..Contents::default() };
    let mut names = Vec::new();
    let mut frames = Frames::new(&file, 0, bytes);
    while let Some((start, end, piece)) = frames.read()? {
        match piece {
            Piece::Header(json) => names = serde_json::from_slice::<Header>(json).unwrap_or_default().feeds,
            Piece::Event(event) => {
                contents.events += 1;
                contents.last = event.id.to_string();
                if contents.events == 1 {
                    contents.first.clone_from(&contents.last);
                }
                for feed in event.feeds() {
                    let name = names.get(usize::from(feed)).map_or("?", String::as_str);
                    *contents.feeds.entry(name.to_owned()).or_default() += 1;
                }
            }
            Piece::Damage => match contents.damages.last_mut() {
                Some(damage) if damage.1 == start => damage.1 = end,
                _ => contents.damages.push((start, end)),
            },
        }
    }
    Ok(contents)
}
