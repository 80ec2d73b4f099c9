//! The mix of clicks of `bench/worker.rs`.

use std::net::IpAddr;

use clickedge::{
    click::{ClientAddr, EventId, Facts, Flags, Protocol, Texts, wire},
    runtime::clock,
};

const WORKSPACES: usize = 100;
const LINKS: usize = 10_000;
const VISITORS: usize = 20_000;

/// Agents that are the same on millions of devices; `{}` is a version.
const BROWSERS: [(&str, u32); 9] = [
    (
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Mobile Safari/537.36",
        28,
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_{} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
        22,
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36",
        12,
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{0}.0.0.0 Safari/537.36 Edg/{0}.0.0.0",
        4,
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.{} Safari/605.1.15",
        5,
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36",
        4,
    ),
    ("Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0", 2),
    (
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/27.0 Chrome/{}.0.0.0 Mobile Safari/537.36",
        4,
    ),
    (
        "Mozilla/5.0 (iPad; CPU OS 17_{} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/130.0.6723.90 Mobile/15E148 Safari/604.1",
        2,
    ),
];

/// Agents with the model of the phone and the version of the application.
const APPLICATIONS: [&str; 3] = [
    "Mozilla/5.0 (Linux; Android 14; SM-A{}B Build/UP1A.231005.007; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/130.0.6723.107 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/488.0.0.{};]",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/21G93 Instagram 356.0.0.{} (iPhone14,{}; iOS 17_6_1; en_US; en; scale=3.00; 1170x2532; 661092391)",
    "Mozilla/5.0 (Linux; Android 13; CPH{} Build/TP1A.220905.001; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/129.0.6668.100 Mobile Safari/537.36 musical_ly_2023605030 BytedanceWebview/d8a21c{}",
];

const BOTS: [&str; 8] = [
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "WhatsApp/2.23.20.0 A",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "python-requests/2.32.3",
    "Twitterbot/1.0",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
];

const REFERRERS: [(&str, u32); 12] = [
    ("", 42),
    ("https://l.facebook.com/", 10),
    ("https://lm.facebook.com/", 8),
    ("https://l.instagram.com/", 9),
    ("https://www.google.com/", 7),
    ("https://t.co/", 6),
    ("https://www.linkedin.com/", 4),
    ("android-app://com.google.android.gm/", 3),
    ("https://www.youtube.com/", 3),
    ("https://mail.google.com/", 2),
    ("https://blog-{}.example.org/2026/11/a-post-about-spring", 4),
    ("https://www.pinterest.com/pin/{}/", 2),
];

const LANGUAGES: [&str; 8] = [
    "en-US,en;q=0.9",
    "en-GB,en-US;q=0.9,en;q=0.8",
    "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7",
    "fr-FR,fr;q=0.9",
    "es-ES,es;q=0.9,en;q=0.8",
    "pt-BR,pt;q=0.9,en-US;q=0.8,en;q=0.7",
    "it-IT",
    "ja,en-US;q=0.9,en;q=0.8",
];

/// Texts of one click, owned.
struct Click {
    address: IpAddr,
    agent: String,
    referer: String,
    language: &'static str,
    brands: String,
    query: String,
    link: usize,
}

/// `count` raw clicks in the form of a ring, and their addresses; `address` gives each visitor one.
pub fn clicks(count: usize, mut address: impl FnMut(u32) -> IpAddr) -> Vec<(IpAddr, Vec<u8>)> {
    let mut random = fastrand::Rng::with_seed(42);
    let visitors: Vec<(IpAddr, String, &str)> = (0..VISITORS)
        .map(|n| (address(n as u32), agent(&mut random), LANGUAGES[random.usize(..LANGUAGES.len())]))
        .collect();
    let start = clock::unix_micros();
    (0..count)
        .map(|n| {
            let (address, agent, language) = &visitors[random.usize(..VISITORS)];
            let click = Click {
                address: *address,
                brands: brands(agent),
                agent: agent.clone(),
                referer: weighted(&mut random, &REFERRERS).replace("{}", &random.u32(..500).to_string()),
                language,
                query: query(&mut random),
                link: zipf(&mut random, LINKS),
            };
            (click.address, encode(&click, start + 700 * n as u64))
        })
        .collect()
}

