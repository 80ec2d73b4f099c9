//! Verification of one hour of all feeds: its manifests, then its objects, listed or not.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::Read,
};

use sha2::{Digest, Sha256};

use super::{
    Series, StoreReader, Verifier, join,
    object::{Ids, ListedObject, Reading},
    report::{Problem, ProblemKind, ReportRow},
    store::StoreError,
};
use crate::{
    object::{
        ManifestKey, ObjectKey,
        digest::hex,
        key::MANIFESTS,
        manifest::{Entry, Manifest},
    },
    runtime::Hour,
};

/// Largest manifest. One of this size lists 200 000 objects.
const MAX_MANIFEST: u64 = 64 << 20;

/// The content of an hour's manifests about one series.
#[derive(Default)]
struct Account {
    listed: BTreeMap<String, Entry>,
    /// What they listed before the hour was forgotten, and another list began.
    before: BTreeMap<String, Entry>,
    /// Largest number that they list. Objects with larger ones wait for the next version.
    last_seq: u64,
    version: u32,
    /// Whether the last version is closed.
    closed: bool,
}

/// A manifest of the store.
pub(super) struct ReadManifest {
    pub manifest: Manifest,
    /// Of its bytes.
    pub sha256: String,
}

impl Verifier<'_> {
    pub(super) fn check_hour(&mut self, hour: Hour) -> Result<(), StoreError> {
        let folder = hour.partition();
        // In this order: what is written meanwhile is then an object without a manifest, not the opposite.
        let manifests = self.files(&join(MANIFESTS, &folder))?;
        let mut objects = self.files(&folder)?;

        let mut accounts = self.read_manifests(&manifests)?;
        objects.extend(self.sequence_objects(hour, &accounts)?);
        let mut listed = Vec::new();
        for (key, bytes) in &objects {
            match ObjectKey::parse(key) {
                Some(parts) => {
                    let series = parts.maker();
                    if self.is_requested(&series) {
                        listed.push(ListedObject { key, parts, bytes: *bytes, hour, series });
                    }
                }
                None => self.report.foreign(key.clone()),
            }
        }
        listed.sort_by(|one, other| (&one.series, one.parts.seq).cmp(&(&other.series, other.parts.seq)));

        let mut ids = HashMap::new();
        for number in 0..listed.len() {
            self.check_object(&listed, number, &mut accounts, &mut ids)?;
        }
        let mut seen: Vec<_> = listed.iter().map(|object| object.series.clone()).collect();
        for (name, account) in accounts {
            let series = self.series.entry(name.clone()).or_default();
            series.row.open_hours += u64::from(!account.closed);
            seen.push(name);
            // Objects that exist were removed from the account.
            for (key, entry) in account.listed {
                series.known.insert(entry.seq);
                let expected = format!("{} events in {} bytes", entry.events, entry.bytes);
                self.report.problem(Problem::new(ProblemKind::Missing, &key, expected, "no such object"));
            }
        }
        seen.sort_unstable();
        seen.dedup();
        for name in seen {
            self.series.entry(name).or_default().row.hours += 1;
        }
        Ok(())
    }

    /// Keys and sizes of an hour's objects in the layout `sequence`. What manifests list, and what was not there when
    /// the folders were listed, is looked for again.
    fn sequence_objects(
        &mut self,
        hour: Hour,
        accounts: &BTreeMap<String, Account>,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let mut objects = self.sequences.of_hour(hour);
        let known: HashSet<String> = objects.iter().map(|(key, _)| key.clone()).collect();
        for key in accounts.values().flat_map(|account| account.listed.keys()).filter(|key| !known.contains(*key)) {
            let found = self.sequences.look_again(self.store, key)?;
            objects.extend(found.map(|bytes| (key.clone(), bytes)));
        }
        Ok(objects)
    }

    /// Keys and sizes of the files in a folder.
    pub(super) fn files(&mut self, folder: &str) -> Result<Vec<(String, u64)>, StoreError> {
        let listing = self.store.list(folder)?;
        for name in &listing.folders {
            self.report.foreign(join(folder, name) + "/");
        }
        Ok(listing.files.into_iter().map(|(name, size)| (join(folder, &name), size)).collect())
    }

    /// Whether a series belongs to the requested feed. Until a manifest shows where the name of its feed ends, its
    /// beginning decides.
    fn is_requested(&self, series: &str) -> bool {
        let Some(wanted) = &self.options.feed else {
            return true;
        };
        match self.series.get(series) {
            Some(Series { row, .. }) if row.feed.is_some() => self.options.is_for(row),
            _ => series.strip_prefix(wanted.as_str()).is_some_and(|pop| pop.starts_with('-')),
        }
    }

    fn read_manifests(&mut self, files: &[(String, u64)]) -> Result<BTreeMap<String, Account>, StoreError> {
        let mut manifests = Vec::new();
        for (key, _) in files {
            match ManifestKey::parse(key) {
                Some(parsed) => manifests.push((parsed, key)),
                None => self.report.foreign(key.clone()),
            }
        }
        manifests.sort_by_key(|(parsed, _)| (parsed.series, parsed.spool, parsed.number));
        let mut accounts: BTreeMap<String, Account> = BTreeMap::new();
        for (parsed, key) in manifests {
            let name = format!("{}-{}", parsed.series, parsed.spool);
            if !self.is_requested(&name) {
                continue;
            }
            let read = self.read_manifest(key)?;
            if let Ok(ReadManifest { manifest, .. }) = &read
                && self.options.feed.as_ref().is_some_and(|wanted| *wanted != manifest.feed)
            {
                // The manifest shows that the name only begins like the requested one.
                let row = ReportRow { feed: Some(manifest.feed.clone()), ..ReportRow::default() };
                self.series.insert(name, Series { row, ..Series::default() });
                continue;
            }
            let series = self.series.entry(name.clone()).or_default();
            let account = accounts.entry(name).or_default();
            series.row.manifests += 1;
            match read.and_then(|read| name_series(series, &read.manifest).map(|()| read)) {
                Ok(read) => {
                    self.chains.add(key, &read);
                    account.last_seq = parsed.seq;
                    for problem in account.take(key, read.manifest) {
                        self.report.problem(problem);
                    }
                }
                Err(found) => {
                    self.chains.add_broken(key);
                    let expected = "a manifest that agrees with itself and its key";
                    self.report.problem(Problem::new(ProblemKind::Manifest, key, expected, found));
                }
            }
        }
        for Account { listed, before, .. } in accounts.values_mut() {
            listed.append(before);
        }
        Ok(accounts)
    }

    /// Reads a manifest. The inner error describes what is wrong with it.
    pub(super) fn read_manifest(&self, key: &str) -> Result<Result<ReadManifest, String>, StoreError> {
        let mut reader = StoreReader::new(self.store.open(key)?);
        let mut text = Vec::new();
        let read = (&mut reader).take(MAX_MANIFEST + 1).read_to_end(&mut text);
        reader.check(key)?;
        if read.is_err() || text.len() as u64 > MAX_MANIFEST {
            return Ok(Err(format!("a file of more than {MAX_MANIFEST} bytes")));
        }
        Ok(match Manifest::parse(&text) {
            Ok(manifest) if manifest.key() == key => {
                Ok(ReadManifest { manifest, sha256: hex(&Sha256::digest(&text)) })
            }
            Ok(manifest) => Err(format!("the manifest of {}", manifest.key())),
            Err(error) => Err(error.to_string()),
        })
    }

    fn check_object(
        &mut self,
        objects: &[ListedObject<'_>],
        number: usize,
        accounts: &mut BTreeMap<String, Account>,
        ids: &mut HashMap<String, Ids>,
    ) -> Result<(), StoreError> {
        let object = &objects[number];
        let (key, size, seq) = (object.key, object.bytes, object.parts.seq);
        let series = self.series.entry(object.series.clone()).or_default();
        series.row.objects += 1;
        series.row.bytes += size;
        if !series.stored.insert(seq) {
            let expected = format!("one object with number {seq:08}");
            self.report.problem(Problem::new(ProblemKind::RepeatedSeq, key, expected, "another one"));
        }
        series.known.insert(seq);

        let account = accounts.get_mut(&object.series);
        let entry = account.and_then(|account| {
            let entry = account.listed.remove(key);
            if entry.is_none() && seq <= account.last_seq && account.version > 0 {
                let expected = format!("it in the hour's manifest, which lists up to number {:08}", account.last_seq);
                self.report.problem(Problem::new(ProblemKind::Unlisted, key, expected, "it is not listed"));
            } else if entry.is_none() {
                series.row.open_objects += 1;
            }
            entry
        });
        if !accounts.contains_key(&object.series) {
            series.row.open_objects += 1;
        }
        if let Some(entry) = &entry
            && entry.bytes != size
        {
            let (expected, found) = (format!("{} bytes", entry.bytes), format!("{size} bytes"));
            self.report.problem(Problem::new(ProblemKind::Size, key, expected, found));
        }
        if self.options.quick {
            series.row.events += entry.map_or(0, |entry| entry.events);
            return Ok(());
        }
        let mut reader = StoreReader::new(self.store.open(key)?);
        let reading = Reading::new(object, number as u32, &mut series.row, ids);
        let (events, found) = reading.read(&mut reader, entry.as_ref(), |number| objects[number as usize].key);
        reader.check(key)?;
        series.row.events += events;
        for problem in found {
            self.report.problem(problem);
        }
        Ok(())
    }
}

