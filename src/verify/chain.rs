//! The chain of manifests: each names the one before it with its checksum. So none can be removed or changed without a
//! trace, once a later one exists.
//!
//! A chain runs over all hours. The link before the first verified one may be of an hour that was not asked for, and is
//! looked up there. Where a bucket removes old objects, a chain begins later than with number 1; that is noted, and is
//! no problem.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    Verifier,
    hour::ReadManifest,
    join,
    report::{Notice, NoticeKind, Problem, ProblemKind},
    store::StoreError,
};
use crate::object::{ManifestKey, key::MANIFESTS, manifest::Previous};

/// Time for which an edge and its successor may both seem to deliver, in microseconds: clocks and late clicks.
const HANDOVER_MICROS: u64 = 60_000_000;

/// All chains, by feed and spool.
#[derive(Default)]
pub struct Chains {
    links: BTreeMap<(String, String), Vec<Link>>,
    /// Keys of manifests that are reported already.
    broken: HashSet<String>,
    /// First and last sign of life of each spool, in microseconds since the Unix epoch, by feed and edge.
    lives: BTreeMap<(String, String), BTreeMap<String, (u64, u64)>>,
}

struct Link {
    number: u64,
    key: String,
    sha256: String,
    previous: Option<Previous>,
}

impl Chains {
    /// Adds a manifest.
    pub(super) fn add(&mut self, key: &str, read: &ReadManifest) {
        let ReadManifest { manifest, sha256 } = read;
        let (number, previous) = (manifest.number, manifest.previous.clone());
        let chain = self.links.entry((manifest.feed.clone(), manifest.spool.clone())).or_default();
        chain.push(Link { number, key: key.into(), sha256: sha256.clone(), previous });

        let micros = |time: jiff::Timestamp| u64::try_from(time.as_microsecond()).unwrap_or_default();
        let written = manifest.written.parse().map_or(0, micros);
        let millis = |id: &str| uuid::Uuid::try_parse(id).map_or(u64::MAX, |id| (id.as_u128() >> 80) as u64);
        let first = manifest.objects.iter().map(|entry| millis(&entry.first).saturating_mul(1_000)).min();
        let first = first.unwrap_or(written).min(written);
        let spools = self.lives.entry((manifest.feed.clone(), manifest.pop.clone())).or_default();
        let life = spools.entry(manifest.spool.clone()).or_insert((first, written));
        *life = (life.0.min(first), life.1.max(written));
    }

    /// Excuses what names this manifest: it is reported already.
    pub(super) fn add_broken(&mut self, key: &str) {
        self.broken.insert(key.into());
    }
}

impl Verifier<'_> {
    /// Reports links that are missing, changed or forked.
    pub(super) fn check_chains(&mut self) -> Result<(), StoreError> {
        for ((feed, spool), mut links) in std::mem::take(&mut self.chains.links) {
            links.sort_by(|one, other| (one.number, &one.key).cmp(&(other.number, &other.key)));
            for pair in links.windows(2).filter(|pair| pair[0].number == pair[1].number) {
                let expected = format!("one manifest with number {:08}", pair[0].number);
                self.report.problem(Problem::new(
                    ProblemKind::Chain,
                    &pair[1].key,
                    expected,
                    format!("{}, too", pair[0].key),
                ));
            }
            let known: HashMap<&str, &str> =
                links.iter().map(|link| (link.key.as_str(), link.sha256.as_str())).collect();
            for (place, Link { key, number, previous, .. }) in links.iter().enumerate() {
                let Some(previous) = previous.as_ref().filter(|previous| !self.chains.broken.contains(&previous.key))
                else {
                    continue;
                };
                let found = match known.get(previous.key.as_str()) {
                    Some(sha256) => Some((*sha256).to_owned()),
                    None => self.sha256_of(&previous.key)?,
                };
                match found {
                    Some(found) if found == previous.sha256 => {}
                    Some(found) => {
                        let expected = format!("SHA-256 {} as {key} states", previous.sha256);
                        self.report.problem(Problem::new(ProblemKind::Chain, &previous.key, expected, found));
                    }
                    None if place == 0 => {
                        let subject = format!("{feed}, spool {spool}");
                        let text = format!(
                            "the manifests of {subject} begin with number {number}: earlier ones were removed"
                        );
                        self.report.notice(Notice { kind: NoticeKind::LaterStart, subject, text });
                    }
                    None => {
                        let expected = format!("the manifest before {key}");
                        self.report.problem(Problem::new(
                            ProblemKind::Chain,
                            &previous.key,
                            expected,
                            "no such manifest",
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// The checksum of a manifest of another hour. `None` if the store does not list it.
    fn sha256_of(&self, key: &str) -> Result<Option<String>, StoreError> {
        let Some(parsed) = ManifestKey::parse(key) else { return Ok(None) };
        let folder = join(MANIFESTS, &parsed.hour.partition());
        if !self.store.list(&folder)?.files.iter().any(|(name, _)| join(&folder, name) == key) {
            return Ok(None);
        }
        Ok(Some(self.read_manifest(key)?.map_or_else(|found| found, |read| read.sha256)))
    }

    /// Reports edges of one name that delivered at the same time.
    pub(super) fn report_spools(&mut self) {
        for ((feed, pop), spools) in std::mem::take(&mut self.chains.lives) {
            let mut lives: Vec<_> = spools.into_iter().map(|(spool, life)| (life, spool)).collect();
            lives.sort();
            for (at, ((_, end), one)) in lives.iter().enumerate() {
                for ((start, _), other) in &lives[at + 1..] {
                    if start.saturating_add(HANDOVER_MICROS) < *end {
                        let subject = format!("{feed}-{pop}");
                        let text = format!(
                            "two spools delivered {subject} at the same time, {one} and {other}: no event is lost, and \
                             each edge should have a name of its own"
                        );
                        self.report.notice(Notice { kind: NoticeKind::TwoSpools, subject, text });
                    }
                }
            }
        }
    }
}
