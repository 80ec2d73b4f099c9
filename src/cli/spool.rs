//! `clickedge spool`: what waits on this edge, and what to do with it.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Write},
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use super::{DATA, IO, NO_INPUT, USAGE, complain, exit_code, print, report};
use crate::{
    click::EventId,
    config::{self, Config},
    object::{
        ManifestKey, RollupKey,
        manifest::Manifest,
        reader::{Summary, summarize},
    },
    spool::{
        disk::{Disk, RealDisk},
        frame::{Frames, Piece},
        journal::{Header, segment_number},
        replay::{Replay, ReplayError},
        survey::{self, Part, ReadError, Survey},
    },
};

/// Arguments of `spool`.
#[derive(Args, Debug)]
pub struct Spool {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What can be done with a spool. None of it disturbs a running edge.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Tell what waits: per feed, how many events, how large, how old.
    ///
    /// Clicks that are still in the rings are not among them: the running edge counts those.
    Ls(Ls),
    /// Look into a segment of the journal, an object, a manifest or a rollup.
    ///
    /// Exits with 65 when a part of it is damaged. The end of the last segment is often torn after a crash: the process
    /// died while it wrote. Its clicks were still in the rings, and nothing is lost.
    Inspect(Inspect),
    /// Send events of a time range again, in new objects below `replay/`.
    ///
    /// Takes them from what was delivered and is kept (`spool.retain_secs`), or from a folder with objects of the feed.
    /// The edge takes up the new objects within a second; if none is running, the next one does. The events have the
    /// ids that they had, so whoever dedupes sees each once.
    Replay(ReplayArgs),
    /// Print events, one a line: what waits, or what was delivered and is kept.
    ///
    /// Exits with 65 when an object is damaged, after the events of all others.
    Export(Export),
}

/// Which spool.
#[derive(Args, Debug)]
pub struct Which {
    /// The configuration file, which names the spool.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/clickedge/clickedge.toml")]
    pub config: PathBuf,
}

