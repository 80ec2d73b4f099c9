//! The wire format of a click: what the redirect captured, as one run of bytes.
//!
//! ```text
//! offset  size  field (little endian)
//!      0    16  event id
//!     16     8  time of the answer (1)
//!     24    16  client address
//!     40     8  visit (2)
//!     48     2  status of the answer
//!     50     1  protocol, see `Protocol`
//!     51     1  0, reserved
//!     52     4  flags, see `Flags`
//!     56  4*26  lengths of the texts below
//!               the texts, in the order of `Texts`
//!
//! (1) microseconds since the Unix epoch        (2) see `Visit`; 0 until a worker has found it
//! ```
//! This is version 6. Version 5 has the first 25 texts: no location.
//!
//! Clicks lie in rings, which outlive the process. So that an upgrade needs no drained ring, this release reads the
//! version before as well ([`Version`]); the first 48 bytes are the same in every version, because the ring itself
//! compares times, notes visits and wipes addresses. Reading is total: any bytes are either a click or rejected
//! ([`RawClick::parse`]). Texts that a visitor sends are cut ([`MAX_HEADER`], [`MAX_QUERY`]), so that a click has a
//! bounded size.

use std::ops::Range;

use super::{ClientAddr, EventId, Facts, Flags, Protocol, Texts, Visit};

/// Bytes kept of each request header.
pub const MAX_HEADER: usize = 2_048;

/// Bytes kept of the short link's query.
pub const MAX_QUERY: usize = 8_192;

/// Bytes of the time of the answer.
pub const MICROS: Range<usize> = 16..24;

/// Bytes of the client address: wiped when the click is released.
pub const ADDRESS: Range<usize> = 24..40;

/// Bytes of the visit. Their place in the ring is a multiple of 8, so that noting a visit is one store.
pub const VISIT: Range<usize> = 40..48;

const STATUS: usize = 48;
const TEXTS: usize = 26;
const LENGTHS_AT: usize = 56;
const HEAD: usize = LENGTHS_AT + 4 * TEXTS;

/// The versions of this format that can be read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Version {
    V5,
    /// The one that is written.
    #[default]
    V6,
}

impl Version {
    /// The version of this number, if it can be read.
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            5 => Some(Self::V5),
            6 => Some(Self::V6),
            _ => None,
        }
    }

    /// The number of this version in the header of a ring.
    pub fn number(self) -> u32 {
        match self {
            Self::V5 => 5,
            Self::V6 => 6,
        }
    }

    /// How many texts a click has.
    fn texts(self) -> usize {
        match self {
            Self::V5 => 25,
            Self::V6 => TEXTS,
        }
    }
}

impl<'a> Texts<'a> {
    /// These texts as a worker will read them: what visitors send is cut.
    pub fn cut(&self) -> Self {
        let texts = self.bounded();
        let mut texts = texts.into_iter();
        Self::take(|| texts.next().unwrap_or_default())
    }

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
            self.rule,
            self.variant,
            header(self.signature_agent),
            header(self.signature_input),
            header(self.signature),
            header(self.location),
        ]
    }

    /// Takes the texts one by one, in their order.
    fn take(mut text: impl FnMut() -> &'a [u8]) -> Self {
        Self {
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
            rule: text(),
            variant: text(),
            signature_agent: text(),
            signature_input: text(),
            signature: text(),
            // Empty in version 5, which has no length of it.
            location: text(),
        }
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
    head[STATUS..50].copy_from_slice(&facts.status.to_le_bytes());
    head[50..52].copy_from_slice(&[facts.protocol as u8, 0]);
    head[52..LENGTHS_AT].copy_from_slice(&facts.flags.bits().to_le_bytes());
    for (text, length) in facts.texts.bounded().into_iter().zip(head[LENGTHS_AT..].chunks_exact_mut(4)) {
        length.copy_from_slice(&(text.len() as u32).to_le_bytes());
        let (place, tail) = rest.split_at_mut(text.len());
        place.copy_from_slice(text);
        rest = tail;
    }
}

