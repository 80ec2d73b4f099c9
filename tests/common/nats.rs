//! A real NATS server with JetStream, in a folder of its own, and what a consumer reads from its streams.

mod operator;

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use async_nats::{
    Client, ConnectOptions,
    jetstream::{self, stream},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{TIMEOUT, free_address};

pub use operator::Operator;

/// Messages that are asked for at a time.
const AT_A_TIME: u64 = 64;

/// Subject and stream of most tests.
pub const SUBJECT: &str = "clicks.all";
pub const STREAM: &str = "CLICKS";

/// The server's binary; `None` where it is not installed.
pub fn binary() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/bin".into()]);
    folders.map(|folder| folder.join("nats-server")).find(|file| file.is_file())
}

/// A message of a stream.
#[derive(Clone, Debug)]
pub struct Message {
    pub subject: String,
    /// Value of `Nats-Msg-Id`.
    pub id: String,
    pub event: Value,
}

/// The server. Killed when dropped.
pub struct Nats {
    dir: TempDir,
    binary: PathBuf,
    address: SocketAddr,
    process: Option<Child>,
    runtime: Arc<Runtime>,
    /// The administrator's credentials file, where the server trusts an operator.
    credentials: Option<PathBuf>,
}

impl Nats {
    /// Starts a server; `None`, and a line that says so, where none is installed. `more` is part of its configuration.
    pub fn start(more: &str) -> Option<Self> {
        let Some(binary) = binary() else {
            println!("skipped: nats-server is not installed");
            return None;
        };
        let dir = TempDir::new().unwrap();
        let address = free_address();
        let store = dir.path().join("store");
        let config = format!("listen: \"{address}\"\njetstream {{ store_dir: \"{}\" }}\n{more}\n", store.display());
        fs::write(dir.path().join("server.conf"), config).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut nats = Self { dir, binary, address, process: None, runtime: Arc::new(runtime), credentials: None };
        nats.restart();
        Some(nats)
    }

    /// Like [`Self::start`], with a server that trusts an operator.
    pub fn start_with(operator: &Operator) -> Option<Self> {
        let mut nats = Self::start(operator.server_config())?;
        let file = nats.dir.path().join("admin.creds");
        fs::write(&file, operator.credentials()).unwrap();
        nats.credentials = Some(file);
        Some(nats)
    }

