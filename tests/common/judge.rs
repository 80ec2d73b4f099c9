//! The judge: holds what lies in the buckets against the ledger of what was clicked.
//!
//! It reports clicks that were answered and are lost, that were delivered twice or were never made, events of one click
//! that differ between feeds, objects that cannot be read and events in the wrong partition. A click whose answer was
//! not read may have become an event or not: such events are counted as unanswered. Where everything must be there, the
//! manifests must prove it, too.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt, fs,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::{Edge, Stopped, TIMEOUT, clicks::of_feed, load::Ledger};

/// Faults that are printed one by one.
const PRINTED: usize = 12;

/// Where a feed's objects end up: a folder, that of an S3 bucket included.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub feed: String,
    pub path: PathBuf,
    /// Whether the feed has manifests, so that `clickedge feed verify` proves it.
    pub has_manifests: bool,
    /// Whether the keys are of the layout `sequence`, which has no partitions.
    pub is_sequence: bool,
}

impl Bucket {
    pub fn new(feed: &str, path: impl Into<PathBuf>) -> Self {
        Self { feed: feed.into(), path: path.into(), has_manifests: true, is_sequence: false }
    }

    /// The same in the layout `sequence`.
    pub fn sequence(self) -> Self {
        Self { is_sequence: true, ..self }
    }

    /// What a receiver of events has stored, in the same partitions.
    pub fn of_events(feed: &str, path: impl Into<PathBuf>) -> Self {
        Self { has_manifests: false, ..Self::new(feed, path) }
    }
}

/// What the judge needs to know of an event.
#[derive(Deserialize)]
struct Event {
    id: String,
    timestamp: String,
    route: Route,
}

#[derive(Deserialize)]
struct Route {
    params: Params,
}

#[derive(Deserialize)]
struct Params {
    query: Vec<Parameter>,
}

#[derive(Deserialize)]
struct Parameter {
    name: String,
    value: String,
}

impl Event {
    fn nonce(&mut self) -> Option<String> {
        let mut query = std::mem::take(&mut self.route.params.query).into_iter();
        query.find(|parameter| parameter.name == "n").map(|parameter| parameter.value)
    }
}

/// The result of a case.
#[derive(Default)]
pub struct Verdict {
    pub case: String,
    pub received: usize,
    pub delivered: BTreeMap<String, usize>,
    pub objects: usize,
    /// Events of clicks whose answer was not read, over all feeds.
    pub unanswered: usize,
    /// Per feed, the nonces of answered clicks that are in no object.
    pub lost: BTreeMap<String, HashSet<String>>,
    pub duplicated: usize,
    pub invented: usize,
    pub refused: usize,
    /// Objects that cannot be read, events in a wrong partition, ids that differ between feeds.
    pub broken: usize,
    /// The first of all faults.
    pub faults: Vec<String>,
    buckets: Vec<Bucket>,
    /// The folders of the edge, which are kept if an assertion fails.
    pub evidence: Option<Stopped>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "judge: {}: received {}, delivered {:?} in {} objects, lost {}, duplicated {}, invented {}, \
             unanswered but delivered {}, refused {}, broken {}",
            self.case,
            self.received,
            self.delivered,
            self.objects,
            self.lost(),
            self.duplicated,
            self.invented,
            self.unanswered,
            self.refused,
            self.broken
        )?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl Verdict {
    /// The largest loss of a feed.
    pub fn lost(&self) -> usize {
        self.lost.values().map(HashSet::len).max().unwrap_or(0)
    }

    /// Nothing is wrong.
    #[track_caller]
    pub fn assert_exactly_once(&self) {
        self.assert_at_most_once();
        assert!(self.lost() == 0, "clicks are lost\n{self}");
        self.buckets.iter().filter(|bucket| bucket.has_manifests).for_each(assert_proven);
        if let Some(stopped) = &self.evidence {
            let left = fs::read_dir(stopped.rings()).unwrap().map(|entry| entry.unwrap());
            // These hold no address.
            let is_other =
                |entry: &fs::DirEntry| ["sessions", "click-limits"].map(Into::into).contains(&entry.file_name());
            let left: Vec<_> =
                left.filter(|entry| !is_other(entry) && entry.metadata().unwrap().len() > 4_096).collect();
            assert!(left.is_empty(), "a clean stop left rings, with client addresses in them: {left:?}");
        }
    }

    /// Nothing is wrong but that clicks may be lost.
    #[track_caller]
    pub fn assert_at_most_once(&self) {
        let wrong = self.duplicated + self.invented + self.broken + self.refused;
        assert!(wrong == 0, "what was delivered is wrong\n{self}");
        assert!(self.received > 0, "nothing was clicked\n{self}");
    }

    fn fault(&mut self, fault: impl FnOnce() -> String) {
        if self.faults.len() < PRINTED {
            self.faults.push(fault());
        }
    }
}

