//! Requests to a running edge, through its Unix socket or its admin address.
//!
//! A command that asks an edge has [`Reach`] among its options, and calls [`Reach::edge`] with the configuration file.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::{
    admin::connection::Transport,
    config,
    runtime::{Class, Classified},
    tls,
};

/// Longest wait for the head of an answer. A reload reads millions of links before it answers.
const ANSWER: Duration = Duration::from_secs(300);

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Most bytes of an answer that is no stream.
const LONGEST: usize = 64 * 1024 * 1024;

/// Longest token file, in bytes.
const LONGEST_TOKEN: u64 = 4096;

/// How a command reaches the edge.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Access to the edge")]
pub struct Reach {
    /// Ask the edge at this URL, `https://edge-1.example.com:9180` or `unix:/run/clickedge/admin.sock`. Without it: at
    /// the Unix socket that the configuration names, else at its `admin.address`.
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// File with the token for an edge that requires one. The Unix socket needs none.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// File with the certificates to trust with `https`, instead of those of this machine.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// Why an edge was not asked, or has not done what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error("no answer from the admin listener {place}: {source}; is the edge running?")]
    Unreachable {
        place: String,
        #[source]
        source: io::Error,
    },
    /// What is wrong with the options, and the remedy.
    #[error("{0}")]
    Options(String),
    #[error("cannot read {}: {source}", file.display())]
    File {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    /// An answer that says what is wrong.
    #[error("the edge answered {status}: {detail}{}", remedy(*status))]
    Rejected { status: u16, detail: String },
}

impl Classified for EdgeError {
    fn class(&self) -> Class {
        match self {
            Self::Options(_) | Self::Rejected { status: 404, .. } => Class::Usage,
            Self::File { .. } => Class::NoInput,
            Self::Unreachable { .. } | Self::Rejected { .. } => Class::Unavailable,
        }
    }
}

fn remedy(status: u16) -> &'static str {
    match status {
        401 => "; run this as the user of the service or as root, which need no token, or name a `--token-file`",
        _ => "",
    }
}

/// A running edge.
pub struct Edge {
    /// The first that answers is asked.
    places: Vec<Place>,
    token: Option<Zeroizing<String>>,
    runtime: tokio::runtime::Runtime,
}

enum Place {
    Socket(PathBuf),
    Url { url: Url, tls: Option<Arc<ClientConfig>> },
}

impl Reach {
    /// The edge of a configuration file, which is read only if no URL is given.
    ///
    /// # Errors
    /// When an option is wrong, or a file cannot be read. Of a configuration that is rejected,
    /// [`config::ConfigError`].
    pub fn edge(&self, config: &Path) -> anyhow::Result<Edge> {
        let places = match self.admin.as_deref() {
            Some(given) => match given.strip_prefix("unix:") {
                Some(socket) => vec![Place::Socket(socket.trim_start_matches("//").into())],
                None => vec![self.url(given)?],
            },
            None => self.of_config(&config::load(config)?)?,
        };
        let token = self.token_file.as_deref().map(read_token).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Edge { places, token, runtime })
    }

    fn of_config(&self, config: &config::Config) -> Result<Vec<Place>, EdgeError> {
        let admin = &config.admin;
        let socket = admin.socket(&config.capture.dir).filter(|socket| socket.exists()).map(Place::Socket);
        let scheme = if admin.tls.is_some() { "https" } else { "http" };
        let url = self.url(&format!("{scheme}://{}", reachable(admin.address)))?;
        Ok(socket.into_iter().chain([url]).collect())
    }

    fn url(&self, text: &str) -> Result<Place, EdgeError> {
        let wrong = || {
            EdgeError::Options(format!(
                "the URL of the edge {text:?} is wrong: write `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH`"
            ))
        };
        let url = Url::parse(text).map_err(|_| wrong())?;
        let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if !is_bare || url.host().is_none() || !url.username().is_empty() || url.password().is_some() {
            return Err(wrong());
        }
        let tls = match url.scheme() {
            "http" => None,
            "https" => {
                let file = self.ca_file.as_deref();
                let failed = |source| EdgeError::File {
                    file: file.map_or_else(|| "the certificates of this machine".into(), Path::to_path_buf),
                    source,
                };
                Some(Arc::new(tls::client::config(file).map_err(failed)?))
            }
            _ => return Err(wrong()),
        };
        Ok(Place::Url { url, tls })
    }
}

impl Edge {
    /// The body of the answer to a `GET`.
    ///
    /// # Errors
    /// When the edge does not answer, or with an error.
    pub fn get(&self, path: &str) -> Result<String, EdgeError> {
        self.runtime.block_on(self.whole(Method::GET, path))
    }

    /// The body of the answer to a `POST` without a body.
    ///
    /// # Errors
    /// When the edge does not answer, or with an error.
    pub fn post(&self, path: &str) -> Result<String, EdgeError> {
        self.runtime.block_on(self.whole(Method::POST, path))
    }

