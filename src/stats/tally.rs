//! Tallies: what an event counts for, in few bytes.
//!
//! A worker knows all facts when it writes an event, and writes the tally next to it. The journal holds both, and the
//! aggregator reads the tally there. So no event is parsed to be counted.
//!
//! ```text
//! size  field
//!    1  flags: 1 a human clicked, 2 a session began
//!       nine texts, each its length (2 bytes, little endian) and UTF-8: domain, slashtag, workspace, creator, country,
//!       referrer, device, browser, system
//!       ids of the tags, each like a text, up to the end
//! ```
//! Parsing is total: any bytes are either a tally or rejected. A tally is bounded: texts longer than [`MAX_TEXT`] are
//! cut, which slashtags and hosts never are, and tags of a link beyond [`MAX_TAGS`] or [`MAX_IDS`] are not counted. The
//! bounds also ensure that no length looks like the beginning of a frame in the journal (FF 43).

/// Longest text, in bytes. A slashtag may be as long, hosts are shorter.
pub const MAX_TEXT: usize = 1_024;

/// Limit of the tags of a link that are counted.
pub const MAX_TAGS: usize = 100;

/// Limit of the bytes of all tag ids together.
pub const MAX_IDS: usize = 6_000;

/// Longest tally.
pub const MAX_TALLY: usize = 1 + TEXTS * (2 + MAX_TEXT) + MAX_IDS;

const TEXTS: usize = 9;
const HUMAN: u8 = 1;
const SESSION: u8 = 2;

/// What an event counts for. Unknown names are empty.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally<'a> {
    /// The event's `agent.type` is `human`.
    pub human: bool,
    /// The event's `session.first` is true.
    pub session: bool,
    pub domain: &'a str,
    pub slashtag: &'a str,
    pub workspace: &'a str,
    /// Id of the creator.
    pub creator: &'a str,
    pub country: &'a str,
    /// Host name.
    pub referrer: &'a str,
    pub device: &'a str,
    pub browser: &'a str,
    pub os: &'a str,
    /// Ids of the tags.
    pub tags: Ids<'a>,
}

impl<'a> Tally<'a> {
    /// Appends the tally.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(if self.human { HUMAN } else { 0 } | if self.session { SESSION } else { 0 });
        for text in [
            self.domain,
            self.slashtag,
            self.workspace,
            self.creator,
            self.country,
            self.referrer,
            self.device,
            self.browser,
            self.os,
        ] {
            write_text(out, text);
        }
        out.extend_from_slice(self.tags.0);
    }

    /// Parses a tally. `None` if the bytes are not one.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&flags, _) = bytes.split_first()?;
        if flags & !(HUMAN | SESSION) != 0 || bytes.len() > MAX_TALLY {
            return None;
        }
        let mut rest = Rest { bytes, all: std::str::from_utf8(bytes).ok(), at: 1 };
        let mut texts = [""; TEXTS];
        for text in &mut texts {
            *text = rest.text()?;
        }
        let [domain, slashtag, workspace, creator, country, referrer, device, browser, os] = texts;
        let (human, session, tags) = (flags & HUMAN != 0, flags & SESSION != 0, Ids::parse(&bytes[rest.at..])?);
        Some(Self {
            human,
            session,
            domain,
            slashtag,
            workspace,
            creator,
            country,
            referrer,
            device,
            browser,
            os,
            tags,
        })
    }
}

/// Ids, as encoded in a tally.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ids<'a>(&'a [u8]);

/// Ids that are encoded once for many tallies.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IdList(Box<[u8]>);

impl IdList {
    /// Encodes ids. Those beyond the bounds are left out.
    pub fn new<'t>(ids: impl IntoIterator<Item = &'t str>) -> Self {
        let mut out = Vec::new();
        for id in ids.into_iter().take(MAX_TAGS) {
            let length = out.len();
            write_text(&mut out, id);
            if out.len() > MAX_IDS {
                out.truncate(length);
                break;
            }
        }
        Self(out.into())
    }

    /// The encoded ids.
    pub fn ids(&self) -> Ids<'_> {
        Ids(&self.0)
    }
}

impl<'a> Ids<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        while !rest.is_empty() {
            (_, rest) = read_text(rest)?;
        }
        Some(Self(bytes))
    }

    /// The ids.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (id, tail) = read_text(rest)?;
            rest = tail;
            Some(id)
        })
    }
}

/// A tally in halves, of which only the lengths are checked.
pub struct Halves<'a> {
    pub human: bool,
    pub session: bool,
    /// Domain, slashtag, workspace and creator, with their lengths.
    pub link: &'a [u8],
    /// The workspace alone.
    pub workspace: &'a [u8],
    /// Country, referrer, device, browser and system.
    pub visitor: &'a [u8],
    pub tags: &'a [u8],
}

