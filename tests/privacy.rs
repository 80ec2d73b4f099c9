//! The privacy promise: a client address is used for location and session, and is found nowhere afterwards.
//!
//! | file | what it is |
//! |---|---|
//! | `privacy/proof.rs` | the proof: everything happens to an edge, and then everything is searched |
//! | `privacy/leaks.rs` | the proof can fail: leaks that are made on purpose are found |
//! | `privacy/itself.rs` | the search finds what is there, and nothing else |
//! | `privacy/visits.rs`, `handshakes.rs` | what clients do |
//! | `privacy/canary.rs`, `forms.rs`, `hashes.rs`, `search.rs`, `index.rs` | addresses, how they are written down, and the search for that |
//! | `privacy/trace.rs` | what the process hands to the kernel |

mod canary;
mod forms;
mod handshakes;
mod hashes;
mod index;
mod itself;
mod leaks;
mod proof;
mod search;
mod trace;
mod visits;

use crate::common::Edge;
use canary::{Cast, TRUSTED};

/// Without this the search would prove nothing: the addresses must have been in use.
#[test]
fn sessions_are_distinguished_by_the_address_that_a_trusted_proxy_names() {
    let edge = Edge::builder()
        .feed("all", &["*"])
        .section(&format!("[client_address]\ntrusted_proxies = [\"{TRUSTED}\"]"))
        .start();
    let mut cast = Cast::default();
    let proxy = cast.proxy("all");
    for n in 0..3 {
        let (client, named) = (cast.client("sessions"), cast.v4("sessions", "named"));
        for _ in 0..2 {
            edge.request_from(Some(client), "GET", "go.brand.com", &format!("/spring?{n}"), &[]);
            let headers = [("X-Forwarded-For", &*named.to_string())];
            edge.request_from(Some(proxy), "GET", "go.brand.com", "/spring", &headers);
        }
    }
    let events = edge.stop().events("all");
    let first = events.iter().filter(|event| event["client"]["session"]["first"] == true).count();
    assert_eq!((events.len(), first), (12, 6), "six visitors clicked twice each");
}
