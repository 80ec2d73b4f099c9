//! The state of the spool: how far the journal is packed into objects for each feed, and the objects of the last round.
//!
//! `{dir}/state` is replaced as a whole by a rename. That rename commits a round of packing: all of its objects exist
//! from then on, and the journal up to their ends is packed. A crash before it leaves only files in `build/` that no
//! state names. After a crash behind it, the next start moves the objects that are still in `build/` into the outbox.
//! ```json
//! {"crc":"9ae0daaf","state":{"round":12,"feeds":{"brand":{"packed":[3,81920],"seq":17}},"objects":[]}}
//! ```
//! `packed` is the number of a segment and an offset in it: all events of the feed before it are in objects. `seq` is
//! the number of the feed's next object; `manifest` is the feed's last manifest, with its checksum. `crc` is the CRC32C
//! of the text of `state`, in hex.
//!
//! **Generations.** A commit first renames the previous state to `{dir}/state.previous`. At every moment one of the two
//! files is whole and names the last round that was committed: between the two renames that is `state.previous`. A
//! start takes the newest that is whole, and brings it up to date ([`rebuild`]).

pub mod rebuild;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use super::record::Position;
use super::{
    disk::Disk,
    feed::{FeedSpec, Recipe},
    record::Record,
};
use crate::object::manifest::Previous;

const CURRENT: &str = "state";
const PREVIOUS: &str = "state.previous";

/// See the module.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct State {
    /// Number of committed rounds.
    pub round: u64,
    pub feeds: BTreeMap<String, FeedState>,
    /// The objects of the last round.
    pub objects: Vec<Record>,
}

/// The state of a feed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FeedState {
    pub packed: Position,
    pub seq: u64,
    /// What the feed asks for, if the configuration has had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Recipe>,
    /// The last manifest, which the next one continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Previous>,
}

impl Default for FeedState {
    fn default() -> Self {
        Self { packed: (0, 0), seq: 1, recipe: None, manifest: None }
    }
}

impl FeedState {
    /// Continues the chain of manifests after this one, if no later one of this spool is known.
    pub fn continue_chain(&mut self, last: &Previous, spool: &str) {
        let is_ours = |known: &&Previous| known.spool() == Some(spool);
        let known = self.manifest.as_ref().filter(is_ours).and_then(Previous::number);
        if last.number() > known {
            self.manifest = Some(last.clone());
        }
    }
}

#[derive(Deserialize, Serialize)]
struct Sealed<'a> {
    crc: String,
    #[serde(borrow)]
    state: &'a RawValue,
}

/// What is left of a spool's state on the disk.
#[derive(Debug, Default)]
pub struct Generations {
    /// The newest that is whole.
    pub newest: Option<State>,
    /// Whether that is `state`, as it is unless a process died during a commit.
    pub is_current: bool,
    /// Files that cannot be used, each with the reason.
    pub damaged: Vec<(PathBuf, String)>,
}

impl Generations {
    /// Reads both generations. A file that cannot be read counts as damaged.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Self {
        let mut found = Self::default();
        for name in [CURRENT, PREVIOUS] {
            let path = dir.join(name);
            match disk.read(&path).map(|bytes| parse(&bytes)) {
                Ok(Some(state)) if found.newest.as_ref().is_some_and(|newest| newest.round >= state.round) => {}
                Ok(Some(state)) => (found.newest, found.is_current) = (Some(state), name == CURRENT),
                Ok(None) => found.damaged.push((path, "its checksum is wrong".into())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => found.damaged.push((path, error.to_string())),
            }
        }
        found
    }
}

impl State {
    /// Notes what configured feeds ask for, before events of theirs are in the journal. Returns whether that is new.
    pub(super) fn note_recipes<'a>(&mut self, feeds: impl IntoIterator<Item = &'a FeedSpec>) -> bool {
        let mut changed = false;
        for spec in feeds.into_iter().filter(|spec| spec.configured) {
            let feed = self.feeds.entry(spec.name.clone()).or_default();
            if feed.recipe.as_ref() != Some(&spec.recipe) {
                feed.recipe = Some(spec.recipe.clone());
                changed = true;
            }
        }
        changed
    }

    /// Replaces the state, and keeps the one before. When it returns, the new state survives a loss of power. When it
    /// fails, either state may, and it must be called again.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn commit(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        let state = RawValue::from_string(serde_json::to_string(self)?)?;
        let crc = format!("{:08x}", crc_fast::crc32_iscsi(state.get().as_bytes()));
        let (temporary, current) = (dir.join("state.tmp"), dir.join(CURRENT));
        let mut file = disk.create(&temporary)?;
        file.write_all(&serde_json::to_vec(&Sealed { crc, state: &state })?)?;
        file.sync()?;
        match disk.rename(&current, &dir.join(PREVIOUS)) {
            // The first commit of a spool, or one that failed between the two renames.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        disk.rename(&temporary, &current)?;
        disk.sync_dir(dir)
    }
}

fn parse(bytes: &[u8]) -> Option<State> {
    let sealed: Sealed<'_> = serde_json::from_slice(bytes).ok()?;
    let crc = format!("{:08x}", crc_fast::crc32_iscsi(sealed.state.get().as_bytes()));
    if crc != sealed.crc {
        return None;
    }
    serde_json::from_str(sealed.state.get()).ok()
}
