//! A catalog in memory that follows the rules of a real one, and edges of it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clickedge::{
    catalog::{
        change::{Accepted, Change, Changes, Condition, Entry, Operation, Position, Refused, Unavailable},
        state_hash::StateHash,
    },
    config,
    fleet::{
        Fleet, FleetMetrics, Parts, Preparation, Requests, Store, StoreError,
        bucket::Bucket,
        head::Head,
        publish::{self, Options, PublishError, Snapshot},
    },
    runtime::PanicWatch,
    telemetry::metrics::Registry,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::common::{TIMEOUT, s3::S3};

/// Links by slashtag: the destination, and the number of the last change.
type Links = BTreeMap<String, (String, u64)>;

/// The catalog.
#[derive(Default)]
pub struct Model(Mutex<State>);

#[derive(Clone, Default)]
struct State {
    position: Position,
    links: Links,
}

impl State {
    fn hash(&self) -> StateHash {
        let mut hasher = blake3::Hasher::new();
        for (slashtag, (destination, _)) in &self.links {
            hasher.update(format!("{slashtag}\n{destination}\n").as_bytes());
        }
        StateHash::from_bytes(*hasher.finalize().as_bytes())
    }

    fn make(&mut self, revision: u64, operation: &Operation) -> bool {
        let created = match operation {
            Operation::PutLink { link } => {
                let (slashtag, destination) = link.split_once(' ').unwrap();
                self.links.insert(slashtag.into(), (destination.into(), revision)).is_none()
            }
            Operation::DeleteLink { slashtag, .. } => self.links.remove(slashtag).is_none(),
            Operation::PutDomain { .. } | Operation::DeleteDomain { .. } => false,
        };
        self.position.revision = revision;
        created
    }

    fn outcome(&mut self, change: &Change, entries: &mut Vec<Entry>) -> Result<Accepted, Refused> {
        let revision = self.position.revision + 1;
        let (slashtag, wanted) = match &change.operation {
            Operation::PutLink { link } => link.split_once(' ').map(|(tag, to)| (tag.to_owned(), Some(to))).unwrap(),
            Operation::DeleteLink { slashtag, .. } => (slashtag.clone(), None),
            _ => unreachable!("the model has links only"),
        };
        let present = self.links.get(&slashtag).cloned();
        match (&present, wanted) {
            (Some(_), _) if change.condition == Condition::Absent => {
                return Err(Refused::ConditionFailed { etag: None });
            }
            (Some((to, revision)), Some(wanted)) if to == wanted => {
                return Ok(Accepted { revision: *revision, etag: None, created: false, unchanged: true });
            }
            (None, None) => return Err(Refused::NotFound { what: "link" }),
            _ => {}
        }
        let created = self.make(revision, &change.operation);
        entries.push(Entry { revision, operation: change.operation.clone() });
        Ok(Accepted { revision, etag: None, created, unchanged: false })
    }
}

impl Store for Model {
    fn position(&self) -> Position {
        self.0.lock().unwrap().position
    }

    fn prepare(&self, changes: &[Change]) -> Preparation {
        let mut state = self.0.lock().unwrap().clone();
        let (from, mut entries) = (state.position, Vec::new());
        let outcomes = changes.iter().map(|change| state.outcome(change, &mut entries)).collect();
        let to = Position { hash: state.hash(), ..state.position };
        Preparation { outcomes, entries, from, to }
    }

    fn apply(&self, entries: &[Entry], to: Position) -> Result<(), StoreError> {
        let mut current = self.0.lock().unwrap();
        let mut state = current.clone();
        for entry in entries.iter().filter(|entry| entry.revision > current.position.revision) {
            if entry.revision != state.position.revision + 1 {
                return Err(StoreError::Diverged(format!("a gap before {}", entry.revision)));
            }
            state.make(entry.revision, &entry.operation);
        }
        state.position.hash = state.hash();
        if state.position != to && current.position.revision < to.revision {
            return Err(StoreError::Diverged(format!("hash {} after {}", state.position.hash, to.revision)));
        }
        if current.position.revision < to.revision {
            *current = state;
        }
        Ok(())
    }

    fn install(&self, file: &Path, at: Position, accept: bool) -> Result<(), StoreError> {
        let text = std::fs::read_to_string(file).unwrap();
        let links = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (slashtag, destination) = line.split_once(' ').unwrap();
            (slashtag.to_owned(), (destination.to_owned(), 0))
        });
        let mut state = State { position: at, links: links.collect() };
        state.position.hash = state.hash();
        if state.position.hash != at.hash {
            return Err(StoreError::Rejected("the snapshot has another hash".into()));
        }
        let mut current = self.0.lock().unwrap();
        if !accept && state.links.len() * 2 < current.links.len() {
            return Err(StoreError::Shrunk(format!(
                "{} links instead of {}",
                state.links.len(),
                current.links.len()
            )));
        }
        *current = state;
        Ok(())
    }
}

impl Model {
    pub fn destination(&self, slashtag: &str) -> Option<String> {
        self.0.lock().unwrap().links.get(slashtag).map(|(destination, _)| destination.clone())
    }

    pub fn links(&self) -> usize {
        self.0.lock().unwrap().links.len()
    }

