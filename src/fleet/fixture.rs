//! Heads and deltas for tests.

use super::{delta::Delta, head::SnapshotRef};
use crate::catalog::{
    change::{Entry, Operation, Position},
    state_hash::StateHash,
};

pub fn position(generation: u64, revision: u64) -> Position {
    let mut hash = [7; 32];
    hash[..8].copy_from_slice(&revision.to_le_bytes());
    Position { generation, revision, hash: StateHash::from_bytes(hash) }
}

pub fn snapshot(generation: u64, revision: u64) -> SnapshotRef {
    SnapshotRef {
        key: format!("snapshots/{generation}-0123456789abcdef.snapshot"),
        bytes: 1_000,
        blake3: "a1".repeat(32),
        position: position(generation, revision),
        links: 10,
        accept: false,
    }
}

/// A delta of `count` changes after a revision.
pub fn delta(generation: u64, after: u64, count: u64, previous: Option<String>) -> Delta {
    let entry = |revision| {
        let operation = match revision % 4 {
            0 => Operation::PutLink { link: format!("{{\"slashtag\":\"a\\n{revision}\"}}") },
            1 => Operation::DeleteLink { domain: "go.example.com".into(), slashtag: "ü".into() },
            2 => Operation::PutDomain { domain: "{}".into() },
            _ => Operation::DeleteDomain { domain: "go.example.com".into() },
        };
        Entry { revision, operation }
    };
    Delta {
        generation,
        from: position(generation, after).into(),
        to: position(generation, after + count).into(),
        previous,
        entries: (after + 1..=after + count).map(entry).collect(),
    }
}
