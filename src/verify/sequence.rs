//! Objects in the layout `sequence`: their keys do not have the hour of their events. Manifests have it; an object that
//! is too new for a manifest has it in its events.
//!
//! As for hours, manifests are read before the objects are listed: what is written meanwhile is then an object without
//! a manifest, not the opposite.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::Read,
};

use super::{
    Verifier, join,
    object::hour_of_id,
    store::{Store, StoreError},
};
use crate::{
    object::{
        ManifestKey, ObjectKey,
        key::{MANIFESTS, sequence_folder},
        reader::summarize_stream,
    },
    runtime::Hour,
};

/// See the module.
#[derive(Default)]
pub struct Sequences {
    folders: Vec<String>,
    /// Size of each object, by key.
    objects: BTreeMap<String, u64>,
    /// Keys of the objects of each hour.
    by_hour: BTreeMap<Hour, Vec<String>>,
}

impl Sequences {
    pub(super) fn add_folder(&mut self, folder: String) {
        self.folders.push(folder);
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.objects.keys().map(String::as_str)
    }

    /// All hours that have objects.
    pub(super) fn hours(&self) -> BTreeSet<Hour> {
        self.by_hour.keys().copied().collect()
    }

    /// Keys and sizes of an hour's objects.
    pub(super) fn of_hour(&self, hour: Hour) -> Vec<(String, u64)> {
        let of_hour = self.by_hour.get(&hour).into_iter().flatten();
        of_hour.filter_map(|key| Some((key.clone(), *self.objects.get(key)?))).collect()
    }

    /// Lists the folder of a key again. Returns the size of the object if it is there now.
    pub(super) fn look_again(&mut self, store: &dyn Store, key: &str) -> Result<Option<u64>, StoreError> {
        let Some((folder, name)) = key.split_once('/').filter(|(folder, _)| sequence_folder(folder).is_some()) else {
            return Ok(None);
        };
        let listing = store.list(folder)?;
        let found = listing.files.into_iter().find(|(file, _)| file == name).map(|(_, bytes)| bytes);
        if let Some(bytes) = found {
            self.objects.insert(key.to_owned(), bytes);
        }
        Ok(found)
    }
}

impl Verifier<'_> {
    /// Lists all objects in the layout `sequence`, and determines their feeds and hours.
    pub(super) fn read_sequences(&mut self, days: &[String]) -> Result<(), StoreError> {
        if self.sequences.folders.is_empty() {
            return Ok(());
        }
        let mut hours = HashMap::new();
        for day in days {
            for hour in self.hours(day, false)? {
                self.read_places(hour, &mut hours)?;
            }
        }
        for folder in self.sequences.folders.clone() {
            for (key, bytes) in self.files(&folder)? {
                if ObjectKey::parse(&key).is_some() {
                    self.sequences.objects.insert(key, bytes);
                } else {
                    self.report.foreign(key);
                }
            }
        }
        let mut by_hour: BTreeMap<Hour, Vec<String>> = BTreeMap::new();
        // An object that is not read, or cannot be read, is reported with the hour of the object before it.
        let mut before = self.options.from.unwrap_or_default();
        for key in self.sequences.keys() {
            let hour = match hours.get(key) {
                Some(hour) => Some(*hour),
                None if self.options.quick => None,
                None => self.first_hour(key)?,
            };
            before = hour.unwrap_or(before);
            by_hour.entry(before).or_default().push(key.to_owned());
        }
        self.sequences.by_hour = by_hour;
        Ok(())
    }

    /// Notes which objects the manifests of an hour list. What is wrong with them is reported later.
    fn read_places(&mut self, hour: Hour, hours: &mut HashMap<String, Hour>) -> Result<(), StoreError> {
        let folder = join(MANIFESTS, &hour.partition());
        for (name, _) in self.store.list(&folder)?.files {
            let key = join(&folder, &name);
            if ManifestKey::parse(&key).is_none() {
                continue;
            }
            let Ok(read) = self.read_manifest(&key)? else { continue };
            for entry in read.manifest.objects {
                let folder = entry.key.split_once('/').map_or("", |(folder, _)| folder);
                if sequence_folder(folder).is_some() {
                    hours.insert(entry.key, hour);
                }
            }
        }
        Ok(())
    }

    /// The hour of the first event of an object. `None` if it cannot be read as an object.
    fn first_hour(&self, key: &str) -> Result<Option<Hour>, StoreError> {
        let mut first = None;
        let mut reader = super::StoreReader::new(self.store.open(key)?);
        let _ = summarize_stream(reader.by_ref(), key, |id, _| {
            if first.is_none() {
                first = uuid::Uuid::try_parse(id).ok().map(hour_of_id);
            }
        });
        reader.check(key)?;
        Ok(first)
    }
}
