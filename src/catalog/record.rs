//! One link as it lies in a snapshot.
//!
//! ```text
//! varint  length of the key         slashtag in normal form
//!         key
//! varint  length of all that follows
//!      4  profile, number           what many links share ([`Profile`]), little endian
//!      1  flags                     see [`Flags`]
//! varint  policy, number            if the link has one
//! varint  length of the slashtag    as written, if that is not the key
//!         slashtag
//! varint  length of the id
//!         id
//!         createdAt                 5 bytes of seconds, 6 of milliseconds, or a text with its length; see [`Created`]
//!         destination               up to the end
//! ```

use super::{
    created::Created,
    packed::{Reader, text, varint},
    state_hash::ItemHash,
};
use crate::link::Forward;

/// Whether a link is answered with its destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    Active,
    /// Switched off: answered as if it did not exist.
    Disabled,
    /// Expired: answered with 410.
    Expired,
}

/// The bits of a record.
#[derive(Clone, Copy)]
pub struct Flags(pub u8);

impl Flags {
    const STATE: u8 = 0b11;
    /// The link leads back to itself, and is switched off for that.
    pub const LOOPS: u8 = 1 << 2;
    pub const HAS_POLICY: u8 = 1 << 3;
    pub const IS_WRITTEN_OTHERWISE: u8 = 1 << 4;
    pub const CREATED_SHIFT: u8 = 5;
    /// It may have only so many clicks.
    pub const IS_LIMITED: u8 = 1 << 7;

    pub fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    /// As the catalog says.
    pub fn state(self) -> State {
        match self.0 & Self::STATE {
            0 => State::Active,
            1 => State::Disabled,
            _ => State::Expired,
        }
    }
}

/// What many links share: numbers of texts of the same snapshot, 0 for none.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Profile {
    pub domain: u32,
    /// The event's `route.creator`.
    pub creator: u32,
    /// The event's `route.tags`.
    pub tags: u32,
    /// The event's `route.scripts`.
    pub scripts: u32,
    pub workspace: u32,
    /// Status of the answer; 0 for that of the domain.
    pub status: u16,
    /// `None` is the default of the edge.
    pub forward: Option<Forward>,
    /// Whether the workspace is the link's own, and not that of its domain.
    pub has_workspace: bool,
}

impl Profile {
    pub const SIZE: usize = 24;

    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let numbers = [self.domain, self.creator, self.tags, self.scripts, self.workspace];
        for (chunk, number) in bytes.chunks_exact_mut(4).zip(numbers) {
            chunk.copy_from_slice(&number.to_le_bytes());
        }
        bytes[20..22].copy_from_slice(&self.status.to_le_bytes());
        bytes[22] = self.forward.map_or(u8::MAX, |forward| forward as u8);
        bytes[23] = u8::from(self.has_workspace);
        bytes
    }

    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self {
            domain: number(0),
            creator: number(4),
            tags: number(8),
            scripts: number(12),
            workspace: number(16),
            status: u16::from_le_bytes([bytes[20], bytes[21]]),
            forward: match bytes[22] {
                0 => Some(Forward::Off),
                1 => Some(Forward::Incoming),
                2 => Some(Forward::Destination),
                3 => Some(Forward::Both),
                4 => Some(Forward::Utm),
                _ => None,
            },
            has_workspace: bytes[23] != 0,
        }
    }
}

/// The fields of a record that is written.
pub struct Parts<'a> {
    pub key: &'a [u8],
    pub profile: u32,
    pub state: State,
    /// Number of the policy; 0 for none.
    pub policy: u32,
    pub is_limited: bool,
    pub slashtag: &'a str,
    pub id: &'a str,
    pub created_at: &'a str,
    pub destination: &'a str,
}

impl Parts<'_> {
    /// Writes the record into `into`, which is emptied before. `rest` is room to work in.
    pub fn write(&self, into: &mut Vec<u8>, rest: &mut Vec<u8>) {
        let created = Created::of(self.created_at);
        let is_written_otherwise = self.slashtag.as_bytes() != self.key;
        let mut flags = self.state as u8 | created.kind() << Flags::CREATED_SHIFT;
        for (bit, is_set) in [
            (Flags::HAS_POLICY, self.policy > 0),
            (Flags::IS_WRITTEN_OTHERWISE, is_written_otherwise),
            (Flags::IS_LIMITED, self.is_limited),
        ] {
            flags |= if is_set { bit } else { 0 };
        }
        rest.clear();
        rest.extend_from_slice(&self.profile.to_le_bytes());
        rest.push(flags);
        if self.policy > 0 {
            varint(rest, u64::from(self.policy));
        }
        if is_written_otherwise {
            text(rest, self.slashtag.as_bytes());
        }
        text(rest, self.id.as_bytes());
        created.write(rest);
        rest.extend_from_slice(self.destination.as_bytes());
        into.clear();
        text(into, self.key);
        text(into, rest);
    }
}

