//! The form of an agent string: how browsers build theirs, and what other software puts around them.
//!
//! Browsers on computers write `Mozilla/5.0 (system) engine product/version`, and each part has few values. The rules
//! here are about that form, not about names, and were measured on lists of both (`bench/README.md`). Each is linear in
//! the string.

use memchr::{memchr, memmem, memrchr};

/// How browsers start their agent string.
const BROWSER_STARTS: [&str; 2] = ["Mozilla/", "Opera/"];

/// How browsers on computers start theirs.
const DESKTOP_STARTS: [&[u8]; 3] = [b"Mozilla/5.0 (Windows NT ", b"Mozilla/5.0 (Macintosh; ", b"Mozilla/5.0 (X11; "];

/// One of these is in every browser's string on a computer, after the system.
const ENGINES: [&[u8]; 11] = [
    b"AppleWebKit",
    b"Gecko",
    b"Firefox/",
    b"Trident/",
    b"MSIE ",
    b"Presto/",
    b"KHTML",
    b"Opera",
    b"Clecko",
    b"Goanna",
    b"UCBrowser/",
];

/// What browsers write between `X11` and the end of the parentheses as a word of its own: a system, or a desktop.
const X11_WORDS: [&str; 27] = [
    "aix",
    "arch",
    "centos",
    "cros",
    "debian",
    "dragonfly",
    "fedora",
    "freebsd",
    "gentoo",
    "irix",
    "khtml",
    "konqueror",
    "kubuntu",
    "linux",
    "mandriva",
    "mint",
    "netbsd",
    "openbsd",
    "opensuse",
    "raspbian",
    "redhat",
    "solaris",
    "sunos",
    "suse",
    "ubuntu",
    "viera",
    "xubuntu",
];

/// Names under which extensions append the address of a page to a browser's own string.
const KEYS: [&str; 11] =
    ["document", "href", "initiator", "location", "origin", "page", "referer", "referrer", "source", "tab", "url"];

/// Whether a string begins as those of browsers do.
pub(super) fn starts_as_browser(agent: &str) -> bool {
    let begins = |start: &str| agent.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
    BROWSER_STARTS.into_iter().any(begins)
}

/// Whether a string has a form that no browser gives it: a single word; or on a computer, no engine, or an unknown
/// word in the place of the system.
pub(super) fn is_no_browsers(agent: &str) -> bool {
    let bytes = agent.as_bytes();
    let is_model = agent.starts_with("iPhone");
    if !is_model
        && !bytes
            .iter()
            .any(|byte| byte.is_ascii_digit() || byte.is_ascii_whitespace() || matches!(byte, b'/' | b'('))
    {
        return true;
    }
    if !is_desktop(bytes) {
        return false;
    }
    let Some(end) = memchr(b')', bytes) else { return false };
    let rest = bytes[end + 1..].trim_ascii();
    if !rest.is_empty() && !ENGINES.iter().any(|engine| memmem::find(bytes, engine).is_some()) {
        return true;
    }
    agent.strip_prefix("Mozilla/5.0 (X11; ").and_then(|rest| rest.split(')').next()).is_some_and(has_strange_word)
}

/// `Datanyze; Linux x86_64`: a field that is one word, and the name of no system. `U`, `N` and `I` are what they are.
fn has_strange_word(fields: &str) -> bool {
    fields.split(';').map(str::trim).any(|field| {
        field.len() > 2
            && field.bytes().all(|byte| byte.is_ascii_alphabetic())
            && !X11_WORDS.iter().any(|word| field.eq_ignore_ascii_case(word))
    })
}

fn is_desktop(agent: &[u8]) -> bool {
    DESKTOP_STARTS.iter().any(|start| agent.starts_with(start))
}

