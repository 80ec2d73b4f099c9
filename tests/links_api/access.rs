//! Who may read and change what, and what is recorded of it.

use super::*;

#[test]
fn without_tokens_the_api_is_closed() {
    let edge = Edge::builder().start();
    let answer = read(&edge, "clickedge_x", "go.brand.com/spring");
    assert_eq!(problem(&answer), (403, "off".into()));
    assert!(answer.body.contains("admin.tokens_file"), "{answer:?}");
    assert_eq!(ask(&edge, "", "GET", "/v1/openapi.json", &[], "").status, 200);
    assert_eq!(edge.get("go.brand.com", "/v1/links/go.brand.com/spring").status, 404, "not on the click listener");
}

#[test]
fn tokens_are_read_again_at_a_reload() {
    let (builder, tokens) = with_tokens(Edge::builder());
    let edge = builder.start();
    let file = edge.dir().join("tokens");
    let status = |token: &str| read(&edge, token, "go.brand.com/spring").status;
    let reload = || edge.local("POST", "/v1/reload").status;
    assert_eq!((status(&tokens.all), status("clickedge_x"), status("")), (200, 401, 401));
    let (new, line) = token(&["new"]);
    fs::write(&file, &line).unwrap();
    assert_eq!((reload(), status(&new), status(&tokens.all)), (200, 200, 401));
    fs::write(&file, format!("{line}\nother {new} *\n")).unwrap();
    assert_eq!((reload(), status(&new)), (422, 200), "the previous tokens stay");
    assert!(edge.log().contains("tokens, line 2") && !edge.log().contains(&new), "{}", edge.log());
    let config = fs::read_to_string(edge.dir().join("clickedge.toml")).unwrap();
    fs::write(edge.dir().join("clickedge.toml"), config.replace("tokens_file = \"tokens\"\n", "")).unwrap();
    fs::write(&file, &line).unwrap();
    assert_eq!((reload(), status(&new)), (200, 403));
}

