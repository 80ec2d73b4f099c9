//! The inputs of a build: files, pipes and snapshots.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, Write},
    path::{Path, PathBuf},
};

use super::{BuildError, Origin, Plan, Watch};
use crate::catalog::change_log::Identity;
use crate::{
    catalog::{
        Catalog,
        compile::Compiler,
        snapshot::file,
        sorter,
        source::{self, Links, decode},
    },
    config,
};

/// An input that can be read.
pub struct Input {
    path: PathBuf,
    content: Content,
}

enum Content {
    /// A catalog file, and its length. A pipe has none, and is read once.
    File(File, Option<u64>),
    Snapshot(Catalog),
}

/// Opens all inputs.
pub fn open(plan: &Plan<'_>) -> Result<Vec<Input>, BuildError> {
    plan.inputs.iter().map(|path| Input::open(path, plan)).collect()
}

impl Input {
    fn open(path: &Path, plan: &Plan<'_>) -> Result<Self, BuildError> {
        let failed = |error| BuildError::read(path, error);
        let mut file = if path.as_os_str() == "-" { stdin() } else { File::open(path) }.map_err(failed)?;
        let path = path.to_owned();
        if !file.metadata().map_err(failed)?.is_file() {
            if plan.domains_first {
                return Ok(Self { path, content: Content::File(file, None) });
            }
            let mut copy = sorter::unnamed_file(plan.temporary_dir)
                .map_err(|error| BuildError::write(plan.temporary_dir, error))?;
            io::copy(&mut file, &mut copy).map_err(|error| BuildError::write(plan.temporary_dir, error))?;
            file = copy;
        }
        file.rewind().map_err(failed)?;
        if file::is_snapshot(&mut file).map_err(failed)? {
            let catalog = open_snapshot(&path, plan.config)?;
            return Ok(Self { path, content: Content::Snapshot(catalog) });
        }
        let length = file.metadata().map_err(failed)?.len();
        Ok(Self { path, content: Content::File(file, Some(length)) })
    }

    /// As it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length, if that is known.
    pub fn bytes(&self) -> Option<u64> {
        match &self.content {
            Content::File(_, length) => *length,
            Content::Snapshot(_) => Some(0),
        }
    }

    /// Whether its domains are known without reading it.
    pub fn is_snapshot(&self) -> bool {
        matches!(self.content, Content::Snapshot(_))
    }

    /// The last change that it contains.
    pub fn revision(&self) -> u64 {
        match &self.content {
            Content::File(..) => 0,
            Content::Snapshot(catalog) => catalog.position().revision,
        }
    }

    /// The log whose changes it contains; zeros without one.
    pub fn log(&self) -> Identity {
        match &self.content {
            Content::File(..) => Identity::default(),
            Content::Snapshot(catalog) => catalog.base.header().log,
        }
    }

    /// Adds its domains.
    pub fn domains(&self, compiler: &mut Compiler<'_>, origin: &Origin<'_>) -> io::Result<()> {
        match &self.content {
            Content::File(file, _) => {
                let input = read(file, origin.watch)?;
                source::add_domains(compiler, input, origin.start(), |item| origin.read(item.line, item.text()))
            }
            Content::Snapshot(catalog) => {
                for (number, domain) in (origin.start()..).zip(catalog.domains.current()) {
                    origin.read(number, domain.line.as_deref().unwrap_or_default().as_bytes());
                    compiler.adopt(number, domain);
                }
                Ok(())
            }
        }
    }

    /// Adds its links.
    pub fn links(&self, links: &mut Links<'_, '_>, origin: &Origin<'_>) -> io::Result<()> {
        match &self.content {
            Content::File(file, _) => {
                let input = read(file, origin.watch)?;
                links.add_all(input, origin.start(), |item| origin.read(item.line, item.text()))
            }
            Content::Snapshot(catalog) => add_links(catalog, links, origin),
        }
    }
}

/// Adds the links of a catalog.
pub fn add_links(catalog: &Catalog, links: &mut Links<'_, '_>, origin: &Origin<'_>) -> io::Result<()> {
    for (number, link) in (origin.start()..).zip(catalog.all_links()) {
        let text = link.to_json();
        origin.read(number, text.as_bytes());
        links.add_line(number, text.as_bytes())?;
    }
    Ok(())
}

/// Opens a snapshot that is not private: it must only ever be replaced by a rename.
pub fn open_snapshot(path: &Path, config: &config::Catalog) -> Result<Catalog, BuildError> {
    let snapshot = file::map(path)?;
    let bad = |source| file::FileError::Bad { file: path.display().to_string(), source };
    Ok(Catalog::open(snapshot, config).map_err(bad)?)
}

fn stdin() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

/// Reads a file from its beginning, a pipe from where it is.
fn read<'f>(mut file: &'f File, watch: &'f dyn Watch) -> io::Result<impl BufRead + 'f> {
    match file.rewind() {
        Err(error) if error.kind() != io::ErrorKind::NotSeekable => return Err(error),
        _ => {}
    }
    decode::decode(BufReader::with_capacity(1 << 20, Watched { inner: file, watch }))
}

/// Counts what is read or written.
pub struct Watched<'w, T> {
    pub inner: T,
    pub watch: &'w dyn Watch,
}

impl<T: Read> Read for Watched<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.watch.bytes(length as u64);
        Ok(length)
    }
}

impl<T: Write> Write for Watched<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.watch.bytes(length as u64);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