/// Arguments of `spool ls`.
#[derive(Args, Debug)]
pub struct Ls {
    #[command(flatten)]
    pub which: Which,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `spool inspect`.
#[derive(Args, Debug)]
pub struct Inspect {
    /// A file of the spool, `journal/0000000001.journal`, or an object, a manifest or a rollup from anywhere.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `spool replay`.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub which: Which,
    /// The feed whose events are sent again.
    #[arg(long, value_name = "NAME")]
    pub feed: String,
    /// The feed that gets them; the same one if it is not said.
    #[arg(long, value_name = "NAME")]
    pub into: Option<String>,
    /// Time of the first click, `2026-11-23T09:00:00Z`.
    #[arg(long, value_name = "TIME")]
    pub from: Timestamp,
    /// Time of the first click that is left out.
    #[arg(long, value_name = "TIME")]
    pub to: Timestamp,
    /// Take the feed's objects from this folder, which holds `dt=…` folders as the feed's prefix does.
    #[arg(long, value_name = "FOLDER")]
    pub source: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `spool export`.
#[derive(Args, Debug)]
pub struct Export {
    #[command(flatten)]
    pub which: Which,
    /// The feed whose events are printed.
    #[arg(long, value_name = "NAME")]
    pub feed: String,
    /// Print what was delivered and is kept, instead of what waits.
    #[arg(long)]
    pub delivered: bool,
    /// Time of the first click, `2026-11-23T09:00:00Z`.
    #[arg(long, value_name = "TIME")]
    pub from: Option<Timestamp>,
    /// Time of the first click that is left out.
    #[arg(long, value_name = "TIME")]
    pub to: Option<Timestamp>,
}

pub(super) fn run(spool: &Spool) -> ExitCode {
    let done = match &spool.what {
        What::Ls(args) => ls(args),
        What::Inspect(args) => inspect(args),
        What::Replay(args) => replay(args),
        What::Export(args) => export(args),
    };
    done.unwrap_or_else(|code| code)
}

type Done = Result<ExitCode, ExitCode>;

fn ls(args: &Ls) -> Done {
    let (config, disk) = open(&args.which)?;
    let dir = &config.spool.dir;
    let mut survey = survey::survey(&disk, dir).map_err(|error| spool_failed(dir, &error))?;
    for feed in config.feeds {
        survey.feeds.entry(feed.name).or_default();
    }
    print(&if args.json { json(&survey) } else { table(&survey) })?;
    Ok(ExitCode::SUCCESS)
}

fn table(survey: &Survey) -> String {
    let mut rows =
        vec![["FEED", "IN JOURNAL", "OBJECTS", "EVENTS", "BYTES", "OLDEST", "KEPT"].map(str::to_owned).to_vec()];
    for (name, feed) in &survey.feeds {
        let age = feed.oldest_secs.map_or("-".to_owned(), |age| format!("{age} s"));
        let mut row = vec![name.clone(), feed.journal_events.to_string(), feed.objects.to_string()];
        row.extend([feed.object_events.to_string(), feed.object_bytes.to_string(), age]);
        row.push(format!("{}, {} bytes", count(feed.kept_objects, "object"), feed.kept_bytes));
        rows.push(row);
    }
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    let journal = &survey.journal;
    _ = write!(text, "journal: {}, {} bytes", count(journal.segments, "segment"), journal.bytes);
    let damaged = journal.damages.iter().filter(|damage| !damage.torn).count() as u64;
    if damaged > 0 {
        _ = write!(text, ", {} (see `clickedge spool inspect`)", count(damaged, "damaged place"));
    }
    text.push('\n');
    let unreadable: u64 = survey.feeds.values().map(|feed| feed.unreadable_objects).sum();
    if unreadable > 0 {
        _ = writeln!(
            text,
            "unreadable: {}; the edge moves what it cannot read to quarantine/",
            count(unreadable, "object")
        );
    }
    if survey.quarantined_files > 0 {
        let quarantine = survey.dir.join("quarantine");
        _ = writeln!(text, "quarantine: {} in {}", count(survey.quarantined_files, "file"), quarantine.display());
    }
    text
}

fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
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
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    feeds: std::collections::BTreeMap<String, u64>,
    /// Of a segment: ranges that hold no frame.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damages: Vec<(u64, u64)>,
}

impl Contents {
    fn is_torn(&self) -> bool {
        self.damages.last().is_some_and(|(_, end)| *end == self.bytes)
    }
}

fn inspect(args: &Inspect) -> Done {
    let contents = inspect_file(&args.file).map_err(|error| {
        let code = if matches!(error, ReadError::Damaged(_)) { DATA } else { NO_INPUT };
        failed(code, &format!("{}: {error}", args.file.display()))
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
            _ = writeln!(text, "damage  bytes {start} to {end} are no event{torn}");
        }
        print(&text)?;
    }
    Ok(ExitCode::from(if contents.damages.is_empty() { 0 } else { DATA }))
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

/// A running edge may be writing the end of it: then it is looked at again.
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

fn replay(args: &ReplayArgs) -> Done {
    let (config, disk) = open(&args.which)?;
    let dir = &config.spool.dir;
    let into = args.into.as_ref().unwrap_or(&args.feed);
    let Some(feed) = config.feeds.iter().find(|feed| feed.name == *into) else {
        return Err(unknown(&config, into));
    };
    let time = time(Some(args.from), Some(args.to))?;
    let objects = match &args.source {
        Some(source) if !source.is_dir() => {
            return Err(failed(NO_INPUT, &format!("{} is no folder that can be read", source.display())));
        }
        Some(source) => {
            let names: Vec<_> = config.feeds.iter().map(|feed| feed.name.as_str()).collect();
            survey::objects_below(&disk, source, &args.feed, &names)
        }
        None => {
            known(&config, &disk, &args.feed)?;
            survey::kept(&disk, dir, &args.feed)
        }
    };
    let objects = objects.map_err(|error| failed(IO, &error.to_string()))?;
    let id = Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ").to_string();
    let replay = Replay { spool: dir, pop: &config.edge.pop, feed, id: &id, time };
    let replayed = replay.run(&disk, &objects).map_err(|error| {
        let damaged = matches!(error, ReplayError::Object { source: ReadError::Damaged(_), .. });
        failed(if damaged { DATA } else { IO }, &format!("nothing is sent: {error}"))
    })?;
    if replayed.events == 0 {
        let place = match &args.source {
            Some(source) => format!("in {}", source.display()),
            None => "among what was delivered and is kept; name a folder with --source".to_owned(),
        };
        return Err(failed(NO_INPUT, &format!("there are no events of {:?} of that time {place}", args.feed)));
    }
    let text = format!(
        "{} in {} go to {into}, below replay/{}\n",
        count(replayed.events, "event"),
        count(replayed.keys.len() as u64, "object"),
        replayed.id
    );
    print(&if args.json { json(&replayed) } else { text })?;
    Ok(ExitCode::SUCCESS)
}

fn export(args: &Export) -> Done {
    let (config, disk) = open(&args.which)?;
    let time = time(args.from, args.to)?;
    known(&config, &disk, &args.feed)?;
    let part = if args.delivered { Part::Kept } else { Part::Waiting };
    let dir = &config.spool.dir;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let seen = survey::events(&disk, dir, &args.feed, part, &time, |_: EventId, event| {
        out.write_all(event)?;
        out.write_all(b"\n")
    });
    let seen = match seen.and_then(|seen| out.flush().map(|()| seen)) {
        Ok(seen) => seen,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(spool_failed(dir, &error)),
    };
    if seen.gone > 0 {
        let what = if args.delivered { "not kept any more" } else { "delivered" };
        complain(&format!("note: {} meanwhile {what}, and left out", count(seen.gone, "object")));
    }
    for (path, error) in &seen.damaged {
        complain(&format!("error: {}: it is no whole object: {error}", path.display()));
    }
    Ok(ExitCode::from(if seen.damaged.is_empty() { 0 } else { DATA }))
}

/// In milliseconds since the Unix epoch.
fn time(from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Range<u64>, ExitCode> {
    let millis = |time: Timestamp| u64::try_from(time.as_millisecond()).unwrap_or(0);
    let time = from.map_or(0, millis)..to.map_or(u64::MAX, millis);
    if time.is_empty() { Err(failed(USAGE, "--from must be before --to")) } else { Ok(time) }
}

/// Refuses a feed that neither the configuration nor the spool knows.
fn known(config: &Config, disk: &dyn Disk, feed: &str) -> Result<(), ExitCode> {
    let dir = &config.spool.dir;
    if config.feeds.iter().any(|known| known.name == feed)
        || survey::knows(disk, dir, feed).map_err(|error| spool_failed(dir, &error))?
    {
        return Ok(());
    }
    Err(unknown(config, feed))
}

fn unknown(config: &Config, feed: &str) -> ExitCode {
    let names: Vec<_> = config.feeds.iter().map(|feed| feed.name.as_str()).collect();
    failed(USAGE, &format!("there is no feed {feed:?}; there are: {}", names.join(", ")))
}

fn spool_failed(dir: &Path, error: &io::Error) -> ExitCode {
    let code = if error.kind() == io::ErrorKind::InvalidData { DATA } else { IO };
    failed(code, &format!("{}: {error}", dir.display()))
}

fn open(which: &Which) -> Result<(Config, impl Disk), ExitCode> {
    let config = config::load(&which.config).map_err(|error| {
        let error = error.into();
        report(&error);
        exit_code(&error)
    })?;
    let disk = RealDisk::new(&config.spool.dir).map_err(|error| {
        failed(NO_INPUT, &format!("cannot open the spool {}: {error}", config.spool.dir.display()))
    })?;
    Ok((config, disk))
}

fn failed(code: u8, message: &str) -> ExitCode {
    complain(&format!("error: {message}"));
    ExitCode::from(code)
}

fn json(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
