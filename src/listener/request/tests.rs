use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { target: 100, bytes: 400, fields: 6 };

/// What becomes of these bytes: the length of the head and what it says, `None` while it is incomplete.
fn read(bytes: &[u8]) -> Result<Option<(usize, String, Framing)>, Malformed> {
    match find(bytes, &mut 0, &LIMITS)? {
        Found::Incomplete => Ok(None),
        Found::Head { from, to } => {
            let mut fields = [httparse::EMPTY_HEADER; 6];
            let request = parse(&bytes[from..to], &mut fields, &LIMITS)?;
            let line = format!("{} {}", request.method, String::from_utf8_lossy(request.target));
            Ok(Some((to, line, request.framing)))
        }
    }
}

fn error(bytes: &[u8]) -> Malformed {
    read(bytes).map(|read| read.map(|(_, line, _)| line)).expect_err(&String::from_utf8_lossy(bytes))
}

#[test]
fn a_head_ends_with_an_empty_line_and_is_left_alone_before() {
    let whole = b"GET /spring HTTP/1.1\r\nHost: a.b\r\n\r\nGET /next";
    let head = whole.len() - "GET /next".len();
    for end in 0..head {
        assert_eq!(read(&whole[..end]), Ok(None), "{end}");
    }
    for end in head..=whole.len() {
        let (to, line, framing) = read(&whole[..end]).unwrap().unwrap();
        assert_eq!((to, line.as_str(), framing.keep_alive, framing.body), (head, "GET /spring", true, Body::None));
    }
    let after_empty = [b"\r\n", &whole[..]].concat();
    assert_eq!(read(&after_empty).unwrap().unwrap().0, head + 2, "one empty line before");
    assert_eq!([read(&after_empty[..1]), read(&after_empty[..2])], [Ok(None), Ok(None)]);
}

#[test]
fn what_is_no_http_is_rejected_with_its_first_bytes() {
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"\n",
        b"\r\n\r\n",
        b" GET / HTTP/1.1\r\n",
        b"{\"a\":1}",
        b"GET\t/ HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM",
        b"GET / HTTP/1.1\nHost: a.b\n\n",
        b"GET / HTTP/1.1\r\nHost: a.b\n\r\n",
        b"GET / HTTP/1.1\rXHost: a.b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: user@a.b\r\n\r\n",
    ] {
        assert!(matches!(read(bytes), Err(Malformed::Syntax | Malformed::Version)), "{}", bytes.escape_ascii());
    }
    assert_eq!(error(&[b'A'; 40]), Malformed::Syntax);
}

#[test]
fn ambiguous_and_malformed_heads_are_rejected() {
    let with = |lines: &str| format!("POST /a HTTP/1.1\r\n{lines}\r\n\r\n").into_bytes();
    for lines in [
        "",
        "Host: a.b\r\nHost: a.b",
        "Host: a.b\r\nContent-Length: 3\r\nContent-Length: 3",
        "Host: a.b\r\nContent-Length: 3, 3",
        "Host: a.b\r\nContent-Length: +3",
        "Host: a.b\r\nContent-Length: -3",
        "Host: a.b\r\nContent-Length: 0x3",
        "Host: a.b\r\nContent-Length:",
        "Host: a.b\r\nContent-Length: 99999999999999999999",
        "Host: a.b\r\nContent-Length: 3\r\nTransfer-Encoding: chunked",
        "Host: a.b\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Host : a.b",
        "Host: a.b\r\n folded",
        "Host: a.b\r\nX: a\0b",
        "Host: a.b\r\nX: a\rb",
        "Host: a.b\r\nno colon",
        "Host: a.b\r\n: no name",
    ] {
        assert_eq!(error(&with(lines)), Malformed::Syntax, "{lines:?}");
    }
    for coding in ["gzip, chunked", "identity", "xchunked", "chunked, chunked", ""] {
        assert_eq!(error(&with(&format!("Host: a.b\r\nTransfer-Encoding: {coding}"))), Malformed::Coding, "{coding}");
    }
    for line in [
        "GET /a b HTTP/1.1",
        "GET  /a HTTP/1.1",
        "GET /a  HTTP/1.1",
        "GET /a",
        "GET /a HTTP/1.1 ",
        "GET /\u{1} HTTP/1.1",
    ] {
        assert_eq!(error(format!("{line}\r\nHost: a.b\r\n\r\n").as_bytes()), Malformed::Syntax, "{line:?}");
    }
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/9.9"] {
        assert_eq!(
            error(format!("GET / {version}\r\nHost: a.b\r\n\r\n").as_bytes()),
            Malformed::Version,
            "{version}"
        );
    }
    let coding = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(error(coding), Malformed::Syntax, "HTTP/1.0 has no codings");
}

#[test]
fn limits_hold_before_the_head_is_whole() {
    let target =
        |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a.b\r\n\r\n", "a".repeat(length - 1)).into_bytes();
    assert!(read(&target(100)).is_ok());
    assert_eq!(error(&target(101)), Malformed::Target);
    assert_eq!(error(&[b"GET /", &[b'a'; 200][..]].concat()), Malformed::Target, "without an end of the line");
    let long = format!("GET / HTTP/1.1\r\nHost: a.b\r\nX: {}", "a".repeat(400));
    assert_eq!(error(long.as_bytes()), Malformed::Fields);
    assert_eq!(error(format!("{long}\r\n\r\n").as_bytes()), Malformed::Fields);
    let fields =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: a.b\r\n{}\r\n", "X: a\r\n".repeat(count - 1)).into_bytes();
    assert!(read(&fields(6)).is_ok());
    assert_eq!(error(&fields(7)), Malformed::Fields);
}

