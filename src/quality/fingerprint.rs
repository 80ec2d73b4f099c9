//! Detects sets of headers that no real browser sends.
//!
//! Only an agent that is exactly a browser's own string is checked: Chrome or Edge, Firefox, Safari. Any addition (a
//! web view's `; wv`, an application's name, `compatible; ...`) makes it the string of other software, which may send
//! any headers. Each rule has its evidence:
//!
//! | rule | why it is sure |
//! |---|---|
//! | Firefox or Safari with `Sec-CH-UA` | Only Chromium implements User-Agent Client Hints (WICG UA-CH); Gecko and `WebKit` send none |
//! | the Chromium version of `Sec-CH-UA` is not that of the agent | Chromium fills both from one version number; 99 is left out, at which a policy once froze the string |
//! | `Sec-CH-UA` names `HeadlessChrome`, the agent does not | the driven browser says so in both places; only an overridden agent hides it |
//! | `Sec-CH-UA-Platform` is another system than the agent's | Chromium fills both from one place. Desktop mode on Android has a desktop's name in the string and, by version, `Linux` or `Android` in the hint; both pass. Safari's desktop mode on the iPad sends no hints |
//! | `Sec-CH-UA-Mobile` says the opposite of ` Mobile ` in the agent | the same switch sets both; a desktop's string with `?1` passes when the platform is `Android`, as desktop mode once did so |
//! | a current browser over HTTP/1.0 | browsers have spoken HTTP/1.1 since the nineties |
//! | Chrome 80, Firefox 90, Safari 16.4 or later without `Sec-Fetch-Mode` over TLS | W3C Fetch Metadata: sent with every request to a trustworthy address from these versions on, and not under the control of a page |
//!
//! The last two need the visitor's own connection: behind a trusted proxy the redirect reports neither TLS nor the
//! version of HTTP. No rule is about HTTP/2: no header is known to be present, or missing, in every browser there.
//!
//! Linear in the first [`MAX_AGENT`] bytes; allocates nothing.

use memchr::memchr;

/// An agent that is longer is no browser's own.
pub const MAX_AGENT: usize = 256;

/// What every browser's agent begins with.
const BEGINNING: &[u8] = b"Mozilla/5.0 (";

/// The version at which a policy (`ForceMajorVersionToMinorPosition`) froze the agent's.
const FROZEN: u16 = 99;

/// Systems that Chromium names: a name that it may add one day is no contradiction.
const NAMED: [&[u8]; 7] = [
    b"\"Windows\"",
    b"\"macOS\"",
    b"\"Mac OS X\"",
    b"\"Linux\"",
    b"\"Android\"",
    b"\"Chrome OS\"",
    b"\"Chromium OS\"",
];

/// Bytes of the hints that are read.
const MAX_HINT: usize = 512;

/// What the headers show, apart from the texts that are scanned for attacks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    /// `Sec-CH-UA` or its full form.
    pub brands: &'a [u8],
    /// `Sec-CH-UA-Platform`.
    pub platform: &'a [u8],
    /// `Sec-CH-UA-Mobile`.
    pub mobile: Option<bool>,
    /// Whether there was a `Sec-Fetch-Mode`.
    pub fetch_metadata: bool,
    /// The visitor's own connection is TLS, and ends here.
    pub tls: bool,
    /// The visitor's own connection speaks HTTP/1.0.
    pub http_1_0: bool,
}

/// Whether this browser never sends these headers.
pub(super) fn are_impossible(browser: Browser, headers: &Headers<'_>) -> bool {
    if browser.is_current() && (headers.http_1_0 || headers.tls && !headers.fetch_metadata) {
        return true;
    }
    let brands = headers.brands.get(..MAX_HINT).unwrap_or(headers.brands);
    if browser.family == Family::Chromium {
        contradicts_brands(browser, brands)
            || contradicts_platform(browser, headers.platform)
            || contradicts_mobile(browser, headers)
    } else {
        !brands.is_empty()
    }
}

/// Brands are `"name";v="version"`, in any order. A comma within a name splits it into parts that are no brands.
fn contradicts_brands(browser: Browser, brands: &[u8]) -> bool {
    brands.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).any(|brand| {
        let version = brand.strip_prefix(br#""Chromium";v=""#).and_then(number);
        version.is_some_and(|(version, _)| version != browser.major && browser.major != FROZEN)
            || brand.starts_with(b"\"HeadlessChrome\"")
    })
}

fn contradicts_platform(browser: Browser, platform: &[u8]) -> bool {
    let fits: &[&[u8]] = match browser.system {
        System::Windows => &[b"\"Windows\"", b"\"Android\""],
        System::Mac => &[b"\"macOS\"", b"\"Mac OS X\"", b"\"Android\""],
        System::Unix => &[b"\"Linux\"", b"\"Android\"", b"\"Chrome OS\"", b"\"Chromium OS\""],
        System::Android => &[b"\"Android\"", b"\"Linux\""],
        System::Ios => return false,
    };
    !platform.is_empty() && !fits.contains(&platform) && NAMED.contains(&platform)
}

