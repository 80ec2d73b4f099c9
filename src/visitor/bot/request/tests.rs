#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::click::{ClientAddr, EventId, Protocol, Texts};

const WINDOWS: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
const ANDROID: &str =
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0";
const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/17.5 Mobile/15E148 Safari/604.1";

fn flags(all: &[Flags]) -> Flags {
    let mut flags = Flags::default();
    for flag in all {
        flags.set(*flag, true);
    }
    flags
}

fn classified(agent: &str, language: &str, all: &[Flags]) -> Option<Bot> {
    with(agent, language, "", all, None, None, false)
}

fn with(
    agent: &str,
    language: &str,
    brands: &str,
    all: &[Flags],
    named: Option<&Bot>,
    network: Option<Network>,
    behaviour: bool,
) -> Option<Bot> {
    let texts = Texts {
        user_agent: agent.as_bytes(),
        accept_language: language.as_bytes(),
        hint_brands: brands.as_bytes(),
        ..Texts::default()
    };
    let client = ClientAddr::from_ip([192, 0, 2, 1].into());
    let facts = Facts {
        id: EventId::at(0),
        micros: 0,
        client,
        status: 302,
        protocol: Protocol::Http11,
        flags: flags(all),
        texts,
    };
    classify(&BotEvidence { signed: None, agent: named, facts: &facts, network, behaviour })
}

const ALL: [Flags; 4] = [Flags::ACCEPT, Flags::ACCEPT_ENCODING, Flags::FETCH_METADATA, Flags::NAVIGATE];

#[allow(clippy::unnecessary_wraps, reason = "what is compared with is an option")]
fn library() -> Option<Bot> {
    Some(Bot { reason: BotReason::Library, class: Some(BotClass::Library), name: None, verified: false })
}

#[test]
fn a_browser_with_its_headers_is_a_human() {
    for agent in [WINDOWS, ANDROID, FIREFOX, IPHONE] {
        assert_eq!(classified(agent, "en", &ALL), None, "{agent}");
        assert_eq!(classified(agent, "en", &[&ALL[..], &[Flags::TLS]].concat()), None, "{agent}");
        assert_eq!(classified(agent, "en", &ALL[..2]), None, "over plain HTTP there is no fetch metadata: {agent}");
    }
}

#[test]
fn no_single_header_that_is_missing_makes_a_bot() {
    for agent in [WINDOWS, ANDROID, FIREFOX, IPHONE] {
        for missing in 0..ALL.len() {
            let mut all = ALL.to_vec();
            all.remove(missing);
            all.push(Flags::TLS);
            assert_eq!(classified(agent, "en", &all), None, "{agent}, {missing}");
        }
        assert_eq!(classified(agent, "", &[&ALL[..], &[Flags::TLS]].concat()), None, "{agent}: a hidden language");
        assert_eq!(classified(agent, "en", &[]), None, "{agent}: a language alone");
    }
}

#[test]
fn a_library_that_poses_as_a_browser_is_a_library() {
    let (accept, encoding, tls) = (Flags::ACCEPT, Flags::ACCEPT_ENCODING, Flags::TLS);
    for agent in [WINDOWS, ANDROID, FIREFOX, IPHONE] {
        assert_eq!(classified(agent, "", &[]), library(), "a raw socket: {agent}");
        assert_eq!(classified(agent, "", &[encoding]), library(), "Go: {agent}");
        assert_eq!(classified(agent, "", &[accept, tls]), library(), "curl: {agent}");
        let fetch = [accept, encoding, Flags::FETCH_METADATA];
        assert_eq!(classified(agent, "*", &fetch), library(), "Node: {agent}");
    }
    assert_eq!(classified(WINDOWS, "", &[accept, encoding, tls]), library(), "requests");
}

/// Versions of which little is known, except that they sent three headers.
const OLD: [&str; 6] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/57.0.2987.133 \
     Safari/537.36",
    "Mozilla/5.0 (Windows NT 6.1) AppleWebKit/535.1 (KHTML, like Gecko) Chrome/14.0.835.163 Safari/535.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:45.0) Gecko/20100101 Firefox/45.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9) AppleWebKit/537.71 (KHTML, like Gecko) Version/7.0 Safari/537.71",
    "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0)",
    "Mozilla/5.0 (Linux; Android 4.4.2; GT-I9195) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/38.0.2125.102 \
     Mobile Safari/537.36",
];

#[test]
fn a_browser_of_any_age_without_the_three_headers_is_a_library() {
    for old in OLD {
        assert_eq!(classified(old, "", &[]), library(), "{old}");
        assert_eq!(classified(old, "", &[Flags::TLS]), library(), "{old}");
    }
}

