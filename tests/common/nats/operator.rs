//! An operator, its accounts and a user, as `nsc` makes them: tokens that the server trusts, and a credentials file.

use nkeys::KeyPair;
use serde_json::{Value, json};

/// An account of an operator.
pub struct Operator {
    account: KeyPair,
    config: String,
}

impl Operator {
    /// Makes an operator with two accounts: one for users, with JetStream, and one for the server itself.
    pub fn new() -> Self {
        let (operator, account, system) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
        });
        let without_streams = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1,
        });
        let of_account = |account: &KeyPair, limits: &Value| {
            let claims = json!({ "limits": limits, "type": "account", "version": 2 });
            format!("{}: \"{}\"", account.public_key(), token(&operator, account, &claims))
        };
        let config = format!(
            "operator: \"{}\"\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{}\n{}\n}}\n",
            token(&operator, &operator, &json!({ "type": "operator", "version": 2 })),
            system.public_key(),
            of_account(&account, &limits),
            of_account(&system, &without_streams),
        );
        Self { account, config }
    }

    /// The part of a server's configuration that trusts this operator.
    pub fn server_config(&self) -> &str {
        &self.config
    }

    /// The content of the credentials file of a new user.
    pub fn credentials(&self) -> String {
        let user = KeyPair::new_user();
        let claims = json!({ "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2 });
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{}\n\
             ------END USER NKEY SEED------\n",
            token(&self.account, &user, &claims),
            user.seed().unwrap()
        )
    }
}

/// A token about `subject`, signed by `issuer`.
fn token(issuer: &KeyPair, subject: &KeyPair, claims: &Value) -> String {
    let claims = json!({
        "jti": subject.public_key(), "iat": 1_700_000_000, "iss": issuer.public_key(), "name": "test",
        "sub": subject.public_key(), "nats": claims,
    });
    let signed =
        format!("{}.{}", encoded(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#), encoded(claims.to_string().as_bytes()));
    format!("{signed}.{}", encoded(&issuer.sign(signed.as_bytes()).unwrap()))
}

/// Base64 for URLs, without padding.
fn encoded(bytes: &[u8]) -> String {
    aws_smithy_types::base64::encode(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}
