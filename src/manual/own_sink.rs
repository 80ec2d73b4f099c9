//! Delivers click events to a sink of one's own: `cargo run --example own_sink`.
//!
//! A link is answered on 127.0.0.1:8082, or on the address of the first argument. The sink prints each event a second
//! or two later. Ctrl+C stops it after the last delivery.

use std::{
    collections::{HashMap, hash_map::Entry},
    env,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use async_trait::async_trait;
use clickedge::{Catalog, Object, Pipeline, Redirector, Sink, SinkError, Stored, config};
use pingora::{prelude::*, server::RunArgs};
use serde_json::json;

/// The feed names the sink that the program gives to the pipeline. Its objects are plain text, one event a line.
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
compression = "none"
max_age_secs = 1
hold_back_secs = 0
manifest_secs = 0
sink.custom.name = "archive"
"#;

/// Keeps objects by their keys, and prints the events of each new one.
#[derive(Default)]
struct Archive {
    objects: Mutex<HashMap<String, Vec<u8>>>,
}

#[async_trait]
impl Sink for Archive {
    async fn put(&self, object: &Object) -> Result<Stored, SinkError> {
        let bytes = tokio::fs::read(&object.path).await.map_err(SinkError::of_file)?;
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        match objects.entry(object.key.clone()) {
            // An answer was lost, and the object comes again: its events are not printed twice.
            Entry::Occupied(known) if *known.get() == bytes => Ok(Stored::Before),
            Entry::Occupied(_) => Err(SinkError::conflict("the key holds other events")),
            Entry::Vacant(new) => {
                print!("{}", String::from_utf8_lossy(&bytes));
                // A real sink returns when the object is durable.
                new.insert(bytes);
                Ok(Stored::Now)
            }
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

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> Result<bool> {
        self.links.handle(session).await
    }

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Error::e_explain(HTTPStatus(404), "only links are answered here")
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8082".into());
    let folder = arguments.next().map_or_else(|| PathBuf::from("/dev/shm/clickedge-own-sink"), PathBuf::from);

    let config = config::parse(CONFIG, &folder)?;
    let link = json!({
        "id": "1", "slashtag": "spring", "domain": "go.brand.com",
        "destination": "https://www.example.com/collections/spring", "forwardParameters": true,
    });
    let catalog = Catalog::of_records(&config.catalog, [link])?;
    let pipeline = Pipeline::builder(&config)
        .catalog(catalog)
        .sink("archive", Arc::new(Archive::default()))
        .start()
        .context("the pipeline did not start")?;

    let mut server = Server::new(None)?;
    let mut service = http_proxy_service(&server.configuration, MyProxy { links: pipeline.redirector() });
    service.add_tcp(&address);
    server.add_service(service);
    server.bootstrap();
    println!("curl -i -H 'Host: go.brand.com' 'http://{address}/spring?utm_term=poster'");
    server.run(RunArgs::default());
    let account = pipeline.drain(Duration::from_secs(20));
    println!("{} clicks answered, {} events delivered", account.answered, account.delivered);
    Ok(())
}
