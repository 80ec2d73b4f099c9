//! A feed that hostile visitors filled, in a folder and in a bucket, with several objects of which each has events of
//! every kind.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
};

use serde_json::{Value, json};

use super::{
    add_what_is_no_event,
    queries::{Client, request},
    tools::file,
};
use crate::common::{Edge, Stopped, events_of, hostile_seed, objects_below, s3::S3};

/// Requests, in all rounds.
const CLICKS: usize = 10_000;
/// Each ends with a stop, which finishes an object of each feed.
const ROUNDS: usize = 4;
/// How often the customer has one of the objects once more.
pub const COPIES: usize = 2;

pub struct Feed {
    edge: Stopped,
    s3: S3,
}

impl Feed {
    /// One feed for the tests that run at the same time; it ends with the last of them.
    pub fn shared() -> Arc<Self> {
        static FEED: Mutex<Weak<Feed>> = Mutex::new(Weak::new());
        let seed = hostile_seed();
        let mut shared = FEED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let feed = Arc::new(Self::fill(seed));
            *shared = Arc::downgrade(&feed);
            feed
        })
    }

    fn fill(seed: u64) -> Self {
        let s3 = S3::start();
        let builder = Edge::builder();
        let path = builder.bucket("dir");
        // Objects end with the rounds.
        let feeds = format!(
            "[[feeds]]\nname = \"dir\"\nworkspaces = [\"*\"]\nmax_age_secs = 3600\nsink.dir.path = '{}'\n\
             [[feeds]]\nname = \"s3\"\nworkspaces = [\"*\"]\nmax_age_secs = 3600\n{}",
            path.display(),
            s3.sink_toml("clicks", "")
        );
        let mut edge = builder
            .section("[client_address]\ntrusted_proxies = [\"127.0.0.0/8\"]")
            .section(&format!("[enrich]\ngeoip_file = '{}'", file("conf/demo/geoip.mmdb")))
            .section(&feeds)
            .start();
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut clicks, mut rejected) = (0, 0);
        for round in 1..=ROUNDS {
            let mut client = Client::new(edge.address);
            while clicks < CLICKS * round / ROUNDS {
                let request = request(clicks, &mut random);
                match client.send(&request) {
                    302 => clicks += 1,
                    400 => rejected += 1,
                    status => panic!("{status} for {request:?}"),
                }
            }
            edge = edge.stop().restart();
        }
        assert!(rejected < CLICKS / 10, "{rejected} requests were rejected");
        let feed = Self { edge: edge.stop(), s3 };
        for objects in [feed.objects_of("dir"), objects_below(&feed.s3.bucket("clicks"))] {
            let ids: HashSet<_> = objects.iter().flat_map(|path| ids(path)).collect();
            assert_eq!(ids.len(), clicks, "each click is in an object");
            assert!(objects.len() >= ROUNDS, "{objects:?}");
        }
        feed.make_customer();
        feed
    }

    fn objects_of(&self, feed: &str) -> Vec<PathBuf> {
        let folder = self.edge.dir().join("bucket").join(feed);
        objects_below(&folder).into_iter().filter(|path| !path.display().to_string().contains("/_")).collect()
    }

    /// A folder with the whole feed in `feed/`, and with what loaders must not count.
    pub fn customer(&self) -> PathBuf {
        self.edge.dir().join("customer")
    }

    fn make_customer(&self) {
        let source = self.edge.dir().join("bucket/dir");
        let feed = self.customer().join("feed");
        for key in keys_below(&source) {
            fs::create_dir_all(feed.join(&key).parent().unwrap()).unwrap();
            fs::copy(source.join(&key), feed.join(&key)).unwrap();
        }
        let object =
            objects_below(&feed).into_iter().find(|path| !path.display().to_string().contains("/_")).unwrap();
        add_what_is_no_event(&feed, &object);
    }

    /// The path of a file with what is in each object, as `infer.py` wants it.
    pub fn facts(&self) -> String {
        let objects = [self.objects_of("dir"), objects_below(&self.s3.bucket("clicks"))].concat();
        let objects: Vec<_> = objects.iter().map(|path| json!({"path": path, "facts": facts(path)})).collect();
        let path = self.edge.dir().join(format!("facts-{:?}.json", std::thread::current().id()));
        fs::write(&path, json!({"schema": file(super::SCHEMA), "objects": objects}).to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// Events, different ids, sum of statuses, pairs of the visitors' queries, bytes of these.
pub fn facts(object: &Path) -> [u64; 5] {
    let events = events_of(&fs::read(object).unwrap());
    let ids: HashSet<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    let status = events.iter().map(|event| event["route"]["status"].as_u64().unwrap()).sum();
    let pairs: Vec<_> =
        events.iter().filter_map(|event| event["route"]["params"]["query"].as_array()).flatten().collect();
    let text = |pair: &Value, name: &str| pair[name].as_str().unwrap().len() as u64;
    let bytes = pairs.iter().map(|pair| text(pair, "name") + text(pair, "value")).sum();
    [events.len() as u64, ids.len() as u64, status, pairs.len() as u64, bytes]
}

fn ids(object: &Path) -> Vec<String> {
    let events = events_of(&fs::read(object).unwrap());
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// The paths of all files below a folder, from there.
pub fn keys_below(folder: &Path) -> Vec<String> {
    fn collect(root: &Path, folder: &Path, keys: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, keys);
            } else {
                keys.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut keys = Vec::new();
    collect(folder, folder, &mut keys);
    keys.sort();
    keys
}
