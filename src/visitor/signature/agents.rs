//! The bots whose signatures are verified: a file of the operator (`enrich.signed_agents_file`).
//!
//! ```json
//! {
//!   "https://agent.example": {
//!     "name": "example-agent",
//!     "class": "ai",
//!     "keys": [{"kty": "OKP", "crv": "Ed25519", "x": "JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"}]
//!   }
//! }
//! ```
//! The key of an entry is the address or the host in `Signature-Agent`; of an address only the host counts. `name` is
//! the name of the bot in events, `class` its class, if any. The rest is the directory that the bot publishes at
//! `/.well-known/http-message-signatures-directory`, as it is; of it only `keys` is read. A key is identified by its
//! thumbprint (RFC 7638), whatever its `kid`. `nbf` and `exp` limit when it is valid, in seconds since the Unix epoch.
//!
//! Keys other than Ed25519 are left out with a warning. Bounds: [`MAX_FILE_BYTES`], [`MAX_AGENTS`], [`MAX_KEYS`].

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use ahash::RandomState;
use hashbrown::HashMap;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use web_bot_auth::keyring::{KeyRing, KeyringError, Thumbprintable};

use crate::{
    event::BotClass,
    files::{self, list},
    runtime::{Class, Classified},
};

/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 8 << 20;
/// Most agents of a file.
const MAX_AGENTS: usize = 10_000;
/// Most keys of an agent.
const MAX_KEYS: usize = 64;
/// Longest name of a bot.
const MAX_NAME_BYTES: usize = 48;

