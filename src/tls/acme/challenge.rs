//! The challenges of a CA, and how connections answer them.
//!
//! A connection asks for a name and a token; what is known is answered at once. An edge that shares its folder with
//! others may be asked for a challenge that another edge has just written there: for names that get certificates here,
//! and only for those, the thread of [`super`] looks into the folder, at most five times a second, and the connection
//! waits for it: names and tokens that clients make up cost no more.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use prometheus::IntCounter;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring::default_provider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::ClientHello,
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use super::folder::{Challenge, Folder};
use crate::{config::Challenge as Kind, runtime::clock, telemetry::metrics::Registry};

/// Where HTTP-01 has its tokens.
pub const PATH: &[u8] = b"/.well-known/acme-challenge/";

/// The protocol of TLS-ALPN-01.
const ALPN: &[u8] = b"acme-tls/1";

/// Least time between two looks into the folder.
const PAUSE: Duration = Duration::from_millis(200);

/// Longest time that a connection waits for a look.
const LONGEST_LOOK: Duration = Duration::from_secs(3);

/// Connections that wait for a look.
const WAITING: usize = 256;

/// Longest token; the ones in use have 43 characters.
const LONGEST_TOKEN: usize = 128;

/// A challenge, ready to be answered.
struct Open {
    challenge: Challenge,
    /// For TLS-ALPN-01.
    tls: Option<Arc<ServerConfig>>,
}

/// The open challenges. Empty while certificates are not obtained.
pub struct Challenges {
    open: ArcSwap<Vec<Arc<Open>>>,
    names: ArcSwap<BTreeSet<Box<str>>>,
    /// Asks for a look into the folder; `None` while certificates are not obtained.
    looks: ArcSwapOption<mpsc::Sender<oneshot::Sender<()>>>,
    http: IntCounter,
    tls: IntCounter,
}

/// What a request asks for.
#[derive(Debug)]
pub struct Asked {
    name: String,
    token: String,
}

impl Challenges {
    /// No challenges.
    pub fn new(registry: &Registry) -> Self {
        let answered = registry.counters(
            "acme_challenges_total",
            "Challenges of a certificate authority that were answered.",
            &["type"],
        );
        Self {
            open: ArcSwap::default(),
            names: ArcSwap::default(),
            looks: ArcSwapOption::empty(),
            http: answered.with_label_values(&["http-01"]),
            tls: answered.with_label_values(&["tls-alpn-01"]),
        }
    }

    /// What a request for a path below [`PATH`] asks for; `None` when it is not for a name that gets certificates here.
    pub fn asked(&self, authority: &[u8], target: &[u8]) -> Option<Asked> {
        let token = target.strip_prefix(PATH).filter(|token| is_token(token))?;
        let name = self.wanted(crate::tls::store::host_of(authority))?;
        Some(Asked { name, token: String::from_utf8(token.to_vec()).ok()? })
    }

    /// The answer to a request: the key authorization.
    pub async fn http(&self, asked: &Asked) -> Option<String> {
        let key = self.find(|open| {
            let challenge = &open.challenge;
            let is_it =
                challenge.kind == Kind::Http01 && challenge.token == asked.token && challenge.name == asked.name;
            is_it.then(|| challenge.key_authorization.clone())
        });
        key.await.inspect(|_| self.http.inc())
    }

    /// The name in the first message of a client that checks a challenge; `None` for all other clients.
    pub fn named(&self, hello: &ClientHello<'_>) -> Option<String> {
        let is_challenge = hello.alpn().is_some_and(|mut offered| offered.next() == Some(ALPN));
        if is_challenge { self.wanted(hello.server_name()?.as_bytes()) } else { None }
    }

    /// The settings of a handshake that checks the challenge of a name.
    pub async fn tls(&self, name: &str) -> Option<Arc<ServerConfig>> {
        let config = self.find(|open| open.tls.clone().filter(|_| open.challenge.name == name));
        config.await.inspect(|_| self.tls.inc())
    }

    /// Replaces the names that get certificates.
    pub(super) fn set_names(&self, names: &BTreeSet<Box<str>>) {
        self.names.store(Arc::new(names.clone()));
    }

    /// Begins to look into a folder when a connection asks for what is unknown. Ends with [`Self::close`].
    pub(super) fn open(self: &Arc<Self>, folder: Folder) -> impl Future<Output = ()> + use<> {
        let (looks, mut asked) = mpsc::channel::<oneshot::Sender<()>>(WAITING);
        self.looks.store(Some(Arc::new(looks)));
        let challenges = Arc::clone(self);
        async move {
            while let Some(first) = asked.recv().await {
                let mut waiting = vec![first];
                while let Ok(next) = asked.try_recv() {
                    waiting.push(next);
                }
                challenges.look(&folder);
                for asked in waiting {
                    _ = asked.send(());
                }
                sleep(PAUSE).await;
            }
        }
    }

