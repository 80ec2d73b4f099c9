//! Embeds the redirect stage in a proxy of one's own: `cargo run --example embed`.
//!
//! Links of the demo are answered on 127.0.0.1:8081, their events are delivered to `target/demo/bucket`; every other
//! request goes to the proxy's own upstream. Arguments are another address and another configuration file. Ctrl+C stops
//! it after the last delivery.

use std::{env, path::Path, time::Duration};

use anyhow::Context;
use async_trait::async_trait;
use clickedge::{Pipeline, Redirector, config};
use pingora::{prelude::*, server::RunArgs};

/// Where requests go that are not for a branded domain.
const UPSTREAM: &str = "127.0.0.1:3000";

struct MyProxy {
    links: Redirector,
}

#[async_trait]
impl ProxyHttp for MyProxy {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> Result<bool> {
        // True when the request was for a branded domain and is answered; false leaves it untouched.
        self.links.handle(session).await
    }

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(UPSTREAM, false, String::new())))
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8081".into());
    let file = arguments.next().unwrap_or_else(|| "conf/demo.toml".into());
    let config = config::load(Path::new(&file))?;
    let pipeline = Pipeline::start(&config).context("the pipeline did not start")?;
    let mut server = Server::new(None)?;
    let mut service = http_proxy_service(&server.configuration, MyProxy { links: pipeline.redirector() });
    service.add_tcp(&address);
    server.add_service(service);
    server.bootstrap();
    println!("curl -i -H 'Host: go.brand.com' http://{address}/spring");
    // Not `run_forever`, which exits before the last clicks are delivered.
    server.run(RunArgs::default());
    let account = pipeline.drain(Duration::from_secs(20));
    println!("{} clicks answered, {} events delivered", account.answered, account.delivered);
    Ok(())
}