    /// Calls `each` with each part of the answer to a `GET` as it comes, until the edge or `each` ends it.
    ///
    /// # Errors
    /// When the edge does not answer, or with an error, or the answer breaks off.
    pub fn stream(&self, path: &str, mut each: impl FnMut(&[u8]) -> ControlFlow<()>) -> Result<(), EdgeError> {
        self.runtime.block_on(async {
            let (place, mut body) = self.ask(Method::GET, path).await?;
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| place.unreachable(io::Error::other(error)))?;
                if frame.data_ref().is_some_and(|part| each(part).is_break()) {
                    break;
                }
            }
            Ok(())
        })
    }

    async fn whole(&self, method: Method, path: &str) -> Result<String, EdgeError> {
        let (place, body) = self.ask(method, path).await?;
        text(body).await.map_err(|error| place.unreachable(error))
    }

    /// The body of an answer that is no error, and where it comes from.
    async fn ask(&self, method: Method, path: &str) -> Result<(&Place, Incoming), EdgeError> {
        let (place, io) = self.connect().await?;
        let failed = |error: io::Error| place.unreachable(error);
        let answered = timeout(ANSWER, self.exchange(io, method, place.host(), path)).await;
        let response = answered.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?.map_err(failed)?;
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            return Ok((place, body));
        }
        let detail = text(body).await.map_err(failed)?;
        Err(EdgeError::Rejected { status: head.status.as_u16(), detail: detail_of(&detail) })
    }

    async fn connect(&self) -> Result<(&Place, Box<dyn Transport>), EdgeError> {
        let mut failed = None;
        for place in &self.places {
            match timeout(CONNECT, place.connect()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(io) => return Ok((place, io)),
                Err(source) => failed = Some(place.unreachable(source)),
            }
        }
        Err(failed.unwrap_or_else(|| EdgeError::Options("there is no edge to ask: name one with `--admin`".into())))
    }

    async fn exchange(
        &self,
        io: Box<dyn Transport>,
        method: Method,
        host: String,
        path: &str,
    ) -> io::Result<Response<Incoming>> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
        if let Some(token) = &self.token {
            let mut value = HeaderValue::try_from(&*Zeroizing::new(format!("Bearer {}", **token)))
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the token has a control character"))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
        sender.send_request(request).await.map_err(io::Error::other)
    }
}

impl Place {
    async fn connect(&self) -> io::Result<Box<dyn Transport>> {
        let (url, tls) = match self {
            Self::Socket(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
            Self::Url { url, tls } => (url, tls),
        };
        let port = url.port_or_known_default().unwrap_or_default();
        let tcp = match url.host() {
            Some(Host::Ipv4(ip)) => TcpStream::connect((ip, port)).await?,
            Some(Host::Ipv6(ip)) => TcpStream::connect((ip, port)).await?,
            Some(Host::Domain(name)) => TcpStream::connect((name, port)).await?,
            None => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let Some(tls) = tls else { return Ok(Box::new(tcp)) };
        let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await?))
    }

    /// The value of `Host`.
    fn host(&self) -> String {
        match self {
            Self::Socket(_) => "localhost".into(),
            Self::Url { url, .. } => url.as_str()[url.scheme().len()..].trim_matches([':', '/']).into(),
        }
    }

    fn unreachable(&self, source: io::Error) -> EdgeError {
        let place = match self {
            Self::Socket(path) => format!("at {}", path.display()),
            Self::Url { .. } => format!("on {}", self.host()),
        };
        EdgeError::Unreachable { place, source }
    }
}

/// An address on which every listener of this machine answers, for one that listens on all.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn read_token(file: &Path) -> Result<Zeroizing<String>, EdgeError> {
    let failed = |source| EdgeError::File { file: file.to_path_buf(), source };
    if fs::metadata(file).map_err(failed)?.len() > LONGEST_TOKEN {
        return Err(EdgeError::Options(format!("{} is no token: it is too long", file.display())));
    }
    let text = Zeroizing::new(fs::read_to_string(file).map_err(failed)?);
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        let detail = "write the token alone into it, as `clickedge catalog token` prints it";
        return Err(EdgeError::Options(format!("{} is no token: {detail}", file.display())));
    }
    Ok(Zeroizing::new(token.to_owned()))
}

async fn text(body: Incoming) -> io::Result<String> {
    let whole = Limited::new(body, LONGEST).collect().await.map_err(io::Error::other)?;
    Ok(String::from_utf8_lossy(&whole.to_bytes()).into_owned())
}

/// What an error says: the detail of a problem (RFC 9457), or its text.
fn detail_of(body: &str) -> String {
    let problem = serde_json::from_str::<serde_json::Value>(body).ok();
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
    detail.unwrap_or_else(|| body.trim()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Result<String, EdgeError> {
        Reach::default().url(url).map(|place| place.host())
    }

    #[test]
    fn an_url_names_host_and_port_and_nothing_else() {
        for (url, host) in [
            ("http://127.0.0.1:9180", "127.0.0.1:9180"),
            ("http://127.0.0.1:9180/", "127.0.0.1:9180"),
            ("http://[::1]:9180", "[::1]:9180"),
            ("http://edge-1.example.com", "edge-1.example.com"),
        ] {
            assert_eq!(place(url).unwrap(), host);
        }
        for url in ["", "127.0.0.1:9180", "ftp://a.example", "http://a.example/metrics", "http://u:p@a.example"] {
            assert_eq!(place(url).unwrap_err().class(), Class::Usage, "{url}");
        }
    }

    #[test]
    fn a_token_is_one_word() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "clickedge_x\n").unwrap();
        assert_eq!(*read_token(&file).unwrap(), "clickedge_x");
        for text in ["", " \n", "token: clickedge_x\n", &"x".repeat(5_000)] {
            fs::write(&file, text).unwrap();
            assert_eq!(read_token(&file).unwrap_err().class(), Class::Usage, "{text}");
        }
        assert_eq!(read_token(&dir.path().join("none")).unwrap_err().class(), Class::NoInput);
    }

    #[test]
    fn the_detail_of_a_problem_is_reported() {
        assert_eq!(detail_of(r#"{"title":"t","detail":"send a token"}"#), "send a token");
        assert_eq!(detail_of("there is no feed\n"), "there is no feed");
    }
}
