//! Clients and certificates for TLS.

use std::{fs, net::TcpStream, path::Path, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// An RSA key of 2048 bits, for tests only: the library that makes the certificates makes no such keys.
pub const RSA_KEY: &str = include_str!("rsa.key");

/// What a client can verify.
#[derive(Clone, Debug, Default)]
pub struct Verifies {
    /// `None` for all that the library knows.
    pub schemes: Option<Vec<SignatureScheme>>,
    /// TLS 1.2 only, with suites for RSA only.
    pub rsa_suites: bool,
}

/// Takes any certificate: the test itself looks at which one came.
#[derive(Debug, Default)]
struct AnyCertificate(Option<Vec<SignatureScheme>>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let all = || default_provider().signature_verification_algorithms.supported_schemes();
        self.0.clone().unwrap_or_else(all)
    }
}

/// Speaks TLS on a connection, and takes any certificate. Nothing is sent before the first write.
pub fn client(socket: TcpStream, sni: Option<&str>) -> StreamOwned<ClientConnection, TcpStream> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::default()))
        .with_no_client_auth();
    config.enable_sni = sni.is_some();
    start(config, sni.unwrap_or("unknown.example"), socket)
}

/// A client that remembers sessions, and takes any certificate.
pub fn remembering(versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::default()))
        .with_no_client_auth()
}

/// A client that remembers sessions and offers these cipher suites first.
pub fn preferring(version: &'static rustls::SupportedProtocolVersion, suites: &str) -> ClientConfig {
    let mut provider = default_provider();
    provider.cipher_suites.sort_by_key(|suite| !format!("{:?}", suite.suite()).contains(suites));
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::default()))
        .with_no_client_auth()
}

/// A client that verifies so much, and takes any certificate.
pub fn verifying(verifies: &Verifies) -> ClientConfig {
    let mut provider = default_provider();
    if verifies.rsa_suites {
        provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()).contains("_RSA_"));
    }
    let versions: &[_] = if verifies.rsa_suites { &[&rustls::version::TLS12] } else { rustls::ALL_VERSIONS };
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(verifies.schemes.clone())))
        .with_no_client_auth()
}

/// Speaks TLS as this client.
pub fn with(config: Arc<ClientConfig>, socket: TcpStream, name: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(config, name).unwrap(), socket)
}

/// The same, and takes no certificate at all.
pub fn distrustful(socket: TcpStream, sni: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    start(config, sni, socket)
}

fn start(config: ClientConfig, name: &str, socket: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
    with(Arc::new(config), socket, name)
}

/// Writes a certificate for these names, and returns its section of the configuration and its DER.
pub fn certificate(dir: &Path, label: &str, names: &[&str]) -> (String, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    fs::write(dir.join(format!("{label}.pem")), made.cert.pem()).unwrap();
    fs::write(dir.join(format!("{label}.key")), made.signing_key.serialize_pem()).unwrap();
    let section = format!("[[listeners.tls]]\ncertificate_file = \"{label}.pem\"\nkey_file = \"{label}.key\"\n");
    (section, made.cert.der().to_vec())
}
