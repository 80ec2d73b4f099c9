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

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{disk::Disk, record::Record};
use crate::object::manifest::Previous;

/// A position in the journal: the number of a segment, and an offset in it.
pub type Position = (u64, u64);

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
    /// The last manifest, which the next one continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Previous>,
}

impl Default for FeedState {
    fn default() -> Self {
        Self { packed: (0, 0), seq: 1, manifest: None }
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

impl State {
    /// Reads the state of a spool. A spool without one gets the default.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged: then it is unknown what was delivered, and the operator must decide.
    pub fn load(disk: &dyn Disk, dir: &Path) -> io::Result<Self> {
        let bytes = match disk.read(&dir.join("state")) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        parse(&bytes).ok_or_else(|| {
            let message = "the file `state` is damaged; move it away to start without it: what the journal still holds \
                           is then packed and delivered again, under new keys";
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    }

    /// Replaces the state. When it returns, the new state survives a loss of power. When it fails, either state may,
    /// and it must be called again.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn commit(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        let state = RawValue::from_string(serde_json::to_string(self)?)?;
        let crc = format!("{:08x}", crc32c::crc32c(state.get().as_bytes()));
        let temporary = dir.join("state.tmp");
        let mut file = disk.create(&temporary)?;
        file.write_all(&serde_json::to_vec(&Sealed { crc, state: &state })?)?;
        file.sync()?;
        disk.rename(&temporary, &dir.join("state"))?;
        disk.sync_dir(dir)
    }
}

fn parse(bytes: &[u8]) -> Option<State> {
    let sealed: Sealed<'_> = serde_json::from_slice(bytes).ok()?;
    let crc = format!("{:08x}", crc32c::crc32c(sealed.state.get().as_bytes()));
    if crc != sealed.crc {
        return None;
    }
    serde_json::from_str(sealed.state.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::disk::RealDisk;

    #[test]
    fn a_committed_state_is_loaded_and_a_damaged_one_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path()).unwrap();
        assert_eq!(State::load(&disk, dir.path()).unwrap(), State::default());
        let mut state = State { round: 7, ..State::default() };
        state.feeds.insert("brand".into(), FeedState { packed: (3, 81_920), seq: 17, manifest: None });
        state.commit(&disk, dir.path()).unwrap();
        assert_eq!(State::load(&disk, dir.path()).unwrap(), state);

        let path = dir.path().join("state");
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            match State::load(&disk, dir.path()) {
                Ok(loaded) => assert_eq!(loaded, state, "byte {at} does not matter"),
                Err(error) => assert!(error.to_string().contains("damaged"), "{error}"),
            }
        }
    }
}
