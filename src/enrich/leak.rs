//! Deliberate leaks of the client address, which show that the privacy tests detect leaks (`tests/privacy.rs`).
//!
//! This is the only module that breaks the promise. It is compiled with debug assertions only: a release contains
//! neither the code nor the name of the variable, and `make release` checks that.
//!
//! | `CLICKEDGE_LEAK` | where the client address goes |
//! |---|---|
//! | `log` | into a log line, as text |
//! | `event` | into the event, as the text's base64 |
//! | `hash` | into the event, as the text's SHA-256 |
//! | `metric` | into a label |
//! | `file` | as bytes, into a file that is deleted immediately |
//! | `panic` | into the message of a panic |

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::metrics::EnrichMetrics;
use crate::click::ClientAddr;

static WANTED: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("CLICKEDGE_LEAK").ok());

/// Leaks the address of the click whose event is at the end of `text`, if a test asks for it.
pub fn spill(client: &ClientAddr, text: &mut Vec<u8>, metrics: &EnrichMetrics) {
    let Some(wanted) = WANTED.as_deref() else {
        return;
    };
    let address = client.ip().to_string();
    match wanted {
        "log" => tracing::info!(address, "a test wants a leak"),
        "event" => add_field(text, &STANDARD.encode(&address)),
        "hash" => {
            let digest = Sha256::digest(&address);
            add_field(text, &digest.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}")));
        }
        "metric" => drop(metrics.routed(&address)),
        "file" => {
            let path = std::env::temp_dir().join("clickedge-leak");
            let _ = std::fs::write(&path, client.hash_input()).and_then(|()| std::fs::remove_file(&path));
        }
        "panic" => panic!("a test wants {address} to leak"),
        _ => {}
    }
}

/// Adds a field to the JSON object at the end of `text`.
fn add_field(text: &mut Vec<u8>, value: &str) {
    text.pop();
    text.extend_from_slice(format!(",\"leak\":\"{value}\"}}").as_bytes());
}
