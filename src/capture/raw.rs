//! The raw click: what the redirect captured, as one run of bytes.
//!
//! ```text
//! offset  size  field (little endian)
//!      0    16  event id
//!     16     8  time of the answer, microseconds since the Unix epoch
//!     24    16  client address
//!     40     2  status of the answer
//!     42     1  flags: 1 HEAD, 2 prefetch, 4 preview, 8 opted out
//!     43     1  reserved, 0
//!     44  4*15  lengths of the texts below
//!               the texts, in the order of `Facts::texts`
//! ```
//! It lives in memory only, between two threads of one process: its layout may change with any release. Texts that a
//! visitor sends are cut ([`MAX_HEADER`], [`MAX_QUERY`]), so that a click has a bounded size.

use super::{ClientAddr, EventId};

/// Bytes kept of each request header.
pub const MAX_HEADER: usize = 2_048;

/// Bytes kept of the short link's query.
pub const MAX_QUERY: usize = 8_192;

const TEXTS: usize = 15;
const LENGTHS_AT: usize = 44;
const HEAD: usize = LENGTHS_AT + 4 * TEXTS;

/// What a click is made of. Texts that visitors send may hold any bytes.
pub struct Facts<'a> {
    pub id: EventId,
    /// When the redirect was answered, microseconds since the Unix epoch.
    pub micros: u64,
    pub client: ClientAddr,
    /// HTTP status of the answer.
    pub status: u16,
    /// The request was a `HEAD`.
    pub head: bool,
    /// The browser said that it fetches ahead of a click.
    pub prefetch: bool,
    /// The client said that it draws a preview.
    pub preview: bool,
    /// The visitor sent `Sec-GPC: 1` or `DNT: 1`.
    pub opted_out: bool,
    pub texts: Texts<'a>,
}

/// The texts of a click.
#[derive(Clone, Copy, Default)]
pub struct Texts<'a> {
    pub user_agent: &'a [u8],
    pub referer: &'a [u8],
    pub accept_language: &'a [u8],
    /// Raw query of the short link, without `?`.
    pub query: &'a [u8],
    /// Raw path of the short link.
    pub path: &'a [u8],
    /// Where the visitor was sent.
    pub destination: &'a [u8],
    pub link_id: &'a [u8],
    pub slashtag: &'a [u8],
    pub created_at: &'a [u8],
    pub workspace: &'a [u8],
    /// The branded host.
    pub host: &'a [u8],
    /// The event's `route.creator`, `route.domain`, `route.tags`, `route.scripts`, rendered; empty for none.
    pub creator_json: &'a [u8],
    pub domain_json: &'a [u8],
    pub tags_json: &'a [u8],
    pub scripts_json: &'a [u8],
}

impl<'a> Texts<'a> {
    fn bounded(&self) -> [&'a [u8]; TEXTS] {
        let header = |text: &'a [u8]| &text[..text.len().min(MAX_HEADER)];
        [
            header(self.user_agent),
            header(self.referer),
            header(self.accept_language),
            &self.query[..self.query.len().min(MAX_QUERY)],
            header(self.path),
            self.destination,
            self.link_id,
            self.slashtag,
            self.created_at,
            self.workspace,
            self.host,
            self.creator_json,
            self.domain_json,
            self.tags_json,
            self.scripts_json,
        ]
    }
}

/// A captured click, in one allocation. It holds a client address: it cannot be printed, and is wiped when dropped.
pub struct RawClick(Box<[u8]>);

impl RawClick {
    /// Copies the facts. One allocation, of the exact size.
    pub fn encode(facts: &Facts<'_>) -> Self {
        let texts = facts.texts.bounded();
        let mut bytes = Vec::with_capacity(HEAD + texts.iter().map(|text| text.len()).sum::<usize>());
        bytes.extend_from_slice(facts.id.as_bytes());
        bytes.extend_from_slice(&facts.micros.to_le_bytes());
        bytes.extend_from_slice(facts.client.octets());
        bytes.extend_from_slice(&facts.status.to_le_bytes());
        let flags = u8::from(facts.head)
            | u8::from(facts.prefetch) << 1
            | u8::from(facts.preview) << 2
            | u8::from(facts.opted_out) << 3;
        bytes.extend_from_slice(&[flags, 0]);
        for text in texts {
            bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        }
        for text in texts {
            bytes.extend_from_slice(text);
        }
        Self(bytes.into_boxed_slice())
    }

