//! A prefilter before the automaton: can a text hold a needle at all? At a fraction of the cost of the search.
//!
//! Each needle contributes one pair of adjacent bytes, the one that is rarest in ordinary texts. A text without any of
//! these pairs holds no needle, and hardly any ordinary text has one. Nothing is ever missed: what passes is searched.

/// What visitors send every day: pairs in these texts are poor evidence.
const ORDINARY: [&str; 12] = [
    "https://l.facebook.com/ https://lm.facebook.com/ http://m.facebook.com/ https://www.instagram.com/",
    "https://www.google.com/ https://www.google.co.uk/search https://www.bing.com/ https://duckduckgo.com/",
    "https://t.co/ https://www.linkedin.com/ https://www.youtube.com/watch https://www.pinterest.com/pin/7/",
    "https://www.reddit.com/r/news/comments/ https://out.reddit.com/ https://mail.google.com/mail/u/0/",
    "android-app://com.google.android.gm/ android-app://com.slack/ https://teams.microsoft.com/",
    "https://blog.example.org/2026/11/a-post-about-spring/index.html https://news.example.net/world/article-7.php",
    "utm_source=newsletter&utm_medium=email&utm_campaign=spring_sale&utm_content=button-1&utm_term=running+shoes",
    "utm_source=facebook&utm_medium=social&utm_id=7 utm_source=google&utm_medium=cpc&utm_campaign=brand",
    "fbclid=IwAR0 gclid=Cj0KCQ_wcB msclkid=7 mc_cid=a&mc_eid=b igshid=7 ttclid=E.C.P ref=homepage&lang=en",
    "gad_source=1&gbraid=0AAAA&wbraid=C&gclsrc=aw.ds _ga=1.2.3 _hsenc=p2A&_hsmi=7 epik=dj0 srsltid=Af",
    "url=https%3A%2F%2Fwww.example.com%2Fa%3Fb%3Dc%26d%3De q=red%20shoes name=caf%C3%A9 a=1,2;3 t=12:30",
    "page=2&sort=price-asc&id=42&session=7&affiliate_id=9&click_id=7&partner=x&s=1&v=2&e=mail@example.com",
];

/// Letters without case, digits as one, each punctuation mark, and all other bytes as one.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let (mut byte, mut next) = (0, 28);
    while byte < 128 {
        let character = byte as u8;
        if character.is_ascii_alphabetic() {
            classes[byte] = character.to_ascii_lowercase() - b'a' + 1;
        } else if character.is_ascii_digit() {
            classes[byte] = 27;
        } else if character == b' ' || character.is_ascii_punctuation() {
            classes[byte] = next;
            next += 1;
        }
        byte += 1;
    }
    assert!(next <= 64);
    classes
};

/// The pairs, a bit each.
pub(super) struct Prefilter {
    rows: [u64; 64],
}

impl Prefilter {
    /// For needles of two bytes and more.
    pub(super) fn new<'a>(needles: impl Iterator<Item = &'a str>) -> Self {
        let mut common = [[0_u16; 64]; 64];
        for (one, other) in ORDINARY.iter().flat_map(|text| pairs(text.as_bytes())) {
            common[one][other] += 1;
        }
        let mut rows = [0; 64];
        for needle in needles {
            if let Some((one, other)) = pairs(needle.as_bytes()).min_by_key(|(one, other)| common[*one][*other]) {
                rows[one] |= 1 << other;
            }
        }
        Self { rows }
    }

    /// False only if the text holds no needle.
    pub(super) fn may_hold(&self, text: &[u8]) -> bool {
        pairs(text).fold(0, |found, (one, other)| found | self.rows[one] >> other) & 1 == 1
    }
}

fn pairs(text: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let class = |byte: u8| usize::from(CLASSES[usize::from(byte)] & 63);
    text.array_windows().map(move |[one, other]| (class(*one), class(*other)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{address_needles, scanner},
        *,
    };

    #[test]
    fn ordinary_texts_do_not_pass() {
        let prefilter = Prefilter::new(address_needles());
        let texts = ORDINARY.iter().flat_map(|texts| texts.split(' '));
        // Encoded needles look like any encoded text.
        let held: Vec<_> = texts.filter(|text| !text.contains('%') && prefilter.may_hold(text.as_bytes())).collect();
        assert_eq!(held, [""; 0]);
    }

    #[test]
    fn every_needle_passes_at_any_place_and_in_either_case() {
        let prefilter = Prefilter::new(address_needles());
        for needle in address_needles() {
            assert!(needle.len() >= 2, "{needle}");
            for text in [needle.to_owned(), needle.to_ascii_uppercase(), format!("x{needle}\u{e9}")] {
                assert!(prefilter.may_hold(text.as_bytes()), "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_text_with_a_needle_always_passes(
            before: Vec<u8>, needle in prop::sample::select(address_needles().collect::<Vec<_>>()), after: Vec<u8>,
        ) {
            let scanner = scanner().unwrap();
            let text = [&before, needle.as_bytes(), &after].concat();
            prop_assert!(scanner.prefilter.may_hold(&text));
        }
    }
}