fn contradicts_mobile(browser: Browser, headers: &Headers<'_>) -> bool {
    match headers.mobile {
        Some(true) => !browser.mobile && headers.platform != b"\"Android\"",
        Some(false) => browser.mobile,
        None => false,
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Family {
    Chromium,
    Firefox,
    Safari,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum System {
    Windows,
    Mac,
    /// Linux and Chrome OS.
    Unix,
    Android,
    Ios,
}

/// What a browser's own agent string says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Browser {
    family: Family,
    major: u16,
    minor: u16,
    system: System,
    /// Whether it contains ` Mobile `.
    mobile: bool,
}

impl Browser {
    /// Reads an agent string, and returns its first parentheses, too: all else in it is fixed, or a version. `None` for
    /// everything that is not exactly a browser's own.
    pub(super) fn read(agent: &[u8]) -> Option<(Self, &[u8])> {
        if agent.len() > MAX_AGENT {
            return None;
        }
        let rest = agent.strip_prefix(BEGINNING)?;
        let (system, rest) = rest.split_at(memchr(b')', rest)?);
        let brackets = &agent[BEGINNING.len() - 1..=BEGINNING.len() + system.len()];
        let browser = Self::of(System::read(system)?, &rest[1..])?;
        Some((browser, brackets))
    }

    /// From the text after the parentheses.
    fn of(system: System, rest: &[u8]) -> Option<Self> {
        if let Some(rest) = rest.strip_prefix(b" AppleWebKit/537.36 (KHTML, like Gecko) Chrome/") {
            let ((major, minor), rest) = version(rest)?;
            let (mobile, rest) = skip(rest, b" Mobile");
            let rest = rest.strip_prefix(b" Safari/537.36")?;
            let edge = rest.strip_prefix(b" Edg/").or_else(|| rest.strip_prefix(b" EdgA/"));
            let rest = edge.map_or(Some(rest), |rest| version(rest).map(|(_, rest)| rest))?;
            let browser = Self { family: Family::Chromium, major, minor, system, mobile };
            return (rest.is_empty() && system != System::Ios).then_some(browser);
        }
        if let Some(rest) = rest.strip_prefix(b" Gecko/") {
            let (_, rest) = version(rest)?;
            let ((major, minor), rest) = version(rest.strip_prefix(b" Firefox/")?)?;
            let browser = Self { family: Family::Firefox, major, minor, system, mobile: false };
            return rest.is_empty().then_some(browser);
        }
        let rest = rest.strip_prefix(b" AppleWebKit/605.1.15 (KHTML, like Gecko) Version/")?;
        let ((major, minor), rest) = version(rest)?;
        let (mobile, rest) = skip(rest, b" Mobile/15E148");
        let rest = rest.strip_prefix(b" Safari/605.1.15").or_else(|| rest.strip_prefix(b" Safari/604.1"))?;
        let browser = Self { family: Family::Safari, major, minor, system, mobile };
        (rest.is_empty() && matches!(system, System::Mac | System::Ios)).then_some(browser)
    }

    /// Whether it is of a version that sends fetch metadata.
    fn is_current(self) -> bool {
        match self.family {
            Family::Chromium => self.major >= 80,
            Family::Firefox => self.major >= 90,
            Family::Safari => (self.major, self.minor) >= (16, 4),
        }
    }
}

impl System {
    /// From the text in the first parentheses.
    fn read(text: &[u8]) -> Option<Self> {
        let begins = |with: &[u8]| text.starts_with(with);
        if begins(b"Windows NT ") {
            Some(Self::Windows)
        } else if begins(b"Macintosh; ") {
            Some(Self::Mac)
        } else if begins(b"X11; ") {
            Some(Self::Unix)
        } else if begins(b"Linux; Android ") && !text.ends_with(b"; wv") || begins(b"Android ") {
            Some(Self::Android)
        } else {
            (begins(b"iPhone; ") || begins(b"iPad; ") || begins(b"iPod")).then_some(Self::Ios)
        }
    }
}

/// Drops `text` from the beginning, and returns whether it stood there.
fn skip<'a>(from: &'a [u8], text: &[u8]) -> (bool, &'a [u8]) {
    from.strip_prefix(text).map_or((false, from), |rest| (true, rest))
}

/// The first two numbers of `131.0.6778.85`, and what follows the version.
fn version(text: &[u8]) -> Option<((u16, u16), &[u8])> {
    let (major, rest) = number(text)?;
    let minor = rest.strip_prefix(b".").and_then(number).map_or(0, |(minor, _)| minor);
    let end = rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.').unwrap_or(rest.len());
    Some(((major, minor), &rest[end..]))
}

/// A number, saturating, and what follows.
fn number(text: &[u8]) -> Option<(u16, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(digits);
    let value =
        digits.iter().fold(0_u16, |value, digit| value.saturating_mul(10).saturating_add(u16::from(digit - b'0')));
    (!digits.is_empty()).then_some((value, rest))
}

#[cfg(test)]
mod tests;