/// Takes the names of feed and edge from a manifest, which the name of the series does not separate. All manifests
/// must agree on them.
fn name_series(series: &mut Series, manifest: &Manifest) -> Result<(), String> {
    let row = &mut series.row;
    if let (Some(feed), Some(pop)) = (&row.feed, &row.pop)
        && (feed, pop) != (&manifest.feed, &manifest.pop)
    {
        return Err(format!("feed `{}` at `{}` under the keys of `{feed}` at `{pop}`", manifest.feed, manifest.pop));
    }
    row.feed = Some(manifest.feed.clone());
    row.pop = Some(manifest.pop.clone());
    row.spool = Some(manifest.spool.clone());
    Ok(())
}

impl Account {
    /// Adds a later version. Returns what it lacks of the earlier ones. An edge that has forgotten a closed hour lists
    /// what comes even later by itself, from version 1 on: the hour's objects are those of all lists.
    fn take(&mut self, key: &str, manifest: Manifest) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.closed && manifest.version == 1 {
            self.before.append(&mut self.listed);
            self.version = 0;
        }
        if manifest.version <= self.version {
            let (expected, found) =
                (format!("a version after {}", self.version), format!("version {}", manifest.version));
            problems.push(Problem::new(ProblemKind::Forgotten, key, expected, found));
        }
        self.version = manifest.version.max(self.version);
        self.closed = manifest.closed;
        let later: HashMap<_, _> = manifest.objects.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        for (earlier, entry) in &self.listed {
            let found = match later.get(earlier) {
                Some(same) if same == entry => continue,
                Some(_) => "it is listed with other facts",
                None => "it is not listed",
            };
            let expected = format!("{earlier} as an earlier version lists it");
            problems.push(Problem::new(ProblemKind::Forgotten, key, expected, found));
        }
        // A later version replaces entries of earlier ones, and removes none.
        self.listed.extend(later);
        problems
    }
}
