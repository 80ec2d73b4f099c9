//! A book in memory that fails and dies with its disk, at times after it has done what it was asked for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::model_disk::ModelDisk;
use crate::{
    runtime::Hour,
    spool::state::Position,
    stats::{Counts, Delta, Key, Kind, book::Book, store::StoreError},
};

#[derive(Clone, Default)]
pub struct ModelBook {
    disk: ModelDisk,
    pages: Arc<Mutex<Pages>>,
}

#[derive(Default)]
struct Pages {
    counts: HashMap<(Hour, Key), Counts>,
    counted: Option<Position>,
    /// Calls that fail from now on.
    failures: u32,
}

impl ModelBook {
    pub fn on(disk: &ModelDisk) -> Self {
        Self { disk: disk.clone(), pages: Arc::default() }
    }

    /// The next calls fail.
    pub fn fail(&self, times: u32) {
        self.pages.lock().unwrap().failures = times;
    }

    /// The clicks of each link.
    pub fn links(&self) -> HashMap<String, u64> {
        let mut links = HashMap::new();
        for ((_, key), counts) in &self.pages.lock().unwrap().counts {
            if key.kind == Kind::Link {
                *links.entry(key.name.to_string()).or_default() += counts.clicks;
            }
        }
        links
    }

    /// All clicks that are counted of this kind.
    pub fn clicks(&self, kind: Kind) -> u64 {
        let pages = self.pages.lock().unwrap();
        pages.counts.iter().filter(|((_, key), _)| key.kind == kind).map(|(_, counts)| counts.clicks).sum()
    }

    fn touch(&self) -> Result<(), StoreError> {
        let failed = || StoreError::Failed { file: "book".into(), reason: "told to".into() };
        let mut pages = self.pages.lock().unwrap();
        if pages.failures > 0 {
            pages.failures -= 1;
            return Err(failed());
        }
        self.disk.touch().map_err(|_| failed())
    }
}

impl Book for ModelBook {
    fn counted(&mut self) -> Result<Option<Position>, StoreError> {
        self.touch()?;
        Ok(self.pages.lock().unwrap().counted)
    }

    fn commit(&mut self, delta: &Delta, counted: Position) -> Result<(), StoreError> {
        self.touch()?;
        {
            let mut pages = self.pages.lock().unwrap();
            pages.counted = Some(counted);
            for (key, counts) in delta {
                pages.counts.entry(key.clone()).or_default().add(counts);
            }
        }
        self.touch()
    }
}
