//! The spool's state: how far each feed's part of the journal has been packed into objects, and the objects of the
//! last round.
//!
//! `{dir}/state` is replaced as a whole by a rename, and that rename commits a round of packing: all of its objects
//! come to be with it, and the journal up to their ends is packed. A crash before it leaves nothing but files in
//! `build/` that nobody knows; after it, the next start moves the objects into the outbox that are not there yet.
//! ```json
//! {"crc":"9ae0daaf","state":{"round":12,"feeds":{"brand":{"packed":[3,81920],"seq":17}},"objects":[]}}
//! ```
//! `packed` is a segment's number and an offset in it: everything of the feed before it is in objects. `seq` is the
//! number of the feed's next object.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{disk::Disk, record::Record};

/// A place in the journal: a segment's number, and an offset in it.
pub type Position = (u64, u64);

/// See the module.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct State {
    /// Rounds that were committed.
    pub round: u64,
    pub feeds: BTreeMap<String, FeedState>,
    /// The objects of the last round.
    pub objects: Vec<Record>,
}

/// What the state knows of a feed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FeedState {
    pub packed: Position,
    pub seq: u64,
}

impl Default for FeedState {
    fn default() -> Self {
        Self { packed: (0, 0), seq: 1 }
    }
}

#[derive(Deserialize, Serialize)]
struct Sealed<'a> {
    crc: String,
    #[serde(borrow)]
    state: &'a RawValue,
}

impl State {
    /// Reads the state of a spool; a new one where there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged: then nobody knows what was delivered, and somebody must decide.
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

    /// Replaces the state. When it returns, the new one survives a loss of power; when it fails, nobody knows which
    /// one does, and it must be called again.
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
    fn what_is_committed_is_loaded_and_damage_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path()).unwrap();
        assert_eq!(State::load(&disk, dir.path()).unwrap(), State::default());
        let mut state = State { round: 7, ..State::default() };
        state.feeds.insert("brand".into(), FeedState { packed: (3, 81_920), seq: 17 });
        state.commit(&disk, dir.path()).unwrap();
        assert_eq!(State::load(&disk, dir.path()).unwrap(), state);

        let path = dir.path().join("state");
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            match State::load(&disk, dir.path()) {
                Ok(loaded) => assert_eq!(loaded, state, "byte {at} matters not"),
                Err(error) => assert!(error.to_string().contains("damaged"), "{error}"),
            }
        }
    }
}
