//! Changes of an edge alone. Those that wait while others are written go to disk together, with one sync.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::CatalogStore;
use crate::catalog::change::{Accepted, Change, Changes, Refused, Unavailable};

/// Most changes that are written together, unless a single request has more.
const MOST_CHANGES: usize = 10_000;

type Outcomes = Vec<Result<Accepted, Refused>>;

/// Changes of an edge alone.
pub struct LocalChanges {
    store: Arc<CatalogStore>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Requests in their order: a large one would never be made if small ones overtook it.
#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    /// Whether a thread takes them.
    is_written: bool,
}

struct Request {
    changes: Vec<Change>,
    answer: oneshot::Sender<io::Result<Outcomes>>,
}

impl LocalChanges {
    pub fn new(store: Arc<CatalogStore>) -> Self {
        Self { store, waiting: Arc::default() }
    }
}

#[async_trait]
impl Changes for LocalChanges {
    async fn change(&self, changes: Vec<Change>) -> Result<Outcomes, Unavailable> {
        if self.store.config.load().state_dir.is_none() {
            return Err(Unavailable::Off(
                "the edge takes no changes, as it has no folder for them: set `catalog.state_dir`",
            ));
        }
        let (answer, answered) = oneshot::channel();
        let is_first = {
            let mut waiting = lock(&self.waiting);
            waiting.requests.push_back(Request { changes, answer });
            !std::mem::replace(&mut waiting.is_written, true)
        };
        if is_first {
            let writer = Writer { store: Arc::clone(&self.store), waiting: Arc::clone(&self.waiting) };
            // It answers each request, also when the one that has started it is gone.
            drop(tokio::task::spawn_blocking(move || writer.run()));
        }
        let unknown = |_| Unavailable::Unknown("the edge is stopping".into());
        answered.await.map_err(unknown)?.map_err(Unavailable::Log)
    }
}

/// Takes requests until none waits.
struct Writer {
    store: Arc<CatalogStore>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Writer {
    fn run(&self) {
        while let Some(group) = self.next() {
            self.write(group);
        }
    }

    /// The requests that wait, as far as they are written together. With the last one this thread has ended.
    fn next(&self) -> Option<Vec<Request>> {
        let mut waiting = lock(&self.waiting);
        let (mut group, mut count) = (Vec::new(), 0);
        while let Some(request) = waiting.requests.pop_front() {
            count += request.changes.len();
            if !group.is_empty() && count > MOST_CHANGES {
                waiting.requests.push_front(request);
                break;
            }
            group.push(request);
        }
        waiting.is_written = !group.is_empty();
        waiting.is_written.then_some(group)
    }

    fn write(&self, group: Vec<Request>) {
        let mut changes = Vec::new();
        let answers: Vec<_> = group
            .into_iter()
            .map(|request| {
                let number = request.changes.len();
                changes.extend(request.changes);
                (request.answer, number)
            })
            .collect();
        match self.store.change(&changes) {
            Ok(outcomes) => {
                let mut outcomes = outcomes.into_iter();
                for (answer, number) in answers {
                    // The client may have gone.
                    _ = answer.send(Ok(outcomes.by_ref().take(number).collect()));
                }
            }
            Err(error) => {
                for (answer, _) in answers {
                    _ = answer.send(Err(io::Error::new(error.kind(), error.to_string())));
                }
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut waiting = lock(&self.waiting);
            // Without a thread that takes them, they would wait for ever.
            (waiting.is_written, waiting.requests) = (false, VecDeque::new());
        }
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{
            Catalog,
            change::{Condition, Operation},
        },
        config,
    };

    fn put(slashtag: &str) -> Change {
        let link = serde_json::json!({"id": "1", "slashtag": slashtag, "destination": "https://a.example/",
            "domain": "go.brand.com"});
        Change { operation: Operation::PutLink { link: link.to_string() }, condition: Condition::Always }
    }

    fn bad() -> Change {
        Change { operation: Operation::PutLink { link: "{}".into() }, condition: Condition::Always }
    }

    #[test]
    fn requests_that_wait_are_written_together_and_each_gets_its_own_outcomes() {
        let dir = tempfile::tempdir().unwrap();
        let config = config::Catalog { state_dir: Some(dir.path().into()), ..config::Catalog::default() };
        let store = Arc::new(CatalogStore::of(Catalog::empty(), &config));
        store.open_log().unwrap();
        let writer = Writer { store: Arc::clone(&store), waiting: Arc::default() };
        let request = |changes: Vec<Change>| {
            let (answer, answered) = oneshot::channel();
            lock(&writer.waiting).requests.push_back(Request { changes, answer });
            answered
        };
        let mut answers =
            [request(vec![put("a")]), request(vec![bad(), put("b")]), request(Vec::new()), request(vec![put("a")])];
        let group = writer.next().unwrap();
        assert_eq!(group.len(), 4, "one group");
        writer.write(group);
        assert!(writer.next().is_none() && !lock(&writer.waiting).is_written);
        let revisions = answers.each_mut().map(|answer| {
            let outcomes = answer.try_recv().unwrap().unwrap().into_iter();
            outcomes.map(|outcome| outcome.ok().map(|accepted| accepted.revision)).collect::<Vec<_>>()
        });
        assert_eq!(revisions, [vec![Some(1)], vec![None, Some(2)], vec![], vec![Some(1)]]);

        let large: Vec<_> = (0..MOST_CHANGES).map(|_| bad()).collect();
        let _answers = [request(vec![put("c")]), request(large), request(vec![put("d")])];
        let groups: Vec<_> = std::iter::from_fn(|| writer.next().map(|group| group.len())).collect();
        assert_eq!(groups, [1, 1, 1], "a large one is written by itself, in its turn");
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_written_is_the_answer_to_all() {
        let dir = tempfile::tempdir().unwrap();
        let config = config::Catalog { state_dir: Some(dir.path().into()), ..config::Catalog::default() };
        // Its log is not open.
        let changes = LocalChanges::new(Arc::new(CatalogStore::of(Catalog::empty(), &config)));
        let (one, two) = tokio::join!(changes.change(vec![put("a")]), changes.change(vec![put("b")]));
        assert!(matches!((one, two), (Err(Unavailable::Log(_)), Err(Unavailable::Log(_)))));
        changes.store.open_log().unwrap();
        assert!(changes.change(vec![put("a")]).await.unwrap()[0].is_ok(), "the next one is written");
    }
}