fn encode(click: &Click, micros: u64) -> Vec<u8> {
    let (n, workspace) = (click.link, click.link % WORKSPACES);
    let (slashtag, id, of) = (format!("tag-{n:06x}"), format!("{n:032x}"), format!("w-{workspace}"));
    let path = format!("/{slashtag}");
    let destination = format!("https://www.example.com/landing/{n}?utm_source=link&{}", click.query);
    let creator = format!(
        r#"{{"id":"u-{workspace}","name":"Ana Lima","workspace":{{"id":"w-{workspace}","name":"Marketing"}}}}"#
    );
    let tags = format!(r#"[{{"id":"t-{workspace}","name":"Print"}}]"#);
    let mut flags = Flags::default();
    flags.set(Flags::ACCEPT, true);
    flags.set(Flags::ACCEPT_ENCODING, true);
    for flag in [Flags::FETCH_METADATA, Flags::NAVIGATE, Flags::TLS] {
        flags.set(flag, true);
    }
    flags.set(Flags::MOBILE, !click.brands.is_empty() && click.agent.contains("Mobile"));
    flags.set(Flags::NOT_MOBILE, !click.brands.is_empty() && !click.agent.contains("Mobile"));
    let facts = Facts {
        id: EventId::at(micros),
        micros,
        client: ClientAddr::from_ip(click.address),
        status: 302,
        protocol: Protocol::Http11,
        flags,
        texts: Texts {
            user_agent: click.agent.as_bytes(),
            referer: click.referer.as_bytes(),
            accept_language: click.language.as_bytes(),
            hint_brands: click.brands.as_bytes(),
            hint_platform: platform(click),
            query: click.query.as_bytes(),
            path: path.as_bytes(),
            destination: destination.as_bytes(),
            link_id: id.as_bytes(),
            slashtag: slashtag.as_bytes(),
            created_at: b"2026-03-01T09:30:00.000Z",
            workspace: of.as_bytes(),
            host: b"go.brand.com",
            creator_json: creator.as_bytes(),
            domain_json: br#"{"id":"d-1","raw":"go.brand.com","zone":"com.brand.go"}"#,
            tags_json: tags.as_bytes(),
            ..Texts::default()
        },
    };
    let mut bytes = vec![0; wire::encoded_len(&facts)];
    wire::encode_into(&facts, &mut bytes);
    bytes
}

/// One in eight is a bot, one in five an application.
fn agent(random: &mut fastrand::Rng) -> String {
    match random.u32(..40) {
        0..5 => BOTS[random.usize(..BOTS.len())].to_owned(),
        5..13 => {
            let text = APPLICATIONS[random.usize(..APPLICATIONS.len())];
            // A few models and versions have most of the visitors.
            let text = text.replacen("{}", &(100 + zipf(random, 900)).to_string(), 1);
            text.replace("{}", &(1 + zipf(random, 98)).to_string())
        }
        _ => {
            let text = weighted(random, &BROWSERS);
            let version = (if text.contains("18_{}") || text.contains("18.{}") { 1 } else { 126 }) + random.u32(..5);
            text.replace("{0}", &version.to_string()).replace("{}", &version.to_string())
        }
    }
}

/// The brands that Chromium sends with the agent over TLS.
fn brands(agent: &str) -> String {
    let version = agent.split_once(" Chrome/").and_then(|(_, rest)| rest.split_once('.')).map(|(version, _)| version);
    match version {
        Some(version) if !agent.contains("compatible") => {
            let brand = if agent.contains("Edg/") { "Microsoft Edge" } else { "Google Chrome" };
            format!(r#""Chromium";v="{version}", "{brand}";v="{version}", "Not.A/Brand";v="24""#)
        }
        _ => String::new(),
    }
}

fn platform(click: &Click) -> &'static [u8] {
    match &click.agent {
        _ if click.brands.is_empty() => b"",
        agent if agent.contains("Android") => br#""Android""#,
        agent if agent.contains("Windows") => br#""Windows""#,
        _ => br#""macOS""#,
    }
}

fn query(random: &mut fastrand::Rng) -> String {
    match random.u32(..10) {
        0..5 => String::new(),
        5..8 => format!("utm_source=newsletter&utm_medium=email&utm_campaign=spring_{}", random.u32(..50)),
        8 => format!("fbclid=IwAR{:016x}{:016x}", random.u64(..), random.u64(..)),
        _ => format!("gclid=Cj0KCQ{:016x}{:016x}_wcB", random.u64(..), random.u64(..)),
    }
}

fn weighted<'a>(random: &mut fastrand::Rng, choices: &[(&'a str, u32)]) -> &'a str {
    let all: u32 = choices.iter().map(|(_, share)| share).sum();
    let mut at = random.u32(..all);
    for (text, share) in choices {
        if at < *share {
            return text;
        }
        at -= share;
    }
    ""
}

/// Numbers below `count`, by Zipf's law with an exponent of about 1.
fn zipf(random: &mut fastrand::Rng, count: usize) -> usize {
    ((count as f64).powf(random.f64()) as usize - 1).min(count - 1)
}
