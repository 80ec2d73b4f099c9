//! The places that an operator adds to the built-in ones: `enrich.search_engines_file`, `enrich.socials_file` and
//! `enrich.ai_assistants_file`, in the format of `matomo`.
//!
//! An entry of the networks and assistants counts for its host and all hosts below it, an entry of the search engines
//! for its host alone (with or without `www` or `m` before it), as in Matomo: `docs.google.com` is no search engine
//! because `google.com` is one. `{}` stands for a country as the last label (`example.de`, `example.co.uk`, never
//! `example.com`), and for two letters further up (`{}.example.com`, `images.{}.example.com`). An entry with a path
//! counts for what is below that path.
//!
//! Precedence: the entry that matches more of the host, then the one without `{}`, then the one with the longer path;
//! of equals the assistants', then the networks', then the engines'. The same holds for the built-in table: an
//! operator's entry wins unless the table matches more of the host.

use std::path::Path;

use ahash::RandomState;
use hashbrown::HashMap;

use super::matomo::{self, Line};
use crate::{
    config,
    event::{
        Origin,
        OriginType::{self, Ai, Search, Social},
    },
    files::list::{self, ListError},
};

/// Most labels of a host that are compared, from its end.
const MAX_LABELS: usize = 8;

/// Labels between a name and its country: `example.co.uk`.
const SECOND_LEVELS: [&str; 6] = ["com", "org", "net", "co", "it", "edu"];

const PLACEHOLDER: &str = "{}";

const APP_SCHEMES: [&str; 2] = ["android-app//", "android-app://"];

const REMEDY: &str =
    "write a host, such as `example.com`, `search.example.{}`, `{}.example.com` or `example.com/path`";

/// An entry for one host.
struct Place {
    kind: OriginType,
    name: Box<str>,
    /// Does not cover the hosts below it.
    alone: bool,
    /// Only with this before the placeholder, dot included; mostly empty.
    before: Box<str>,
    /// Only below this path; empty for all.
    path: Box<str>,
}

/// By host, the longest path first.
type Hosts = HashMap<Box<str>, Vec<Place>, RandomState>;

/// The places of all files.
#[derive(Default)]
pub struct Places {
    plain: Hosts,
    /// `search.example` for `search.example.{}`.
    any_country: Hosts,
    /// `example.com` for `{}.example.com`.
    any_first: Hosts,
}

impl Places {
    /// Reads the configured files.
    ///
    /// # Errors
    /// See [`ListError`].
    pub fn read(config: &config::Enrich) -> Result<Self, ListError> {
        let files =
            [(Ai, &config.ai_assistants_file), (Social, &config.socials_file), (Search, &config.search_engines_file)];
        let mut places = Self::default();
        for (kind, file) in files {
            if let Some(file) = file {
                places.add(kind, matomo::read(file)?, file)?;
            }
        }
        Ok(places)
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        [&self.plain, &self.any_country, &self.any_first].into_iter().flat_map(Hosts::values).map(Vec::len).sum()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.any_country.is_empty() && self.any_first.is_empty()
    }

    fn add(&mut self, kind: OriginType, lines: Vec<Line>, file: &Path) -> Result<(), ListError> {
        for Line { number, host: written, name } in lines {
            // An Android package, in the form of Matomo or of browsers. It has no paths.
            let package = APP_SCHEMES.iter().find_map(|scheme| written.strip_prefix(scheme));
            let address = package.unwrap_or(&written);
            let (address, path) = address.split_at(address.find('/').unwrap_or(address.len()));
            let path = if path == "/" || package.is_some() { "" } else { path };
            let address = address.strip_prefix("www.").unwrap_or(address);
            let (hosts, before, fixed) = match address.split_once(PLACEHOLDER) {
                None => (&mut self.plain, "", address),
                Some((fixed, "")) => (&mut self.any_country, "", fixed.strip_suffix('.').unwrap_or_default()),
                Some((before, after)) => (&mut self.any_first, before, after.strip_prefix('.').unwrap_or_default()),
            };
            // Checked as part of a full name: before a country, one label is enough.
            let host = list::host(&format!("{fixed}.x")).filter(|host| host.split('.').count() <= MAX_LABELS);
            let host = host.as_deref().and_then(|host| host.strip_suffix(".x"));
            let is_whole = |host: &&str| host.contains('.') || address.ends_with(PLACEHOLDER);
            let begins_well = before.is_empty() || list::host(&format!("{before}x")).is_some();
            let Some(host) = host.filter(is_whole).filter(|_| begins_well) else {
                return Err(ListError::line(file, number, format!("`{written}` is no host"), REMEDY));
            };
            let known = hosts.entry(host.into()).or_default();
            // The first entry wins.
            if !known.iter().any(|place| &*place.path == path && &*place.before == before) {
                let place = Place {
                    kind,
                    name: name.into(),
                    alone: kind == Search,
                    before: before.into(),
                    path: path.into(),
                };
                let at = known.partition_point(|other| other.path.len() >= path.len());
                known.insert(at, place);
            }
        }
        Ok(())
    }

