//! A short digest of an agent string, to compare agents.

/// 128 bits of the BLAKE3 hash of `User-Agent`. No secret: the same at every edge.
///
/// The hash that recognises a visitor uses only this of the agent, so it is cached per agent string.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AgentDigest([u8; 16]);

impl AgentDigest {
    /// The digest of `User-Agent`.
    pub fn of(agent: &[u8]) -> Self {
        Self(blake3::hash(agent).as_bytes().first_chunk().copied().unwrap_or_default())
    }

    /// The bytes to hash.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}