    /// Changes a link without its number, as a damaged disk would.
    pub fn damage(&self, slashtag: &str) {
        let mut state = self.0.lock().unwrap();
        state.links.insert(slashtag.into(), ("https://damage.example/".into(), 0));
        state.position.hash = state.hash();
    }
}

/// A bucket, and what publishes to it.
pub struct Place {
    pub s3: S3,
    pub dir: TempDir,
    pub runtime: Runtime,
    /// Bytes of a snapshot without its links.
    pub padding: usize,
}

impl Place {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { s3: S3::start(), dir: TempDir::new().unwrap(), runtime, padding: 1_000 }
    }

    pub fn config(&self, more: &serde_json::Value) -> config::Fleet {
        let mut config = json!({
            "poll_millis": 100,
            "bucket": {
                "bucket": "clicks", "prefix": "links", "region": "eu-west-1", "endpoint": self.s3.endpoint(),
                "path_style": true, "credentials_file": self.s3.credentials_file(),
            },
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(config).unwrap()
    }

    pub fn bucket(&self) -> Bucket {
        self.runtime.block_on(Bucket::new(&self.config(&json!({})).bucket))
    }

    /// The head, and its ETag.
    pub fn head(&self) -> (String, Arc<Head>) {
        match self.runtime.block_on(self.bucket().head(None)).unwrap() {
            clickedge::fleet::bucket::Looked::Found { etag, head } => (etag, head),
            other => panic!("{other:?}"),
        }
    }

    /// Publishes a snapshot of these links.
    pub fn publish(&self, links: &[(&str, &str)], options: Options) -> Result<Arc<Head>, PublishError> {
        self.publish_at(links, options, Position::default())
    }

    pub fn publish_at(
        &self,
        links: &[(&str, &str)],
        options: Options,
        mut position: Position,
    ) -> Result<Arc<Head>, PublishError> {
        let links: Links = links.iter().map(|(tag, to)| ((*tag).to_owned(), ((*to).to_owned(), 0))).collect();
        let text: String = links.iter().map(|(tag, (to, _))| format!("{tag} {to}\n")).collect();
        let file = self.dir.path().join("snapshot");
        std::fs::write(&file, format!("# {}\n{text}", "x".repeat(self.padding))).unwrap();
        let count = links.len() as u64;
        position.hash = State { links, ..State::default() }.hash();
        let snapshot = Snapshot { file: &file, position, links: count };
        self.runtime.block_on(publish::publish(&self.bucket(), snapshot, options, &|_| {}))
    }
}

/// An edge with a model of a catalog.
pub struct Node {
    pub model: Arc<Model>,
    pub registry: Registry,
    pub fleet: Option<Fleet>,
    pub requests: Arc<(AtomicU64, AtomicU64)>,
    dir: PathBuf,
}

impl Node {
    pub fn start(place: &Place, more: &serde_json::Value) -> Self {
        let mut node = Self {
            model: Arc::default(),
            registry: Registry::new(),
            fleet: None,
            requests: Arc::default(),
            dir: tempfile::Builder::new().tempdir_in(place.dir.path()).unwrap().keep(),
        };
        node.restart(place, more);
        node
    }

    /// Starts it with the catalog that it had.
    pub fn restart(&mut self, place: &Place, more: &serde_json::Value) {
        self.stop();
        self.registry = Registry::new();
        let requests = Arc::clone(&self.requests);
        let parts = Parts {
            store: Arc::clone(&self.model) as Arc<dyn Store>,
            dir: self.dir.clone(),
            metrics: Arc::new(FleetMetrics::new(&self.registry)),
            requests: Box::new(move || Requests {
                all: requests.0.load(Ordering::Relaxed),
                unknown: requests.1.load(Ordering::Relaxed),
            }),
            panics: PanicWatch::default(),
        };
        self.fleet = Some(Fleet::start(&place.config(more), parts).unwrap());
    }

    pub fn stop(&mut self) {
        if let Some(fleet) = self.fleet.take() {
            fleet.stop();
        }
    }

    pub fn put(&self, place: &Place, slashtag: &str, to: &str) -> Result<Accepted, Unavailable> {
        self.change(place, Operation::PutLink { link: format!("{slashtag} {to}") }, Condition::Always)
            .map(|outcome| outcome.unwrap())
    }

    pub fn change(
        &self,
        place: &Place,
        operation: Operation,
        condition: Condition,
    ) -> Result<Result<Accepted, Refused>, Unavailable> {
        let changes = self.fleet.as_ref().unwrap().changes();
        let change = Change { operation, condition };
        place.runtime.block_on(changes.change(vec![change])).map(|mut outcomes| outcomes.pop().unwrap())
    }

    pub fn metric(&self, name: &str) -> i64 {
        let text = self.registry.text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("clickedge_fleet_{name} ")));
        line.unwrap_or_else(|| panic!("{name} is missing in {text}")).parse().unwrap()
    }

    pub fn is_halted(&self, reason: &str) -> bool {
        self.metric(&format!("halted{{reason=\"{reason}\"}}")) == 1
    }

    pub fn leftovers(&self) -> usize {
        std::fs::read_dir(&self.dir).unwrap().count()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits for what should take a moment.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until edges are where the head is.
pub fn wait_until_equal(place: &Place, nodes: &[&Node]) {
    let (_, head) = place.head();
    for node in nodes {
        wait_until("the edges are equal", || node.model.position() == head.position);
    }
}
