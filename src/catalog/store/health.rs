//! Whether the private copy on disk is still what it was when it was made.
//!
//! A start maps the copy and reads nothing of it, so that bits which have flipped on the disk would be served. So the
//! copy is read once after each start, in the background. One that is damaged stays in use, as most of it is right,
//! until it is taken again: from `catalog.file` here, or from the bucket by the fleet.

use std::{
    io,
    path::Path,
    sync::{Arc, Weak},
    thread,
};

use super::CatalogStore;
use crate::{
    catalog::{
        Catalog, InstallError,
        snapshot::{
            BadSnapshot,
            file::{self, FileError, FileId},
            header::Header,
        },
    },
    config,
    runtime::{PanicWatch, clock, priority},
};

impl CatalogStore {
    /// Reads the private copy in a thread of its own, and reports and replaces it if it is damaged.
    ///
    /// # Errors
    /// When the system provides no thread.
    pub fn verify_in_background(self: &Arc<Self>, panics: &PanicWatch) -> io::Result<()> {
        let (store, guard) = (Arc::downgrade(self), panics.guard());
        thread::Builder::new().name("catalog-verify".into()).spawn(move || {
            let _guard = guard;
            priority::lower(priority::LOWEST);
            verify(&store);
        })?;
        Ok(())
    }

    /// Whether the private copy of the current snapshot is known to be damaged.
    pub fn is_damaged(&self) -> bool {
        self.damaged_file().is_some()
    }

    /// Takes the current snapshot again from this file. The changes since stay.
    ///
    /// # Errors
    /// When it is another snapshot, and else as with [`install`](Self::install).
    pub fn repair(&self, path: &Path) -> Result<(), InstallError> {
        let config = self.config.load_full();
        let Some(dir) = &config.state_dir else { return Err(InstallError::NoFolder) };
        let current = self.load().base.header().clone();
        let catalog = file::adopt(path, dir, self.damaged_file(), |snapshot| {
            if *snapshot.header() == current { Catalog::open(snapshot, &config) } else { Err(BadSnapshot::Another) }
        })?;
        let mut turn = self.turn();
        if *self.load().base.header() != current {
            // Another one was taken meanwhile, and the copy is that of it no longer.
            return Err(FileError::Bad { file: path.display().to_string(), source: BadSnapshot::Another }.into());
        }
        Ok(self.publish_in(&mut turn, clock::monotonic(), catalog)?)
    }

    /// The private copy that is damaged, while it is there.
    pub(super) fn damaged_file(&self) -> Option<FileId> {
        let damaged = *self.damaged.load_full()?;
        let copy = self.config.load().state_dir.as_ref()?.join(file::PRIVATE);
        (file::id(&copy) == Some(damaged)).then_some(damaged)
    }

    /// Takes the snapshot again from the file that it came from.
    fn take_again(&self, header: &Header, config: &config::Catalog) -> Result<(), InstallError> {
        let source = config.source();
        // Before all of it is copied.
        if file::header(&source)? != *header {
            return Err(FileError::Bad { file: source.display().to_string(), source: BadSnapshot::Another }.into());
        }
        self.repair(&source)
    }
}

