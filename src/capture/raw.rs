//! The raw click: what the redirect captured, as one run of bytes.
//!
//! ```text
//! offset  size  field (little endian)
//!      0    16  event id
//!     16     8  time of the answer, microseconds since the Unix epoch
//!     24    16  client address
//!     40     8  the visit that a worker has found for it, see `Visit`; 0 until then
//!     48     2  status of the answer
//!     50     2  flags: see `Flags`
//!     52  4*20  lengths of the texts below
//!               the texts, in the order of `Facts::texts`
//! ```
//! It lies in a ring, which outlives the process: a change of this layout is a new version of the ring
//! ([`super::folder::VERSION`]). Reading is total: any bytes are either a click or none ([`RawClick::parse`]). Texts that
//! a visitor sends are cut ([`MAX_HEADER`], [`MAX_QUERY`]), so that a click has a bounded size.

use std::ops::Range;

use super::{ClientAddr, EventId};

/// Bytes kept of each request header.
pub const MAX_HEADER: usize = 2_048;

/// Bytes kept of the short link's query.
pub const MAX_QUERY: usize = 8_192;

/// Where the time of the answer stands.
pub const MICROS: Range<usize> = 16..24;

/// Where the client address stands: what is wiped when a click is done.
pub const ADDRESS: Range<usize> = 24..40;

/// Where the visit stands. Its place in the ring is a multiple of 8, so that it is one store.
pub const VISIT: Range<usize> = 40..48;

const TEXTS: usize = 20;
const LENGTHS_AT: usize = 52;
const HEAD: usize = LENGTHS_AT + 4 * TEXTS;

/// What a click is made of. Texts that visitors send may hold any bytes.
pub struct Facts<'a> {
    pub id: EventId,
    /// When the redirect was answered, microseconds since the Unix epoch.
    pub micros: u64,
    pub client: ClientAddr,
    /// HTTP status of the answer.
    pub status: u16,
    pub flags: Flags,
    pub texts: Texts<'a>,
}

/// What a request shows of its sender, a bit a fact.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flags(u16);

impl Flags {
    /// The request was a `HEAD`.
    pub const HEAD: Self = Self(1);
    /// The browser said that it fetches ahead of a click.
    pub const PREFETCH: Self = Self(1 << 1);
    /// The client said that it draws a preview.
    pub const PREVIEW: Self = Self(1 << 2);
    /// The visitor sent `Sec-GPC: 1` or `DNT: 1`.
    pub const OPTED_OUT: Self = Self(1 << 3);
    /// There was an `Accept` header.
    pub const ACCEPT: Self = Self(1 << 4);
    /// There was an `Accept-Encoding` header.
    pub const ACCEPT_ENCODING: Self = Self(1 << 5);
    /// There was a `Sec-Fetch-Mode` header, which browsers send over TLS.
    pub const FETCH_METADATA: Self = Self(1 << 6);
    /// It said `navigate`: somebody follows a link.
    pub const NAVIGATE: Self = Self(1 << 7);
    /// The request came over TLS that ends here. Of this and the two below a trusted proxy in front shows nothing: its
    /// own connection says nothing about the visitor's.
    pub const TLS: Self = Self(1 << 8);
    /// It came over HTTP/1.0.
    pub const HTTP_1_0: Self = Self(1 << 9);
    /// It came over HTTP/2.
    pub const HTTP_2: Self = Self(1 << 10);
    /// `Sec-CH-UA-Mobile: ?1`.
    pub const MOBILE: Self = Self(1 << 11);
    /// `Sec-CH-UA-Mobile: ?0`.
    pub const NOT_MOBILE: Self = Self(1 << 12);
    /// The client has lately asked for many links that are none.
    pub const GUESSES: Self = Self(1 << 13);
    /// It came through a trusted proxy, which may have changed its headers.
    pub const PROXIED: Self = Self(1 << 14);

    /// Whether all of these are set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Sets these if `condition` holds.
    pub fn set(&mut self, flags: Self, condition: bool) {
        self.0 |= if condition { flags.0 } else { 0 };
    }

    /// Clears these.
    pub fn clear(&mut self, flags: Self) {
        self.0 &= !flags.0;
    }
}