/// What a customer would do: the manifests prove that nothing is missing, and the numbers have no gap.
#[track_caller]
fn assert_proven(bucket: &Bucket) {
    let mut verify = Command::new(env!("CARGO_BIN_EXE_clickedge"));
    let output = verify.args(["feed", "verify", "--quiet"]).arg(&bucket.path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => {}
        Some(64) => println!("  {} is not proven: there is no `clickedge feed verify` yet", bucket.feed),
        _ => panic!("the feed {} is not proven in {}: {}\n{said}", bucket.feed, bucket.path.display(), output.status),
    }
}

/// Judges, and prints the verdict in a line.
pub fn judge(case: &str, ledger: &Ledger, buckets: &[Bucket]) -> Verdict {
    let (case, received, buckets) = (case.to_owned(), ledger.received(), buckets.to_vec());
    let mut verdict = Verdict { case, received, buckets: buckets.clone(), ..Verdict::default() };
    verdict.refused = ledger.refused.len();
    for refused in &ledger.refused {
        verdict.fault(|| format!("refused: {refused}"));
    }
    let mut ids: HashMap<String, uuid::Uuid> = HashMap::new();
    for bucket in &buckets {
        let seen = read_bucket(bucket, ledger, &mut ids, &mut verdict);
        verdict.delivered.insert(bucket.feed.clone(), seen.len());
        let mut lost = HashSet::new();
        for (nonce, click) in &ledger.clicks {
            match (seen.contains_key(nonce), click.micros) {
                (false, Some(_)) => {
                    verdict.fault(|| format!("lost: {nonce} of round {} is not in {}", click.round, bucket.feed));
                    lost.insert(nonce.clone());
                }
                (true, None) => verdict.unanswered += 1,
                _ => {}
            }
        }
        verdict.lost.insert(bucket.feed.clone(), lost);
    }
    println!("{verdict}");
    verdict
}

/// The nonces in a bucket, each with the object in which it was found first.
fn read_bucket(
    bucket: &Bucket,
    ledger: &Ledger,
    ids: &mut HashMap<String, uuid::Uuid>,
    verdict: &mut Verdict,
) -> HashMap<String, usize> {
    let (mut seen, mut used) = (HashMap::new(), HashSet::new());
    let objects = objects(&bucket.path);
    verdict.objects += objects.len();
    for (number, path) in objects.iter().enumerate() {
        let key = path.strip_prefix(&bucket.path).unwrap().display();
        let events = match read_object(path) {
            Ok(events) => events,
            Err(error) => {
                verdict.broken += 1;
                verdict.fault(|| format!("broken: {key} of {}: {error}", bucket.feed));
                continue;
            }
        };
        for mut event in events {
            let nonce = event.nonce().unwrap_or_default();
            let Event { id, timestamp, .. } = event;
            let round = ledger.clicks.get(&nonce).map(|click| click.round);
            let what = || format!("{nonce} of round {round:?}, event {id}, in {key} of {}", bucket.feed);
            if round.is_none() {
                verdict.invented += 1;
                verdict.fault(|| format!("invented: {}", what()));
            }
            let Ok(id) = uuid::Uuid::parse_str(&id) else {
                verdict.broken += 1;
                verdict.fault(|| format!("no id: {}", what()));
                continue;
            };
            if let Some(first) = seen.insert(nonce.clone(), number) {
                verdict.duplicated += 1;
                let first = objects[first].strip_prefix(&bucket.path).unwrap().display();
                verdict.fault(|| format!("duplicated: {} and before in {first}", what()));
            } else if !used.insert(id) {
                verdict.broken += 1;
                verdict.fault(|| format!("an id of two clicks: {}", what()));
            }
            if *ids.entry(nonce.clone()).or_insert(id) != id {
                verdict.broken += 1;
                verdict.fault(|| format!("another id than in another feed: {}", what()));
            }
            let partition = format!("dt={}/hour={}/", &timestamp[..10], &timestamp[11..13]);
            if !bucket.is_sequence && !path.to_str().unwrap().contains(&partition) {
                verdict.broken += 1;
                verdict.fault(|| format!("of {timestamp} in another partition: {}", what()));
            }
        }
    }
    seen
}

/// The objects below a folder; not their manifests, and nothing of which only a part has been written.
pub fn objects(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            found.extend(objects(&path));
        } else if [".ndjson", ".ndjson.gz", ".ndjson.zst"].iter().any(|end| name.ends_with(end))
            && !name.starts_with('.')
            && !name.contains("manifest")
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read_object(path: &Path) -> Result<Vec<Event>, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text),
        Some("zst") => zstd::Decoder::new(&bytes[..]).and_then(|mut decoder| decoder.read_to_string(&mut text)),
        _ => (&bytes[..]).read_to_string(&mut text),
    }
    .map_err(|error| format!("{error}, {} bytes", bytes.len()))?;
    if !text.ends_with('\n') {
        return Err("it does not end with a whole line".into());
    }
    text.lines().map(|line| serde_json::from_str(line).map_err(|error| format!("{error}: {line:.200}"))).collect()
}

/// The nonces of the events in an object; none if it cannot be read.
pub fn nonces_of(object: &Path) -> HashSet<String> {
    let events = read_object(object).unwrap_or_default();
    events.into_iter().filter_map(|mut event| event.nonce()).collect()
}

