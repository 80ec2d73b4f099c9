//! What requests look like: bodies, connections, methods.

use std::time::{Duration, Instant};

use super::*;

/// Sends the head of a request, and reads what comes back until the connection closes or a whole head has come.
fn head(stream: &mut std::net::TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn a_body_that_is_too_large_is_rejected_before_it_is_sent() {
    let (edge, tokens) = edge();
    for (path, method, bytes) in
        [("/v1/links/go.brand.com/a", "PUT", 1024 * 1024 + 1), ("/v1/links:batch", "POST", 64 * 1024 * 1024 + 1)]
    {
        let mut stream = connect(None, edge.admin).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nExpect: 100-continue\r\n\
             Content-Length: {bytes}\r\n\r\n",
            tokens.all
        )
        .unwrap();
        let answer = head(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
}

#[test]
fn a_body_in_chunks_is_read_and_bounded() {
    let (edge, tokens) = edge();
    let chunked = |chunk: &str, count: usize| {
        let mut request = format!(
            "PUT /v1/links/go.brand.com/c HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
            tokens.all
        );
        (0..count).for_each(|_| request += &format!("{:x}\r\n{chunk}\r\n", chunk.len()));
        request += "0\r\n\r\n";
        exchange(connect(None, edge.admin).unwrap(), request.as_bytes()).expect("an answer")
    };
    assert_eq!(chunked(&body("https://e.example/c").to_string(), 1).status, 201);
    assert_eq!(leads_to(&edge, "/c").as_deref(), Some("https://e.example/c"));
    assert_eq!(problem(&chunked(&" ".repeat(65_536), 17)), (413, "too-large".into()));
}

#[test]
fn a_client_that_expects_continue_gets_it_and_connections_are_kept() {
    let (edge, tokens) = edge();
    let mut stream = connect(None, edge.admin).unwrap();
    for number in 0..3 {
        let link = body(&format!("https://e.example/{number}")).to_string();
        write!(
            stream,
            "PUT /v1/links/go.brand.com/kept HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            tokens.all,
            link.len()
        )
        .unwrap();
        assert!(head(&mut stream).starts_with("HTTP/1.1 100 "));
        stream.write_all(link.as_bytes()).unwrap();
        let answer = head(&mut stream);
        assert!(answer.starts_with(if number == 0 { "HTTP/1.1 201 " } else { "HTTP/1.1 200 " }), "{answer}");
        let lower = answer.to_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut rest = vec![0; length.trim().parse().unwrap()];
        stream.read_exact(&mut rest).unwrap();
    }
    write!(
        stream,
        "DELETE /v1/links/go.brand.com/kept HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        tokens.all
    )
    .unwrap();
    let answer = head(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 204 ") && !answer.to_lowercase().contains("content-length"), "{answer}");
    write!(stream, "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    assert!(head(&mut stream).starts_with("HTTP/1.1 200 "));
}

#[test]
fn slow_batches_keep_no_others_waiting() {
    let (edge, tokens) = edge();
    let slow = || {
        let mut stream = connect(None, edge.admin).unwrap();
        write!(
            stream,
            "POST /v1/links:batch HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: 9\r\n\r\n",
            tokens.one
        )
        .unwrap();
        stream
    };
    let batch = |token| ask(&edge, token, "POST", "/v1/links:batch", &[], "{}");
    let waiting: Vec<_> = (0..4).map(|_| slow()).collect();
    let deadline = Instant::now() + Duration::from_secs(10);
    let full = loop {
        let answer = batch(&tokens.one);
        if answer.status != 200 {
            break answer;
        }
        assert!(Instant::now() < deadline, "none of 4 bodies is being read");
    };
    assert_eq!(problem(&full), (503, "unavailable".into()));
    assert_eq!(full.header("retry-after"), Some("1"));
    assert_eq!(batch(&tokens.all).status, 200, "those of another token have room");
    for mut stream in waiting {
        stream.write_all(b"\n\n\n\n\n\n\n\n\n").unwrap();
        assert!(head(&mut stream).starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(batch(&tokens.one).status, 200);
}

#[test]
fn other_methods_and_types_are_rejected_with_what_is_right() {
    let (edge, tokens) = edge();
    let patch = ask(&edge, &tokens.all, "PATCH", "/v1/links/go.brand.com/spring", &[], "{}");
    assert_eq!(problem(&patch), (405, "method-not-allowed".into()));
    assert_eq!(patch.header("allow"), Some("GET, HEAD, PUT, DELETE"));
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let typed = ask(&edge, &tokens.all, "PUT", "/v1/links/go.brand.com/a", &form, "a=b");
    assert_eq!(problem(&typed), (415, "media-type".into()));
    let missing = ask(&edge, &tokens.all, "GET", "/v1/links/go.brand.com", &[], "");
    assert_eq!(problem(&missing), (404, "not-found".into()));
    let list = ask(&edge, &tokens.all, "GET", "/v1/links", &[], "");
    assert_eq!(problem(&list), (400, "bad-request".into()));
    let head = ask(&edge, &tokens.all, "HEAD", "/v1/links/go.brand.com/spring", &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn an_unread_body_keeps_no_client_from_its_answer() {
    let (edge, _) = edge();
    for _ in 0..20 {
        let answer = ask(&edge, "clickedge_x", "PUT", "/v1/links/go.brand.com/a", &[], &" ".repeat(600_000));
        assert_eq!(problem(&answer), (401, "unauthorized".into()));
    }
}

#[test]
fn answers_on_a_kept_connection_do_not_wait_for_acknowledgements() {
    let (edge, tokens) = edge();
    let mut stream = connect(None, edge.admin).unwrap();
    stream.set_nodelay(true).unwrap();
    let request = format!(
        "GET /v1/links/go.brand.com/spring HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        tokens.all
    );
    let mut times: Vec<Duration> = (0..101)
        .map(|_| {
            let start = Instant::now();
            stream.write_all(request.as_bytes()).unwrap();
            let answer = head(&mut stream).to_lowercase();
            let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            stream.read_exact(&mut vec![0; length.trim().parse().unwrap()]).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    assert!(times[50] < Duration::from_millis(30), "{times:?}");
}

#[test]
fn an_alias_names_its_domain() {
    let domain = json!({"kind": "domain", "fullName": "own.example", "aliases": ["b.example"],
        "workspace": {"id": "w-1"}});
    let (builder, tokens) = with_tokens(Edge::builder().catalog(STATE).link(domain));
    let edge = builder.start();
    let domain = |token: &str, method: &str, name: &str, body: &str| {
        ask(&edge, token, method, &format!("/v1/domains/{name}"), &[], body)
    };
    let unowned = json!({"id": "l-1", "destination": "https://e.example/a"});
    let answer = put(&edge, &tokens.one, "b.example/a", &unowned);
    assert_eq!(answer.status, 201, "its domain has the workspace: {answer:?}");
    assert_eq!(read(&edge, &tokens.one, "own.example/a").header("etag"), answer.header("etag"));
    let [by_alias, by_name] = ["b.example", "own.example"].map(|name| domain(&tokens.one, "GET", name, ""));
    assert_eq!((by_alias.status, &by_alias.body), (200, &by_name.body));
    let list = ask(&edge, &tokens.one, "GET", "/v1/links?domain=b.example", &[], "");
    assert_eq!(json(&list)["links"].as_array().unwrap().len(), 1, "{list:?}");
    let again = domain(&tokens.one, "PUT", "b.example", &by_alias.body);
    assert_eq!((again.status, again.header("etag")), (200, by_name.header("etag")), "what was read: {again:?}");
    let unnamed = domain(&tokens.one, "PUT", "b.example", r#"{"workspace":{"id":"w-1"}}"#);
    assert_eq!(problem(&unnamed), (422, "invalid".into()));
    assert!(unnamed.body.contains("own.example"), "{unnamed:?}");
    assert_eq!(delete(&edge, &tokens.one, "b.example/a").status, 204);
    assert_eq!(domain(&tokens.one, "DELETE", "b.example", "").status, 204);
    assert_eq!(domain(&tokens.one, "GET", "own.example", "").status, 404);
}