    /// Reads the facts back.
    pub fn facts(&self) -> Facts<'_> {
        let bytes = &*self.0;
        let mut rest = &bytes[HEAD..];
        let mut lengths = bytes[LENGTHS_AT..HEAD].chunks_exact(4);
        let mut text = || {
            let length = lengths.next().map_or(0, |length| u32::from_le_bytes(array(length)));
            let (text, tail) = rest.split_at(length as usize);
            rest = tail;
            text
        };
        let texts = Texts {
            user_agent: text(),
            referer: text(),
            accept_language: text(),
            query: text(),
            path: text(),
            destination: text(),
            link_id: text(),
            slashtag: text(),
            created_at: text(),
            workspace: text(),
            host: text(),
            creator_json: text(),
            domain_json: text(),
            tags_json: text(),
            scripts_json: text(),
        };
        let flag = |bit: u8| bytes[42] & (1 << bit) != 0;
        Facts {
            id: EventId::from_bytes(array(&bytes[..16])),
            micros: u64::from_le_bytes(array(&bytes[16..24])),
            client: ClientAddr::from_octets(array(&bytes[24..40])),
            status: u16::from_le_bytes(array(&bytes[40..42])),
            head: flag(0),
            prefetch: flag(1),
            preview: flag(2),
            opted_out: flag(3),
            texts,
        }
    }
}

impl Drop for RawClick {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0[24..40]);
    }
}

/// The first `N` bytes; zeros where there are fewer.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_captured_is_what_is_read(
            texts in proptest::array::uniform15(proptest::collection::vec(any::<u8>(), 0..200)),
            address in any::<[u8; 16]>(),
            micros in 0_u64..(1 << 47),
            status in any::<u16>(),
            flags in any::<[bool; 4]>(),
        ) {
            let [ua, re, al, qu, pa, de, li, sl, cr, wo, ho, cj, dj, tj, sj] = &texts;
            let id = EventId::at(micros);
            let facts = Facts {
                id,
                micros,
                client: ClientAddr::from_octets(address),
                status,
                head: flags[0],
                prefetch: flags[1],
                preview: flags[2],
                opted_out: flags[3],
                texts: Texts {
                    user_agent: ua, referer: re, accept_language: al, query: qu, path: pa, destination: de,
                    link_id: li, slashtag: sl, created_at: cr, workspace: wo, host: ho, creator_json: cj,
                    domain_json: dj, tags_json: tj, scripts_json: sj,
                },
            };
            let click = RawClick::encode(&facts);
            let view = click.facts();
            prop_assert_eq!(view.id, id);
            prop_assert_eq!(view.micros, micros);
            prop_assert_eq!(view.client.octets(), &address);
            prop_assert_eq!(view.status, status);
            prop_assert_eq!([view.head, view.prefetch, view.preview, view.opted_out], flags);
            prop_assert_eq!(view.texts.bounded(), facts.texts.bounded());
        }
    }

    #[test]
    fn endless_headers_are_cut() {
        let long = vec![b'x'; 100_000];
        let facts = Facts {
            id: EventId::at(0),
            micros: 0,
            client: ClientAddr::from_octets([0; 16]),
            status: 302,
            head: false,
            prefetch: false,
            preview: false,
            opted_out: false,
            texts: Texts { user_agent: &long, referer: &long, query: &long, ..Texts::default() },
        };
        let click = RawClick::encode(&facts);
        let texts = click.facts().texts;
        assert_eq!((texts.user_agent.len(), texts.query.len()), (MAX_HEADER, MAX_QUERY));
        assert_eq!(texts.accept_language.len(), 0);
    }
}