/// The visit that a click belongs to. It is noted in the click's ring, so that a click that is seen again after the
/// death of a process still belongs to the visit that it did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Visit {
    /// When its first click was answered, microseconds since the Unix epoch; not 0.
    pub started: u64,
    /// Whether this is its first click.
    pub first: bool,
}

impl Visit {
    pub(super) fn encode(self) -> [u8; 8] {
        (self.started << 1 | u64::from(self.first)).to_le_bytes()
    }

    fn decode(word: u64) -> Option<Self> {
        (word != 0).then_some(Self { started: word >> 1, first: word & 1 == 1 })
    }
}

/// The texts of a click.
#[derive(Clone, Copy, Default)]
pub struct Texts<'a> {
    pub user_agent: &'a [u8],
    pub referer: &'a [u8],
    pub accept_language: &'a [u8],
    /// `Sec-CH-UA-Full-Version-List`, else `Sec-CH-UA`.
    pub hint_brands: &'a [u8],
    /// `Sec-CH-UA-Platform`.
    pub hint_platform: &'a [u8],
    /// `Sec-CH-UA-Platform-Version`.
    pub hint_platform_version: &'a [u8],
    /// `Sec-CH-UA-Form-Factors`.
    pub hint_form_factors: &'a [u8],
    /// `X-Requested-With`, in which Android names the application around a web view.
    pub requested_with: &'a [u8],
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
            header(self.hint_brands),
            header(self.hint_platform),
            header(self.hint_platform_version),
            header(self.hint_form_factors),
            header(self.requested_with),
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

/// Bytes that [`encode_into`] needs for these facts.
pub fn encoded_len(facts: &Facts<'_>) -> usize {
    HEAD + facts.texts.bounded().iter().map(|text| text.len()).sum::<usize>()
}

/// Writes the facts into a place of exactly [`encoded_len`] bytes.
pub fn encode_into(facts: &Facts<'_>, place: &mut [u8]) {
    let (head, mut rest) = place.split_at_mut(HEAD);
    head[..16].copy_from_slice(facts.id.as_bytes());
    head[MICROS].copy_from_slice(&facts.micros.to_le_bytes());
    head[ADDRESS].copy_from_slice(facts.client.octets());
    head[VISIT].fill(0);
    head[48..50].copy_from_slice(&facts.status.to_le_bytes());
    head[50..52].copy_from_slice(&facts.flags.0.to_le_bytes());
    for (text, length) in facts.texts.bounded().into_iter().zip(head[LENGTHS_AT..].chunks_exact_mut(4)) {
        length.copy_from_slice(&(text.len() as u32).to_le_bytes());
        let (place, tail) = rest.split_at_mut(text.len());
        place.copy_from_slice(text);
        rest = tail;
    }
}

/// A captured click, where it lies. It holds a client address: it cannot be printed, and whoever owns the bytes wipes
/// them ([`ADDRESS`]).
#[derive(Clone, Copy)]
pub struct RawClick<'a> {
    head: &'a [u8; HEAD],
    texts: &'a [u8],
}