/// A record that is read: where it is, and its fields.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub key: &'a [u8],
    pub profile: u32,
    pub flags: Flags,
    /// Number of the policy; 0 for none.
    pub policy: u32,
    /// As written.
    pub slashtag: &'a [u8],
    pub id: &'a [u8],
    pub created: Created<'a>,
    pub destination: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads the record at the beginning of `bytes`, if there is one.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let key = reader.text()?;
        Self::of(key, reader.text()?)
    }

    /// Of what follows the key.
    pub fn of(key: &'a [u8], rest: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(rest);
        let profile = u32::from_le_bytes(reader.array()?);
        let flags = Flags(reader.byte()?);
        let policy = if flags.has(Flags::HAS_POLICY) { reader.varint()? as u32 } else { 0 };
        let slashtag = if flags.has(Flags::IS_WRITTEN_OTHERWISE) { reader.text()? } else { key };
        let id = reader.text()?;
        let created = Created::read(flags.0 >> Flags::CREATED_SHIFT & 0b11, &mut reader)?;
        Some(Self { key, profile, flags, policy, slashtag, id, created, destination: reader.0 })
    }
}

/// Where the flags of the record at the beginning of `bytes` lie in it.
pub fn flags_at(bytes: &[u8]) -> Option<usize> {
    let mut reader = Reader(bytes);
    reader.text()?;
    reader.varint()?;
    Some(bytes.len() - reader.0.len() + 4)
}

/// The hash of a link.
pub struct Hashed<'a> {
    pub host: &'a str,
    pub record: &'a Record<'a>,
    pub profile: Profile,
    pub creator: &'a str,
    pub tags: &'a str,
    pub scripts: &'a str,
    pub workspace: &'a str,
    pub policy: &'a str,
}

impl Hashed<'_> {
    pub fn hash(&self) -> ItemHash {
        let Self { record, profile, .. } = self;
        let created = record.created.text();
        let shared = &profile.to_bytes()[20..];
        ItemHash::of(
            b'l',
            [
                self.host.as_bytes(),
                record.slashtag,
                record.id,
                &created,
                record.destination,
                &[record.flags.state() as u8],
                shared,
                self.creator.as_bytes(),
                self.tags.as_bytes(),
                self.scripts.as_bytes(),
                self.workspace.as_bytes(),
                self.policy.as_bytes(),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(
            key in "[a-zé]{0,200}", slashtag in "[a-zA-Z]{0,9}", id in "[a-z0-9]{0,200}", destination in "[a-z:/]{0,300}",
            created in "(2026-0[1-9]-2[0-9]T1[0-9]:[0-5][0-9]:00(\\.[0-9]{3})?Z|[0-9 :-]{0,30})",
            profile: u32, policy in 0..1_000_000_u32, is_limited: bool,
        ) {
            let (mut bytes, mut room) = (Vec::new(), Vec::new());
            let parts = Parts {
                key: key.as_bytes(), profile, state: State::Expired, policy, is_limited, slashtag: &slashtag, id: &id,
                created_at: &created, destination: &destination,
            };
            parts.write(&mut bytes, &mut room);
            let record = Record::read(&bytes).unwrap();
            prop_assert_eq!(record.key, key.as_bytes());
            prop_assert_eq!(record.slashtag, slashtag.as_bytes());
            prop_assert_eq!(record.id, id.as_bytes());
            prop_assert_eq!(&*record.created.text(), created.as_bytes());
            prop_assert_eq!(record.destination, destination.as_bytes());
            prop_assert_eq!((record.profile, record.policy), (profile, policy));
            prop_assert_eq!(record.flags.has(Flags::IS_LIMITED), is_limited);
            prop_assert_eq!(record.flags.state(), State::Expired);
        }

        #[test]
        fn any_bytes_are_a_record_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Record::read(&bytes);
        }
    }

    #[test]
    fn a_profile_is_read_as_it_was_written() {
        let forwards = [Forward::Off, Forward::Incoming, Forward::Destination, Forward::Both, Forward::Utm];
        for forward in forwards.into_iter().map(Some).chain([None]) {
            let profile = Profile {
                domain: 1,
                creator: 2,
                tags: 3,
                scripts: 4,
                workspace: u32::MAX,
                status: 308,
                forward,
                has_workspace: true,
            };
            assert_eq!(Profile::from_bytes(&profile.to_bytes()), profile);
        }
    }
}
