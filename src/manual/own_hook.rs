//! Takes part in answers, and names clients itself: `cargo run --example own_hook`.
//!
//! Links are answered on 127.0.0.1:8084, or on the address of the first argument. A hook vetoes destinations that it
//! does not know, and adds headers to all answers; the client is the one that the header `X-My-Client` names. Events
//! are delivered to the folder `bucket`. Ctrl+C stops it.

use std::{env, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use async_trait::async_trait;
use clickedge::{
    Catalog, Client, Hook, Pipeline, Redirector,
    catalog::Link,
    config,
    redirect::{AnswerHeaders, Head, PendingClick, Veto},
};
use http::{HeaderValue, StatusCode, header};
use pingora::{prelude::*, server::RunArgs};
use serde_json::json;

const CONFIG: &str = r#"
[edge]
pop = "example"

# On a tmpfs. The spool belongs on a disk: that of an example may be lost when the machine restarts.
[capture]
dir = "rings"
ring_bytes = 4194304
[spool]
dir = "spool"

[[feeds]]
name = "all"
workspaces = ["*"]
sink.dir.path = "bucket"
"#;

/// Lets visitors only go where the program's owner wants them to.
struct Policy {
    /// Made once, cheap to clone.
    veto: Veto,
}

impl Policy {
    fn new() -> anyhow::Result<Self> {
        let veto = Veto::new("foreign").with_status(StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS)?;
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        Ok(Self { veto: veto.with_body(text, "This link leads elsewhere.\n") })
    }
}

impl Hook for Policy {
    fn reasons(&self) -> Vec<&'static str> {
        vec!["foreign"]
    }

    fn before_click(&self, click: &PendingClick<'_>) -> Result<(), Veto> {
        if click.location.starts_with(b"https://www.example.com/") { Ok(()) } else { Err(self.veto.clone()) }
    }

    fn before_answer(&self, _: &Head<'_>, link: Option<&Link<'_>>, answer: &mut AnswerHeaders<'_>) {
        // Neither header is a reserved one.
        _ = answer.set(header::SERVER, HeaderValue::from_static("my-proxy"));
        if link.is_some_and(|link| link.workspace() == "shop") {
            _ = answer.append(header::SET_COOKIE, HeaderValue::from_static("seen=1; Secure; HttpOnly"));
        }
    }
}

struct MyProxy {
    links: Redirector,
}

#[async_trait]
impl ProxyHttp for MyProxy {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> pingora::Result<bool> {
        // Where only the program's own proxies reach this address.
        let named = session.req_header().headers.get("x-my-client").and_then(|value| value.to_str().ok());
        match named.and_then(|named| named.parse::<IpAddr>().ok()) {
            Some(address) => self.links.handle_from(session, &Client::proxied(address)).await,
            None => self.links.handle(session).await,
        }
    }

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Error::e_explain(HTTPStatus(404), "only links are answered here")
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8084".into());
    let folder = arguments.next().map_or_else(|| PathBuf::from("/dev/shm/clickedge-own-hook"), PathBuf::from);

    let mut config = config::parse(CONFIG, &folder)?;
    config.enrich.geoip_file = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/conf/demo/geoip.mmdb").into());
    let link = |slashtag: &str, destination: &str| {
        json!({"id": slashtag, "slashtag": slashtag, "domain": "go.brand.com", "destination": destination,
               "workspace": {"id": "shop"}})
    };
    let links = [link("spring", "https://www.example.com/collections/spring"), link("far", "https://other.example/")];
    let pipeline = Pipeline::builder(&config)
        .catalog(Catalog::of_records(&config.catalog, links)?)
        .hook(Arc::new(Policy::new()?))
        .start()
        .context("the pipeline did not start")?;

    let mut server = Server::new(None)?;
    let mut service = http_proxy_service(&server.configuration, MyProxy { links: pipeline.redirector() });
    service.add_tcp(&address);
    server.add_service(service);
    server.bootstrap();
    println!("curl -i -H 'Host: go.brand.com' http://{address}/far");
    server.run(RunArgs::default());
    let vetoed = pipeline.gauges().text();
    let vetoed = vetoed.lines().filter(|line| line.starts_with("clickedge_vetoed_total"));
    println!("{}", vetoed.collect::<Vec<_>>().join("\n"));
    let account = pipeline.drain(Duration::from_secs(20));
    println!("{} clicks answered, {} events delivered", account.answered, account.delivered);
    Ok(())
}