    /// Starts the server again, with what it has stored.
    pub fn restart(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let process = Command::new(&self.binary)
            .arg("-c")
            .arg(self.dir.path().join("server.conf"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        let until = Instant::now() + TIMEOUT;
        while TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < until, "{}", fs::read_to_string(self.dir.path().join("log")).unwrap());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the server, as a loss of its process.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Whether it was not killed.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// The sink's part of a feed's configuration: this server, and more lines of the same table.
    pub fn sink_toml(&self, more: &str) -> String {
        format!("[feeds.sink.nats]\nservers = [\"{}\"]\nsubject = \"{SUBJECT}\"\n{more}\n", self.url())
    }

    /// A client, as the administrator where the server has users.
    fn client(&self) -> Client {
        self.runtime.block_on(async {
            let options = match &self.credentials {
                Some(file) => ConnectOptions::with_credentials_file(file).await.unwrap(),
                None => ConnectOptions::new().user_and_password("admin".into(), "admin".into()),
            };
            options.connect(self.url()).await.unwrap()
        })
    }

    /// Creates the stream [`STREAM`], or changes it.
    pub fn make_stream(&self, change: impl FnOnce(&mut stream::Config)) {
        let mut config = stream::Config {
            name: STREAM.into(),
            subjects: vec!["clicks.>".into()],
            duplicate_window: Duration::from_secs(3_600),
            ..stream::Config::default()
        };
        change(&mut config);
        let client = self.client();
        self.runtime.block_on(async {
            // It starts a task of its own.
            let context = jetstream::new(client);
            if context.get_stream(STREAM).await.is_ok() {
                context.update_stream(config).await.map(drop).unwrap();
            } else {
                context.create_stream(config).await.map(drop).unwrap();
            }
        });
    }

    /// All messages of the stream, in its order.
    pub fn messages(&self) -> Vec<Message> {
        let client = self.client();
        self.runtime.block_on(messages_after(&client, 0)).1
    }

    /// The events in the stream, in its order.
    pub fn events(&self) -> Vec<Value> {
        self.messages().into_iter().map(|message| message.event).collect()
    }

    /// Copies the stream into a folder, from now on.
    pub fn copy_into(&self, folder: &Path) -> Copied {
        let copy = Arc::new(Copying {
            client: self.client(),
            runtime: Arc::clone(&self.runtime),
            folder: folder.to_owned(),
            last: Mutex::new(0),
            stop: AtomicBool::new(false),
        });
        let copying = Arc::clone(&copy);
        let thread = thread::spawn(move || {
            while !copying.stop.load(Ordering::Relaxed) {
                copying.catch_up();
                thread::sleep(Duration::from_millis(50));
            }
        });
        Copied { copy, thread: Some(thread) }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The copy of a stream as a folder of objects, which grows with the stream until this is dropped.
pub struct Copied {
    copy: Arc<Copying>,
    thread: Option<JoinHandle<()>>,
}

struct Copying {
    client: Client,
    runtime: Arc<Runtime>,
    folder: PathBuf,
    last: Mutex<u64>,
    stop: AtomicBool,
}

impl Copied {
    /// Copies what is in the stream now.
    pub fn catch_up(&self) {
        self.copy.catch_up();
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        self.copy.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

impl Copying {
    fn catch_up(&self) {
        let mut last = self.last.lock().unwrap();
        let (now, messages) = self.runtime.block_on(messages_after(&self.client, *last));
        let mut partitions: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
        for message in messages {
            let timestamp = message.event["timestamp"].as_str().unwrap();
            let partition = format!("dt={}/hour={}", &timestamp[..10], &timestamp[11..13]);
            *partitions.entry(partition).or_default() += &format!("{}\n", message.event);
        }
        for (partition, lines) in partitions {
            let folder = self.folder.join(partition);
            fs::create_dir_all(&folder).unwrap();
            let draft = folder.join(".draft");
            fs::write(&draft, lines).unwrap();
            fs::rename(draft, folder.join(format!("{:09}.ndjson", *last + 1))).unwrap();
        }
        *last = now;
    }
}

/// The messages after a sequence number, and the last number.
async fn messages_after(client: &Client, last: u64) -> (u64, Vec<Message>) {
    let info = ask(client, &format!("$JS.API.STREAM.INFO.{STREAM}"), Value::Null).await;
    let now = info["state"]["last_seq"].as_u64().unwrap_or_default();
    let mut messages = Vec::new();
    let mut next = last + 1;
    while next <= now {
        let end = (next + AT_A_TIME).min(now + 1);
        let asked: Vec<_> = (next..end)
            .map(|seq| {
                let client = client.clone();
                tokio::spawn(async move {
                    ask(&client, &format!("$JS.API.STREAM.MSG.GET.{STREAM}"), json!({"seq": seq})).await
                })
            })
            .collect();
        for answer in asked {
            let message = &answer.await.unwrap()["message"];
            let decoded = |name: &str| {
                let text = message[name].as_str().unwrap_or_default();
                String::from_utf8(aws_smithy_types::base64::decode(text).unwrap()).unwrap()
            };
            let headers = decoded("hdrs");
            let id = headers.lines().find_map(|line| line.strip_prefix("Nats-Msg-Id: ")).unwrap_or_default();
            messages.push(Message {
                subject: message["subject"].as_str().unwrap().to_owned(),
                id: id.to_owned(),
                event: serde_json::from_str(&decoded("data")).unwrap(),
            });
        }
        next = end;
    }
    (now, messages)
}

async fn ask(client: &Client, subject: &str, request: Value) -> Value {
    let request = if request.is_null() { String::new() } else { request.to_string() };
    let answer = client.request(subject.to_owned(), request.into()).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}