    /// The place of a lower-case host, or of an Android package, and how many of its last bytes match.
    pub(super) fn look_up<'a>(&'a self, host: &str, path: &[u8]) -> Option<(Origin<'a>, usize)> {
        if self.is_empty() {
            return None;
        }
        let host = host.strip_prefix("www.").unwrap_or(host);
        let start = host.rmatch_indices('.').nth(MAX_LABELS - 1).map_or(0, |(dot, _)| dot + 1);
        let mut suffix = &host[start..];
        loop {
            let before = &host[..host.len() - suffix.len()];
            let is_alone = matches!(before, "" | "m.");
            let holds = |place: &&Place| {
                let is_here = match &*place.before {
                    "" => is_alone || !place.alone,
                    wanted => before == wanted,
                };
                is_here && path.starts_with(place.path.as_bytes())
            };
            let look_up = |hosts: &'a Hosts, key: &str| hosts.get(key)?.iter().find(holds);
            let place = look_up(&self.plain, suffix)
                .or_else(|| look_up(&self.any_country, without_country(suffix)?))
                .or_else(|| look_up(&self.any_first, without_first(suffix)?));
            if let Some(place) = place {
                return Some((Origin { kind: place.kind, name: Some(&place.name) }, suffix.len()));
            }
            (_, suffix) = suffix.split_once('.')?;
        }
    }
}

/// `search.example` of `search.example.co.uk` and `search.example.de`.
fn without_country(host: &str) -> Option<&str> {
    let (rest, _) = host.rsplit_once('.').filter(|(_, top)| is_two_letters(top))?;
    match rest.rsplit_once('.') {
        Some((base, second)) if SECOND_LEVELS.contains(&second) => Some(base),
        _ => Some(rest),
    }
}

/// `example.com` of `fr.example.com`.
fn without_first(host: &str) -> Option<&str> {
    host.split_once('.').filter(|(first, _)| is_two_letters(first)).map(|(_, rest)| rest)
}