impl<'a> RawClick<'a> {
    /// A click, or `None` when these bytes cannot be one.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (head, texts) = bytes.split_first_chunk()?;
        let click = Self { head, texts };
        (click.lengths().sum::<u64>() == texts.len() as u64).then_some(click)
    }

    fn lengths(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.head[LENGTHS_AT..].chunks_exact(4).map(|length| u32::from_le_bytes(array(length)).into())
    }

    /// The visit that a worker has found for this click, if one has. The process then died before the click was released.
    pub fn visit(&self) -> Option<Visit> {
        Visit::decode(u64::from_le_bytes(array(&self.head[VISIT])))
    }

    /// Reads the facts back.
    pub fn facts(&self) -> Facts<'a> {
        let head = self.head;
        let mut rest = self.texts;
        let mut lengths = self.lengths();
        let mut text = || {
            // Never out of bounds: the lengths add up to what is there.
            let (text, tail) = rest.split_at(lengths.next().map_or(0, |length| length as usize));
            rest = tail;
            text
        };
        let texts = Texts {
            user_agent: text(),
            referer: text(),
            accept_language: text(),
            hint_brands: text(),
            hint_platform: text(),
            hint_platform_version: text(),
            hint_form_factors: text(),
            requested_with: text(),
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
        Facts {
            id: EventId::from_bytes(array(head)),
            micros: u64::from_le_bytes(array(&head[MICROS])),
            client: ClientAddr::from_octets(array(&head[ADDRESS])),
            status: u16::from_le_bytes(array(&head[48..])),
            flags: Flags(u16::from_le_bytes(array(&head[50..]))),
            texts,
        }
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

    fn encode(facts: &Facts<'_>) -> Vec<u8> {
        let mut bytes = vec![0xee; encoded_len(facts)];
        encode_into(facts, &mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn what_was_captured_is_what_is_read(
            texts in proptest::array::uniform20(proptest::collection::vec(any::<u8>(), 0..200)),
            address in any::<[u8; 16]>(),
            micros in 0_u64..(1 << 47),
            status in any::<u16>(),
            flags in any::<u16>(),
        ) {
            let [ua, re, al, hb, hp, hv, hf, rw, qu, pa, de, li, sl, cr, wo, ho, cj, dj, tj, sj] = &texts;
            let id = EventId::at(micros);
            let facts = Facts {
                id,
                micros,
                client: ClientAddr::from_octets(address),
                status,
                flags: Flags(flags),
                texts: Texts {
                    user_agent: ua, referer: re, accept_language: al, hint_brands: hb, hint_platform: hp,
                    hint_platform_version: hv, hint_form_factors: hf, requested_with: rw, query: qu, path: pa,
                    destination: de, link_id: li, slashtag: sl, created_at: cr, workspace: wo, host: ho, creator_json: cj,
                    domain_json: dj, tags_json: tj, scripts_json: sj,
                },
            };
            let bytes = encode(&facts);
            let Some(click) = RawClick::parse(&bytes) else { return Err(TestCaseError::fail("no click")) };
            let view = click.facts();
            prop_assert_eq!(view.id, id);
            prop_assert_eq!(view.micros, micros);
            prop_assert_eq!(view.client.octets(), &address);
            prop_assert_eq!(view.status, status);
            prop_assert_eq!(view.flags, facts.flags);
            prop_assert_eq!(view.texts.bounded(), facts.texts.bounded());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_click_or_none(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            lengths in proptest::array::uniform20(prop_oneof![0_u32..20, any::<u32>()]),
        ) {
            let mut bytes = bytes;
            for (place, length) in bytes.iter_mut().skip(LENGTHS_AT).zip(lengths.map(u32::to_le_bytes).as_flattened()) {
                *place = *length;
            }
            if let Some(click) = RawClick::parse(&bytes) {
                let texts = click.facts().texts.bounded();
                prop_assert!(texts.iter().map(|text| text.len()).sum::<usize>() + HEAD <= bytes.len());
            }
        }
    }

    #[test]
    fn a_click_that_is_cut_or_has_a_tail_is_none() {
        let facts = Facts {
            id: EventId::at(0),
            micros: 0,
            client: ClientAddr::from_octets([0; 16]),
            status: 302,
            flags: Flags::default(),
            texts: Texts { user_agent: b"some agent", ..Texts::default() },
        };
        let bytes = encode(&facts);
        for end in 0..bytes.len() {
            assert!(RawClick::parse(&bytes[..end]).is_none(), "{end}");
        }
        assert!(RawClick::parse(&[&bytes[..], b"x"].concat()).is_none());
        assert!(RawClick::parse(&bytes).is_some());
    }

    #[test]
    fn endless_headers_are_cut() {
        let long = vec![b'x'; 100_000];
        let facts = Facts {
            id: EventId::at(0),
            micros: 0,
            client: ClientAddr::from_octets([0; 16]),
            status: 302,
            flags: Flags::default(),
            texts: Texts { user_agent: &long, referer: &long, query: &long, ..Texts::default() },
        };
        let bytes = encode(&facts);
        let texts = RawClick::parse(&bytes).unwrap().facts().texts;
        assert_eq!((texts.user_agent.len(), texts.query.len()), (MAX_HEADER, MAX_QUERY));
        assert_eq!(texts.accept_language.len(), 0);
    }
}
