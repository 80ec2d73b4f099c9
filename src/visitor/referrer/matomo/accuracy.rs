//! How many hosts of the published lists the built-in table puts into the right category: `bench/README.md` has the
//! figures, and how to get them. Places are split into two halves by their name: the first half may be used to correct
//! the table, and the second is only counted.

use std::path::{Path, PathBuf};

use super::{Line, read};
use crate::{
    event::OriginType::{self, Ai, Messaging, Search, Social},
    visitor::referrer::{Places, origin},
};

/// Names of the places that send nearly all visitors of their kind.
const MAJOR: [&str; 32] = [
    "google",
    "bing",
    "yahoo",
    "yandex",
    "baidu",
    "duckduckgo",
    "naver",
    "ecosia",
    "qwant",
    "sogou",
    "seznam",
    "startpage",
    "brave-search",
    "facebook",
    "instagram",
    "youtube",
    "tiktok",
    "twitter",
    "linkedin",
    "pinterest",
    "reddit",
    "snapchat",
    "threads",
    "vkontakte",
    "weibo",
    "telegram",
    "wechat",
    "chatgpt",
    "gemini",
    "perplexity",
    "claude",
    "copilot",
];

/// The addresses of an entry, a few of them for a placeholder.
fn addresses(entry: &str) -> Vec<String> {
    match (entry.contains(".{}"), entry.contains("{}.")) {
        (true, _) => ["de", "fr", "co.uk", "com.br"].map(|country| entry.replace("{}", country)).into(),
        (_, true) => ["de", "fr"].map(|language| entry.replace("{}", language)).into(),
        _ => vec![entry.to_owned()],
    }
}

fn is_right(kind: OriginType, address: &str) -> bool {
    let none = Places::default();
    let (host, path) = address.split_at(address.find('/').unwrap_or(address.len()));
    let found =
        [origin::of_host(host, path.as_bytes(), &none), origin::of_app(host, &none)].map(|origin| origin.kind);
    // Messengers are social networks in the lists, and a category of their own here.
    found.contains(&kind) || (kind == Social && found.contains(&Messaging))
}

fn is_first_half(name: &str) -> bool {
    crc_fast::crc32_iscsi(name.as_bytes()) & 1 == 0
}

#[test]
#[ignore = "needs the published lists: MATOMO_LISTS=folder"]
fn hosts_of_the_published_lists_get_their_category() {
    let folder = PathBuf::from(std::env::var_os("MATOMO_LISTS").expect("MATOMO_LISTS names the folder of the lists"));
    for (file, kind, least) in
        [("SearchEngines.yml", Search, 0.2), ("Socials.yml", Social, 0.4), ("AIAssistants.yml", Ai, 0.4)]
    {
        let lines = read(&Path::new(&folder).join(file)).unwrap();
        let share = |of: &dyn Fn(&Line) -> bool| {
            let chosen: Vec<_> = lines.iter().filter(|line| of(line)).collect();
            let right = chosen.iter().filter(|line| addresses(&line.host).iter().all(|host| is_right(kind, host)));
            (right.count(), chosen.len())
        };
        let major = |line: &Line| MAJOR.contains(&&*line.name);
        let own = |line: &Line| major(line) && line.host.contains(line.name.trim_end_matches("-search"));
        let first = |line: &Line| is_first_half(&line.name);
        let (right, all) = share(&|_| true);
        println!("{file}: {right} of {all}");
        println!("  all: {:?}, held out {:?}", share(&first), share(&|line| !first(line)));
        println!("  major: {:?}, held out {:?}", share(&|l| major(l) && first(l)), share(&|l| major(l) && !first(l)));
        println!("  by name: {:?}, held out {:?}", share(&|l| own(l) && first(l)), share(&|l| own(l) && !first(l)));
        for line in lines.iter().filter(|line| first(line)) {
            for address in addresses(&line.host).iter().filter(|address| !is_right(kind, address)) {
                println!("    {} {address}", line.name);
            }
        }
        assert!(right as f64 >= least * all as f64, "{file}: {right} of {all}");
    }
}

#[test]
#[ignore = "needs the published lists: MATOMO_LISTS=folder"]
fn the_published_lists_are_read_completely() {
    let folder = PathBuf::from(std::env::var_os("MATOMO_LISTS").expect("MATOMO_LISTS names the folder of the lists"));
    let file = |name: &str| Some(folder.join(name));
    let config = crate::config::Enrich {
        search_engines_file: file("SearchEngines.yml"),
        socials_file: file("Socials.yml"),
        ai_assistants_file: file("AIAssistants.yml"),
        ..Default::default()
    };
    let places = Places::read(&config).unwrap();
    println!("{} places", places.len());
    let spammers = crate::visitor::referrer::Spammers::read(file("spammers.txt").as_deref()).unwrap();
    println!("{} spammers", spammers.len());
    for (host, kind, name) in [
        ("www.google.de", Search, "google"),
        ("mail.google.com", OriginType::Email, "gmail"),
        ("docs.google.com", OriginType::Other, "google"),
        ("gemini.google.com", Ai, "gemini"),
        ("fr.search.yahoo.com", Search, "yahoo"),
        ("l.facebook.com", Social, "facebook"),
        ("mobile.twitter.com", Social, "twitter"),
    ] {
        let origin = origin::of_host(host, b"/", &places);
        assert_eq!((origin.kind, origin.name), (kind, Some(name)), "{host}");
    }
}
