//! Links as customers have them, made from their number: link `n` is the same in every run.

use std::io::{self, Write};

pub const DOMAINS: u64 = 1_000;
const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// 1 January 2020, in milliseconds since the Unix epoch.
const FIRST_MILLIS: i64 = 1_577_836_800_000;

/// What no two links share: where it is.
pub struct Address {
    pub domain: u64,
    pub slashtag: String,
}

/// The address of link `n`. Slashtags have 6 to 12 letters. The first domain has about a tenth of all links, and the
/// last one a thousandth of that.
pub fn address(n: u64) -> Address {
    let share = (mixed(n) >> 11) as f64 / (1_u64 << 53) as f64;
    let domain = ((DOMAINS as f64 + 1.0).powf(share) - 1.0) as u64;
    let length = 6 + n % 7;
    // The factor has no divisor in common with 36, so that no two numbers make the same slashtag.
    let modulus = 36_u128.pow(length as u32);
    let mut rest = u128::from(n / 7) * 0x5bd1_e995_9e37_79b9 % modulus;
    let mut slashtag = String::new();
    for _ in 0..length {
        slashtag.push(char::from(LETTERS[(rest % 36) as usize]));
        rest /= 36;
    }
    Address { domain: domain.min(DOMAINS - 1), slashtag }
}

pub fn host(domain: u64) -> String {
    format!("go{domain}.brand.example")
}

/// Writes link `n` as a line of a catalog file.
pub fn write(n: u64, out: &mut impl Write) -> io::Result<()> {
    let Address { domain, slashtag } = address(n);
    let (a, b, c) = (mixed(n ^ 1 << 40), mixed(n ^ 1 << 41), mixed(n ^ 1 << 42));
    let workspace = domain % 400;
    let created = jiff::Timestamp::from_millisecond(FIRST_MILLIS + (c % 200_000_000_000) as i64);
    let created = created.map_err(io::Error::other)?;
    write!(
        out,
        "{{\"id\":\"{a:016x}{b:016x}\",\"slashtag\":\"{slashtag}\",\"destination\":\"https://www.customer-{workspace}\
         .example/to/{:08x}?utm_source={}\",\"createdAt\":\"{created:.3}\",\"domain\":{{\"id\":\"d-{domain}\",\
         \"fullName\":\"{}\"}},\"creator\":{{\"id\":\"u-{}\",\"fullName\":\"Ana Lima\"}},\
         \"workspace\":{{\"id\":\"w-{workspace}\",\"name\":\"Marketing\"}}",
        a as u32,
        ["mail", "poster", "social"][(b % 3) as usize],
        host(domain),
        workspace * 10 + c % 5,
    )?;
    if b % 10 < 4 {
        let tag = workspace * 20 + a % 20;
        write!(out, ",\"tags\":[{{\"id\":\"t-{tag}\",\"name\":\"Campaign {tag}\"}}]")?;
    }
    match c % 100 {
        7 => write!(out, ",\"maxClicks\":{}", 1 + a % 10_000)?,
        8 => write!(out, ",\"activeUntil\":\"2030-01-01T00:{:02}:{:02}Z\"", a % 60, b % 60)?,
        9 => write!(out, ",\"fallback\":\"https://www.customer-{workspace}.example/late/{:04x}\"", a as u16)?,
        _ => {}
    }
    out.write_all(b"}\n")
}

/// Spreads a number over all bits.
pub fn mixed(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}