impl<'a> Halves<'a> {
    /// `None` if the bytes are no tally. What is not `None` may not be one either.
    pub fn split(bytes: &'a [u8]) -> Option<Self> {
        let (&flags, rest) = bytes.split_first()?;
        if flags & !(HUMAN | SESSION) != 0 {
            return None;
        }
        let mut ends = [0; TEXTS];
        let mut at = 0;
        for end in &mut ends {
            let length = rest.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)?;
            at += 2 + usize::from(length);
            *end = at;
        }
        let [_, slashtag, workspace, creator, .., os] = ends;
        Some(Self {
            human: flags & HUMAN != 0,
            session: flags & SESSION != 0,
            link: rest.get(..creator)?,
            workspace: rest.get(slashtag..workspace)?,
            visitor: rest.get(creator..os)?,
            tags: rest.get(os..)?,
        })
    }
}

/// A tally from `at` on.
struct Rest<'a> {
    bytes: &'a [u8],
    /// The same as text. Lengths below 128 are text, too, so that most tallies are checked at once.
    all: Option<&'a str>,
    at: usize,
}

impl<'a> Rest<'a> {
    fn text(&mut self) -> Option<&'a str> {
        let begin = self.at + 2;
        let length = u16::from_le_bytes(*self.bytes.get(self.at..begin)?.first_chunk()?);
        self.at = begin + usize::from(length);
        match self.all {
            _ if usize::from(length) > MAX_TEXT => None,
            Some(all) => all.get(begin..self.at),
            None => std::str::from_utf8(self.bytes.get(begin..self.at)?).ok(),
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(MAX_TEXT)];
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn read_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::from(u16::from_le_bytes(*length));
    let (text, rest) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(text).ok().filter(|_| length <= MAX_TEXT)?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(tally: &Tally<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        tally.encode(&mut out);
        out
    }

    #[test]
    fn a_tally_is_bounded() {
        let long = "\u{e9}".repeat(9_000);
        let many: Vec<String> = (0..1_000).map(|n| format!("tag-{n}")).collect();
        let tags = IdList::new(many.iter().map(String::as_str));
        let few = IdList::new([&*long; 50]);
        for tags in [&tags, &few] {
            let tally = Tally {
                domain: &long,
                slashtag: &long,
                workspace: &long,
                creator: &long,
                country: &long,
                referrer: &long,
                device: &long,
                browser: &long,
                os: &long,
                tags: tags.ids(),
                ..Tally::default()
            };
            let bytes = encoded(&tally);
            assert!(bytes.len() <= MAX_TALLY && bytes.len() < 0x4300, "{}", bytes.len());
            assert_eq!(Tally::parse(&bytes).unwrap().slashtag, "\u{e9}".repeat(MAX_TEXT / 2));
        }
        assert_eq!(tags.ids().iter().count(), MAX_TAGS);
        assert_eq!(few.ids().iter().count(), MAX_IDS / (MAX_TEXT + 2));
    }

    proptest! {
        #[test]
        fn an_encoded_tally_is_parsed(
            texts in proptest::array::uniform9("\\PC{0,40}"),
            tags in proptest::collection::vec("\\PC{0,40}", 0..20),
            human: bool,
            session: bool,
        ) {
            let [domain, slashtag, workspace, creator, country, referrer, device, browser, os] =
                texts.each_ref().map(String::as_str);
            let ids = IdList::new(tags.iter().map(String::as_str));
            let tally = Tally {
                human, session, domain, slashtag, workspace, creator, country, referrer, device, browser, os,
                tags: ids.ids(),
            };
            let bytes = encoded(&tally);
            prop_assert_eq!(Tally::parse(&bytes), Some(tally));
            prop_assert_eq!(tally.tags.iter().collect::<Vec<_>>(), tags);
            for cut in 0..bytes.len() - tally.tags.0.len() {
                prop_assert_eq!(Tally::parse(&bytes[..cut]), None);
            }
        }

        #[test]
        fn any_bytes_are_a_tally_or_rejected(
            bytes in proptest::collection::vec(prop_oneof![6 => Just(0), 3 => 0_u8..4, 1 => any::<u8>()], 0..100),
        ) {
            if let Some(tally) = Tally::parse(&bytes) {
                prop_assert_eq!(&encoded(&tally), &bytes);
                let halves = Halves::split(&bytes).unwrap();
                prop_assert_eq!((halves.human, halves.session), (tally.human, tally.session));
                let rest = [halves.link, halves.visitor, halves.tags].concat();
                prop_assert_eq!(&bytes[1..], &rest[..]);
            }
        }
    }
}
