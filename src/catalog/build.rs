//! Builds a snapshot file from catalog files, other snapshots and the changes of an edge, with bounded memory.
//!
//! Inputs are read twice, first for the lines of domains, then for links, which are sorted on disk ([`super::sorter`]).
//! A pipe is copied to a file without a name before, unless domains come first in all inputs. Lines are counted through
//! all inputs, so that a number says in which of them the line is.

mod changed;
mod input;
mod origin;

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    Catalog, Report, Warning,
    change::Position,
    change_log::{self, Identity},
    compile::Compiler,
    loops,
    record::Flags,
    snapshot::{
        file::{FileError, NewFile},
        header::Header,
    },
    sorter::Sorter,
    source::Links,
};
use crate::{
    config,
    runtime::{Class, Classified, clock},
};
pub use input::open_snapshot;
use input::{Input, Watched};
use origin::Origin;

/// Name of the file with changes in the state folder of an edge.
pub const CHANGES: &str = change_log::NAME;

/// Of what a snapshot is built, and how.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'p> {
    pub config: &'p config::Catalog,
    /// Catalog files in any form, or snapshots. `-` is standard input.
    pub inputs: &'p [PathBuf],
    /// Folder with room for all links, in which they are sorted.
    pub temporary_dir: &'p Path,
    /// Bytes of memory in which links are sorted.
    pub memory: usize,
    /// Whether the lines of domains come before all links, so that no input has to be read twice.
    pub domains_first: bool,
    /// State folder of an edge, whose changes are made again.
    pub changes: Option<&'p Path>,
}

/// What a build is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Reads inputs for domains. Bytes of all of them, unless one is a pipe.
    Domains { bytes: Option<u64> },
    /// Reads inputs for links.
    Links { bytes: Option<u64> },
    /// Makes so many changes of an edge again.
    Changes { changes: u64 },
    /// Writes links.
    Write,
    /// Looks among so many links for those that lead back to themselves.
    Loops { links: u64 },
}

/// What watches a build.
pub trait Watch {
    fn begin(&self, step: Step);
    /// Bytes that were read.
    fn bytes(&self, more: u64);
    /// One line or link more.
    fn item(&self);
    /// A line was left out.
    fn reject(&self, rejected: &Rejected<'_>);
}

/// A line that was left out.
#[derive(Debug)]
pub struct Rejected<'r> {
    pub file: &'r Path,
    /// From 1; in a snapshot the number of the link, in a change log the revision.
    pub line: u64,
    pub reason: &'r str,
    /// The line itself, unless it was read too long ago.
    pub text: Option<&'r str>,
}

/// What was built.
#[derive(Debug)]
pub struct Built {
    pub header: Header,
    /// Lines of all inputs, and those of them that were left out.
    pub lines: u64,
    pub bad: u64,
    pub warnings: Vec<Warning>,
}

/// Why nothing was built. The output is as before.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The inputs lack changes that a former snapshot has taken from the change log.
    #[error(
        "the inputs lack changes of the API, up to number {folded}, that are no longer in the change log, because a \
         snapshot contained them: give {snapshot} as another input"
    )]
    Lacks { folded: u64, snapshot: String },
    #[error("cannot read {file}: {source}")]
    Read {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot write {file}: {source}")]
    Write {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "{dir} is no state folder of an edge: {} is missing; name the folder that `catalog.state_dir` of the edge \
         names",
        change_log::NAME
    )]
    NoStateFolder { dir: String },
    #[error(transparent)]
    Snapshot(#[from] FileError),
    #[error(
        "{bad} of {lines} lines are bad, more than catalog.max_bad_ratio = {allowed} allows{first}; correct them, or \
         raise the ratio"
    )]
    TooManyBadLines { bad: u64, lines: u64, allowed: f64, first: String },
    #[error("{file} is truncated: line {line}, the last one, ends within a link or an array; write the whole file")]
    Truncated { file: String, line: u64 },
}

impl Classified for BuildError {
    fn class(&self) -> Class {
        match self {
            Self::Read { source, .. } => Class::of_read(source),
            Self::NoStateFolder { .. } => Class::NoInput,
            Self::Write { .. } => Class::Io,
            Self::Snapshot(error) => error.class(),
            Self::TooManyBadLines { .. } | Self::Truncated { .. } | Self::Lacks { .. } => Class::Data,
        }
    }
}

impl BuildError {
    fn read(file: &Path, source: io::Error) -> Self {
        Self::Read { file: file.display().to_string(), source }
    }

    fn write(file: &Path, source: io::Error) -> Self {
        Self::Write { file: file.display().to_string(), source }
    }
}

