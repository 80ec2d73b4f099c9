//! The forms in which software writes an address down, and how each is looked for.
//!
//! | what | forms |
//! |---|---|
//! | text: usual, IPv4-mapped, compressed, expanded, capitals, reversed, octal, hex, dashes | itself, UTF-16, base64 at each of the three alignments, hex, percent-encoded, JSON-escaped |
//! | bytes: 4 or 16, IPv4-mapped, both byte orders | themselves, hex with and without separators, decimal, list of numbers, base64, percent-encoded, escaped |
//! | the first 64 bits of IPv6 | the same |
//! | hashes without a key (`hashes.rs`) of texts and bytes | bytes, hex, base64, decimal |
//!
//! What is looked for is short where hashes are cut: the first 8 bytes of a digest, or the base64 of the first 6. Still
//! shorter forms would be met by chance, so they are bounded ([`Within`]):
//! - Four raw bytes of an address occur in any megabyte of noise with a probability of 1 in 4,000, for each canary.
//!   They are looked for in everything but what is compressed or encrypted; that is also searched decompressed, or as
//!   the client decrypts it. What is left of chance, checksums and random ids between plain bytes, is excluded by a
//!   second run (`proof.rs`).
//! - Four raw bytes of a 32-bit hash are not looked for; its hex and decimal forms are, where no longer number holds
//!   them. Decimals below nine digits are left out: sizes and counts look like that.
//! - Base64 of four bytes must not stand between other letters.
//!
//! A hash that is given the address with something else, or a key that is known, is found by no search: that the key of
//! sessions is random is a matter of `src/session.rs`.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, Ipv4Addr},
};

use super::hashes;

/// Where a form counts as found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Within {
    Anything,
    /// Neither compressed nor encrypted.
    Plain,
    /// Not next to such a character: it would be a part of something else.
    NoDigits,
    NoHexDigits,
    NoLetters,
}

/// A form of an address.
pub struct Form {
    pub name: String,
    pub bytes: Vec<u8>,
    pub within: Within,
}

/// All forms of an address, each once.
pub fn of(address: IpAddr) -> Vec<Form> {
    let mut forms = Forms::default();
    let texts = texts(address);
    for text in &texts {
        forms.add_text("text", text);
    }
    let bytes = bytes(address);
    for (name, bytes) in &bytes {
        forms.add_bytes(name, bytes);
    }
    // The notations that programs have in hand; of the others only the text itself is looked for.
    for text in texts.iter().filter(|text| text.parse::<IpAddr>().is_ok() || text.ends_with("/64")) {
        forms.add_hashes("text", text.as_bytes());
    }
    for (name, bytes) in &bytes {
        forms.add_hashes(name, bytes);
    }
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    forms.add_number("Rust's default hash", hasher.finish());
    forms.found
}

/// The usual notations.
fn texts(address: IpAddr) -> Vec<String> {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            let mapped = v4.to_ipv6_mapped();
            let groups = mapped.segments().map(|group| format!("{group:04x}"));
            vec![
                v4.to_string(),
                mapped.to_string(),
                format!("::ffff:{a:02x}{b:02x}:{c:02x}{d:02x}"),
                groups.join(":"),
                format!("{d}.{c}.{b}.{a}"),
                format!("{a}-{b}-{c}-{d}"),
                format!("{a}_{b}_{c}_{d}"),
                format!("{a:03}.{b:03}.{c:03}.{d:03}"),
                format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
                format!("{a:o}.{b:o}.{c:o}.{d:o}"),
                format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
            ]
        }
        IpAddr::V6(v6) => {
            let groups = v6.segments().map(|group| format!("{group:04x}"));
            let [a, b, c, d, ..] = v6.segments();
            let nibbles: Vec<_> = groups.concat().chars().rev().map(String::from).collect();
            vec![
                v6.to_string(),
                groups.join(":"),
                groups.join("-"),
                v6.to_string().replace(':', "-"),
                nibbles.join("."),
                format!("{a:x}:{b:x}:{c:x}:{d:x}"),
                format!("{a:x}:{b:x}:{c:x}:{d:x}::"),
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64"),
                groups[..4].join(":"),
            ]
        }
    }
}

/// The usual bytes, by name.
fn bytes(address: IpAddr) -> Vec<(&'static str, Vec<u8>)> {
    let reversed = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<_>>();
    match address {
        IpAddr::V4(v4) => {
            let (bytes, mapped) = (v4.octets(), Ipv4Addr::to_ipv6_mapped(&v4).octets());
            vec![
                ("bytes", bytes.to_vec()),
                ("reversed bytes", reversed(&bytes)),
                ("mapped bytes", mapped.to_vec()),
                ("reversed mapped bytes", reversed(&mapped)),
            ]
        }
        IpAddr::V6(v6) => {
            let bytes = v6.octets();
            let prefix = &bytes[..8];
            vec![
                ("bytes", bytes.to_vec()),
                ("reversed bytes", reversed(&bytes)),
                ("bytes of the /64", prefix.to_vec()),
                ("reversed bytes of the /64", reversed(prefix)),
                ("bytes of the /64 and zeros", [prefix, &[0; 8]].concat()),
            ]
        }
    }
}

#[derive(Default)]
struct Forms {
    found: Vec<Form>,
    /// What is looked for already: many forms are the same in capitals.
    known: HashSet<Vec<u8>>,
}

impl Forms {
    fn add(&mut self, name: &str, within: Within, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        if self.known.insert(bytes.clone()) {
            self.found.push(Form { name: name.into(), bytes, within });
        }
    }

