//! An S3 server inside the test process: files in a folder, real signature checks, and faults on demand.

mod service;

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use hyper::HeaderMap;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

use service::{State, accept};

/// The keys in the credentials file.
pub const KEY: &str = "AKIDTEST";
pub const SECRET: &str = "secret/of/the+test";

/// The keys that the token service hands out.
pub const ROLE_KEY: &str = "ASIAROLE";
pub const ROLE_SECRET: &str = "secret/of/the+role";
pub const ROLE_TOKEN: &str = "token-of-the-role";

/// The request id in the errors of a [`Fault`].
pub const REQUEST_ID: &str = "4442587FB7D0A2F9";

/// What is wrong with the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    Healthy,
    /// 503 for everything.
    Unavailable,
    /// 500 for everything.
    Broken,
    /// 403 for bucket and key that contain this.
    Forbidden(String),
    /// Takes requests and never answers.
    Silent,
    /// Stores, and hangs up instead of answering. Rejections still get through.
    LostAnswer,
    /// Like `LostAnswer`, for bucket and key that contain this.
    LostAnswerFor(String),
    /// Resets the connection after the first part of the body.
    Reset,
    /// Accepts, and reads nothing of the body.
    Deaf,
    /// Flips a bit of the body on its way.
    Corrupt,
    /// Like `LostAnswer`, and 403 for every look at an object.
    Blind,
    /// 403 for listings, and for a look at an object that is missing, as without the right to list; whether answers to
    /// uploads are lost.
    Unlisted(bool),
    /// Like `Silent`, for bucket and key that contain this.
    SilentFor(String),
    /// Acknowledges uploads whatever this header, their condition, says.
    Careless(&'static str),
    /// 501 or 400, with this status, for an upload with a condition.
    Unconditional(u16),
    /// Something else answers in the server's place: the first of these that fits the method.
    Canned(Vec<Canned>),
}

/// An answer of something that is no store, or of a store that the tests do not have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Canned {
    /// Empty for all.
    pub method: &'static str,
    pub status: u16,
    pub headers: Vec<(&'static str, &'static str)>,
    pub body: &'static str,
}

impl Canned {
    pub fn new(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Self {
        Self { method: "", status, headers: headers.to_vec(), body }
    }

    /// For requests of this method only.
    pub fn to(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }
}

/// A request of any kind, as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// `/bucket/key`, decoded.
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
}

/// An upload as it came in.
#[derive(Clone, Debug)]
pub struct Put {
    /// `/bucket/key`, decoded.
    pub path: String,
    pub headers: HeaderMap,
    /// What it was answered with; `None` when it was not.
    pub status: Option<u16>,
    /// CRC32 of the body as it came in, in the form of the header.
    pub crc32: String,
    /// Which connection it came through, counted from 0.
    pub connection: usize,
}

impl Put {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A request for the keys of a role.
#[derive(Clone, Debug)]
pub struct RoleRequest {
    pub headers: HeaderMap,
    /// The form, decoded.
    pub form: Vec<(String, String)>,
}

/// The server. Buckets must be made before they are written to, as everywhere.
pub struct S3 {
    dir: TempDir,
    address: SocketAddr,
    state: Arc<State>,
    runtime: Option<tokio::runtime::Runtime>,
    accepting: Option<JoinHandle<()>>,
}

impl S3 {
    /// A healthy server with the bucket `clicks`, and a credentials file that fits.
    pub fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let root = dir.path().join("buckets");
        fs::create_dir(&root).unwrap();
        let state = Arc::new(State::new(root));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = Some(runtime.spawn(accept(listener, Arc::clone(&state))));
        let s3 = Self { dir, address, state, runtime: Some(runtime), accepting };
        s3.make_bucket("clicks");
        s3.write_credentials(KEY, SECRET);
        s3
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base address, of the bucket and of the token service.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The sink's part of a feed's configuration: this server's bucket, and more lines of the same table.
    pub fn sink_toml(&self, bucket: &str, more: &str) -> String {
        let (endpoint, credentials) = (self.endpoint(), self.credentials_file());
        format!(
            "[feeds.sink.s3]\nbucket = {bucket:?}\nregion = \"eu-west-1\"\nendpoint = {endpoint:?}\npath_style = true\n\
             credentials_file = '{}'\n{more}\n",
            credentials.display()
        )
    }

    pub fn credentials_file(&self) -> PathBuf {
        self.dir.path().join("credentials")
    }

    /// Replaces the credentials file.
    pub fn write_credentials(&self, key: &str, secret: &str) {
        let text = format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
        fs::write(self.credentials_file(), text).unwrap();
    }

    pub fn make_bucket(&self, bucket: &str) {
        fs::create_dir(self.state.root.join(bucket)).unwrap();
    }

    /// The folder in which a bucket lies.
    pub fn bucket(&self, bucket: &str) -> PathBuf {
        self.state.root.join(bucket)
    }

    /// Sets the fault, or none, from the next request on.
    pub fn set(&self, fault: Fault) {
        *self.state.fault.lock().unwrap() = fault;
    }

    /// Closes every connection and takes new ones, as a server that is restarted does.
    pub fn restart(&mut self) {
        let runtime = self.runtime.as_ref().unwrap();
        let state = Arc::clone(&self.state);
        let (before, address) = (self.accepting.take().unwrap(), self.address);
        before.abort();
        let listener = runtime.block_on(async {
            let _ = before.await;
            TcpListener::bind(address).await.unwrap()
        });
        self.accepting = Some(runtime.spawn(accept(listener, state)));
    }

    /// Writes a file into a bucket, behind the server's back.
    pub fn write(&self, bucket: &str, key: &str, content: &[u8]) {
        let path = self.state.root.join(bucket).join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Removes an object from a bucket, behind the server's back.
    pub fn remove(&self, bucket: &str, key: &str) {
        fs::remove_file(self.state.root.join(bucket).join(key)).unwrap();
    }

    /// The most uploads that were ever under way at a time.
    pub fn most_at_a_time(&self) -> usize {
        self.state.under_way.1.load(Ordering::Relaxed)
    }

    /// All uploads so far, answered or not.
    pub fn puts(&self) -> Vec<Put> {
        self.state.puts.lock().unwrap().clone()
    }

    /// All requests to buckets so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// All requests for the keys of a role so far.
    pub fn role_requests(&self) -> Vec<RoleRequest> {
        self.state.roles.lock().unwrap().clone()
    }

    /// Where the buckets are.
    pub fn root(&self) -> PathBuf {
        self.state.root.clone()
    }

    /// The keys of a bucket's objects, sorted.
    pub fn objects(&self, bucket: &str) -> Vec<String> {
        let root = self.state.root.join(bucket);
        let keys = super::objects_below(&root).into_iter().map(|path| path.strip_prefix(&root).unwrap().to_owned());
        let mut keys: Vec<_> = keys.map(|key| key.to_str().unwrap().to_owned()).collect();
        keys.sort();
        keys
    }

    /// The events in a bucket, in the order of its keys.
    pub fn events(&self, bucket: &str) -> Vec<Value> {
        super::events_below(&self.state.root.join(bucket))
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // Silent answers would be waited for.
        self.runtime.take().unwrap().shutdown_background();
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("kept: {}", self.dir.path().display());
        }
    }
}