    /// Answers no challenges any more.
    pub(super) fn close(&self) {
        self.looks.store(None);
        self.names.store(Arc::default());
        self.open.store(Arc::default());
    }

    /// Reads the challenges in the folder.
    pub(super) fn look(&self, folder: &Folder) {
        let now = clock::unix_secs();
        let found = match folder.read_challenges(now) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "cannot read the open challenges of the ACME folder");
                return;
            }
        };
        let known = self.open.load();
        let open = found.into_iter().filter_map(|challenge| {
            if let Some(known) = known.iter().find(|open| open.challenge == challenge) {
                return Some(Arc::clone(known));
            }
            let tls = match challenge.kind {
                Kind::Http01 => None,
                Kind::TlsAlpn01 => match server_config(&challenge) {
                    Ok(config) => Some(Arc::new(config)),
                    Err(error) => {
                        tracing::warn!(domain = challenge.name, %error, "cannot make the certificate of a challenge");
                        return None;
                    }
                },
            };
            Some(Arc::new(Open { challenge, tls }))
        });
        self.open.store(Arc::new(open.collect()));
    }

    /// The name in lower case, if it gets certificates here.
    fn wanted(&self, name: &[u8]) -> Option<String> {
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        self.names.load().contains(name.as_str()).then_some(name)
    }

    async fn find<T>(&self, of: impl Fn(&Open) -> Option<T>) -> Option<T> {
        let find = || self.open.load().iter().find_map(|open| of(open));
        if let Some(found) = find() {
            return Some(found);
        }
        let (done, looked) = oneshot::channel();
        self.looks.load_full()?.try_send(done).ok()?;
        _ = timeout(LONGEST_LOOK, looked).await;
        find()
    }
}

/// Whether it can be the token of a challenge: base64 for URLs. It is then the name of a file, too.
pub(super) fn is_token(token: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=LONGEST_TOKEN).contains(&token.len()) && token.iter().all(is_digit)
}

/// A server that proves a challenge in its handshake (RFC 8737), and nothing else.
fn server_config(challenge: &Challenge) -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let digest = ring::digest::digest(&ring::digest::SHA256, challenge.key_authorization.as_bytes());
    let mut params = CertificateParams::new([challenge.name.clone()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = default_provider();
    let key = provider.key_provider.load_private_key(key)?;
    let certified = CertifiedKey::new(vec![certificate.der().clone()], key);
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        // The library checks the certificates that it is given, and knows no such extension.
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(kind: Kind) -> Challenge {
        Challenge {
            name: "a.example".into(),
            token: "t-1_x".into(),
            key_authorization: "t-1_x.thumb".into(),
            kind,
            until: u64::MAX,
        }
    }

    fn challenges() -> Arc<Challenges> {
        let challenges = Challenges::new(&Registry::new());
        challenges.set_names(&BTreeSet::from(["a.example".into()]));
        Arc::new(challenges)
    }

    #[test]
    fn only_names_that_get_certificates_are_asked_for() {
        let challenges = challenges();
        let asks = |host: &str, target: &str| challenges.asked(host.as_bytes(), target.as_bytes()).is_some();
        assert!(asks("A.example:80", "/.well-known/acme-challenge/t-1_x"));
        assert!(asks("a.example.", "/.well-known/acme-challenge/other"));
        for (host, target) in [
            ("b.example", "/.well-known/acme-challenge/t-1_x"),
            ("a.example", "/.well-known/acme-challenge/"),
            ("a.example", "/.well-known/acme-challenge/../account"),
            ("a.example", "/.well-known/acme-challenge/t?x"),
            ("a.example", "/spring"),
            ("", "/.well-known/acme-challenge/t-1_x"),
        ] {
            assert!(!asks(host, target), "{host} {target}");
        }
        let long = format!("/.well-known/acme-challenge/{}", "x".repeat(LONGEST_TOKEN + 1));
        assert!(!asks("a.example", &long));
    }

    #[tokio::test]
    async fn what_another_edge_wrote_is_found_by_a_look() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path(), "https://ca.example/", "other".into()).unwrap();
        let challenges = challenges();
        let asked = challenges.asked(b"a.example", b"/.well-known/acme-challenge/t-1_x").unwrap();
        assert_eq!(challenges.http(&asked).await, None, "it is closed");
        let looks = tokio::spawn(challenges.open(folder.clone()));
        assert_eq!(challenges.http(&asked).await, None, "it is unknown");
        folder.store_challenge(&challenge(Kind::Http01)).unwrap();
        assert_eq!(challenges.http(&asked).await.as_deref(), Some("t-1_x.thumb"));
        assert!(challenges.tls("a.example").await.is_none(), "it is of the other kind");
        folder.store_challenge(&challenge(Kind::TlsAlpn01)).unwrap();
        assert!(challenges.tls("a.example").await.is_some());
        challenges.close();
        looks.await.unwrap();
        assert_eq!(challenges.http(&asked).await, None);
    }
}