#[test]
fn where_humans_lose_headers_nothing_counts() {
    let (accept, encoding, tls) = (Flags::ACCEPT, Flags::ACCEPT_ENCODING, Flags::TLS);
    assert_eq!(classified(WINDOWS, "", &[accept]), None, "a filter between, on plain HTTP");
    assert_eq!(
        classified(ANDROID, "", &[accept, encoding, tls]),
        None,
        "an application that fetches for its web view"
    );
    assert_eq!(classified(IPHONE, "", &[accept, encoding, tls]), None, "no version is known to send it always");
    assert_eq!(classified(WINDOWS, "", &[Flags::PROXIED]), None, "a delivery network that drops headers");
    for old in [
        "Mozilla/5.0 (Linux; U; Android 2.3; en) AppleWebKit/533.1 (KHTML, like Gecko) Version/4.0 Mobile Safari/533.1",
        "Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) AppleWebKit/537.36 (KHTML, like Gecko) Version/6.0 TV Safari/537.36",
        "Mozilla/5.0 (PlayStation 4 8.52) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.0 Safari/605.1.15",
        "Nokia6300/2.0 (07.21) Profile/MIDP-2.0 Configuration/CLDC-1.1",
        "Opera/9.80 (J2ME/MIDP; Opera Mini/9.80; U; en) Presto/2.5.25 Version/10.54",
    ] {
        assert_eq!(classified(old, "", &[tls]), None, "{old}");
    }
    for old in OLD {
        for kept in [accept, encoding] {
            assert_eq!(classified(old, "", &[kept, tls]), None, "what removes two headers: {old}");
        }
        assert_eq!(classified(old, "en", &[]), None, "a language: {old}");
        assert_eq!(classified(old, "", &[Flags::PROXIED]), None, "{old}");
    }
    let early = WINDOWS.replace("131.", "79.");
    assert_eq!(classified(&early, "", &[accept, encoding, tls]), None, "before fetch metadata");
    let early = FIREFOX.replace("X11; Linux x86_64", "Windows NT 10.0").replace("133.0", "89.0");
    assert_eq!(classified(&early, "", &[accept, encoding, tls]), None, "before fetch metadata");
}

#[test]
fn a_signature_is_surer_than_all_else() {
    let bot = |name: &str, verified| Bot {
        reason: BotReason::Agent,
        class: None,
        name: Some(name.to_owned().into()),
        verified,
    };
    let named = bot("googlebot", false);
    let texts = Texts { user_agent: WINDOWS.as_bytes(), ..Texts::default() };
    let client = ClientAddr::from_ip([192, 0, 2, 1].into());
    let flags = flags(&[Flags::HEAD]);
    let facts =
        Facts { id: EventId::at(0), micros: 0, client, status: 302, protocol: Protocol::Http11, flags, texts };
    let signed = Some(bot("test-agent", true));
    let network = Some(Network::Hosting);
    let evidence =
        BotEvidence { signed: signed.clone(), agent: Some(&named), facts: &facts, network, behaviour: true };
    assert_eq!(classify(&evidence), signed);
}

#[test]
fn hints_that_name_headless_chrome_reveal_it() {
    let of = |brands| with(WINDOWS, "en", brands, &ALL, None, None, false);
    let bot = of(r#""HeadlessChrome";v="131", "Chromium";v="131", "Not_A Brand";v="24""#).unwrap();
    assert_eq!((bot.reason, bot.class), (BotReason::Agent, Some(BotClass::Library)));
    assert_eq!(bot.name.as_deref(), Some("headless-chrome"));
    assert_eq!(of(r#""Google Chrome";v="131", "Chromium";v="131", "Not_A Brand";v="24""#), None);
}

#[test]
fn the_surest_evidence_is_the_reason() {
    let named = Bot {
        reason: BotReason::Agent,
        class: Some(BotClass::Search),
        name: Some("googlebot".into()),
        verified: false,
    };
    let reason = |all: &[Flags], named, network, behaviour| {
        with(WINDOWS, "", "", all, named, network, behaviour).map(|bot| bot.reason)
    };
    let hosting = Some(Network::Hosting);
    let all = [Flags::PREVIEW, Flags::PREFETCH, Flags::HEAD];
    assert_eq!(reason(&all, Some(&named), hosting, true), Some(BotReason::Agent));
    assert_eq!(reason(&all, None, hosting, true), Some(BotReason::Head));
    assert_eq!(reason(&all[..2], None, hosting, true), Some(BotReason::Prefetch));
    assert_eq!(reason(&all[..1], None, hosting, true), Some(BotReason::Preview));
    assert_eq!(reason(&[], None, hosting, true), Some(BotReason::Library));
    assert_eq!(reason(&ALL, None, hosting, true), Some(BotReason::Network));
    assert_eq!(reason(&ALL, None, None, true), Some(BotReason::Behaviour));
    assert_eq!(reason(&ALL, None, None, false), None);
    assert_eq!(reason(&ALL, None, Some(Network::Anonymizer), false), None, "humans are behind these");
}

proptest! {
    #[test]
    fn any_request_is_classified(agent in any::<Vec<u8>>(), language in any::<Vec<u8>>(), brands in any::<Vec<u8>>(), tls: bool) {
        let texts = Texts {
            user_agent: &agent, accept_language: &language, hint_brands: &brands, ..Texts::default()
        };
        let mut flags = Flags::default();
        flags.set(Flags::TLS, tls);
        let client = ClientAddr::from_ip([192, 0, 2, 1].into());
        let facts = Facts { id: EventId::at(0), micros: 0, client, status: 302, protocol: Protocol::Http11, flags, texts };
        classify(&BotEvidence { signed: None, agent: None, facts: &facts, network: None, behaviour: false });
    }
}
