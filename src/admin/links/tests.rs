//! The API over a catalog in memory.

mod fake;
mod openapi;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
};

use http::{Response, header};
use serde_json::{Value, json};

use super::*;
use crate::{
    admin::access::{Access, Via},
    catalog::tokens::{self, TokenStore},
    telemetry::metrics::Registry,
};
use fake::{Bytes, FakeCatalog, Silent};

/// An API with its tokens.
struct World {
    api: LinksApi,
    tokens: Arc<TokenStore>,
    catalog: Arc<FakeCatalog>,
    registry: Registry,
    /// For all workspaces, for `w-1`, and for reading in `w-1`.
    all: String,
    one: String,
    reads: String,
}

impl World {
    fn new() -> Self {
        let made = |name: &str, workspaces: &[&str], right| {
            let token = tokens::generate().unwrap().to_string();
            let workspaces: Vec<_> = workspaces.iter().map(|&id| id.to_owned()).collect();
            let line = tokens::line_of(&token, name, &workspaces, right).unwrap();
            (token, line)
        };
        let (all, one, reads) = (
            made("all", &[], Right::Write),
            made("one", &["w-1"], Right::Write),
            made("reads", &["w-1"], Right::Read),
        );
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        std::fs::write(&file, [all.1, one.1, reads.1].join("\n")).unwrap();
        let store = Arc::new(TokenStore::new(Some(tokens::Tokens::read(&file).unwrap())));
        let (catalog, registry) = (Arc::new(FakeCatalog::default()), Registry::new());
        let (view, changes) = (Arc::clone(&catalog), Arc::clone(&catalog));
        let api = LinksApi::new(view, changes, ApiMetrics::new(&registry));
        Self { api, tokens: store, catalog, registry, all: all.0, one: one.0, reads: reads.0 }
    }

    async fn ask(&self, token: &str, method: &str, path: &str, body: &str) -> Response<Vec<u8>> {
        self.ask_with(token, method, path, &[], body).await
    }