impl Plan<'_> {
    /// Builds the snapshot `output`, which is replaced when the new one is whole. Its revision is that of the last
    /// change that it contains.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(&self, output: &Path, generation: u64, watch: &dyn Watch) -> Result<Built, BuildError> {
        let failed = |error| BuildError::write(output, error);
        // Before a long build.
        self.changes.map_or(Ok(()), changed::check)?;
        let inputs = input::open(self)?;
        let logged = self.logged()?;
        // The numbers of one log mean nothing to another.
        // Those of a fleet are numbered by its bucket.
        let of_log = logged.as_ref().filter(|logged| !logged.fleet).map(|logged| logged.identity);
        let contained = inputs.iter().filter(|input| of_log.is_none_or(|log| input.log() == log));
        let mut revision = contained.map(Input::revision).max().unwrap_or_default();
        if let Some(logged) = logged.as_ref().filter(|logged| revision < logged.folded) {
            let snapshot = self.changes.unwrap_or(Path::new("")).join(config::catalog::PRIVATE_SNAPSHOT);
            return Err(BuildError::Lacks { folded: logged.folded, snapshot: snapshot.display().to_string() });
        }
        let log = of_log.or_else(|| inputs.iter().map(Input::log).find(|log| *log != Identity::default()));
        let mut file = NewFile::create(output).map_err(failed)?;
        let (mut header, report) = self.compile(&inputs, &mut file, output, watch)?;
        if let Some(logged) = logged {
            (file, header, revision) = self.change(logged, file, header, revision, output, watch)?;
        }
        header.log = log.unwrap_or_default();
        watch.begin(Step::Loops { links: header.links });
        let mut warnings = report.warnings;
        warnings.extend(self.loops(&file, &header, watch).map_err(failed)?);
        let position = Position { generation, revision, ..Position::default() };
        let header = file.finish(header, position, clock::unix_secs()).map_err(failed)?;
        Ok(Built { header, lines: report.lines, bad: report.bad, warnings })
    }

    fn compile(
        &self,
        inputs: &[Input],
        file: &mut NewFile,
        output: &Path,
        watch: &dyn Watch,
    ) -> Result<(Header, Report), BuildError> {
        let origin = Origin::new(inputs, watch);
        let mut compiler = Compiler::with(self.config, Sorter::spilling(self.temporary_dir, self.memory));
        compiler.on_reject(Box::new(|line, reason| origin.reject(line, reason)));
        let bytes = inputs.iter().map(Input::bytes).sum();
        watch.begin(Step::Domains { bytes });
        for (number, input) in inputs.iter().enumerate() {
            origin.begin(number);
            if !self.domains_first || input.is_snapshot() {
                input.domains(&mut compiler, &origin).map_err(|error| self.of_input(input, error))?;
            }
        }
        watch.begin(Step::Links { bytes });
        let links = Links::new(&mut compiler);
        let mut links = if self.domains_first { links.with_domains_first() } else { links };
        for (number, input) in inputs.iter().enumerate() {
            origin.begin(number);
            input.links(&mut links, &origin).map_err(|error| self.of_input(input, error))?;
        }
        let notes: Vec<_> = links.into_warnings().collect();
        origin.end();
        watch.begin(Step::Write);
        let inner = file.sections().map_err(|error| BuildError::write(output, error))?;
        let written = compiler.write(Watched { inner, watch }, super::snapshot::header::SIZE as u64);
        let (header, _, mut report) = written.map_err(|error| BuildError::write(output, error))?;
        report.warnings.extend(notes);
        self.check(&report, &origin)?;
        Ok((header, report))
    }

    /// As a catalog file is checked that an edge loads.
    fn check(&self, report: &Report, origin: &Origin<'_>) -> Result<(), BuildError> {
        let Report { bad, lines, unfinished, .. } = *report;
        let allowed = self.config.max_bad_ratio;
        if (bad - u64::from(unfinished.is_some())) as f64 > lines as f64 * allowed {
            return Err(BuildError::TooManyBadLines { bad, lines, allowed, first: origin.first() });
        }
        if let Some(line) = unfinished {
            let (file, line) = origin.place(line);
            return Err(BuildError::Truncated { file: file.display().to_string(), line });
        }
        Ok(())
    }

    /// Finds loops, and switches their links off where the configuration says so.
    fn loops(&self, file: &NewFile, header: &Header, watch: &dyn Watch) -> io::Result<Vec<Warning>> {
        let catalog = Catalog::open(file.map(header.clone())?, self.config).map_err(io::Error::other)?;
        let loops = loops::find(&catalog, || watch.item());
        let disabled = self.config.loops == config::Loops::Disable;
        let places = loops.places.iter().filter(|_| disabled).filter_map(|place| catalog.base.flags_place(*place));
        for place in places {
            file.set_bits(place, Flags::LOOPS)?;
        }
        let mut report = Report::default();
        report.warn_of(loops, disabled);
        Ok(report.warnings)
    }

    /// An input cannot be read, or what was read cannot be kept.
    fn of_input(&self, input: &Input, error: io::Error) -> BuildError {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => BuildError::write(self.temporary_dir, error),
            _ => BuildError::read(input.path(), error),
        }
    }
}
