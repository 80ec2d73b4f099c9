//! When a change is answered, the next request sees it, whichever thread it comes to.

use super::*;
use crate::common::load::Client;

/// More connections than an edge has threads, so that every thread has some.
fn connections(edge: &Edge) -> Vec<Client> {
    (0..16).map(|_| Client::connect(edge.address).unwrap()).collect()
}

/// Status and destination on each connection.
fn answers(clients: &mut [Client], host: &str, target: &str) -> Vec<(u16, Option<String>)> {
    let mut answer = |client: &mut Client| {
        let status = client.get(host, target, "").unwrap();
        (status, client.location().map(str::to_owned))
    };
    clients.iter_mut().map(&mut answer).collect()
}

#[test]
fn every_thread_sees_a_change_at_once() {
    let (edge, tokens) = edge();
    let mut clients = connections(&edge);
    for number in 0..40 {
        let destination = format!("https://e.example/{number}");
        assert!(put(&edge, &tokens.one, "go.brand.com/often", &body(&destination)).status < 300);
        let expected = (302, Some(destination));
        for found in answers(&mut clients, "go.brand.com", "/often") {
            assert_eq!(found, expected);
        }
    }
    assert_eq!(delete(&edge, &tokens.one, "go.brand.com/often").status, 204);
    for (status, location) in answers(&mut clients, "go.brand.com", "/often") {
        assert_eq!((status, location), (404, None));
    }
}

#[test]
fn every_thread_sees_a_new_domain_and_its_links_at_once() {
    let (edge, tokens) = edge();
    for number in 0..5 {
        let host = format!("d{number}.brand.com");
        let status = |edge: &Edge| edge.get(&host, "/a").status;
        assert_ne!(status(&edge), 302);
        let domain = json!({"notFound": "https://e.example/lost"}).to_string();
        let answer = ask(&edge, &tokens.all, "PUT", &format!("/v1/domains/{host}"), &[], &domain);
        assert_eq!(answer.status, 201, "{answer:?}");
        let lost = (302, Some("https://e.example/lost".to_owned()));
        assert!(answers(&mut connections(&edge), &host, "/a").iter().all(|found| *found == lost));
        assert_eq!(put(&edge, &tokens.all, &format!("{host}/a"), &body("https://e.example/a")).status, 201);
        let found = (302, Some("https://e.example/a".to_owned()));
        assert!(answers(&mut connections(&edge), &host, "/a").iter().all(|one| *one == found));
    }
}

#[test]
fn a_limit_of_clicks_holds_from_the_next_request_on() {
    let (edge, tokens) = edge();
    let (path, mut limited) = ("go.brand.com/limited", body("https://e.example/limited"));
    assert_eq!(put(&edge, &tokens.one, path, &limited).status, 201);
    let status = |edge: &Edge| edge.get("go.brand.com", "/limited").status;
    assert_eq!(status(&edge), 302);
    limited["maxClicks"] = 2.into();
    assert_eq!(put(&edge, &tokens.one, path, &limited).status, 200);
    let clicks: Vec<_> = (0..8).map(|_| status(&edge)).collect();
    assert_eq!(clicks, [302, 302, 410, 410, 410, 410, 410, 410]);
    // Over a restart, too.
    let edge = edge.kill().restart();
    assert_eq!(status(&edge), 410);
    limited.as_object_mut().unwrap().remove("maxClicks");
    assert_eq!(put(&edge, &tokens.one, path, &limited).status, 200);
    assert_eq!(status(&edge), 302);
}