#[test]
fn the_connection_goes_on_as_both_sides_say() {
    let keep_alive = |version: &str, lines: &str| {
        let head = format!("GET / HTTP/{version}\r\nHost: a.b\r\n{lines}\r\n");
        read(head.as_bytes()).unwrap().unwrap().2.keep_alive
    };
    assert!(keep_alive("1.1", "") && !keep_alive("1.0", ""));
    assert!(keep_alive("1.0", "Connection: Keep-Alive\r\n"));
    assert!(!keep_alive("1.1", "Connection: foo, CLOSE\r\n"));
    assert!(!keep_alive("1.1", "Connection: close\r\nConnection: keep-alive\r\n"));
}

#[test]
fn rare_targets_are_rewritten_into_the_usual_form() {
    let rewrite = |head: &str| {
        let head = head.chars().map(|char| char as u8).collect::<Vec<u8>>();
        let mut fields = [httparse::EMPTY_HEADER; 6];
        let request = parse(&head, &mut fields, &LIMITS).unwrap();
        assert_eq!(form(request.method, request.target), Ok(Form::Rewrite), "{}", head.escape_ascii());
        String::from_utf8(rewritten(&request)).unwrap()
    };
    assert_eq!(
        rewrite("GET http://GO.brand.com:80/a?b HTTP/1.1\r\nX: y\r\nHost: other\r\n\r\n"),
        "GET /a?b HTTP/1.1\r\nHost: GO.brand.com:80\r\nX: y\r\n\r\n"
    );
    assert_eq!(rewrite("GET HTTPS://a.b?c HTTP/1.0\r\n\r\n"), "GET /?c HTTP/1.0\r\nHost: a.b\r\n\r\n");
    assert_eq!(
        rewrite("GET /caf\u{e9}`{}?x=\"<>`{}^ HTTP/1.1\r\nHost: a.b\r\n\r\n"),
        "GET /caf%E9%60{}?x=%22%3C%3E`{}^ HTTP/1.1\r\nHost: a.b\r\n\r\n"
    );
    for target in ["ftp://a.b/", "http:///a", "http://user@a.b/", "a.b:80", "*", "spring", "//"] {
        let expected = if target == "//" { Ok(Form::Origin) } else { Err(Malformed::Syntax) };
        assert_eq!(form("GET", target.as_bytes()), expected, "{target}");
    }
    assert_eq!(form("OPTIONS", b"*"), Ok(Form::Asterisk));
    assert_eq!(form("CONNECT", b"a.b:443"), Ok(Form::Authority));
}

proptest! {
    /// Whatever arrives, in whatever pieces: the same head is found, nothing panics, and nothing is read past its end.
    #[test]
    fn pieces_do_not_matter(bytes in requests(), cuts in proptest::collection::vec(0_usize..300, 0..8)) {
        let whole = find(&bytes, &mut 0, &LIMITS);
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < bytes.len()).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let (mut seen, mut last) = (0, Ok(Found::Incomplete));
        for cut in cuts {
            last = find(&bytes[..cut], &mut seen, &LIMITS);
            if last != Ok(Found::Incomplete) {
                break;
            }
        }
        match (&whole, &last) {
            // What is too long may be noticed earlier in pieces, and as another excess.
            (Err(_), Err(_)) => {}
            // And a wrong method with the first piece.
            (Ok(Found::Head { from, to }), Err(Malformed::Syntax)) => {
                let mut fields = [httparse::EMPTY_HEADER; 6];
                prop_assert!(parse(&bytes[*from..*to], &mut fields, &LIMITS).is_err());
            }
            (whole, last) => prop_assert_eq!(whole, last),
        }
        if let Ok(Found::Head { from, to }) = whole {
            let head = &bytes[from..to];
            let mut fields = [httparse::EMPTY_HEADER; 6];
            if let Ok(request) = parse(head, &mut fields, &LIMITS) {
                let again = rewritten(&request);
                let mut fields = [httparse::EMPTY_HEADER; 7];
                let limits = HeadLimits { target: 400, bytes: 2_000, fields: 7 };
                if form(request.method, request.target) == Ok(Form::Rewrite) {
                    let again = parse(&again, &mut fields, &limits);
                    prop_assert!(again.is_ok_and(|again| form(again.method, again.target) == Ok(Form::Origin)
                        && again.framing == request.framing));
                }
            }
        }
    }
}

/// Requests, nearly well-formed, with some bytes changed.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just("GET /a HTTP/1.1\r\n"),
        Just("POST /a?b=\"<\u{e9} HTTP/1.1\r\n"),
        Just("HEAD http://a.b/c HTTP/1.0\r\n"),
        Just("OPTIONS * HTTP/1.1\r\n"),
    ];
    let field = prop_oneof![
        Just("Host: a.b\r\n"),
        Just("Content-Length: 3\r\n"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just("Connection: close\r\n"),
        Just("X: y\r\n"),
    ];
    let fields = proptest::collection::vec(field, 0..5);
    let changes = proptest::collection::vec((0_usize..200, any::<u8>()), 0..3);
    (line, fields, changes).prop_map(|(line, fields, changes)| {
        let mut bytes = format!("{line}{}\r\n", fields.concat()).into_bytes();
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes
    })
}
