//! The condition `referrer`: where the visitor came from, by the types and names that events have.
//!
//! A list of names: a type (`social`), `direct`, a network (`facebook`), or a host (`news.example.com`), which counts
//! for the hosts below it; any of them holds. Or an object of such lists, `type`, `network` and `host`, of which all
//! must hold.

use super::{
    super::{asker::Referrer, field::Field, key::Host},
    MAX_VALUES,
};

/// Types of origins in events.
pub(super) const TYPES: &[&str] = &["social", "search", "email", "ai", "paid", "messaging", "internal", "other"];

/// Names that people write, and the name in events.
const NETWORKS: &[(&str, &str)] = &[
    ("twitter", "x"),
    ("fb", "facebook"),
    ("ig", "instagram"),
    ("hackernews", "hacker-news"),
    ("ok", "odnoklassniki"),
    ("google-search", "google"),
    ("openai", "chatgpt"),
];

const DIRECT: &str = "direct";
const HOST: &str = "write a host, such as \"news.example.com\"";
const TYPE: &str = "write types: direct, social, search, email, ai, paid, messaging, internal or other";
const NETWORK: &str = "write names of networks as in events, such as \"facebook\"";

#[derive(Clone, Debug)]
pub(super) struct Referrers(Box<[Box<[Name]>]>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Name {
    Direct,
    Type(&'static str),
    Network(Box<str>),
    Host(Box<str>),
}

/// Reads a name in lower case.
type Reader = fn(&str) -> Option<Name>;

impl Referrers {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, String> {
        const REMEDY: &str =
            "write names, such as [\"social\"] or {\"type\": [\"social\"], \"network\": [\"facebook\"]}";
        let Some(members) = field.value().as_object() else {
            return names(field, REMEDY, any).map(|names| Self([names].into()));
        };
        field.has_only(&["type", "network", "host"])?;
        if members.is_empty() {
            return Err(field.is_bad(REMEDY));
        }
        let mut lists = Vec::new();
        let readers: [(_, _, Reader); 3] =
            [("type", TYPE, kind), ("network", NETWORK, network), ("host", HOST, host)];
        for (name, remedy, read) in readers {
            if let Some(list) = field.find(name) {
                lists.push(names(&list, remedy, read)?);
            }
        }
        Ok(Self(lists.into()))
    }

    pub(super) fn holds(&self, referrer: Option<Referrer<'_>>) -> bool {
        self.0.iter().all(|names| names.iter().any(|name| name.is(referrer)))
    }
}

impl Name {
    fn is(&self, referrer: Option<Referrer<'_>>) -> bool {
        let Some(referrer) = referrer else {
            return *self == Self::Direct;
        };
        match self {
            Self::Direct => false,
            Self::Type(kind) => *kind == referrer.kind,
            Self::Network(name) => referrer.network == Some(name),
            Self::Host(host) => {
                let below = referrer.host.strip_suffix(&**host);
                below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
            }
        }
    }
}

fn names(field: &Field<'_>, remedy: &str, read: Reader) -> Result<Box<[Name]>, String> {
    let name = |field: Field<'_>| {
        let text = field.value().as_str().map(|text| text.trim().to_lowercase().replace([' ', '_'], "-"));
        text.and_then(|text| read(&text)).ok_or_else(|| field.is_bad(remedy))
    };
    field.values(MAX_VALUES, remedy)?.into_iter().map(name).collect()
}

fn any(text: &str) -> Option<Name> {
    if text.contains('.') { host(text) } else { kind(text).or_else(|| network(text)) }
}

fn kind(text: &str) -> Option<Name> {
    if text == DIRECT {
        return Some(Name::Direct);
    }
    TYPES.iter().find(|kind| **kind == text).map(|kind| Name::Type(kind))
}

/// Any slug: the operator's lists add networks to those that are built in.
fn network(text: &str) -> Option<Name> {
    let name = NETWORKS.iter().find(|(written, _)| *written == text).map_or(text, |(_, name)| name);
    let is_slug = (1..=100).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    is_slug.then(|| Name::Network(name.into()))
}

fn host(text: &str) -> Option<Name> {
    // A package of an application is in lower case, too, and has the form of a name.
    let host = Host::parse(text.as_bytes()).ok().filter(|_| text.contains('.') && !text.contains(':'))?;
    Some(Name::Host(host.as_str().into()))
}
