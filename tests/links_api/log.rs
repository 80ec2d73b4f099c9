//! The change log is written again without the changes that later ones replace.

use super::*;

/// Changes in one request.
const BATCH: usize = 4_000;

#[test]
fn a_log_that_was_written_again_gives_the_same_catalog() {
    let (edge, tokens) = edge();
    let put_domain = |not_found: &str| {
        let domain = json!({"case": "insensitive", "notFound": not_found}).to_string();
        let answer = ask(&edge, &tokens.all, "PUT", "/v1/domains/case.brand.com", &[], &domain);
        assert!(answer.status < 300, "{answer:?}");
    };
    put_domain("https://e.example/first");
    let mixed = body("https://e.example/mixed");
    assert_eq!(put(&edge, &tokens.all, "case.brand.com/Mixed", &mixed).status, 201);
    put_domain("https://e.example/second");
    let line = |number: usize| {
        let mut link = body(&format!("https://e.example/{number}"));
        (link["domain"], link["slashtag"]) = ("go.brand.com".into(), "often".into());
        link.to_string()
    };
    for batch in 0..3 {
        let lines: Vec<_> = (batch * BATCH..(batch + 1) * BATCH).map(line).collect();
        let answer = ask(&edge, &tokens.all, "POST", "/v1/links:batch", &[], &lines.join("\n"));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let log = fs::read_to_string(edge.dir().join("state/changes.log")).unwrap();
    assert!(log.lines().count() < BATCH, "it was written again");
    let edge = edge.kill().restart();
    assert_eq!(leads_to(&edge, "/often"), Some(format!("https://e.example/{}", 3 * BATCH - 1)));
    for (path, destination) in [("Mixed", "mixed"), ("mIXED", "mixed"), ("unknown", "second")] {
        let answer = edge.get("case.brand.com", &format!("/{path}"));
        assert_eq!(answer.header("location"), Some(&*format!("https://e.example/{destination}")), "{}", edge.log());
    }
}
