//! Reads a catalog file: branded links in the field names of their REST entity, one JSON object each, so that an
//! existing export loads. Unknown fields are ignored, as exports carry many.
//!
//! The file is NDJSON, a JSON array or the answer of an API around one ([`items`]), plain or compressed ([`decode`]).
//! It is read twice: a line of the kind `domain` describes a domain wherever it stands, and links need to know.

pub mod decode;
pub mod explain;
pub mod items;
pub(super) mod notes;
pub mod shape;

use std::{
    borrow::Cow,
    io::{self, BufRead, BufReader, Seek},
    path::Path,
    sync::LazyLock,
};

use memchr::memmem::Finder;
use serde::{Deserialize, de::IgnoredAny};

use super::{
    Catalog, LoadError, Report, Warning,
    compile::Compiler,
    entity::LinkEntity,
    snapshot::file::{self, FileError, FileId},
};
use crate::{config, runtime::filesystem::open_regular};
use items::{Content, Item, Items};
use notes::Notes;

/// Maximum length of a line, or of an element of an array, in bytes.
pub const MAX_LINE: usize = items::MAX_ITEM;

/// Compiles the configured file.
///
/// # Errors
/// When it cannot be read, when more lines are bad than `max_bad_ratio` allows, or when it is truncated.
pub fn load_file(config: &config::Catalog) -> Result<(Catalog, Report), LoadError> {
    load_file_unless(config, None, true)
}