fn is_two_letters(label: &str) -> bool {
    label.len() == 2 && label.bytes().all(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the three files in their order: assistants, networks, engines.
    fn places(texts: [&str; 3]) -> Result<Places, ListError> {
        let dir = tempfile::tempdir().unwrap();
        let [ai, social, search] = ["ai.yml", "social.yml", "search.yml"].map(|name| dir.path().join(name));
        for (file, text) in [&ai, &social, &search].into_iter().zip(texts) {
            std::fs::write(file, if text.is_empty() { "{}" } else { text }).unwrap();
        }
        let [ai_assistants_file, socials_file, search_engines_file] = [ai, social, search].map(Some);
        let config =
            config::Enrich { search_engines_file, socials_file, ai_assistants_file, ..config::Enrich::default() };
        Places::read(&config)
    }

    fn known<'a>(places: &'a Places, address: &str) -> Option<(OriginType, &'a str, usize)> {
        let (host, path) = address.split_at(address.find('/').unwrap_or(address.len()));
        let (origin, len) = places.look_up(host, path.as_bytes())?;
        Some((origin.kind, origin.name.unwrap(), len))
    }

    #[test]
    fn a_network_counts_for_the_hosts_below_it_and_an_engine_does_not() {
        let places = places(["", "Net:\n  - www.Net.example\n", "Seek:\n  - seek.example\n"]).unwrap();
        for host in ["net.example", "www.net.example", "m.net.example", "a.b.c.d.e.f.g.h.i.net.example"] {
            assert_eq!(known(&places, host), Some((Social, "net", 11)), "{host}");
        }
        for host in ["seek.example", "www.seek.example", "m.seek.example", "www.m.seek.example"] {
            assert_eq!(known(&places, host), Some((Search, "seek", 12)), "{host}");
        }
        for host in ["docs.seek.example", "xm.seek.example", "netnet.example", "net.example.org", "example", "", "."]
        {
            assert_eq!(known(&places, host), None, "{host}");
        }
        assert_eq!(places.len(), 2);
    }

    #[test]
    fn a_placeholder_is_a_country_or_a_language() {
        let places = places([
            "",
            "",
            "Seek:\n  - 'seek.{}'\nOld:\n  - '{}.old.example'\n  - de.old.example\n  - 'img.{}.old.example'\n",
        ])
        .unwrap();
        for host in ["seek.de", "www.seek.fr", "seek.co.uk", "seek.com.br", "m.seek.it"] {
            assert_eq!(known(&places, host).map(|(_, name, _)| name), Some("seek"), "{host}");
        }
        for host in ["fr.old.example", "www.fr.old.example", "de.old.example", "img.fr.old.example"] {
            assert_eq!(known(&places, host).map(|(_, name, _)| name), Some("old"), "{host}");
        }
        for host in [
            "seek.com",
            "seek.org",
            "seek",
            "seek.ac.uk",
            "old.example",
            "xyz.old.example",
            "mail.seek.de",
            "pic.fr.old.example",
            "img.old.example",
        ] {
            assert_eq!(known(&places, host), None, "{host}");
        }
    }

    #[test]
    fn an_application_is_written_with_its_scheme_or_without() {
        let search = "Seek:\n  - android-app//com.seek.app/https/seek.example\n  - android-app://com.seek.two\n";
        let places = places(["", "Net:\n  - com.net.app\n", search]).unwrap();
        for (package, name) in [("com.seek.app", "seek"), ("com.seek.two", "seek"), ("com.net.app", "net")] {
            assert_eq!(known(&places, package).map(|(_, name, _)| name), Some(name), "{package}");
        }
    }

    #[test]
    fn a_path_narrows_an_entry() {
        let text = "Net:\n  - net.example\nFeed:\n  - net.example/feed\n  - other.example/feed/\n";
        let places = places(["Chat:\n  - net.example/chat\n", text, ""]).unwrap();
        assert_eq!(known(&places, "net.example/"), Some((Social, "net", 11)));
        assert_eq!(known(&places, "net.example"), Some((Social, "net", 11)));
        assert_eq!(known(&places, "www.net.example/feed/1"), Some((Social, "feed", 11)));
        assert_eq!(known(&places, "net.example/chat"), Some((Ai, "chat", 11)));
        assert_eq!(
            (known(&places, "other.example/"), known(&places, "other.example/feed/1").is_some()),
            (None, true)
        );
    }

    #[test]
    fn the_longer_match_wins_and_of_equals_the_assistant() {
        let socials = "Net:\n  - net.example\n  - deep.net.example\n  - both.example\n  - 'land.{}'\n";
        let places = places(["Chat:\n  - chat.net.example\n  - both.example\n  - land.de\n", socials, ""]).unwrap();
        let kind = |host: &str| known(&places, host).unwrap().0;
        assert_eq!([kind("net.example"), kind("chat.net.example"), kind("deep.net.example")], [Social, Ai, Social]);
        assert_eq!([kind("both.example"), kind("land.de"), kind("land.fr")], [Ai, Ai, Social]);
    }

    #[test]
    fn an_invalid_host_rejects_the_file() {
        for host in
            ["com", "https://a.example", "a b.example", "'{}'", "'{}.{}'", "'a.{}.example'", "'.{}'", "/path", "''"]
        {
            let error = places(["", &format!("Net:\n  - net.example\n  - {host}\n"), ""]).err().unwrap().to_string();
            assert!(error.contains("social.yml, line 3: `") && error.contains("; write a host"), "{host}: {error}");
        }
    }
}
