//! The settings of listeners with TLS.
//!
//! The order of the cipher suites is the server's: AES with 128 bits first, because its transcript hash is SHA-256, for
//! which processors have instructions; 256 bits bring SHA-384, which they compute step by step. A client that puts
//! `ChaCha20` first has no instructions for AES, and gets what it prefers: after a handshake little is left to encrypt.

use std::sync::Arc;

use rustls::{
    CipherSuite, ServerConfig,
    crypto::{CryptoProvider, ring as provider},
    server::ResolvesServerCert,
};

use super::{CertificateStore, Tickets, key_exchange};
use crate::config;

/// The settings of a listener, by what a client prefers.
pub struct ServerConfigs {
    aes: Arc<ServerConfig>,
    chacha: Arc<ServerConfig>,
}

impl ServerConfigs {
    /// The settings of a listener.
    ///
    /// # Errors
    /// When the library rejects them.
    pub fn new(
        listener: &config::Listener,
        certificates: &Arc<CertificateStore>,
        tickets: &Arc<Tickets>,
        key_exchange: &[config::KeyExchange],
    ) -> Result<Self, rustls::Error> {
        let of = |provider| server_config(listener, Arc::clone(certificates), Arc::clone(tickets), provider);
        let (aes, mut chacha) = (provider(key_exchange), provider(key_exchange));
        chacha.cipher_suites.sort_by_key(|suite| !is_chacha(suite.suite()));
        Ok(Self { aes: Arc::new(of(aes)?), chacha: Arc::new(of(chacha)?) })
    }

    /// The settings for a client that offers these suites, in its order.
    pub fn preferred(&self, offered: &[CipherSuite]) -> &Arc<ServerConfig> {
        let known = &self.aes.crypto_provider().cipher_suites;
        let first = offered.iter().find(|offered| known.iter().any(|known| known.suite() == **offered));
        if first.is_some_and(|suite| is_chacha(*suite)) { &self.chacha } else { &self.aes }
    }
}

/// The settings of the admin listener: HTTP/1.1 only. Sessions are resumed while the process runs.
///
/// # Errors
/// When the library rejects them.
pub fn admin_config(
    certificate: &Arc<CertificateStore>,
    key_exchange: &[config::KeyExchange],
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider(key_exchange)))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(certificate) as Arc<dyn ResolvesServerCert>);
    config.ignore_client_order = true;
    config.alpn_protocols = vec![config::Alpn::Http11.name().to_vec()];
    Ok(config)
}

fn is_chacha(suite: CipherSuite) -> bool {
    use CipherSuite as Suite;
    matches!(
        suite,
        Suite::TLS13_CHACHA20_POLY1305_SHA256
            | Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

fn server_config(
    listener: &config::Listener,
    certificates: Arc<CertificateStore>,
    tickets: Arc<Tickets>,
    provider: CryptoProvider,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.ignore_client_order = true;
    config.alpn_protocols = listener.alpn.iter().map(|protocol| protocol.name().to_vec()).collect();
    config.ticketer = tickets;
    // One is enough for a browser that comes back, and none would delay clients that wait for one.
    config.send_tls13_tickets = 1;
    Ok(config)
}

fn provider(key_exchange: &[config::KeyExchange]) -> CryptoProvider {
    use provider::cipher_suite as suite;
    CryptoProvider {
        cipher_suites: vec![
            suite::TLS13_AES_128_GCM_SHA256,
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: key_exchange::groups(key_exchange),
        secure_random: &key_exchange::Random,
        ..provider::default_provider()
    }
}