/// A captured click, where it lies. It holds a client address: it cannot be printed, and the owner of the bytes wipes
/// them ([`ADDRESS`]).
#[derive(Clone, Copy)]
pub struct RawClick<'a> {
    head: &'a [u8],
    texts: &'a [u8],
}

impl<'a> RawClick<'a> {
    /// A click of this version, or `None` when these bytes cannot be one.
    pub fn parse(bytes: &'a [u8], version: Version) -> Option<Self> {
        let (head, texts) = bytes.split_at_checked(LENGTHS_AT + 4 * version.texts())?;
        let click = Self { head, texts };
        (click.lengths().sum::<u64>() == texts.len() as u64).then_some(click)
    }

    fn lengths(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.head[LENGTHS_AT..].chunks_exact(4).map(|length| u32::from_le_bytes(array(length)).into())
    }

    /// The visit that a worker has noted, if one has: the process died before the click was released.
    pub fn visit(&self) -> Option<Visit> {
        Visit::decode(u64::from_le_bytes(array(&self.head[VISIT])))
    }

    /// Reads the facts back.
    pub fn facts(&self) -> Facts<'a> {
        let head = self.head;
        let mut rest = self.texts;
        let mut lengths = self.lengths();
        let text = || {
            // Never out of bounds: the lengths add up to what is there.
            let (text, tail) = rest.split_at(lengths.next().map_or(0, |length| length as usize));
            rest = tail;
            text
        };
        let texts = Texts::take(text);
        Facts {
            id: EventId::from_bytes(array(head)),
            micros: u64::from_le_bytes(array(&head[MICROS])),
            client: ClientAddr::from_octets(array(&head[ADDRESS])),
            status: u16::from_le_bytes(array(&head[STATUS..])),
            protocol: Protocol::from_byte(head[50]),
            flags: Flags::from_bits(u32::from_le_bytes(array(&head[52..]))),
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
            texts in proptest::array::uniform26(proptest::collection::vec(any::<u8>(), 0..200)),
            address in any::<[u8; 16]>(),
            micros in 0_u64..(1 << 47),
            status in any::<u16>(),
            protocol in 0_u8..4,
            flags in any::<u32>(),
        ) {
            let [ua, re, al, hb, hp, hv, hf, rw, qu, pa, de, li, sl, cr, wo, ho, cj, dj, tj, sj, ru, va, sa, si, sg, lo] = &texts;
            let id = EventId::at(micros);
            let facts = Facts {
                id,
                micros,
                client: ClientAddr::from_octets(address),
                status,
                protocol: Protocol::from_byte(protocol),
                flags: Flags::from_bits(flags),
                texts: Texts {
                    user_agent: ua, referer: re, accept_language: al, hint_brands: hb, hint_platform: hp,
                    hint_platform_version: hv, hint_form_factors: hf, requested_with: rw, query: qu, path: pa,
                    destination: de, link_id: li, slashtag: sl, created_at: cr, workspace: wo, host: ho, creator_json: cj,
                    domain_json: dj, tags_json: tj, scripts_json: sj, rule: ru, variant: va, signature_agent: sa, signature_input: si,
                    signature: sg, location: lo,
                },
            };
            let bytes = encode(&facts);
            let Some(click) = RawClick::parse(&bytes, Version::V6) else { return Err(TestCaseError::fail("no click")) };
            let view = click.facts();
            prop_assert_eq!(view.id, id);
            prop_assert_eq!(view.micros, micros);
            prop_assert_eq!(view.client.octets(), &address);
            prop_assert_eq!(view.status, status);
            prop_assert_eq!((view.protocol, view.flags), (facts.protocol, facts.flags));
            prop_assert_eq!(view.texts.bounded(), facts.texts.bounded());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_click_or_none(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            lengths in proptest::array::uniform26(prop_oneof![0_u32..20, any::<u32>()]),
        ) {
            let mut bytes = bytes;
            for (place, length) in bytes.iter_mut().skip(LENGTHS_AT).zip(lengths.map(u32::to_le_bytes).as_flattened()) {
                *place = *length;
            }
            if let Some(click) = RawClick::parse(&bytes, Version::V6) {
                let texts = click.facts().texts.bounded();
                prop_assert!(texts.iter().map(|text| text.len()).sum::<usize>() + HEAD <= bytes.len());
            }
        }
    }

