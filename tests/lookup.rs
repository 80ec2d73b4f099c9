//! Which link a request means, and where its query goes: host, slashtag, case, query forwarding.

use std::sync::{Arc, Mutex, Weak};

use serde_json::{Value, json};

use crate::common::{Answer, Edge, link};

/// One edge for the tests that run at the same time; it ends with the last of them.
fn edge() -> Arc<Edge> {
    static EDGE: Mutex<Weak<Edge>> = Mutex::new(Weak::new());
    let mut shared = EDGE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let edge = Arc::new(start());
        *shared = Arc::downgrade(&edge);
        edge
    })
}

fn start() -> Edge {
    let to = |host, slashtag| link(host, slashtag, &format!("https://to.example/{slashtag}"));
    let forwarding = |slashtag, policy: Value, destination| {
        let mut link = link("go.brand.com", slashtag, destination);
        link["forwardParameters"] = policy;
        link
    };
    Edge::builder()
        .link(to("go.brand.com", ""))
        .link(to("go.brand.com", "summer/sale"))
        .link(to("go.brand.com", "a b"))
        .link(to("go.brand.com", "café"))
        .link(to("go.brand.com", "Mixed"))
        .link(to("acme.link", "Tickets"))
        .link(to("acme.link", "ÉTÉ"))
        .link(to("BÜCHER.example", "lesen"))
        .link(forwarding("off", json!(false), "https://to.example/?own=1#end"))
        .link(forwarding("on", json!(true), "https://to.example/"))
        .link(forwarding("in", json!("incoming"), "https://to.example/?a=own&b=own&%63=own#end"))
        .link(forwarding("dest", json!("destination"), "https://to.example/?a=own&b=own&%63=own#end"))
        .link(forwarding("unsaid", Value::Null, "https://to.example/?a=own"))
        .section("[catalog.domains.\"acme.link\"]\ncase = \"insensitive\"")
        .section("[limits]\ntarget_bytes = 32768\nheader_bytes = 65536")
        .start()
}

/// Where a request leads: its `Location`, or its status when it leads nowhere.
fn leads(answer: &Answer) -> String {
    answer.header("location").map_or_else(|| answer.status.to_string(), str::to_owned)
}

fn raw(edge: &Edge, target: &[u8], host: &[u8]) -> String {
    let parts = [b"GET ", target, b" HTTP/1.1\r\nHost: ", host, b"\r\nConnection: close\r\n\r\n"];
    leads(&edge.raw(&parts.concat()).unwrap())
}

#[test]
fn a_host_is_the_same_in_any_case_with_a_port_and_with_a_final_dot() {
    let edge = edge();
    for host in
        ["go.brand.com", "GO.Brand.COM", "go.brand.com:8080", "go.brand.com.", "Go.brand.com.:443", "go.brand.com:"]
    {
        assert_eq!(leads(&edge.get(host, "/spring")), "https://www.example.com/spring?utm_source=go", "{host}");
    }
    for host in ["brand.com", "www.go.brand.com", "go.brand.com.example", "127.0.0.1"] {
        assert_eq!(leads(&edge.get(host, "/spring")), "404", "{host}");
    }
}

#[test]
fn an_international_host_is_found_in_unicode_and_as_an_a_label() {
    let edge = edge();
    for host in [
        "bücher.example",
        "BÜCHER.example:80",
        "xn--bcher-kva.example",
        "XN--BCHER-KVA.EXAMPLE.",
        "bu\u{308}cher.example",
    ] {
        assert_eq!(raw(&edge, b"/lesen", host.as_bytes()), "https://to.example/lesen", "{host}");
    }
    assert_eq!(leads(&edge.get("bucher.example", "/lesen")), "404");
}

#[test]
fn an_absolute_target_is_looked_up_by_its_path() {
    let edge = edge();
    for (target, location) in [
        ("http://go.brand.com/summer/sale", "https://to.example/summer/sale"),
        ("https://go.brand.com/on?x=1", "https://to.example/?x=1"),
        ("http://go.brand.com/", "https://to.example/"),
        ("http://go.brand.com", "https://to.example/"),
        ("http://go.brand.com/nothing", "404"),
    ] {
        assert_eq!(raw(&edge, target.as_bytes(), b"go.brand.com"), location, "{target}");
    }
    assert_eq!(raw(&edge, b"http://other.example/summer/sale", b"other.example"), "404");
}

