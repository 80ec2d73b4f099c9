use http::Request;

use super::*;
use crate::catalog::tokens::{self, Tokens};

fn access(lines: Option<&[&str]>) -> Access {
    let tokens = lines.map(|lines| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        std::fs::write(&file, lines.join("\n")).unwrap();
        Tokens::read(&file).unwrap()
    });
    Access::new(&["Status.Example.com".to_owned()], Arc::new(TokenStore::new(tokens)))
}

fn head(headers: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().uri("/metrics");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn checked(headers: &[(&str, &str)], via: Via) -> Result<(), Kind> {
    access(None).check(&head(headers), via).map_err(|problem| problem.kind)
}

#[test]
fn only_own_names_are_answered() {
    for host in [
        "127.0.0.1:9180",
        "10.1.2.3",
        "[::1]:9180",
        "[2001:db8::1]",
        "localhost",
        "LOCALHOST:9180",
        "status.example.com",
        "STATUS.example.com.:443",
    ] {
        assert_eq!(checked(&[("host", host)], Via::Tcp), Ok(()), "{host}");
    }
    for host in [
        "",
        "evil.example",
        "evil.example:9180",
        "admin",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1.nip.io:9180",
        "status.example.com.evil.example",
        "xstatus.example.com",
        "2130706433",
        "0x7f.1",
        "[::1",
        "[evil.example]",
        "::1",
        "127.0.0.1:80:80",
        "localhost:x",
    ] {
        assert_eq!(checked(&[("host", host)], Via::Tcp), Err(Kind::Misdirected), "{host}");
        assert_eq!(checked(&[("host", host)], Via::Socket), Ok(()), "{host}");
    }
    assert_eq!(checked(&[], Via::Tcp), Err(Kind::BadRequest));
    let mut old = head(&[]);
    old.version = Version::HTTP_10;
    assert!(access(None).check(&old, Via::Tcp).is_ok(), "no browser sends HTTP/1.0");
}

#[test]
fn requests_of_pages_of_other_sites_are_rejected() {
    let host = ("host", "127.0.0.1:9180");
    for (name, value) in [
        ("sec-fetch-site", "none"),
        ("sec-fetch-site", "same-origin"),
        ("origin", "http://127.0.0.1:9180"),
        ("origin", "https://127.0.0.1:9180"),
    ] {
        assert_eq!(checked(&[host, (name, value)], Via::Tcp), Ok(()), "{name}: {value}");
    }
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "Cross-Site"),
        ("sec-fetch-site", ""),
        ("origin", "null"),
        ("origin", ""),
        ("origin", "https://evil.example"),
        ("origin", "http://127.0.0.1"),
        ("origin", "http://127.0.0.1:9181"),
        ("origin", "http://127.0.0.1:9180.evil.example"),
        ("origin", "ftp://127.0.0.1:9180"),
        ("origin", "file://"),
    ] {
        assert_eq!(checked(&[host, (name, value)], Via::Tcp), Err(Kind::WebPage), "{name}: {value}");
    }
    assert_eq!(checked(&[host, ("origin", "http://127.0.0.1:9180")], Via::Tls), Err(Kind::WebPage));
    let twice = [host, ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")];
    assert_eq!(checked(&twice, Via::Tcp), Err(Kind::WebPage));
    let twice = [host, ("origin", "http://127.0.0.1:9180"), ("origin", "https://evil.example")];
    assert_eq!(checked(&twice, Via::Tcp), Err(Kind::WebPage));
}

#[test]
fn malformed_targets_are_rejected() {
    for target in ["/", "/v1/stats/links/go.brand.com/a%20b?by=links&top=3", "/v1/links:batch", "/a?b=[1]|{x}", "//"]
    {
        assert!(check_target(target.as_bytes()).is_ok(), "{target}");
    }
    let malformed: [&[u8]; 19] = [
        b"",
        b"*",
        b"metrics",
        b"http://127.0.0.1/metrics",
        b"127.0.0.1:9180",
        b"/%",
        b"/%4",
        b"/%zz",
        b"/a?b=%",
        b"/a%00b",
        b"/a%0d%0aX:%20y",
        b"/%7f",
        b"/%ff",
        b"/%c0%af",
        b"/caf\xc3\xa9",
        b"/a\\b",
        b"/<script>",
        b"/a#b",
        b"/a b",
    ];
    for target in malformed {
        let problem = check_target(target).unwrap_err();
        assert_eq!(problem.kind, Kind::BadRequest, "{}", target.escape_ascii());
    }
}

#[test]
fn a_route_is_open_to_what_its_line_allows() {
    let made = |name: &str, workspaces: &[&str], right| {
        let token = tokens::generate().unwrap().to_string();
        let workspaces: Vec<_> = workspaces.iter().map(|&id| id.to_owned()).collect();
        let line = tokens::line_of(&token, name, &workspaces, right).unwrap();
        (token, line)
    };
    let tokens = [
        made("reads", &[], Right::Read),
        made("writes", &[], Right::Write),
        made("orders", &[], Right::Admin),
        made("one", &["w-1"], Right::Write),
    ];
    let lines: Vec<_> = tokens.iter().map(|(_, line)| line.as_str()).collect();
    let access = access(Some(&lines));
    let status = |needs: Needs, authorization: &str, via: Via| {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        }
        admit(needs, &access.grant(&headers, via)).map_or_else(|problem| problem.kind.parts().0.as_u16(), |()| 200)
    };
    for ((token, line), [read, order]) in tokens.iter().zip([[200, 403], [200, 403], [200, 200], [403, 403]]) {
        let basic = format!("basic {}", STANDARD.encode(format!("any:{token}")));
        for authorization in [format!("Bearer {token}"), format!("bearer  {token} "), basic] {
            let statuses = [Needs::Nothing, Needs::Read, Needs::Order].map(|n| status(n, &authorization, Via::Tls));
            assert_eq!(statuses, [200, read, order], "{line}");
        }
    }
    let (token, _) = &tokens[2];
    for authorization in [
        String::new(),
        "Bearer".into(),
        "Bearer ".into(),
        token.clone(),
        "Bearer clickedge_x".into(),
        format!("Digest {token}"),
        "Basic !".into(),
        format!("Basic {}", STANDARD.encode(token)),
        format!("Basic {}", STANDARD.encode(format!("{token}:"))),
    ] {
        let statuses = [Needs::Nothing, Needs::Read, Needs::Order].map(|n| status(n, &authorization, Via::Tcp));
        assert_eq!(statuses, [200, 401, 401], "{authorization}");
    }
    assert_eq!(status(Needs::Order, "", Via::Socket), 200);
    let problem = admit(Needs::Read, &access.grant(&HeaderMap::new(), Via::Tcp)).unwrap_err();
    assert!(problem.response().headers()[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic "));
}

#[test]
fn without_tokens_only_links_are_closed() {
    let access = access(None);
    let grant = access.grant(&HeaderMap::new(), Via::Tcp);
    assert!(admit(Needs::Read, &grant).is_ok() && admit(Needs::Order, &grant).is_ok());
    assert_eq!(grant.unwrap_err().kind, Kind::Off);
    assert_eq!(access.grant(&HeaderMap::new(), Via::Socket).unwrap().right, Right::Admin);
}