/// Why the file was rejected.
#[derive(Debug, thiserror::Error)]
pub enum SignedAgentsError {
    #[error("cannot read the signed agents {}: {source}; put the file there, let this user read it, or correct the path", file.display())]
    Read {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the signed agents {} are rejected: {source}; write an object with an entry for each agent, such as \
         {{\"https://agent.example\": {{\"name\": \"example-agent\", \"keys\": [...]}}}}",
        file.display()
    )]
    Format {
        file: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("the signed agents {} are rejected: `{agent}` {problem}; {remedy}", file.display())]
    Entry { file: PathBuf, agent: String, problem: String, remedy: &'static str },
}

impl Classified for SignedAgentsError {
    fn class(&self) -> Class {
        match self {
            Self::Read { source, .. } => Class::of_read(source),
            Self::Format { .. } | Self::Entry { .. } => Class::Data,
        }
    }
}

/// The bots of the file, by the host of their `Signature-Agent`.
#[derive(Default)]
pub struct SignedAgents {
    agents: HashMap<Box<str>, SignedAgent, RandomState>,
    warnings: Vec<String>,
}

/// A bot that signs its requests.
pub(super) struct SignedAgent {
    pub name: String,
    pub class: Option<BotClass>,
    keys: KeyRing,
    /// By thumbprint: from when on and until when it is valid.
    validity: HashMap<String, (i64, i64), RandomState>,
}

impl SignedAgents {
    /// Reads the file.
    ///
    /// # Errors
    /// See [`SignedAgentsError`].
    pub fn read(file: &Path) -> Result<Self, SignedAgentsError> {
        let text = files::read_bounded(file, MAX_FILE_BYTES);
        Self::parse(&text.map_err(|source| SignedAgentsError::Read { file: file.into(), source })?, file)
    }

    fn parse(text: &[u8], file: &Path) -> Result<Self, SignedAgentsError> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let Entries(entries) =
            serde_json::from_slice(text).map_err(|source| SignedAgentsError::Format { file: file.into(), source })?;
        let mut agents = Self::default();
        for (address, entry) in entries {
            let rejected = |(problem, remedy): (String, &'static str)| {
                let agent: String = address.chars().take(80).collect();
                let agent = agent.escape_debug().to_string();
                SignedAgentsError::Entry { file: file.into(), agent, problem, remedy }
            };
            agents.add(&address, entry).map_err(rejected)?;
        }
        Ok(agents)
    }

    fn add(&mut self, address: &str, entry: Entry) -> Result<(), (String, &'static str)> {
        let rejected = |problem: &str, remedy| Err((problem.to_owned(), remedy));
        if self.agents.len() == MAX_AGENTS {
            return rejected("is one agent too many", "keep at most 10000");
        }
        let Some(host) = host(address).and_then(list::host) else {
            return rejected(
                "is no address of an agent",
                "write it as in `Signature-Agent`: `https://agent.example`",
            );
        };
        if !is_name(&entry.name) {
            let remedy = "write up to 48 of a-z, 0-9, `.` and `-`, such as `example-agent`";
            return Err((format!("has the name {:?}", entry.name), remedy));
        }
        let class = entry.class.as_deref().map(|name| {
            let class = BotClass::ALL.into_iter().find(|class| class.name() == name);
            class.ok_or((format!("has the class {name:?}"), "write a class of the manual's table, such as `ai`"))
        });
        let (mut keys, mut validity) = (KeyRing::default(), HashMap::default());
        for (i, key) in entry.keys.iter().enumerate() {
            let Key { nbf, exp, ref jwk } = *key;
            let thumbprint = jwk.b64_thumbprint();
            match keys.try_import_jwk(jwk) {
                Ok(()) => _ = validity.insert(thumbprint, (nbf.unwrap_or(0), exp.unwrap_or(i64::MAX))),
                Err(KeyringError::UnsupportedAlgorithm) => {
                    self.warnings.push(format!("key {} of `{address}` is not of Ed25519, and left out", i + 1));
                }
                Err(KeyringError::KeyAlreadyExists) => {
                    self.warnings.push(format!("key {} of `{address}` is there twice", i + 1));
                }
                Err(KeyringError::ParsingError(_) | KeyringError::ConversionError(_)) => {
                    let remedy = "download the directory of the agent again";
                    return Err((format!("has no valid `x` in key {}", i + 1), remedy));
                }
            }
        }
        if entry.keys.len() > MAX_KEYS {
            return rejected("has too many keys", "keep at most 64");
        }
        if validity.is_empty() {
            return rejected("has no key of Ed25519", "add the `keys` of the directory that the agent publishes");
        }
        let agent = SignedAgent { name: entry.name, class: class.transpose()?, keys, validity };
        if self.agents.insert(host.into_boxed_str(), agent).is_some() {
            return rejected("is there twice", "keep one entry for each host");
        }
        Ok(())
    }

    /// The number of bots.
    pub fn len(&self) -> usize {
        self.agents.len()
    }

    /// Whether there is no bot.
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    /// What is legal, and probably not what was meant.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The bot of an address in `Signature-Agent`.
    pub(super) fn find(&self, address: &str) -> Option<&SignedAgent> {
        let host = host(address)?;
        // As almost all write it.
        self.agents.get(host).or_else(|| self.agents.get(&*list::host(host)?))
    }
}

impl SignedAgent {
    pub fn has_key(&self, id: &str) -> bool {
        self.validity.contains_key(id)
    }

    /// The keys, if this is one of them, and valid at this time.
    pub fn keys_at(&self, id: &str, now: i64) -> Option<&KeyRing> {
        let (from, until) = self.validity.get(id)?;
        (*from <= now && now < *until).then_some(&self.keys)
    }
}

/// The host of `https://agent.example/path`, `http://agent.example`, `agent.example`.
fn host(address: &str) -> Option<&str> {
    let rest = ["https://", "http://"].iter().find_map(|scheme| address.strip_prefix(scheme)).unwrap_or(address);
    rest.split(['/', '?', '#', ':']).next().filter(|host| !host.is_empty() && !host.contains('@'))
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= MAX_NAME_BYTES
        && name.bytes().next().is_some_and(is_plain)
        && name.bytes().all(|byte| is_plain(byte) || matches!(byte, b'.' | b'-'))
}

/// The entries in the order of the file: an object with a repeated key is no mistake to a parser.
struct Entries(Vec<(String, Entry)>);

#[derive(Deserialize)]
struct Entry {
    name: String,
    class: Option<String>,
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    nbf: Option<i64>,
    exp: Option<i64>,
    #[serde(flatten)]
    jwk: Thumbprintable,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with an entry for each agent")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key() -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "any", "use": "sig", "x": "JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"})
    }