#[test]
fn a_slashtag_is_compared_decoded_composed_and_without_one_final_slash() {
    let edge = edge();
    for (target, slashtag) in [
        ("/", ""),
        ("/?", ""),
        ("/summer/sale", "summer/sale"),
        ("/summer/sale/", "summer/sale"),
        ("/summer%2Fsale", "summer/sale"),
        ("/%73ummer/s%61le?", "summer/sale"),
        ("/a%20b", "a%20b"),
        ("/caf%C3%A9", "caf%C3%A9"),
        ("/cafe%CC%81", "caf%C3%A9"),
        ("/caf%c3%a9/", "caf%C3%A9"),
        ("/café", "caf%C3%A9"),
        ("/cafe\u{301}", "caf%C3%A9"),
    ] {
        let leads = raw(&edge, target.as_bytes(), b"go.brand.com");
        assert_eq!(leads, format!("https://to.example/{slashtag}"), "{target}");
    }
    for target in ["/summer//sale", "/summer/sale//", "//summer/sale", "/a+b", "/cafe", "/caf%E9", "/%FF", "/spring%"]
    {
        assert_eq!(raw(&edge, target.as_bytes(), b"go.brand.com"), "404", "{target}");
    }
}

#[test]
fn a_domain_decides_whether_case_matters() {
    let edge = edge();
    assert_eq!(leads(&edge.get("go.brand.com", "/Mixed")), "https://to.example/Mixed");
    assert_eq!(leads(&edge.get("go.brand.com", "/mixed")), "404");
    for target in ["/Tickets", "/tickets", "/TICKETS/"] {
        assert_eq!(leads(&edge.get("acme.link", target)), "https://to.example/Tickets", "{target}");
    }
    for target in ["/%C3%89T%C3%89", "/%C3%A9t%C3%A9", "/e%CC%81tE%CC%81"] {
        assert_eq!(leads(&edge.get("acme.link", target)), "https://to.example/%C3%89T%C3%89", "{target}");
    }
    assert_eq!(leads(&edge.get("go.brand.com", "/Tickets")), "404", "a link belongs to its domain");
}

#[test]
fn a_query_goes_where_the_link_says() {
    let edge = edge();
    for (target, location) in [
        ("/off?a=1", "https://to.example/?own=1#end"),
        ("/unsaid?a=1", "https://to.example/?a=own"),
        ("/on", "https://to.example/"),
        ("/on?", "https://to.example/"),
        ("/on?a=1", "https://to.example/?a=1"),
        ("/in?a=1&d=2", "https://to.example/?a=1&b=own&%63=own&d=2#end"),
        ("/in?c=1", "https://to.example/?a=own&b=own&c=1#end"),
        ("/dest?a=1&d=2", "https://to.example/?a=own&b=own&%63=own&d=2#end"),
        ("/dest?%61=1&c=1", "https://to.example/?a=own&b=own&%63=own#end"),
    ] {
        assert_eq!(leads(&edge.get("go.brand.com", target)), location, "{target}");
    }
}

#[test]
fn a_forwarded_query_keeps_its_order_its_repetitions_and_its_encoding() {
    let edge = edge();
    for query in
        ["x=1&y=2&x=1&x=3", "q=%2f%2F+%20a&b=%zz", "flag&empty=&=odd", "u=https://a.b/?c=d", "e='*|(){}[]^`\\"]
    {
        let location = format!("https://to.example/?{query}");
        assert_eq!(leads(&edge.get("go.brand.com", &format!("/on?{query}"))), location);
    }
    assert_eq!(leads(&edge.get("go.brand.com", "/on?&&a=1&&b=2&")), "https://to.example/?a=1&b=2");
}

#[test]
fn a_query_cannot_change_anything_before_the_question_mark() {
    let edge = edge();
    for (query, forwarded) in [
        ("a=é", "a=%C3%A9"),
        ("a=%0d%0aSet-Cookie:x=1", "a=%0d%0aSet-Cookie:x=1"),
        ("@evil.example/", "@evil.example/"),
        ("/../..//evil.example", "/../..//evil.example"),
    ] {
        let leads = raw(&edge, format!("/on?{query}").as_bytes(), b"go.brand.com");
        assert_eq!(leads, format!("https://to.example/?{forwarded}"));
    }
    for query in ["a=1\t2", "a=1\r2", "a=1 2", "a=1\n2"] {
        assert_eq!(raw(&edge, format!("/on?{query}").as_bytes(), b"go.brand.com"), "400", "{query:?}");
    }
}

#[test]
fn an_oversized_query_is_not_forwarded_and_the_visitor_still_arrives() {
    let edge = edge();
    let endless = format!("/in?{}", "x=1&".repeat(300));
    assert_eq!(leads(&edge.get("go.brand.com", &endless)), "https://to.example/?a=own&b=own&%63=own#end");
    let long = format!("/on?x={}", "y".repeat(16_000));
    assert_eq!(leads(&edge.get("go.brand.com", &long)).len(), "https://to.example/?x=".len() + 16_000);
}