/// Whether the virtual machine of Android shows pages in a web view: its own string, followed by that of Chrome.
/// Without the second part it is an application's HTTP stack.
pub(super) fn is_web_view(agent: &[u8]) -> bool {
    agent.starts_with(b"Dalvik/")
        && memmem::find(agent, b" AppleWebKit").is_some_and(|at| memmem::find(&agent[at..], b" Chrome/").is_some())
}

/// Whether the `.com` at this place ends the name of a host, in the string of a browser on a computer.
pub(super) fn is_host(agent: &[u8], dot: usize) -> bool {
    let label = dot.checked_sub(1).and_then(|before| agent.get(before));
    label.is_some_and(u8::is_ascii_alphanumeric) && is_desktop(agent) && !is_appended(agent, dot)
}

/// Whether what stands at this place was appended to the complete string of a browser by an extension, which says
/// nothing of the browser: after a `|`, or as the value of a key that names a page (`| Initiator: https://…`).
pub(super) fn is_appended(agent: &[u8], at: usize) -> bool {
    let Some(before) = agent.get(..at).filter(|_| agent.starts_with(b"Mozilla/5.0 (")) else { return false };
    let Some(browser) = memmem::rfind(before, b" Safari/").or_else(|| memmem::rfind(before, b" Firefox/")) else {
        return false;
    };
    let tail = &before[browser..];
    if memchr(b'|', tail).is_some() {
        return true;
    }
    // Outside parentheses, in which bots explain themselves.
    if memrchr(b'(', tail) > memrchr(b')', tail) {
        return false;
    }
    let word = tail.iter().rposition(|&byte| matches!(byte, b' ' | b'=')).map_or(tail, |end| &tail[..=end]);
    let Some(key) = word.trim_ascii_end().strip_suffix(b":").or_else(|| word.strip_suffix(b"=")) else {
        return false;
    };
    let key = key.iter().rposition(|byte| !byte.is_ascii_alphabetic()).map_or(key, |end| &key[end + 1..]);
    KEYS.iter().any(|known| key.eq_ignore_ascii_case(known.as_bytes()))
}