    async fn ask_with(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<Vec<u8>> {
        self.send(token, method, path, headers, Bytes(body.as_bytes().to_vec())).await
    }

    async fn send(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        mut body: impl Body,
    ) -> Response<Vec<u8>> {
        let mut request = request::Builder::new().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let grant = Access::new(&[], Arc::clone(&self.tokens)).grant(&head.headers, Via::Tcp);
        self.api.answer(&Request { head, grant }, &mut body).await
    }

    async fn status(&self, token: &str, method: &str, path: &str, body: &str) -> u16 {
        self.ask(token, method, path, body).await.status().as_u16()
    }

    fn put(&self, domain: &str, slashtag: &str, workspace: &str) -> String {
        self.catalog.put(domain, slashtag, &link(workspace))
    }
}

fn link(workspace: &str) -> Value {
    json!({"id": "1", "destination": "https://www.example.com/", "workspace": {"id": workspace}})
}

fn body(response: &Response<Vec<u8>>) -> Value {
    serde_json::from_slice(response.body()).unwrap_or_else(|error| panic!("{error}: {response:?}"))
}

/// Status, the end of the problem's URN, and its field.
fn problem(response: &Response<Vec<u8>>) -> (u16, String, Option<String>) {
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let problem = body(response);
    assert_eq!(problem["status"], response.status().as_u16());
    assert!(!problem["detail"].as_str().unwrap().is_empty() && !problem["title"].as_str().unwrap().is_empty());
    let urn = problem["type"].as_str().unwrap().strip_prefix("urn:clickedge:problem:").unwrap().to_owned();
    (response.status().as_u16(), urn, problem["field"].as_str().map(str::to_owned))
}

fn etag(response: &Response<Vec<u8>>) -> &str {
    response.headers()[header::ETAG].to_str().unwrap()
}

#[tokio::test]
async fn a_link_is_created_read_changed_and_deleted() {
    let world = World::new();
    let path = "/v1/links/go.brand.com/summer/sale";
    assert_eq!(problem(&world.ask(&world.all, "GET", path, "").await).0, 404);
    let created = world.ask(&world.all, "PUT", path, &link("w-1").to_string()).await;
    assert_eq!((created.status().as_u16(), body(&created)["revision"].as_u64()), (201, Some(1)));
    assert_eq!(
        (body(&created)["etag"].as_str(), &created.headers()[REVISION]),
        (Some(etag(&created)), &"1".parse().unwrap())
    );
    let read = world.ask(&world.all, "GET", path, "").await;
    assert_eq!((read.status().as_u16(), etag(&read)), (200, etag(&created)));
    assert_eq!(
        (body(&read)["slashtag"].as_str(), body(&read)["domain"]["fullName"].as_str()),
        (Some("summer/sale"), Some("go.brand.com"))
    );
    let head = world.ask(&world.all, "HEAD", path, "").await;
    assert!(head.body().is_empty());
    assert_eq!(head.headers()[header::CONTENT_LENGTH], read.headers()[header::CONTENT_LENGTH]);
    let again = world.ask(&world.all, "PUT", path, &link("w-1").to_string()).await;
    assert_eq!((again.status().as_u16(), &again.headers()[REVISION]), (200, &"1".parse().unwrap()), "unchanged");
    let changed = world.ask(&world.all, "PUT", path, &link("w-2").to_string()).await;
    assert_eq!((changed.status().as_u16(), &changed.headers()[REVISION]), (200, &"2".parse().unwrap()));
    assert_ne!(etag(&changed), etag(&created));
    let deleted = world.ask(&world.all, "DELETE", path, "").await;
    assert_eq!(
        (deleted.status().as_u16(), deleted.body().len(), &deleted.headers()[REVISION]),
        (204, 0, &"3".parse().unwrap())
    );
    assert!(!deleted.headers().contains_key(header::CONTENT_LENGTH));
    assert_eq!(problem(&world.ask(&world.all, "DELETE", path, "").await).1, "not-found");
    let text = world.registry.text();
    for (result, count) in [("created", 1), ("unchanged", 1), ("changed", 1), ("deleted", 1), ("rejected", 1)] {
        let line = format!("clickedge_catalog_changes_total{{result=\"{result}\"}} {count}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
    assert!(text.contains("clickedge_api_requests_total{route=\"link\",status=\"4xx\"} 2\n"), "{text}");
}

#[tokio::test]
async fn a_reader_that_has_the_current_version_gets_no_body() {
    let world = World::new();
    let current = world.put("go.brand.com", "a", "w-1");
    let path = "/v1/links/go.brand.com/a";
    let response = world.ask_with(&world.all, "GET", path, &[("if-none-match", &current)], "").await;
    assert_eq!((response.status().as_u16(), response.body().len(), etag(&response)), (304, 0, &*current));
    let response = world.ask_with(&world.all, "GET", path, &[("if-none-match", "\"other\"")], "").await;
    assert_eq!(response.status().as_u16(), 200);
}

#[tokio::test]
async fn a_change_is_made_only_if_its_condition_holds() {
    let world = World::new();
    let current = world.put("go.brand.com", "a", "w-1");
    let (a, b, text) = ("/v1/links/go.brand.com/a", "/v1/links/go.brand.com/b", link("w-1").to_string());
    for token in [&world.all, &world.one] {
        let failing = [
            ("PUT", a, "if-none-match", "*"),
            ("PUT", a, "if-match", "\"0\""),
            ("DELETE", a, "if-match", "\"0\", \"9\""),
            ("PUT", b, "if-match", "*"),
            ("PUT", b, "if-match", &current),
        ];
        for (method, path, name, value) in failing {
            let response = world.ask_with(token, method, path, &[(name, value)], &text).await;
            assert_eq!(problem(&response).1, "condition-failed", "{method} {path} {name}: {value}");
            let given = response.headers().get(header::ETAG).map(|etag| etag.to_str().unwrap());
            assert_eq!(given, (path == a).then_some(&*current));
        }
        for header in [("if-none-match", "\"1\""), ("if-match", "1")] {
            let response = world.ask_with(token, "PUT", a, &[header], &text).await;
            assert_eq!(problem(&response).1, "bad-request");
        }
    }
    let holding = [(b, "if-none-match", "*"), (a, "if-match", &*current), (a, "if-match", "*")];
    for (path, name, value) in holding {
        let response = world.ask_with(&world.one, "PUT", path, &[(name, value)], &text).await;
        assert!(response.status().is_success(), "{path} {name}: {value}: {response:?}");
    }
}

#[tokio::test]
async fn only_a_token_opens_the_api() {
    let world = World::new();
    let path = "/v1/links/go.brand.com/a";
    let missing = world.ask("", "GET", path, "").await;
    assert_eq!(problem(&missing).1, "unauthorized");
    assert_eq!(missing.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"clickedge\"");
    let unknown = world.ask("clickedge_x", "GET", path, "").await;
    assert_eq!(problem(&unknown).1, "unauthorized");
    assert!(unknown.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().contains("invalid_token"));
    for value in ["Basic eDp5", "Bearer", "Bearer ", &world.all] {
        let response = world.ask_with("", "GET", path, &[("authorization", value)], "").await;
        assert_eq!(response.status().as_u16(), 401, "{value}");
    }
    let twice = [("authorization", "Bearer x")];
    assert_eq!(world.ask_with(&world.all, "GET", path, &twice, "").await.status().as_u16(), 401);
    let lower = format!("bearer {}", world.all);
    let response = world.ask_with("", "GET", "/v1/links?domain=a.example", &[("authorization", &lower)], "").await;
    assert_eq!(response.status().as_u16(), 200);
    world.tokens.publish(None);
    assert_eq!(problem(&world.ask(&world.all, "GET", path, "").await).1, "off");
    assert_eq!(world.status("", "GET", "/v1/openapi.json", "").await, 200);
}

#[tokio::test]
async fn a_token_that_reads_changes_nothing() {
    let world = World::new();
    world.put("go.brand.com", "a", "w-1");
    assert_eq!(world.status(&world.reads, "GET", "/v1/links/go.brand.com/a", "").await, 200);
    for (method, path) in
        [("PUT", "/v1/links/go.brand.com/a"), ("DELETE", "/v1/domains/go.brand.com"), ("POST", "/v1/links:batch")]
    {
        assert_eq!(problem(&world.ask(&world.reads, method, path, "{}").await).1, "read-only");
    }
    assert_eq!(world.catalog.revision(), 1);
}

#[tokio::test]
async fn links_of_other_workspaces_are_unknown_and_cannot_be_changed() {
    let world = World::new();
    world.put("go.brand.com", "own", "w-1");
    world.put("go.brand.com", "other", "w-2");
    world.put("go.brand.com", "unowned", "");
    let (token, revision) = (&world.one, world.catalog.revision());
    let text = link("w-1").to_string();
    for slashtag in ["other", "unowned"] {
        let path = format!("/v1/links/go.brand.com/{slashtag}");
        assert_eq!(problem(&world.ask(token, "GET", &path, "").await).1, "not-found");
        assert_eq!(problem(&world.ask(token, "DELETE", &path, "").await).1, "not-found");
        assert_eq!(problem(&world.ask(token, "PUT", &path, &text).await), (403, "outside-scope".into(), None));
    }
    let own = "/v1/links/go.brand.com/own";
    for workspace in ["w-2", ""] {
        let response = world.ask(token, "PUT", own, &link(workspace).to_string()).await;
        assert_eq!(problem(&response), (403, "outside-scope".into(), Some("workspace".into())));
    }
    let unnamed = json!({"id": "1", "destination": "https://www.example.com/"}).to_string();
    assert_eq!(problem(&world.ask(token, "PUT", own, &unnamed).await).2.as_deref(), Some("workspace"));
    assert_eq!(world.catalog.revision(), revision);
    assert_eq!(world.status(token, "DELETE", own, "").await, 204);
}

#[tokio::test]
async fn a_domain_gives_its_links_their_workspace_and_takes_no_others() {
    let world = World::new();
    let unnamed = json!({"id": "1", "destination": "https://www.example.com/"}).to_string();
    for workspace in ["w-1", "w-2"] {
        let domain = json!({"workspace": {"id": workspace}}).to_string();
        assert_eq!(world.status(&world.all, "PUT", &format!("/v1/domains/{workspace}.example"), &domain).await, 201);
    }
    assert_eq!(world.status(&world.one, "PUT", "/v1/links/w-1.example/a", &unnamed).await, 201);
    let response = world.ask(&world.one, "PUT", "/v1/links/w-2.example/a", &unnamed).await;
    assert_eq!(problem(&response).2.as_deref(), Some("workspace"));
    let response = world.ask(&world.one, "PUT", "/v1/links/w-2.example/a", &link("w-1").to_string()).await;
    assert_eq!(problem(&response).2.as_deref(), Some("domain"));
    assert_eq!(world.status(&world.one, "GET", "/v1/domains/w-1.example", "").await, 200);
    assert_eq!(world.status(&world.one, "GET", "/v1/domains/w-2.example", "").await, 404);
    let other = json!({"workspace": "w-2"}).to_string();
    let response = world.ask(&world.one, "PUT", "/v1/domains/w-1.example", &other).await;
    assert_eq!(problem(&response).2.as_deref(), Some("workspace"));
}

#[tokio::test]
async fn a_host_of_another_workspace_cannot_be_taken() {
    let world = World::new();
    let domain = json!({"workspace": {"id": "w-2"}, "aliases": ["*.brand.com", "b.example"]}).to_string();
    assert_eq!(world.status(&world.all, "PUT", "/v1/domains/brand.com", &domain).await, 201);
    let own = json!({"workspace": "w-1"}).to_string();
    let alias = |host: &str| json!({"workspace": "w-1", "aliases": ["free.example", host]}).to_string();
    for (path, body) in [
        ("/v1/links/login.brand.com/a", &link("w-1").to_string()),
        ("/v1/domains/login.brand.com", &own),
        ("/v1/domains/b.example", &own),
        ("/v1/domains/own.example", &alias("login.brand.com")),
        ("/v1/domains/own.example", &alias("*.login.brand.com")),
        ("/v1/domains/own.example", &alias("b.example")),
    ] {
        let response = world.ask(&world.one, "PUT", path, body).await;
        assert_eq!(problem(&response), (403, "outside-scope".into(), Some("domain".into())), "{path} {body}");
    }
    assert_eq!(world.status(&world.one, "PUT", "/v1/domains/own.example", &alias("other.example")).await, 201);
}

#[tokio::test]
async fn a_token_with_workspaces_names_only_wildcards_below_its_domain() {
    let world = World::new();
    let with = |alias: &str| json!({"workspace": "w-1", "aliases": ["b.example", alias]}).to_string();
    let own = "/v1/domains/go.own.example";
    for (path, alias) in [
        (own, "*.com"),
        (own, "*.example"),
        (own, "*.own.example"),
        (own, "*.xgo.own.example"),
        (own, " *.other.example"),
        ("/v1/domains/com", "*.com"),
        ("/v1/domains/com", "*.brand.com"),
    ] {
        let response = world.ask(&world.one, "PUT", path, &with(alias)).await;
        assert_eq!(problem(&response), (403, "outside-scope".into(), Some("aliases".into())), "{path} {alias}");
        assert!(body(&response)["detail"].as_str().unwrap().contains(alias.trim()));
    }
    let line = json!({"kind": "domain", "fullName": "go.own.example", "workspace": "w-1", "aliases": ["*.com"]});
    let batch = world.ask(&world.one, "POST", "/v1/links:batch", &line.to_string()).await;
    assert_eq!(body(&batch)["status"], 403);
    assert_eq!(world.catalog.revision(), 0);
    assert_eq!(world.status(&world.one, "PUT", own, &with("*.go.own.example")).await, 201);
    assert_eq!(world.status(&world.one, "PUT", own, &with("*.a.GO.own.example")).await, 200);
    // What a token of all workspaces has given stays.
    assert_eq!(world.status(&world.all, "PUT", own, &with("*.own.example")).await, 200);
    let kept = json!({"workspace": "w-1", "case": "insensitive", "aliases": ["*.OWN.example"]}).to_string();
    assert_eq!(world.status(&world.one, "PUT", own, &kept).await, 200);
    assert_eq!(world.status(&world.one, "PUT", own, &with("*.com")).await, 403);
}

#[tokio::test]
async fn a_link_on_a_host_of_an_own_wildcard_is_put_like_any_other() {
    let world = World::new();
    let domain = json!({"workspace": {"id": "w-1"}, "aliases": ["*.brand.com"]}).to_string();
    assert_eq!(world.status(&world.all, "PUT", "/v1/domains/brand.com", &domain).await, 201);
    world.put("brand.com", "a", "w-1");
    let path = "/v1/links/login.brand.com/a";
    assert_eq!(world.status(&world.one, "GET", path, "").await, 404, "a wildcard leads to no link");
    assert_eq!(world.status(&world.one, "DELETE", path, "").await, 404);
    let created = world.ask(&world.one, "PUT", path, &link("w-1").to_string()).await;
    assert_eq!(created.status().as_u16(), 201);
    let mut other = link("w-1");
    other["httpStatus"] = 301.into();
    let headers = [("if-match", etag(&created))];
    let changed = world.ask_with(&world.one, "PUT", path, &headers, &other.to_string()).await;
    assert_eq!(changed.status().as_u16(), 200);
}

#[tokio::test]
async fn a_change_that_is_overtaken_is_checked_again() {
    let world = World::new();
    let path = "/v1/links/go.brand.com/a";
    world.catalog.overtake("go.brand.com", "a", &link("w-2"), 1);
    let response = world.ask(&world.one, "PUT", path, &link("w-1").to_string()).await;
    assert_eq!(problem(&response), (403, "outside-scope".into(), None), "the other one has another workspace");
    let world = World::new();
    world.catalog.overtake("go.brand.com", "a", &link("w-1"), 3);
    assert_eq!(world.status(&world.one, "PUT", path, &link("w-1").to_string()).await, 200);
    world.catalog.overtake("go.brand.com", "a", &link("w-1"), 100);
    assert_eq!(problem(&world.ask(&world.one, "DELETE", path, "").await).1, "conflict");
}

#[tokio::test]
async fn a_batch_answers_each_line_in_order() {
    let world = World::new();
    world.put("go.brand.com", "other", "w-2");
    let put = |slashtag: &str, workspace: &str| {
        let mut link = link(workspace);
        link["slashtag"] = slashtag.into();
        link["domain"] = "go.brand.com".into();
        link
    };
    let lines = [
        put("a", "w-1").to_string(),
        json!({"op": "put", "link": put("a", "w-1"), "ifNoneMatch": "*"}).to_string(),
        json!({"op": "delete", "domain": "go.brand.com", "slashtag": "a"}).to_string(),
        put("a", "w-2").to_string(),
        "{".to_owned(),
        json!({"op": "delete", "domain": "go.brand.com", "slashtag": "other"}).to_string(),
        put("b", "w-1").to_string(),
    ]
    .join("\n");
    let results = |response: &Response<Vec<u8>>| {
        assert_eq!(
            (response.status().as_u16(), &response.headers()[header::CONTENT_TYPE]),
            (200, &NDJSON.parse().unwrap())
        );
        let text = String::from_utf8(response.body().clone()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|line| (line["line"].as_u64().unwrap(), line["status"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    let scoped = world.ask(&world.one, "POST", "/v1/links:batch", &lines).await;
    assert_eq!(results(&scoped), [(1, 201), (2, 412), (3, 204), (4, 403), (5, 400), (6, 404), (7, 201)]);
    let all = world.ask(&world.all, "POST", "/v1/links:batch", &lines).await;
    assert_eq!(results(&all), [(1, 201), (2, 412), (3, 204), (4, 201), (5, 400), (6, 204), (7, 200)]);
    assert_eq!(world.catalog.groups().last(), Some(&6), "all that can be made are one group");
    let empty = world.ask(&world.all, "POST", "/v1/links:batch", "\n\n").await;
    assert_eq!(results(&empty), []);
}

#[tokio::test]
async fn batches_that_come_slowly_keep_no_others_waiting() {
    let world = World::new();
    let batch = || world.ask(&world.all, "POST", "/v1/links:batch", "{}");
    let slow = || Box::pin(world.send(&world.one, "POST", "/v1/links:batch", &[], Silent));
    let mut waiting: Vec<_> = (0..bodies::MOST_OF_TOKEN).map(|_| slow()).collect();
    assert!(waiting.iter_mut().all(is_pending));
    let response = world.ask(&world.one, "POST", "/v1/links:batch", "{}").await;
    assert_eq!(problem(&response).1, "unavailable");
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(batch().await.status().as_u16(), 200, "one token has not all of the room");
    waiting.pop();
    assert_eq!(world.status(&world.one, "POST", "/v1/links:batch", "{}").await, 200);
}

/// Goes on with a request as far as it gets, and returns whether it waits.
fn is_pending(request: &mut Pin<Box<impl Future>>) -> bool {
    request.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[tokio::test]
async fn a_list_has_the_links_that_the_token_sees() {
    let world = World::new();
    for number in 0..10 {
        world.put("go.brand.com", &format!("{number}"), if number % 5 == 4 { "w-1" } else { "w-2" });
    }
    world.put("other.brand.com", "x", "w-1");
    let mut seen = Vec::new();
    let mut path = "/v1/links?domain=go.brand.com&limit=2".to_owned();
    for _ in 0..20 {
        let page = body(&world.ask(&world.one, "GET", &path, "").await);
        seen.extend(
            page["links"].as_array().unwrap().iter().map(|link| link["slashtag"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/links?domain=go.brand.com&limit=2&after={next}");
    }
    assert_eq!(seen, ["4", "9"]);
    let all = body(&world.ask(&world.all, "GET", "/v1/links?domain=go.brand.com", "").await);
    assert_eq!((all["links"].as_array().unwrap().len(), all.get("next")), (10, None));
    let cursor = world.ask(&world.all, "GET", "/v1/links?domain=go.brand.com&after=bad", "").await;
    assert_eq!(problem(&cursor), (400, "bad-request".into(), Some("after".into())));
}

#[tokio::test]
async fn a_change_that_cannot_be_made_now_is_answered_as_such() {
    let world = World::new();
    world.catalog.stop();
    let response = world.ask(&world.all, "PUT", "/v1/links/go.brand.com/a", &link("w-1").to_string()).await;
    assert_eq!(problem(&response).1, "unavailable");
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    let line = r#"{"op":"delete","domain":"go.brand.com","slashtag":"a"}"#;
    assert_eq!(world.status(&world.all, "POST", "/v1/links:batch", line).await, 503);
    assert!(world.registry.text().contains("clickedge_catalog_changes_total{result=\"unavailable\"} 2\n"));
}

#[tokio::test]
async fn methods_types_and_sizes_are_checked() {
    let world = World::new();
    for (method, path, allowed) in [
        ("POST", "/v1/links/go.brand.com/a", "GET, HEAD, PUT, DELETE"),
        ("PATCH", "/v1/domains/go.brand.com", "GET, HEAD, PUT, DELETE"),
        ("GET", "/v1/links:batch", "POST"),
        ("DELETE", "/v1/links", "GET, HEAD"),
        ("OPTIONS", "/v1/openapi.json", "GET, HEAD"),
    ] {
        let response = world.ask(&world.all, method, path, "").await;
        assert_eq!(problem(&response).1, "method-not-allowed");
        assert_eq!(response.headers()[header::ALLOW], allowed, "{method} {path}");
    }
    let text = [("content-type", "text/plain")];
    for (method, path) in [("PUT", "/v1/links/go.brand.com/a"), ("POST", "/v1/links:batch")] {
        assert_eq!(problem(&world.ask_with(&world.all, method, path, &text, "{}").await).1, "media-type");
    }
    let large = " ".repeat(MAX_ITEM + 1);
    let response = world.ask(&world.all, "PUT", "/v1/domains/go.brand.com", &large).await;
    assert_eq!(problem(&response).1, "too-large");
    for path in ["/v1/links/go.brand.com", "/v1/links/", "/v1/domains/", "/v1/links:other", "/v1/domains/a/b"] {
        assert_eq!(problem(&world.ask(&world.all, "GET", path, "").await).1, "not-found", "{path}");
    }
    for path in ["/v1/links/a%20b/c", "/v1/links/go.brand.com/%00"] {
        assert_eq!(problem(&world.ask(&world.all, "GET", path, "").await).1, "bad-request", "{path}");
    }
}

#[tokio::test]
async fn a_token_with_workspaces_takes_no_public_suffix() {
    let world = World::new();
    let owned = |aliases: Value| json!({"workspace": "w-1", "aliases": aliases}).to_string();
    for host in ["co.uk", "CO.UK", "github.io", "com", "xn--55qx5d.cn", "x.ck"] {
        let response = world.ask(&world.one, "PUT", &format!("/v1/domains/{host}"), &owned(json!([]))).await;
        assert_eq!(problem(&response), (403, "outside-scope".into(), Some("domain".into())), "{host}");
    }
    let response = world.ask(&world.one, "PUT", "/v1/links/co.uk/a", &link("w-1").to_string()).await;
    assert_eq!(problem(&response).2.as_deref(), Some("domain"));
    for host in ["brand.co.uk", "brand.github.io", "www.ck", "go.brand.com"] {
        assert_eq!(world.status(&world.one, "PUT", &format!("/v1/domains/{host}"), &owned(json!([]))).await, 201);
    }
    let response = world.ask(&world.one, "PUT", "/v1/domains/go.brand.com", &owned(json!(["co.uk"]))).await;
    assert_eq!(problem(&response), (403, "outside-scope".into(), Some("aliases".into())));
    // A token of all workspaces may, and what it has put can be used.
    assert_eq!(world.status(&world.all, "PUT", "/v1/domains/co.uk", &owned(json!(["org.uk"]))).await, 201);
    assert_eq!(world.status(&world.one, "PUT", "/v1/links/co.uk/a", &link("w-1").to_string()).await, 201);
    let more = owned(json!(["org.uk", "brand.co.uk"]));
    assert_eq!(world.status(&world.one, "PUT", "/v1/domains/co.uk", &more).await, 200);
    let response = world.ask(&world.one, "PUT", "/v1/domains/co.uk", &owned(json!(["*.co.uk"]))).await;
    assert_eq!(problem(&response), (403, "outside-scope".into(), Some("aliases".into())));
}
