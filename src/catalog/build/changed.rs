//! Makes the changes of an edge again on what was built.

use std::{fs, io, path::Path};

use super::{BuildError, Origin, Plan, Rejected, Step, Watch, Watched, input};
use crate::catalog::{
    Catalog,
    change::{Condition, Entry, Refused},
    change_log::{self, ChangeLog, Logged},
    compile::Compiler,
    snapshot::{
        file::NewFile,
        header::{self, Header},
    },
    sorter::Sorter,
    source::Links,
};

/// Checks that an edge keeps its changes in a folder.
pub(super) fn check(state_dir: &Path) -> Result<(), BuildError> {
    fs::metadata(state_dir.join(change_log::NAME)).map(drop).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => BuildError::NoStateFolder { dir: state_dir.display().to_string() },
        _ => BuildError::read(state_dir, error),
    })
}

impl Plan<'_> {
    /// Reads the changes of an edge.
    pub(super) fn logged(&self) -> Result<Option<Logged>, BuildError> {
        let Some(state_dir) = self.changes else { return Ok(None) };
        let logged = ChangeLog::peek(state_dir);
        Ok(Some(logged.map_err(|error| BuildError::read(state_dir, error))?))
    }

    /// Makes the changes behind `revision` again. Returns the file with them, and the revision of the last one.
    pub(super) fn change(
        &self,
        logged: Logged,
        built: NewFile,
        header: Header,
        revision: u64,
        output: &Path,
        watch: &dyn Watch,
    ) -> Result<(NewFile, Header, u64), BuildError> {
        let failed = |error| BuildError::write(output, error);
        let state_dir = self.changes.unwrap_or(Path::new(""));
        let (mut changes, last) = (logged.entries, logged.revision.max(revision));
        changes.retain(|entry| entry.revision > revision);
        if changes.is_empty() {
            return Ok((built, header, last));
        }
        let snapshot = built.map(header).map_err(failed)?;
        let mut catalog = Catalog::open(snapshot, self.config).map_err(|error| failed(io::Error::other(error)))?;
        watch.begin(Step::Changes { changes: changes.len() as u64 });
        for Entry { revision, operation } in &changes {
            watch.item();
            match catalog.change(operation, &Condition::Always, *revision, self.config) {
                Ok(_) | Err(Refused::NotFound { .. }) => {}
                Err(refused) => {
                    let (reason, text) = (refused.to_string(), serde_json::to_string(operation).ok());
                    let (reason, text) = (reason.as_str(), text.as_deref());
                    watch.reject(&Rejected { file: state_dir, line: *revision, reason, text });
                }
            }
        }
        let mut file = NewFile::create(output).map_err(failed)?;
        let header = self.compile_again(&catalog, &mut file, watch).map_err(failed)?;
        Ok((file, header, last))
    }

    /// Lays a catalog out again, with its changes.
    fn compile_again(&self, catalog: &Catalog, file: &mut NewFile, watch: &dyn Watch) -> io::Result<Header> {
        let origin = Origin::new(&[], watch);
        let mut compiler = Compiler::with(self.config, Sorter::spilling(self.temporary_dir, self.memory));
        compiler.on_reject(Box::new(|line, reason| origin.reject(line, reason)));
        for (number, domain) in (1..).zip(catalog.domains.current()) {
            compiler.adopt(number, domain);
        }
        watch.begin(Step::Links { bytes: None });
        input::add_links(catalog, &mut Links::new(&mut compiler), &origin)?;
        watch.begin(Step::Write);
        let sections = Watched { inner: file.sections()?, watch };
        let (header, ..) = compiler.write(sections, header::SIZE as u64)?;
        Ok(header)
    }
}