    #[test]
    fn a_click_that_is_cut_or_has_a_tail_is_rejected() {
        let facts = Facts {
            id: EventId::at(0),
            micros: 0,
            client: ClientAddr::from_octets([0; 16]),
            status: 302,
            protocol: Protocol::Http11,
            flags: Flags::default(),
            texts: Texts { user_agent: b"some agent", ..Texts::default() },
        };
        let bytes = encode(&facts);
        for end in 0..bytes.len() {
            assert!(RawClick::parse(&bytes[..end], Version::V6).is_none(), "{end}");
        }
        assert!(RawClick::parse(&[&bytes[..], b"x"].concat(), Version::V6).is_none());
        assert!(RawClick::parse(&bytes, Version::V6).is_some());
    }

    #[test]
    fn long_headers_are_cut() {
        let long = vec![b'x'; 100_000];
        let facts = Facts {
            id: EventId::at(0),
            micros: 0,
            client: ClientAddr::from_octets([0; 16]),
            status: 302,
            protocol: Protocol::Http11,
            flags: Flags::default(),
            texts: Texts { user_agent: &long, referer: &long, query: &long, ..Texts::default() },
        };
        let bytes = encode(&facts);
        let texts = RawClick::parse(&bytes, Version::V6).unwrap().facts().texts;
        assert_eq!((texts.user_agent.len(), texts.query.len()), (MAX_HEADER, MAX_QUERY));
        assert_eq!(texts.accept_language.len(), 0);
    }

    /// A click as version 5 wrote it: the layout is written out here, because no code writes it any more.
    fn version_5(flags: u32, texts: &[&[u8]; 25]) -> Vec<u8> {
        let mut bytes = EventId::at(7).as_bytes().to_vec();
        bytes.extend(7_u64.to_le_bytes());
        bytes.extend([9; 16]);
        bytes.extend(Visit { started: 5, first: true }.encode());
        bytes.extend(302_u16.to_le_bytes());
        bytes.extend([3, 0]);
        bytes.extend(flags.to_le_bytes());
        for text in texts {
            bytes.extend((text.len() as u32).to_le_bytes());
        }
        for text in texts {
            bytes.extend(*text);
        }
        bytes
    }

    #[test]
    fn a_click_of_the_version_before_is_read() {
        let mut texts = [&b""[..]; 25];
        (texts[0], texts[19], texts[21], texts[24]) = (b"some agent", b"[]", b"b", b"s");
        let bytes = version_5(1 << 13 | 1, &texts);
        let click = RawClick::parse(&bytes, Version::V5).unwrap();
        let facts = click.facts();
        assert_eq!(click.visit(), Some(Visit { started: 5, first: true }));
        assert_eq!((facts.micros, facts.status, facts.protocol), (7, 302, Protocol::Http2));
        assert_eq!(facts.client.octets(), &[9; 16]);
        assert!(facts.flags.has(Flags::HEAD) && facts.flags.has(Flags::ENUMERATION));
        assert!(!facts.flags.has(Flags::PROXIED));
        assert_eq!((facts.texts.user_agent, facts.texts.scripts_json), (&b"some agent"[..], &b"[]"[..]));
        assert_eq!((facts.texts.rule, facts.texts.variant), (&b""[..], &b"b"[..]));
        assert_eq!((facts.texts.signature, facts.texts.location), (&b"s"[..], &b""[..]));
        for end in 0..bytes.len() {
            assert!(RawClick::parse(&bytes[..end], Version::V5).is_none(), "{end}");
        }
        assert!(RawClick::parse(&bytes, Version::V6).is_none());
    }

    #[test]
    fn a_version_has_one_number() {
        for version in [Version::V5, Version::V6] {
            assert_eq!(Version::from_number(version.number()), Some(version));
        }
        assert_eq!((Version::from_number(4), Version::from_number(7)), (None, None));
    }
}
