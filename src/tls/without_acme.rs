//! ACME in a build without it: no certificate is obtained, no challenge is open. A configuration that asks for it is
//! rejected before ([`crate::config::features`]).
#![allow(
    clippy::unused_async,
    clippy::unused_self,
    clippy::unnecessary_wraps,
    clippy::needless_pass_by_value,
    reason = "the functions are those of the module that it stands for"
)]

use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

use super::CertificateStore;
use crate::{config::Config, telemetry::metrics::Registry};
use challenge::Challenges;

/// Is off.
pub struct Acme(Arc<Challenges>);

impl Acme {
    /// It is off.
    pub fn new(_: &Registry, _: impl FnMut() -> Option<BTreeSet<Box<str>>> + Send + 'static) -> Self {
        Self(Arc::new(Challenges))
    }

    /// What connections answer a CA with: nothing.
    pub fn challenges(&self) -> &Arc<Challenges> {
        &self.0
    }

    /// Stays off.
    ///
    /// # Errors
    /// None.
    pub fn apply(&self, _: &Config, _: &[Arc<CertificateStore>]) -> Result<(), Infallible> {
        Ok(())
    }

    /// Does nothing.
    pub fn stop(&self) {}
}

/// The challenges of a CA.
pub mod challenge {
    use std::sync::Arc;

    use rustls::{ServerConfig, server::ClientHello};

    /// Where HTTP-01 has its tokens.
    pub const PATH: &[u8] = b"/.well-known/acme-challenge/";

    /// No challenges.
    pub struct Challenges;

    /// What a request asks for: nothing does.
    #[derive(Debug)]
    pub enum Asked {}

    impl Challenges {
        /// What a request asks for.
        pub fn asked(&self, _authority: &[u8], _target: &[u8]) -> Option<Asked> {
            None
        }

        /// The answer to a request.
        pub async fn http(&self, asked: &Asked) -> Option<String> {
            match *asked {}
        }

        /// The name in the first message of a client that checks a challenge.
        pub fn named(&self, _: &ClientHello<'_>) -> Option<String> {
            None
        }

        /// The settings of a handshake that checks the challenge of a name.
        pub async fn tls(&self, _name: &str) -> Option<Arc<ServerConfig>> {
            None
        }
    }
}