#[test]
fn a_token_sees_and_changes_only_its_workspaces() {
    let mut other = link("go.brand.com", "other", "https://e.example/other");
    other["workspace"] = json!({"id": "w-2"});
    let (builder, tokens) = with_tokens(Edge::builder().catalog(STATE).link(other));
    let edge = builder.start();
    assert_eq!(read(&edge, &tokens.one, "go.brand.com/spring").status, 200);
    assert_eq!(problem(&read(&edge, &tokens.one, "go.brand.com/other")), (404, "not-found".into()));
    assert_eq!(problem(&delete(&edge, &tokens.one, "go.brand.com/other")), (404, "not-found".into()));
    let taken = put(&edge, &tokens.one, "go.brand.com/other", &body("https://e.example/"));
    assert_eq!(problem(&taken), (403, "outside-scope".into()));
    let mut foreign = body("https://e.example/");
    foreign["workspace"]["id"] = "w-2".into();
    assert_eq!(problem(&put(&edge, &tokens.one, "go.brand.com/spring", &foreign)).0, 403);
    let line = json!({"op": "delete", "domain": "go.brand.com", "slashtag": "other"}).to_string();
    let batch = ask(&edge, &tokens.one, "POST", "/v1/links:batch", &[], &line);
    assert_eq!(json(&batch)["status"], 404);
    let list = json(&ask(&edge, &tokens.one, "GET", "/v1/links?domain=go.brand.com", &[], ""));
    assert_eq!(list["links"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(
        problem(&put(&edge, &tokens.reads, "go.brand.com/spring", &body("https://e.example/"))).1,
        "read-only"
    );
    assert_eq!(leads_to(&edge, "/other").as_deref(), Some("https://e.example/other"));
    assert_eq!(put(&edge, &tokens.all, "go.brand.com/other", &foreign).status, 200);
}

#[test]
fn a_token_takes_no_host_out_of_the_wildcard_of_another_workspace() {
    let domain = json!({"kind": "domain", "fullName": "brand.example", "aliases": ["*.brand.example"],
        "workspace": {"id": "w-2"}});
    let (builder, tokens) = with_tokens(Edge::builder().catalog(STATE).link(domain));
    let edge = builder.start();
    let link = body("https://e.example/");
    let taken = put(&edge, &tokens.one, "login.brand.example/a", &link);
    assert_eq!(problem(&taken), (403, "outside-scope".into()));
    let owned = json!({"workspace": {"id": "w-1"}, "aliases": ["x.brand.example"]}).to_string();
    for domain in ["login.brand.example", "own.example"] {
        let taken = ask(&edge, &tokens.one, "PUT", &format!("/v1/domains/{domain}"), &[], &owned);
        assert_eq!(problem(&taken), (403, "outside-scope".into()), "{domain}");
    }
    assert_eq!(put(&edge, &tokens.one, "own.example/a", &link).status, 201);
}

#[test]
fn a_token_takes_no_hosts_by_a_wildcard_beyond_its_domain() {
    let (edge, tokens) = edge();
    let domain = |alias: &str| {
        let domain = json!({"workspace": {"id": "w-1"}, "aliases": [alias], "notFound": "https://evil.example/"});
        ask(&edge, &tokens.one, "PUT", "/v1/domains/own.example", &[], &domain.to_string())
    };
    assert_eq!(problem(&domain("*.com")), (403, "outside-scope".into()));
    assert_eq!(edge.get("any.com", "/x").header("location"), None);
    assert_eq!(domain("*.own.example").status, 201);
    assert_eq!(edge.get("any.own.example", "/x").header("location"), Some("https://evil.example/"));
}

#[test]
fn a_link_on_a_host_of_a_wildcard_makes_that_host_a_domain_of_its_own() {
    let domain = json!({"kind": "domain", "fullName": "brand.example", "aliases": ["*.brand.example"],
        "workspace": {"id": "w-1"}});
    let (builder, tokens) = with_tokens(Edge::builder().catalog(STATE).link(domain));
    let edge = builder.link(link("brand.example", "a", "https://e.example/a")).start();
    let leads_to = |host: &str| edge.get(host, "/a").header("location").map(str::to_owned);
    let path = "login.brand.example/a";
    assert_eq!(leads_to("login.brand.example").as_deref(), Some("https://e.example/a"));
    assert_eq!(problem(&read(&edge, &tokens.one, path)).0, 404);
    assert_eq!(problem(&delete(&edge, &tokens.one, path)).0, 404);
    let created = put(&edge, &tokens.one, path, &body("https://e.example/own"));
    assert_eq!(created.status, 201, "{created:?}");
    let etag = created.header("etag").unwrap();
    let text = body("https://e.example/changed").to_string();
    let changed = ask(&edge, &tokens.all, "PUT", &format!("/v1/links/{path}"), &[("If-Match", etag)], &text);
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(leads_to("login.brand.example").as_deref(), Some("https://e.example/changed"));
    assert_eq!(leads_to("other.brand.example").as_deref(), Some("https://e.example/a"));
    assert_eq!(read(&edge, &tokens.one, "brand.example/a").status, 200);
}

#[test]
fn web_pages_are_kept_out() {
    let (edge, tokens) = edge();
    let path = "/v1/links/go.brand.com/spring";
    let answer = ask(&edge, &tokens.all, "DELETE", path, &[("Origin", "https://evil.example")], "");
    assert_eq!(problem(&answer), (403, "web-page".into()));
    assert!(leads_to(&edge, "/spring").is_some());
}

#[test]
fn each_change_is_recorded_without_token_destination_or_address() {
    let (builder, tokens) = with_tokens(Edge::builder().catalog(STATE));
    let stopped = builder.start().terminate();
    stopped.reconfigure(|config| config.replace("log_level = \"trace\"", "log_level = \"error\""));
    let edge = stopped.restart();
    let from = edge.log().len();
    put(&edge, &tokens.one, "go.brand.com/a", &body("https://e.example/secret?key=hidden"));
    put(&edge, &tokens.one, "go.brand.com/a", &body("https://e.example/secret?key=hidden"));
    put(&edge, &tokens.one, "go.brand.com/a", &body("https://e.example/secret?key=other"));
    put(&edge, &tokens.one, "go.brand.com/a", &body("gopher://e.example/secret"));
    delete(&edge, &tokens.all, "go.brand.com/a");
    let log = edge.log()[from..].to_owned();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let parts = |line: &Value| ["who", "op", "what", "result"].map(|key| line[key].as_str().unwrap().to_owned());
    let expected = [
        ["one", "put-link", "go.brand.com/a", "created"],
        ["one", "put-link", "go.brand.com/a", "unchanged"],
        ["one", "put-link", "go.brand.com/a", "changed"],
        ["one", "put-link", "go.brand.com/a", "rejected"],
        ["all", "delete-link", "go.brand.com/a", "deleted"],
    ];
    assert_eq!(lines.iter().map(parts).collect::<Vec<_>>(), expected, "{log}");
    assert!(lines.iter().all(|line| line["target"] == "audit" && line["level"] == "INFO"), "{log}");
    assert!(lines[4]["revision"].as_u64() > lines[2]["revision"].as_u64(), "{log}");
    for hidden in [&*tokens.one, &*tokens.all, "secret", "hidden", "127.0.0.1"] {
        assert!(!log.contains(hidden), "{hidden}: {log}");
    }
    for (result, count) in [("created", 1), ("unchanged", 1), ("changed", 1), ("rejected", 1), ("deleted", 1)] {
        assert_eq!(
            edge.metric(&format!("clickedge_catalog_changes_total{{result=\"{result}\"}}")),
            count,
            "{result}"
        );
    }
    assert_eq!(edge.metric("clickedge_api_requests_total{route=\"link\",status=\"2xx\"}"), 4);
}

#[test]
fn a_token_that_cannot_stand_in_the_file_is_not_made() {
    for arguments in [&["a b"][..], &["deploy", "--workspace", "a,b"], &["deploy", "--workspace", ""], &[]] {
        let output = Command::new(env!("CARGO_BIN_EXE_clickedge"))
            .args(["catalog", "token"])
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}

#[test]
fn check_finds_a_wrong_tokens_file() {
    let (builder, _) = with_tokens(Edge::builder());
    let edge = builder.start();
    let config = edge.dir().join("clickedge.toml");
    let check = || Command::new(env!("CARGO_BIN_EXE_clickedge")).arg("check").arg(&config).output().unwrap();
    assert!(check().status.success());
    fs::write(edge.dir().join("tokens"), "# none\ndeploy\n").unwrap();
    let output = check();
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(65), "{text}");
    assert!(text.contains("tokens, line 2") && text.contains("admin.tokens_file"), "{text}");
    fs::set_permissions(edge.dir().join("tokens"), fs::Permissions::from_mode(0o600)).unwrap();
}
