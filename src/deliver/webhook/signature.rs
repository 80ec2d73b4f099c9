//! The signatures of a webhook's requests.
//!
//! What is signed is `{webhook-id}.{webhook-timestamp}.{body}`, with HMAC-SHA-256. While a secret is replaced, requests
//! have one signature for each of the two.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::deliver::secrets::Secrets;

impl Secrets {
    /// Value of `webhook-signature`.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let signatures: Vec<_> = self.keys().filter_map(|key| sign(key, id, timestamp, body)).collect();
        signatures.join(" ")
    }
}

/// `None` never happens: HMAC takes keys of any length.
fn sign(key: &[u8], id: &str, timestamp: u64, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn write(path: &Path, bytes: usize) -> String {
        let secret = format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        std::fs::write(path, format!("{secret}\n")).unwrap();
        secret
    }

    #[test]
    fn a_request_is_signed_with_each_secret_as_the_specification_says() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        let texts = [write(&first, 24), write(&second, 64)];
        let secrets = Secrets::read(&[first, second]).unwrap();
        let signature = secrets.sign("msg_1", 1_674_087_231, b"{\"type\":\"clicks\"}");
        let expected = texts.map(|text| {
            let webhook = standardwebhooks::Webhook::new(&text).unwrap();
            webhook.sign("msg_1", 1_674_087_231, b"{\"type\":\"clicks\"}").unwrap()
        });
        assert_eq!(signature, expected.join(" "));
    }
}
