//! Canaries: client addresses that must be found nowhere afterwards, and the search for them.
//!
//! A canary is looked for in every form in which software writes an address down: as text, hex, decimal, base64, raw
//! bytes, and as a hash without a key, which gives an address away as surely as its text. Canaries are best made of
//! bytes above 127: those stand in no text by chance.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::format_collect)]

use std::{
    fs,
    io::Read,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use aho_corasick::AhoCorasick;
use s3s::crypto::{Checksum, Crc32, Md5, Sha1, Sha256};

/// A form of an address.
struct Needle {
    address: IpAddr,
    form: &'static str,
    bytes: Vec<u8>,
    /// A neighbour of this kind makes it part of something else: a longer number.
    continues: fn(&u8) -> bool,
}

/// Looks for all forms of all canaries in one pass.
pub struct Search {
    needles: Vec<Needle>,
    automaton: AhoCorasick,
}

impl Search {
    pub fn new(canaries: &[IpAddr]) -> Self {
        let needles: Vec<_> = canaries.iter().flat_map(|address| needles(*address)).collect();
        let automaton = AhoCorasick::new(needles.iter().map(|needle| &needle.bytes)).unwrap();
        Self { needles, automaton }
    }

    /// What of which canary stands in `text`, and where.
    pub fn find(&self, source: &str, text: &[u8]) -> Vec<String> {
        let found = self.automaton.find_overlapping_iter(text).filter_map(|found| {
            let needle = &self.needles[found.pattern()];
            let before = found.start().checked_sub(1).map(|at| &text[at]);
            let part = before.into_iter().chain(text.get(found.end())).any(needle.continues);
            let around = &text[found.start().saturating_sub(80)..text.len().min(found.end() + 40)];
            let around = String::from_utf8_lossy(around);
            (!part).then(|| format!("{} of {} in {source}: ...{around}...", needle.form, needle.address))
        });
        found.collect()
    }

    /// The same for every file below a folder, names included. Compressed files are searched decompressed, as far as
    /// they are whole. Configuration is left out: an operator's networks stand there.
    pub fn find_below(&self, dir: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for path in files_below(dir) {
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            found.extend(self.find("a file's name", name.as_bytes()));
            if path.extension().is_some_and(|extension| extension == "toml") {
                continue;
            }
            let Ok(mut bytes) = fs::read(&path) else {
                continue; // It was delivered, and is searched where it went.
            };
            if bytes.starts_with(&[0x1f, 0x8b]) {
                let mut text = Vec::new();
                let _ = flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text);
                bytes = text;
            }
            found.extend(self.find(&name, &bytes));
        }
        found
    }
}

/// All files below a folder.
pub fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

fn needles(address: IpAddr) -> Vec<Needle> {
    let mut needles: Vec<Needle> = Vec::new();
    let mut add = |form, bytes: Vec<u8>, continues: fn(&u8) -> bool| {
        // Many forms are the same in capitals.
        if needles.iter().all(|needle| needle.bytes != bytes) {
            needles.push(Needle { address, form, bytes, continues });
        }
    };
    let never: fn(&u8) -> bool = |_| false;
    let digits: fn(&u8) -> bool = u8::is_ascii_digit;
    let hex_digits: fn(&u8) -> bool = u8::is_ascii_hexdigit;
    let word: fn(&u8) -> bool = u8::is_ascii_alphanumeric;

    for text in texts(address) {
        add("text", text.to_uppercase().into_bytes(), digits);
        add("text", text.into_bytes(), digits);
    }
    for octets in [octets(address), reversed(octets(address))] {
        add("raw bytes", octets.clone(), never);
        for separator in ["", ":", "-", " ", ", 0x", "\\x"] {
            let digits = octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(separator);
            add("hex", digits.to_uppercase().into_bytes(), hex_digits);
            add("hex", digits.into_bytes(), hex_digits);
        }
        for separator in [",", ", "] {
            let numbers = octets.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator);
            add("list of numbers", numbers.into_bytes(), digits);
        }
        let number = octets.iter().fold(0_u128, |number, octet| number << 8 | u128::from(*octet));
        add("decimal", number.to_string().into_bytes(), digits);
    }
    let mapped = mapped(address);
    for octets in [octets(address), mapped.clone()] {
        add("base64", base64(&octets, *b"+/"), word);
        add("base64", base64(&octets, *b"-_"), word);
    }
    add("hex of the mapped address", hex(&mapped), never);
    // The first half of an IPv6 address tells the household.
    let half = mapped.first_chunk::<8>().filter(|_| address.is_ipv6()).map(|half| half.to_vec());
    for of in [address.to_string().into_bytes(), octets(address), mapped].into_iter().chain(half) {
        let crc = digest::<Crc32>(&of);
        add("crc32", hex(&crc), hex_digits);
        add("crc32", hex(&crc).to_ascii_uppercase(), hex_digits);
        let crc = u32::from_be_bytes(crc.try_into().unwrap());
        add("crc32", crc.to_string().into_bytes(), digits);
        for (form, digest) in
            [("md5", digest::<Md5>(&of)), ("sha1", digest::<Sha1>(&of)), ("sha256", digest::<Sha256>(&of))]
        {
            // The first eight bytes are enough: hashes are often cut.
            add(form, digest[..8].to_vec(), never);
            add(form, hex(&digest[..8]), never);
            add(form, hex(&digest[..8]).to_ascii_uppercase(), never);
            add(form, base64(&digest[..6], *b"+/"), never);
            add(form, base64(&digest[..6], *b"-_"), never);
        }
    }
    needles
}

/// The usual notations.
fn texts(address: IpAddr) -> Vec<String> {
    let octets = octets(address);
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            vec![
                v4.to_string(),
                format!("{d}.{c}.{b}.{a}"),
                format!("{a}-{b}-{c}-{d}"),
                format!("{a}_{b}_{c}_{d}"),
                format!("{:x}:{:x}", u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
            ]
        }
        IpAddr::V6(v6) => {
            let groups = octets.chunks(2).map(|pair| format!("{:02x}{:02x}", pair[0], pair[1]));
            let whole = groups.collect::<Vec<_>>();
            vec![v6.to_string(), whole.join(":"), v6.to_string().replace(':', "-"), whole.join("-")]
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn mapped(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::to_ipv6_mapped(&v4).octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn reversed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes()
}

fn digest<D: Checksum>(of: &[u8]) -> Vec<u8> {
    let mut digest = D::new();
    digest.update(of);
    digest.finalize().as_ref().to_vec()
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