    /// As it is, and in capitals.
    fn add_cases(&mut self, name: &str, within: Within, text: &str) {
        self.add(name, within, text);
        self.add(name, within, text.to_uppercase());
    }

    fn add_text(&mut self, name: &str, text: &str) {
        let within = if text.contains(':') { Within::NoHexDigits } else { Within::NoDigits };
        self.add_cases(name, within, text);
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        self.add(&format!("{name}, UTF-16"), Within::Anything, utf16);
        self.add_base64(&format!("{name}, base64"), Within::Anything, text.as_bytes());
        self.add_cases(&format!("{name}, hex"), Within::Anything, &separated(text.as_bytes(), "", ""));
        for colon in ["%3a", "%3A"] {
            self.add_cases(&format!("{name}, percent-encoded"), Within::NoHexDigits, &text.replace(':', colon));
        }
        self.add_cases(&format!("{name}, percent-encoded"), Within::Anything, &separated(text.as_bytes(), "%", ""));
        let escaped: String = text.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
        self.add_cases(&format!("{name}, JSON-escaped"), Within::Anything, &escaped);
    }

    fn add_bytes(&mut self, name: &str, bytes: &[u8]) {
        self.add(name, if bytes.len() == 4 { Within::Plain } else { Within::Anything }, bytes);
        for (before, between) in [("", ""), ("", ":"), ("", "-"), ("", " "), ("", "."), ("0x", ", "), ("0x", ",")] {
            let hex = separated(bytes, before, between);
            self.add_cases(&format!("{name}, hex"), Within::NoHexDigits, &hex);
        }
        for before in ["\\x", "%", "\\u00"] {
            let escaped = separated(bytes, before, "");
            self.add_cases(&format!("{name}, escaped"), Within::Anything, &escaped);
        }
        self.add(&format!("{name}, escaped"), Within::NoLetters, bytes.escape_ascii().to_string());
        let encoded = percent_encoding::percent_encode(bytes, percent_encoding::NON_ALPHANUMERIC).to_string();
        self.add_cases(&format!("{name}, percent-encoded"), Within::NoLetters, &encoded);
        for between in [",", ", ", " "] {
            let numbers = bytes.iter().map(ToString::to_string).collect::<Vec<_>>().join(between);
            self.add(&format!("{name}, list"), Within::NoDigits, numbers);
        }
        let number = bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        self.add(&format!("{name}, decimal"), Within::NoDigits, number.to_string());
        self.add_base64(&format!("{name}, base64"), Within::NoLetters, bytes);
    }

    fn add_hashes(&mut self, of: &str, bytes: &[u8]) {
        for (hash, digest) in hashes::all(bytes) {
            let name = format!("{hash} of the {of}");
            match digest.len() {
                4 => {
                    let number = u32::from_be_bytes(digest.try_into().unwrap());
                    for number in [number, number.swap_bytes()] {
                        self.add_cases(&format!("{name}, hex"), Within::NoHexDigits, &format!("{number:08x}"));
                        if number >= 100_000_000 {
                            self.add(&format!("{name}, decimal"), Within::NoDigits, number.to_string());
                        }
                    }
                }
                8 => self.add_number(&name, u64::from_be_bytes(digest.try_into().unwrap())),
                _ => {
                    self.add(&format!("{name}, bytes"), Within::Anything, &digest[..8]);
                    self.add_cases(&format!("{name}, hex"), Within::Anything, &separated(&digest[..8], "", ""));
                    self.add(&format!("{name}, base64"), Within::Anything, base64(&digest[..6], *b"+/"));
                    self.add(&format!("{name}, base64"), Within::Anything, base64(&digest[..6], *b"-_"));
                }
            }
        }
    }

    /// A hash that is a number.
    fn add_number(&mut self, name: &str, number: u64) {
        for bytes in [number.to_be_bytes(), number.to_le_bytes()] {
            self.add(&format!("{name}, bytes"), Within::Anything, bytes);
            self.add_cases(&format!("{name}, hex"), Within::Anything, &separated(&bytes, "", ""));
            self.add(&format!("{name}, base64"), Within::Anything, base64(&bytes, *b"+/"));
            self.add(&format!("{name}, base64"), Within::Anything, base64(&bytes, *b"-_"));
        }
        self.add(&format!("{name}, decimal"), Within::NoDigits, number.to_string());
        self.add(&format!("{name}, decimal"), Within::NoDigits, (number as i64).unsigned_abs().to_string());
    }

    /// Alone, and within something longer: then only what the bytes before and behind have no part in.
    fn add_base64(&mut self, name: &str, alone: Within, bytes: &[u8]) {
        for last_two in [*b"+/", *b"-_"] {
            self.add(name, alone, base64(bytes, last_two));
            for shift in 0..3 {
                let shifted = base64(&[&vec![0; shift], bytes].concat(), last_two);
                let whole = &shifted[[0, 2, 3][shift]..(shift + bytes.len()) * 8 / 6];
                if whole.len() >= 8 {
                    self.add(name, Within::Anything, whole);
                }
            }
        }
    }
}

/// Lower-case hex with something before and between.
fn separated(bytes: &[u8], before: &str, between: &str) -> String {
    bytes.iter().map(|byte| format!("{before}{byte:02x}")).collect::<Vec<_>>().join(between)
}

/// Base64 without padding.
fn base64(bytes: &[u8], last_two: [u8; 2]) -> Vec<u8> {
    let alphabet: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(last_two).collect();
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let digits = bits.chunks(6).map(|bits| {
        let value = bits.iter().fold(0_u8, |value, bit| value << 1 | bit) << (6 - bits.len());
        alphabet[usize::from(value)]
    });
    digits.collect()
}
