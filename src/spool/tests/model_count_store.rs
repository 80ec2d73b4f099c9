//! A store of counts in memory that fails on request, and dies with its disk, at times after a commit is done.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::model_disk::ModelDisk;
use crate::{
    runtime::Hour,
    spool::state::Position,
    stats::{Counts, Delta, Key, SubjectKind, count_store::CountStore, store::StoreError},
};

#[derive(Clone, Default)]
pub struct ModelCountStore {
    disk: ModelDisk,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    counts: HashMap<(Hour, Key), Counts>,
    counted: Option<Position>,
    /// Calls that fail from now on.
    failures: u32,
}

impl ModelCountStore {
    pub fn on(disk: &ModelDisk) -> Self {
        Self { disk: disk.clone(), state: Arc::default() }
    }

    /// The next calls fail.
    pub fn fail(&self, times: u32) {
        self.state.lock().unwrap().failures = times;
    }

    /// The clicks of each link.
    pub fn links(&self) -> HashMap<String, u64> {
        let mut links = HashMap::new();
        for ((_, key), counts) in &self.state.lock().unwrap().counts {
            if key.kind == SubjectKind::Link {
                *links.entry(key.name.to_string()).or_default() += counts.clicks;
            }
        }
        links
    }

    /// All counted clicks of this kind.
    pub fn clicks(&self, kind: SubjectKind) -> u64 {
        let state = self.state.lock().unwrap();
        state.counts.iter().filter(|((_, key), _)| key.kind == kind).map(|(_, counts)| counts.clicks).sum()
    }

    fn touch(&self) -> Result<(), StoreError> {
        let failed = || StoreError::Failed { file: "counts".into(), reason: "injected".into() };
        let mut state = self.state.lock().unwrap();
        if state.failures > 0 {
            state.failures -= 1;
            return Err(failed());
        }
        self.disk.touch().map_err(|_| failed())
    }
}

impl CountStore for ModelCountStore {
    fn counted(&mut self) -> Result<Option<Position>, StoreError> {
        self.touch()?;
        Ok(self.state.lock().unwrap().counted)
    }

    fn commit(&mut self, delta: &Delta, counted: Position) -> Result<(), StoreError> {
        self.touch()?;
        {
            let mut state = self.state.lock().unwrap();
            state.counted = Some(counted);
            for (key, counts) in delta {
                state.counts.entry(key.clone()).or_default().add(counts);
            }
        }
        self.touch()
    }
}