/// Like [`load_file`], and copies a snapshot again if this private copy of it is damaged. At a start, a private copy of
/// a later generation is not given up.
pub(super) fn load_file_unless(
    config: &config::Catalog,
    damaged: Option<FileId>,
    is_start: bool,
) -> Result<(Catalog, Report), LoadError> {
    let name = config.source().display().to_string();
    let none = || {
        let compiled = Compiler::new(config).finish();
        let (catalog, report) = compiled.map_err(|source| LoadError::Read { file: name.clone(), source })?;
        Ok((catalog, Report { generation: Some(0), ..report }))
    };
    if config.fleet.is_some() && !config.source().exists() {
        // The bucket has it. All that comes from there is newer.
        return none();
    }
    let opened = match open_snapshot(config, damaged, is_start) {
        Err(LoadError::Snapshot(error @ FileError::Bad { .. })) if config.fleet.is_some() && is_start => {
            tracing::error!(%error, "the private copy of the fleet's catalog is damaged; taking it from the bucket again");
            return none();
        }
        opened => opened?,
    };
    if let Some(catalog) = opened {
        let header = catalog.base.header();
        let (lines, generation) = (header.links + header.domains, Some(header.position.generation));
        return Ok((catalog, Report { lines, generation, ..Report::default() }));
    }
    let (catalog, report) = read_file(config).map_err(|source| LoadError::Read { file: name.clone(), source })?;
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

/// The configured file, if it is a snapshot: mapped from a private copy in the state folder, or else in memory.
fn open_snapshot(
    config: &config::Catalog,
    damaged: Option<FileId>,
    is_start: bool,
) -> Result<Option<Catalog>, LoadError> {
    let mut path = config.source();
    let read = |source| LoadError::Read { file: path.display().to_string(), source };
    let mut opened = open_regular(&path).map_err(read)?;
    if !file::is_snapshot(&mut opened).map_err(read)? {
        return Ok(None);
    }
    let copy = config.state_dir.as_ref().map(|dir| dir.join(file::PRIVATE)).filter(|_| is_start);
    let generation = |path: &Path| file::header(path).ok().map(|header| header.position.generation);
    if let Some(copy) = copy.filter(|copy| generation(copy) > generation(&path)) {
        let remedy = "put the newer one there, or go back with `clickedge reload --accept`";
        let file = path.display().to_string();
        tracing::error!(file, remedy, "the snapshot is older than the private copy, which stays active");
        path = copy.into();
    }
    let open = |snapshot| Catalog::open(snapshot, config);
    let bad = |source| FileError::Bad { file: path.display().to_string(), source };
    let catalog = match &config.state_dir {
        Some(dir) => file::adopt(&path, dir, damaged, open)?,
        None => open(file::read(&path)?).map_err(bad)?,
    };
    Ok(Some(catalog))
}

fn read_file(config: &config::Catalog) -> io::Result<(Catalog, Report)> {
    let file = open_regular(&config.source())?;
    let mut file = &file;
    compile(config, move || {
        file.rewind()?;
        decode::decode(BufReader::with_capacity(1 << 20, file))
    })
}

/// Compiles the content of a file. Empty lines are skipped; bad lines are reported and skipped.
///
/// # Errors
/// When it is compressed, and damaged or truncated.
pub fn load(bytes: &[u8], config: &config::Catalog) -> io::Result<(Catalog, Report)> {
    compile(config, || decode::decode(bytes))
}

/// Compiles what each call of `open` reads from its beginning.
fn compile<R: BufRead>(
    config: &config::Catalog,
    mut open: impl FnMut() -> io::Result<R>,
) -> io::Result<(Catalog, Report)> {
    let mut compiler = Compiler::new(config);
    add_domains(&mut compiler, open()?, 1, |_| ())?;
    let mut links = Links::new(&mut compiler);
    links.add_all(open()?, 1, |_| ())?;
    let notes = links.notes;
    let (catalog, mut report) = compiler.finish()?;
    report.warnings.extend(notes.into_warnings());
    Ok((catalog, report))
}

/// Adds the domains of a file whose first line has the number `first`. Those of all files come before the links of any.
/// `seen` gets each line, before it is added.
///
/// # Errors
/// Those of the reader.
pub fn add_domains(
    compiler: &mut Compiler<'_>,
    input: impl BufRead,
    first: u64,
    mut seen: impl FnMut(&Item<'_>),
) -> io::Result<()> {
    let mut items = Items::new(input)?.from_line(first);
    while let Some(item) = items.read()? {
        seen(&item);
        let (Content::Text(text) | Content::LastLine(text)) = item.content else { continue };
        if kind(text) != Kind::Domain {
            continue;
        }
        compiler.at_element(item.element);
        add_domain(compiler, item.line, text);
    }
    Ok(())
}

fn add_domain(compiler: &mut Compiler<'_>, line: u64, text: &[u8]) {
    match std::str::from_utf8(text) {
        Ok(text) => compiler.add_domain(line, text),
        Err(_) => compiler.reject(line, explain::NOT_UTF_8.into()),
    }
}

/// Takes the links of files.
pub struct Links<'c, 'a> {
    compiler: &'c mut Compiler<'a>,
    notes: Notes,
    /// Whether the lines of domains were not read before, and stand before those of all links.
    domains_first: bool,
    /// A link was added: it is too late for domains.
    is_late: bool,
}

impl<'c, 'a> Links<'c, 'a> {
    pub fn new(compiler: &'c mut Compiler<'a>) -> Self {
        Self { compiler, notes: Notes::default(), domains_first: false, is_late: false }
    }

    /// Adds domains, too: their lines stand before those of all links, and were not read before.
    pub fn with_domains_first(mut self) -> Self {
        self.domains_first = true;
        self
    }

    /// Adds all links of a file whose first line has the number `first`. `seen` gets each line, before it is added.
    ///
    /// # Errors
    /// Those of the reader, and when links cannot be kept to be sorted.
    pub fn add_all(&mut self, input: impl BufRead, first: u64, mut seen: impl FnMut(&Item<'_>)) -> io::Result<()> {
        let mut items = Items::new(input)?.from_line(first);
        while let Some(item) = items.read()? {
            seen(&item);
            self.add(&item)?;
        }
        Ok(())
    }

    /// Adds the link of one line.
    ///
    /// # Errors
    /// When it cannot be kept to be sorted.
    pub fn add_line(&mut self, line: u64, text: &[u8]) -> io::Result<()> {
        self.add(&Item { line, element: None, content: Content::Text(text) })
    }

    /// What is right by itself, and probably not what was meant.
    pub fn into_warnings(self) -> impl Iterator<Item = Warning> {
        self.notes.into_warnings()
    }

    fn add(&mut self, item: &Item<'_>) -> io::Result<()> {
        self.compiler.at_element(item.element);
        match item.content {
            Content::Text(text) => self.add_text(item.line, text, false)?,
            Content::LastLine(text) => self.add_text(item.line, text, true)?,
            Content::TooLong => {
                let what = if item.element.is_some() { "the element" } else { "the line" };
                self.compiler.reject(item.line, format!("{what} is longer than {MAX_LINE} bytes"));
            }
            Content::Cut => {
                self.compiler.unfinished(item.line);
                self.compiler.reject(item.line, "the file ends before the end of its JSON".into());
            }
        }
        Ok(())
    }

    fn add_text(&mut self, line: u64, text: &[u8], is_last_line: bool) -> io::Result<()> {
        match kind(text) {
            Kind::Domain if self.domains_first => return self.add_first(line, text),
            Kind::Domain => return Ok(()),
            Kind::Other(kind) => {
                let reason = format!("`kind` is {kind:?}; expected `link` or `domain`");
                self.compiler.reject(line, reason);
                return Ok(());
            }
            Kind::Link => self.is_late = true,
        }
        match serde_json::from_slice::<LinkEntity>(text) {
            Ok(link) => {
                self.notes.see(line, &link);
                self.compiler.add(line, &link)?;
            }
            Err(error) => {
                if is_last_line && is_unfinished(text) {
                    self.compiler.unfinished(line);
                }
                // Others are only counted.
                let reason = if self.compiler.wants_reason() {
                    explain::reason::<LinkEntity>(text, &error)
                } else {
                    String::new()
                };
                self.compiler.reject(line, reason);
            }
        }
        Ok(())
    }
}

impl Links<'_, '_> {
    /// Adds a domain, if no link came before.
    fn add_first(&mut self, line: u64, text: &[u8]) -> io::Result<()> {
        if self.is_late {
            let reason = format!(
                "line {line} describes a domain, and links come before it; write the lines of domains first, or build \
                 without --domains-first"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        add_domain(self.compiler, line, text);
        Ok(())
    }
}

/// What an item describes.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Link,
    Domain,
    Other(String),
}

/// The kind of an item. Text that is not JSON is taken for a link: that reports why it is bad.
pub(super) fn kind(text: &[u8]) -> Kind {
    #[derive(Deserialize)]
    struct Tagged<'a> {
        #[serde(borrow, default)]
        kind: Option<Cow<'a, str>>,
    }
    static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"kind\""));
    if NAME.find(text).is_none() {
        return Kind::Link;
    }
    match serde_json::from_slice::<Tagged<'_>>(text) {
        Ok(Tagged { kind: Some(kind) }) if kind.eq_ignore_ascii_case("domain") => Kind::Domain,
        Ok(Tagged { kind: Some(kind) }) if !kind.is_empty() && !kind.eq_ignore_ascii_case("link") => {
            Kind::Other(kind.chars().take(40).collect())
        }
        _ => Kind::Link,
    }
}

/// Whether a last line without line feed is a part of a line. A whole one is JSON, even if it is not a link.
fn is_unfinished(text: &[u8]) -> bool {
    !explain::is_utf_16(text) && serde_json::from_slice::<IgnoredAny>(text).is_err()
}