/// The numbers of a running edge, all of one moment.
pub struct Numbers(HashMap<String, f64>);

impl Numbers {
    pub fn of(edge: &Edge) -> Self {
        let text = edge.admin("/metrics").body;
        let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        Self(lines.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }

    /// Clicks found in the rings of an earlier process.
    pub fn recovered(&self) -> i64 {
        self.sum("clicks_recovered_total")
    }

    /// Clicks that wait in the rings.
    pub fn in_rings(&self) -> i64 {
        self.sum("ring_clicks") + self.sum("clicks_enriched_total") - self.sum("clicks_journaled_total")
    }

    /// The sum over all labels; labels that a name gives must be there.
    fn sum(&self, name: &str) -> i64 {
        let full = format!("clickedge_{name}");
        let of = |(given, value): (&String, &f64)| {
            let rest = given.strip_prefix(&full)?;
            (rest.is_empty() || rest.starts_with('{')).then_some(*value)
        };
        self.0.iter().filter_map(of).sum::<f64>() as i64
    }

    fn of_feed(&self, name: &str, feed: &str) -> i64 {
        self.0.get(&of_feed(name, feed)).map_or(0, |value| *value as i64)
    }

    /// Clicks dropped for this reason.
    pub fn clicks_dropped(&self, reason: &str) -> i64 {
        self.sum(&format!("clicks_dropped_total{{reason=\"{reason}\"}}"))
    }

    /// Events of a feed dropped for this reason.
    pub fn events_dropped(&self, feed: &str, reason: &str) -> i64 {
        self.sum(&format!("events_dropped_total{{feed=\"{feed}\",reason=\"{reason}\"}}"))
    }

    /// Clicks dropped for whatever reason.
    pub fn dropped(&self) -> i64 {
        self.sum("clicks_dropped_total")
    }

    /// What is missing in the account of the clicks, and in that of each feed.
    fn imbalance(&self, buckets: &[Bucket]) -> Vec<i64> {
        let clicks = self.sum("clicks_answered_total") + self.sum("clicks_recovered_total")
            - self.sum("clicks_enriched_total")
            - self.sum("ring_clicks")
            - self.dropped();
        let feed = |bucket: &Bucket| {
            let of = |name| self.of_feed(name, &bucket.feed);
            of("events_routed_total") + of("events_recovered_total")
                - of("events_pending")
                - of("events_delivered_total")
                - self.feed_dropped(&bucket.feed)
        };
        std::iter::once(clicks).chain(buckets.iter().map(feed)).collect()
    }

    fn feed_dropped(&self, feed: &str) -> i64 {
        let start = format!("clickedge_events_dropped_total{{feed=\"{feed}\",");
        self.0.iter().filter(|(name, _)| name.starts_with(&start)).map(|(_, value)| *value).sum::<f64>() as i64
    }

    /// Clicks and events that are still under way.
    fn under_way(&self, buckets: &[Bucket]) -> i64 {
        let pending = |bucket: &Bucket| self.of_feed("events_pending", &bucket.feed);
        self.sum("ring_clicks") + buckets.iter().map(pending).sum::<i64>()
    }

    fn delivered(&self, buckets: &[Bucket]) -> i64 {
        buckets.iter().map(|bucket| self.of_feed("events_delivered_total", &bucket.feed)).sum()
    }
}

impl fmt::Display for Numbers {
    /// Those of the account that are not zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<_> = self.0.iter().filter(|(_, value)| **value != 0.0).collect();
        lines.retain(|(name, _)| name.contains("_clicks") || name.contains("_events"));
        lines.sort_by_key(|(name, _)| *name);
        lines.iter().try_for_each(|(name, value)| write!(f, "\n  {name} {value}"))
    }
}

/// Clicks once more, waits until nothing is under way any more, and checks that the account balances. Returns the
/// numbers of that moment. It takes as long as it takes, but no step may take longer than [`TIMEOUT`].
#[track_caller]
pub fn settle(edge: &Edge, ledger: &mut Ledger, buckets: &[Bucket]) -> Numbers {
    let nonce = format!("fresh-{}", ledger.clicks.len());
    ledger.click(edge.address, &nonce, "");
    let fresh = |bucket: &Bucket| objects(&bucket.path).iter().rev().any(|path| nonces_of(path).contains(&nonce));
    let (mut best, mut until) = (i64::MAX, Instant::now() + TIMEOUT);
    loop {
        let numbers = Numbers::of(edge);
        let (under_way, imbalance) = (numbers.under_way(buckets), numbers.imbalance(buckets));
        let settled = under_way == 0 && numbers.delivered(buckets) > 0 && imbalance.iter().all(|of| *of == 0);
        if settled && buckets.iter().all(fresh) {
            return numbers;
        }
        if under_way < best {
            (best, until) = (under_way, Instant::now() + TIMEOUT);
        }
        assert!(
            Instant::now() < until,
            "it does not come to rest: {under_way} under way, missing in the accounts {imbalance:?}\n{numbers}\n{}",
            last_lines(&edge.log())
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// The end of a log.
pub fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
