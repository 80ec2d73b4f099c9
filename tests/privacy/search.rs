//! The search: all forms of all canaries, in one pass over whatever was collected.

use std::{collections::HashSet, fmt, fs, io::Read, path::Path};

use super::{
    canary::Canary,
    forms::{self, Form, Within},
    index::Index,
};

/// What something holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Medium {
    Plain,
    /// Compressed or encrypted: it looks like noise.
    Noise,
}

/// Everything that a test has collected, by where it was.
#[derive(Default)]
pub struct Evidence {
    pieces: Vec<(String, Medium, Vec<u8>)>,
    /// What is there already: a file that has not changed is searched once.
    known: HashSet<blake3::Hash>,
}

impl Evidence {
    /// Compressed data is taken as it is and decompressed, as far as it is whole.
    pub fn add(&mut self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        let (place, bytes) = (place.into(), bytes.into());
        let mut text = Vec::new();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let _ = flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text);
        } else if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let _ = zstd::Decoder::new(&bytes[..]).and_then(|mut decoder| decoder.read_to_end(&mut text));
        } else {
            return self.keep(place, Medium::Plain, bytes);
        }
        self.keep(format!("{place}, decompressed"), Medium::Plain, text);
        self.keep(place, Medium::Noise, bytes);
    }

    pub fn add_noise(&mut self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.keep(place.into(), Medium::Noise, bytes.into());
    }

    fn keep(&mut self, place: String, medium: Medium, bytes: Vec<u8>) {
        let hash = blake3::keyed_hash(&[medium as u8; 32], &bytes);
        if self.known.insert(hash) {
            self.pieces.push((place, medium, bytes));
        }
    }

    /// Every file below a folder, and their names. `what` says which folder, and when.
    pub fn add_folder(&mut self, what: &str, dir: &Path) {
        for path in files_below(dir) {
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            self.add(format!("a file's name, {what}"), &*name);
            // A file that is gone meanwhile was delivered, and is searched where it went.
            if let Ok(bytes) = fs::read(&path) {
                self.add(format!("{what}/{name}"), bytes);
            }
        }
    }

    pub fn bytes(&self) -> usize {
        self.pieces.iter().map(|(_, _, bytes)| bytes.len()).sum()
    }
}

/// All files below a folder.
pub fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// A canary that was found.
pub struct Find {
    pub canary: Canary,
    pub form: String,
    pub within: Within,
    pub place: String,
    around: String,
}

impl fmt::Display for Find {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { canary: Canary { used_for, address }, form, place, around, .. } = self;
        write!(f, "{address} ({used_for}), {form}, in {place}: ...{around}...")
    }
}

/// Fails when anything was found, with the first of it.
#[track_caller]
pub fn assert_none(finds: &[Find]) {
    let listed: Vec<_> = finds.iter().take(8).map(ToString::to_string).collect();
    assert!(finds.is_empty(), "{} times an address, such as\n{}", finds.len(), listed.join("\n"));
}

/// Looks for all forms of all canaries in one pass.
pub struct Search {
    needles: Vec<(Canary, Form)>,
    index: Index,
}

impl Search {
    pub fn new(canaries: &[Canary]) -> Self {
        let forms = |canary: &Canary| {
            let canary = canary.clone();
            forms::of(canary.address).into_iter().map(move |form| (canary.clone(), form))
        };
        let needles: Vec<_> = canaries.iter().flat_map(forms).collect();
        let index = Index::new(needles.iter().map(|(_, form)| &*form.bytes));
        Self { needles, index }
    }

    pub fn forms(&self) -> usize {
        self.needles.len()
    }

    pub fn run(&self, evidence: &Evidence) -> Vec<Find> {
        let found = evidence.pieces.iter().flat_map(|(place, medium, bytes)| self.find(place, *medium, bytes));
        found.collect()
    }

    /// What of which canary stands in `bytes`.
    pub fn find(&self, place: &str, medium: Medium, bytes: &[u8]) -> Vec<Find> {
        let mut finds = Vec::new();
        self.index.scan(bytes, |start, number| {
            let (canary, form) = &self.needles[number as usize];
            if !bytes[start..].starts_with(&form.bytes) {
                return;
            }
            let end = start + form.bytes.len();
            let before = start.checked_sub(1).map(|at| &bytes[at]);
            let mut neighbours = before.into_iter().chain(bytes.get(end));
            let counts = match form.within {
                Within::Anything => true,
                Within::Plain => medium == Medium::Plain,
                Within::NoDigits => !neighbours.any(u8::is_ascii_digit),
                Within::NoHexDigits => !neighbours.any(u8::is_ascii_hexdigit),
                Within::NoLetters => !neighbours.any(u8::is_ascii_alphanumeric),
            };
            if counts {
                let around = &bytes[start.saturating_sub(80)..bytes.len().min(end + 40)];
                finds.push(Find {
                    canary: canary.clone(),
                    form: form.name.clone(),
                    within: form.within,
                    place: place.into(),
                    around: around.escape_ascii().to_string(),
                });
            }
        });
        finds
    }
}