fn verify(store: &Weak<CatalogStore>) {
    let Some((config, header)) =
        store.upgrade().map(|store| (store.config.load_full(), store.load().base.header().clone()))
    else {
        return;
    };
    let Some(dir) = &config.state_dir else { return };
    let is_current = || store.upgrade().is_some_and(|store| *store.load().base.header() == header);
    let Some((damaged, error)) = file::inspect(dir, &header, is_current) else { return };
    let Some(store) = store.upgrade() else { return };
    store.damaged.store(Some(Arc::new(damaged)));
    let file = dir.join(file::PRIVATE).display().to_string();
    let remedy = "check the disk of catalog.state_dir";
    tracing::error!(file, %error, remedy, "the private copy of the snapshot is damaged: some links may be wrong");
    if config.fleet.is_some() {
        // It looks whether the copy is damaged each time that it looks at the bucket.
        return;
    }
    match store.take_again(&header, &config) {
        Ok(()) => tracing::info!(file, "the snapshot was copied again from catalog.file"),
        Err(error) => {
            let remedy = "put the snapshot, or a newer one, at the place of catalog.file, and reload";
            tracing::error!(file, %error, remedy, "the damaged copy stays in use: it cannot be copied again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

    use super::*;
    use crate::{
        catalog::{
            Lookup,
            change::{Change, Condition, Operation, Position},
            compile::Compiler,
            snapshot::{file::NewFile, header},
            source,
        },
        link::Host,
    };

    const HOST: &str = "go.brand.com";

    /// An edge with a snapshot file and its private copy.
    struct Edge {
        dir: tempfile::TempDir,
        config: config::Catalog,
    }

    impl Edge {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let config = config::Catalog {
                file: dir.path().join("links.snapshot"),
                state_dir: Some(dir.path().join("state")),
                ..config::Catalog::default()
            };
            snapshot(&config.file, 1);
            Self { dir, config }
        }

        fn start(&self) -> Arc<CatalogStore> {
            let store = CatalogStore::of(source::load_file(&self.config).unwrap().0, &self.config);
            store.open_log().unwrap();
            Arc::new(store)
        }

        fn copy(&self) -> PathBuf {
            self.dir.path().join("state").join(file::PRIVATE)
        }
    }

    fn link(slashtag: &str, destination: &str) -> String {
        let domain = serde_json::json!({ "fullName": HOST });
        serde_json::json!({"id": "1", "slashtag": slashtag, "destination": destination, "domain": domain}).to_string()
    }

    fn snapshot(path: &Path, generation: u64) {
        let config = config::Catalog::default();
        let mut compiler = Compiler::new(&config);
        let text = link("spring", "https://spring.example/") + "\n";
        source::Links::new(&mut compiler).add_all(text.as_bytes(), 1, |_| ()).unwrap();
        let mut file = NewFile::create(path).unwrap();
        let (header, ..) = compiler.write(file.sections().unwrap(), header::SIZE as u64).unwrap();
        file.finish(header, Position { generation, ..Position::default() }, 1).unwrap();
    }

    /// Flips bits of a destination.
    fn damage(path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        let at = bytes.windows(14).position(|part| part == b"spring.example").unwrap();
        bytes[at] ^= 1;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn destination(store: &CatalogStore, slashtag: &str) -> Option<String> {
        match store.load().find(&Host::parse(HOST.as_bytes()).unwrap(), slashtag.as_bytes()) {
            Ok(Lookup::Found(link, _)) => Some(link.destination().to_owned()),
            _ => None,
        }
    }

    #[test]
    fn a_sound_copy_is_read_only_and_stays() {
        let edge = Edge::new();
        let store = edge.start();
        assert_eq!(fs::metadata(edge.copy()).unwrap().permissions().mode() & 0o777, 0o400);
        let before = file::id(&edge.copy());
        drop(store);
        let store = edge.start();
        verify(&Arc::downgrade(&store));
        assert!(!store.is_damaged() && file::id(&edge.copy()) == before);
    }

    #[test]
    fn a_damaged_copy_is_made_again_of_the_catalog_file_and_keeps_the_changes() {
        let edge = Edge::new();
        let operation = Operation::PutLink { link: link("summer", "https://summer.example/") };
        let store = edge.start();
        store.commit(store.prepare(&[Change { operation, condition: Condition::Always }])).unwrap().unwrap();
        drop(store);
        damage(&edge.copy());
        let store = edge.start();
        assert_eq!(
            destination(&store, "spring").as_deref(),
            Some("https://rpring.example/"),
            "a start reads nothing"
        );
        verify(&Arc::downgrade(&store));
        assert!(!store.is_damaged());
        assert_eq!(destination(&store, "spring").as_deref(), Some("https://spring.example/"));
        assert_eq!(destination(&store, "summer").as_deref(), Some("https://summer.example/"));
        assert!(file::verify(&edge.copy(), |_| ()).is_ok());
    }

    #[test]
    fn a_damaged_copy_stays_in_use_and_is_reported_until_a_good_snapshot_is_there() {
        let edge = Edge::new();
        drop(edge.start());
        damage(&edge.copy());
        let breaks: [fn(&Path); 2] = [damage, |path| snapshot(path, 2)];
        for break_source in breaks {
            let store = edge.start_with_copy();
            snapshot(&edge.config.file, 1);
            break_source(&edge.config.file);
            verify(&Arc::downgrade(&store));
            assert!(store.is_damaged() && destination(&store, "spring").is_some());
        }
        let store = edge.start_with_copy();
        verify(&Arc::downgrade(&store));
        assert!(store.is_damaged());
        snapshot(&edge.config.file, 1);
        store.publish(store.read().unwrap().0);
        assert_eq!(destination(&store, "spring").as_deref(), Some("https://spring.example/"), "copied at the reload");
        assert!(!store.is_damaged() && file::verify(&edge.copy(), |_| ()).is_ok());
    }

    impl Edge {
        /// Starts with the copy, whatever the file is.
        fn start_with_copy(&self) -> Arc<CatalogStore> {
            let catalog = Catalog::open(file::map(&self.copy()).unwrap(), &self.config).unwrap();
            Arc::new(CatalogStore::of(catalog, &self.config))
        }
    }
}