/// Where the product begins that the `://` at this place explains: `Name/1.0 (+http://…)`.
pub(super) fn product_of_url(agent: &[u8], at: usize) -> Option<usize> {
    let scheme = agent.get(..at)?.iter().rposition(|byte| !byte.is_ascii_alphabetic())?;
    let open = if agent[scheme] == b'+' { scheme.checked_sub(1)? } else { scheme };
    let product = agent[..open].strip_suffix(b" ").filter(|_| agent[open] == b'(')?;
    let start = memrchr(b' ', product)? + 1;
    memchr(b'/', &product[start..]).map(|_| start)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::from_agent;

    const CHROME: &str = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/127.0.0.0 Safari/537.36";

    fn assert_humans(agents: &[String]) {
        for agent in agents {
            assert_eq!(from_agent(agent), None, "{agent}");
        }
    }

    fn assert_bots(agents: &[String]) {
        for agent in agents {
            assert!(from_agent(agent).is_some(), "{agent}");
        }
    }

    #[test]
    fn what_an_extension_appends_is_not_the_browsers() {
        let windows = format!("Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME}");
        assert_humans(&[
            format!("{windows} ||| ReqID: 472 | TabID: 643 | Type: xmlhttprequest | Initiator: https://acme.example"),
            format!("{windows} | https://acme.com/page"),
            format!("{windows} Initiator: https://acme.com"),
            format!("{windows} tab=https://acme.com/?monitor"),
            format!("{} | origin: http://acme.io", windows.replace("Safari/537.36", "Safari/537.36 Edg/127.0.0.0")),
            "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0 Referer: https://acme.com".into(),
        ]);
        assert_bots(&[
            format!("{windows} Acme/1.0 (+https://acme.example)"),
            format!("{windows} (compatible; Acme; url: https://acme.example)"),
            format!("{windows} https://acme.example"),
            format!("{windows} Contact: https://acme.example"),
            format!("{windows} | Googlebot/2.1"),
        ]);
    }

    #[test]
    fn another_product_with_an_address_is_no_application() {
        let iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148";
        assert_bots(&[
            format!("{iphone} Twitter for iPhone/10.38 Acme/1.0 (http://www.acme.example)"),
            format!("{iphone} [FBAN/FBIOS;FBAV/463.0] AcmeAgent/2 (+https://acme.example/why)"),
        ]);
        assert_humans(&[
            format!("{iphone} DuckDuckGo/7 (https://duckduckgo.com/app)"),
            format!("{iphone} Twitter for iPhone/10.38"),
        ]);
    }

    #[test]
    fn the_runtime_of_android_is_a_browser_only_with_a_web_view() {
        let dalvik = "Dalvik/2.1.0 (Linux; U; Android 10; M bot 60 Build/QP1A.190711.020)";
        assert_humans(&[
            format!("{dalvik} AppleWebKit/537.36 (KHTML, like Gecko) Chrome/108.0.0.0 Mobile Safari/537.36"),
            format!("{dalvik} AppleWebKit [PB/63] (KHTML, like Gecko) Chrome/108.0.0.0 Mobile Safari/537.36"),
        ]);
        assert_bots(&[
            dalvik.into(),
            format!("{dalvik} AppleWebKit [HB/29]"),
            format!("{dalvik} Chrome/108.0.0.0"),
            format!("{dalvik} AppleWebKit/537.36 (KHTML, like Gecko) Chrome/108.0.0.0 Mobile Safari/537.36 FooBot"),
        ]);
    }

    #[test]
    fn a_word_that_is_no_system_is_a_bots() {
        for word in ["Datanyze", "Acme", "Rigor"] {
            assert_bots(&[
                format!("Mozilla/5.0 (X11; {word}; Linux x86_64) {CHROME}"),
                format!("Mozilla/5.0 (X11; Linux x86_64; {word}) {CHROME}"),
            ]);
        }
        for fields in
            ["Ubuntu; Linux x86_64", "U; Linux i686; en-US", "CrOS x86_64 14541.0.0", "Fedora; Linux x86_64"]
        {
            assert_humans(&[format!("Mozilla/5.0 (X11; {fields}) {CHROME}")]);
        }
    }

    #[test]
    fn the_system_of_a_computer_alone_makes_no_browser() {
        assert_bots(&[
            "venus/fedoraplanet".into(),
            "planet/ubuntu 2.0".into(),
            "BIGLOTRON (Beta 2;GNU/Linux)".into(),
            "Linux Gnu (cow)".into(),
            "Apache/2.2.2 (Fedora) (internal dummy connection)".into(),
            "Scanning/1.0 (Windows NT 10.0; Win64; x64)".into(),
            "firefox".into(),
            "ipad".into(),
            "Mozilla/5.0 (Windows NT 10.0) Acme/1.1".into(),
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:66.0) Acme/1.0".into(),
            format!("Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Acme/2.0 (acme.com)"),
            format!("Mozilla/5.0 (X11; Linux x86_64) Acme.io/6.0 {CHROME}"),
        ]);
        assert_humans(&[
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64)".into(),
            "Mozilla/5.0 (Windows NT 6.2; Win64; x64; rv:68.9) Goanna/4.5 Centaury/20200313".into(),
            "Mozilla/5.0 (X11; FreeBSD; U; Viera; de-DE) AppleWebKit/537.11 (KHTML, like Gecko) Viera/3.10.0".into(),
            "iPhoneX".into(),
            "ELinks/0.13 (textmode; Linux 5.10 x86_64; 80x24)".into(),
            "Mozilla/5.0 (Windows NT 6.1; Trident/7.0; .NET4.0C; rv:11.0) like Gecko".into(),
            "ExampleApp/1 Windows Phone/10.0 Microsoft; Lumia 550".into(),
        ]);
    }
}
