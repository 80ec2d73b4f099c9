//! Answers links of a database of one's own: `cargo run --example own_catalog`.
//!
//! Links are answered on 127.0.0.1:8083, or on the address of the first argument. Standard input is the user interface
//! of the database: the line `summer https://www.example.com/sale` adds or changes a link, `summer` alone removes it, and
//! an empty line reads the whole database again. Events are delivered to the folder `bucket`. Ctrl+C stops it.

use std::{
    collections::BTreeMap,
    env, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context;
use async_trait::async_trait;
use clickedge::{
    Catalog, Config, Pipeline, Redirector,
    catalog::{CatalogStore, RecordsError, change::Change},
    config::{Dir, Feed, Sink},
};
use pingora::{prelude::*, server::RunArgs};
use serde::Serialize;

const DOMAIN: &str = "go.brand.com";

/// The database: destinations by slashtag.
type Rows = BTreeMap<String, String>;

/// A row in the field names of the catalog file. Any type that serialises to them is a record.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Link<'a> {
    id: &'a str,
    slashtag: &'a str,
    domain: &'a str,
    destination: &'a str,
    forward_parameters: bool,
}

impl<'a> Link<'a> {
    fn of(slashtag: &'a str, destination: &'a str) -> Self {
        Self { id: slashtag, slashtag, domain: DOMAIN, destination, forward_parameters: true }
    }
}

/// The catalog of all rows. A bad one is an error that names row, field and value.
fn catalog(config: &Config, rows: &Rows) -> Result<Catalog, RecordsError> {
    Catalog::of_records(&config.catalog, rows.iter().map(|(slashtag, destination)| Link::of(slashtag, destination)))
}

/// A configuration that is made by code, in place of a file.
fn configuration(folder: &Path) -> Config {
    let mut config = Config::default();
    config.edge.pop = "example".into();
    config.capture.dir = "rings".into();
    config.capture.ring_bytes = 4 << 20;
    config.spool.dir = "spool".into();
    let mut feed = Feed::new("all", ["*"], Sink::Dir(Dir { path: "bucket".into() }));
    (feed.max_age_secs, feed.hold_back_secs) = (1, 0);
    config.feeds.push(feed);
    config.resolve_paths(folder);
    config
}

/// Takes a line of the user into the database and into the running catalog.
fn take(line: &str, rows: &mut Rows, config: &Config, links: &CatalogStore) -> anyhow::Result<()> {
    let change = match line.split_once(' ') {
        None if line.is_empty() => {
            // The look-ups under way end with the former catalog, later ones see this one. None waits.
            links.publish(catalog(config, rows)?);
            println!("replaced");
            return Ok(());
        }
        None => {
            rows.remove(line);
            Change::delete_link(DOMAIN, line)
        }
        Some((slashtag, destination)) => {
            rows.insert(slashtag.into(), destination.into());
            Change::put_link(serde_json::to_string(&Link::of(slashtag, destination))?)
        }
    };
    for outcome in links.change(&[change])? {
        let accepted = outcome?;
        println!("changed, revision {}", accepted.revision);
    }
    Ok(())
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
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8083".into());
    let folder = arguments.next().map_or_else(|| PathBuf::from("/dev/shm/clickedge-own-catalog"), PathBuf::from);

    let config = configuration(&folder);
    let mut rows: Rows = BTreeMap::from([("spring".into(), "https://www.example.com/collections/spring".into())]);
    let pipeline =
        Pipeline::builder(&config).catalog(catalog(&config, &rows)?).start().context("the pipeline did not start")?;

    let links = pipeline.catalog();
    // A thread of its own: changes wait for each other.
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if let Err(error) = take(line.trim(), &mut rows, &config, &links) {
                println!("rejected: {error}");
            }
        }
    });

    let mut server = Server::new(None)?;
    let mut service = http_proxy_service(&server.configuration, MyProxy { links: pipeline.redirector() });
    service.add_tcp(&address);
    server.add_service(service);
    server.bootstrap();
    println!("curl -i -H 'Host: {DOMAIN}' http://{address}/spring");
    server.run(RunArgs::default());
    let account = pipeline.drain(Duration::from_secs(20));
    println!("{} clicks answered, {} events delivered", account.answered, account.delivered);
    Ok(())
}