    fn parse(text: &Value) -> Result<SignedAgents, SignedAgentsError> {
        SignedAgents::parse(text.to_string().as_bytes(), Path::new("/etc/agents.json"))
    }

    #[test]
    fn an_agent_is_found_by_its_host_however_it_is_written() {
        let file = json!({
            "https://Agent.Example/": {"name": "example-agent", "class": "ai", "keys": [key()], "purpose": "x"},
            "b\u{fc}cher.example": {"name": "b", "keys": [key()]},
        });
        let agents = parse(&file).unwrap();
        assert_eq!((agents.len(), agents.warnings().len()), (2, 0));
        for address in
            ["https://agent.example", "http://AGENT.example:443/x", "agent.example", "https://agent.example."]
        {
            let agent = agents.find(address).unwrap();
            assert_eq!((agent.name.as_str(), agent.class), ("example-agent", Some(BotClass::Ai)), "{address}");
            assert!(agent.has_key("poqkLGiymh_W0uP6PZFw-dvez3QJT5SolqXBCW38r0U"));
        }
        assert!(agents.find("https://xn--bcher-kva.example").is_some());
        for address in ["", "https://", "https://x.agent.example", "https://agent.example@evil.example", "data:x"] {
            assert!(agents.find(address).is_none(), "{address}");
        }
    }

    #[test]
    fn a_key_is_valid_from_nbf_until_exp() {
        let mut key = key();
        (key["nbf"], key["exp"]) = (json!(100), json!(200));
        let agents = parse(&json!({"a.example": {"name": "a", "keys": [key]}})).unwrap();
        let agent = agents.find("a.example").unwrap();
        let is_valid = |now| agent.keys_at("poqkLGiymh_W0uP6PZFw-dvez3QJT5SolqXBCW38r0U", now).is_some();
        assert_eq!([99, 100, 199, 200].map(is_valid), [false, true, true, false]);
    }

    #[test]
    fn other_keys_are_left_out_with_a_warning() {
        let rsa = json!({"kty": "RSA", "e": "AQAB", "n": "AA"});
        let agents = parse(&json!({"a.example": {"name": "a", "keys": [rsa, key(), key()]}})).unwrap();
        let warnings = agents.warnings();
        assert_eq!(warnings[0], "key 1 of `a.example` is not of Ed25519, and left out");
        assert_eq!(warnings[1], "key 3 of `a.example` is there twice");
    }

    #[test]
    fn an_error_names_the_agent_and_the_remedy() {
        let entry = |name: &str| json!({"name": name, "keys": [key()]});
        let twice = r#"{"a.example": {"name": "a", "keys": []}, "a.example": 1}"#;
        for (file, part) in [
            (json!({"a": entry("a")}), "`a` is no address of an agent; write it"),
            (json!({"a.example": entry("A b")}), "`a.example` has the name \"A b\"; write up to 48"),
            (json!({"a.example": entry("")}), "has the name \"\""),
            (json!({"a.example": {"name": "a", "class": "robot", "keys": [key()]}}), "has the class \"robot\""),
            (json!({"a.example": {"name": "a", "keys": []}}), "has no key of Ed25519; add the `keys`"),
            (
                json!({"a.example": {"name": "a", "keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}]}}),
                "has no valid `x` in key 1",
            ),
            (json!({"a.example": entry("a"), "https://A.example": entry("b")}), "`https://A.example` is there twice"),
            (json!({"a.example": {"name": "a", "keys": vec![key(); 65]}}), "has too many keys"),
            (json!({"a.example": {"keys": []}}), "missing field `name`"),
            (json!([]), "an object with an entry for each agent"),
        ] {
            let error = parse(&file).err().unwrap();
            assert!(error.to_string().contains(part), "{part}: {error}");
            assert_eq!(error.class(), Class::Data);
            assert!(error.to_string().contains("/etc/agents.json"), "{error}");
        }
        assert!(SignedAgents::parse(twice.as_bytes(), Path::new("x")).is_err());
        let error = SignedAgents::read(Path::new("/nowhere/agents.json")).err().unwrap();
        assert_eq!(error.class(), Class::NoInput);
    }
}
