//! The counts of clicks: `GET /v1/stats/...`.
//!
//! | route | answer |
//! |---|---|
//! | `/v1/stats/links/{domain}/{slashtag}` | totals and series of a link |
//! | `/v1/stats/domains/{domain}` | totals and series of a domain, of all workspaces together; its top links |
//! | `/v1/stats/workspaces/{workspace}` | totals and series of a workspace; or with `by`, its top links and so on |
//! | `/v1/stats/unknown`, `/v1/stats/unknown/{domain}` | unknown slashtags that were requested since the process began |
//!
//! Parts of the path are percent-encoded. A slashtag may contain a `/`; domain and slashtag are normalized as in a
//! redirect.
//!
//! | parameter | meaning | default |
//! |---|---|---|
//! | `from`, `until` | the range, half-open: `2026-11-23`, `2026-11-23T09`, or an RFC 3339 time. Counts are hourly: a range begins and ends with an hour | the last 24 hours, including the current one |
//! | `step` | `hour` or `day` (UTC): the interval of the series; entries without clicks are omitted | `hour` up to two days |
//! | `by` | breakdown of a workspace: `links`, `domains`, `tags`, `creators`, `countries`, `referrers`, `devices`, `browsers`, `os`; `hours` and `days` are series | a series |
//! | `top` | number of entries of a breakdown, up to 1000; of unknown slashtags, up to 100 | 10 |
//! | `order` | order of a breakdown: `clicks`, `humans` or `sessions`, largest first | `clicks` |
//!
//! Answers are JSON; times are RFC 3339 in UTC. `countedUntil` is the freshness: clicks that were on this machine's
//! disk by then are counted. Hours before `wholeDaysBefore` were summed into days: of them an answer has whole days.
//! Entries without a name (`countries` of clicks with an unknown country, `referrers` of direct ones) have no `name`.
//!
//! 400 names the wrong parameter, 404 means that no click on the subject was ever counted, 503 that counts are
//! disabled or unreadable, or that the query would take longer than two seconds. At most two queries run at a time, on
//! threads of their own, so that the other routes never wait for them.

mod answer;
mod params;
mod unknown;

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::{JSON, TEXT, router::Reply};
use crate::{
    catalog::CatalogStore,
    link::key::Host,
    runtime::{Class, Classified, clock},
    stats::{
        Counts, StatsHandle, SubjectKind,
        store::{Covered, Order, Row, Scope, Snapshot, Step, StoreError},
        unknown::UnknownSlashtags,
    },
};
use answer::Answer;
use params::{By, Params};

/// Longest query.
const LIMIT: Duration = Duration::from_secs(2);

/// Most queries at a time.
const QUERIES: usize = 2;

/// Beginning of the routes.
pub const ROOT: &str = "/v1/stats/";

/// The reason why there is no answer.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// The request is wrong. The text names the part and the remedy.
    #[error("{0}")]
    Bad(String),
    /// The route or the subject is unknown.
    #[error("{0}")]
    Unknown(String),
    /// Counts are disabled, unreadable or busy.
    #[error("{0}")]
    Unavailable(String),
}

impl QueryError {
    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::Bad(_) => 400,
            Self::Unknown(_) => 404,
            Self::Unavailable(_) => 503,
        }
    }
}

impl Classified for QueryError {
    fn class(&self) -> Class {
        match self {
            Self::Bad(_) => Class::Usage,
            Self::Unknown(_) => Class::NoInput,
            Self::Unavailable(_) => Class::Unavailable,
        }
    }
}

impl From<StoreError> for QueryError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooLong => Self::Unavailable(format!(
                "the query took longer than {} s; ask for a shorter range",
                LIMIT.as_secs()
            )),
            error => {
                tracing::warn!(%error, "cannot read the counts; query failed");
                Self::Unavailable(error.to_string())
            }
        }
    }
}

/// Answers queries for counts. Cheap to clone.
#[derive(Clone)]
pub struct Stats {
    /// `None` if counts are disabled.
    live: Option<StatsHandle>,
    catalog: Arc<CatalogStore>,
    unknown: Arc<UnknownSlashtags>,
    running: Arc<Semaphore>,
}

/// The subject of a path.
enum Subject {
    Link { domain: String, names: [String; 2] },
    Domain(String),
    Workspace(String),
}

impl Stats {
    pub fn new(live: Option<StatsHandle>, catalog: Arc<CatalogStore>, unknown: Arc<UnknownSlashtags>) -> Self {
        Self { live, catalog, unknown, running: Arc::new(Semaphore::new(QUERIES)) }
    }

    /// The answer to a request, whatever comes of it.
    pub(super) async fn reply(&self, path: &str, query: &str) -> Reply {
        match self.answer(path, query).await {
            Ok(json) => Reply::new(200, JSON, json),
            Err(error) => Reply::new(error.status(), TEXT, format!("{error}\n")),
        }
    }

    /// Answers on a thread of its own. `path` begins with [`ROOT`].
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn answer(&self, path: &str, query: &str) -> Result<String, QueryError> {
        let busy = || QueryError::Unavailable(format!("{QUERIES} queries are running; try again"));
        let permit = tokio::time::timeout(LIMIT, Arc::clone(&self.running).acquire_owned()).await;
        let permit = permit.map_err(|_| busy())?.map_err(|_| busy())?;
        let (stats, path, query) = (self.clone(), path.to_owned(), query.to_owned());
        let answered = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            stats.answer_now(&path, &query, clock::unix_micros())
        });
        answered.await.unwrap_or_else(|failure| Err(QueryError::Unavailable(failure.to_string())))
    }

    /// Answers as of `now`, microseconds since the Unix epoch.
    fn answer_now(&self, path: &str, query: &str, now: u64) -> Result<String, QueryError> {
        if let Some(domain) = unknown::domain_of(path) {
            return unknown::answer(self, domain, query);
        }
        let subject = self.subject(path)?;
        let params = Params::parse(query, &subject).map_err(QueryError::Bad)?;
        let hours = params.hours(now).map_err(QueryError::Bad)?;
        let Some(live) = &self.live else {
            return Err(QueryError::Unavailable("counts are disabled: set `stats.enabled = true`".into()));
        };
        let mut reader = live.reader()?;
        let snapshot = reader.snapshot(LIMIT)?;
        let covered = snapshot.cover(hours);
        let totals = snapshot.totals(subject.scope(), &covered)?;
        if totals.clicks == 0 && !snapshot.knows(subject.scope())? {
            return Err(QueryError::Unknown(format!("no click on {} was ever counted", subject.describe())));
        }
        let mut answer = Answer::new(&subject, &covered, live.complete_until(snapshot.counted()?), &totals);
        if let Some(by) = params.by {
            answer.top(by, &self.top(&snapshot, &subject, by, &covered, &params)?);
        } else {
            let step = params.step(&covered).map_err(QueryError::Bad)?;
            answer.series(step, &snapshot.series(subject.scope(), &covered, step)?);
        }
        if let Subject::Domain(_) = subject {
            answer.top(By::Links, &self.top(&snapshot, &subject, By::Links, &covered, &params)?);
        }
        Ok(answer.to_json())
    }

    fn top(
        &self,
        snapshot: &Snapshot<'_>,
        subject: &Subject,
        by: By,
        covered: &Covered,
        params: &Params,
    ) -> Result<Vec<Row>, StoreError> {
        let Params { order, top, .. } = *params;
        match subject {
            Subject::Workspace(workspace) if by == By::Links => {
                let owner = |domain: &str, slashtag: &str| self.catalog.workspace_of(domain, slashtag);
                snapshot.top_links_of(workspace, covered, order, top, &owner)
            }
            Subject::Workspace(scope) | Subject::Domain(scope) | Subject::Link { domain: scope, .. } => {
                snapshot.top(Scope::All(by.kind(), scope), covered, order, top)
            }
        }
    }

    /// The domain of a host, which may be an alias of it.
    fn domain(&self, host: &Host) -> String {
        self.catalog.domain_of(host).map_or_else(|| host.as_str().to_owned(), String::from)
    }

    /// Parses the path after [`ROOT`].
    fn subject(&self, path: &str) -> Result<Subject, QueryError> {
        let rest = path.strip_prefix(ROOT).unwrap_or(path);
        match rest.split_once('/') {
            Some(("links", link)) => {
                let Some((domain, _)) = link.split_once('/') else {
                    return Err(QueryError::Bad(format!(
                        "the link {link:?} has no slashtag: write {ROOT}links/{{domain}}/{{slashtag}}"
                    )));
                };
                let host = host(domain)?;
                let slashtag = &link[domain.len()..];
                let names = self.catalog.slashtag_names(&host, slashtag.as_bytes());
                let names = names.map_err(|error| QueryError::Bad(format!("slashtag {slashtag:?}: {error}")))?;
                Ok(Subject::Link { domain: self.domain(&host), names })
            }
            Some(("domains", domain)) => Ok(Subject::Domain(self.domain(&host(domain)?))),
            Some(("workspaces", workspace)) if !workspace.is_empty() => Ok(Subject::Workspace(decode(workspace))),
            _ => Err(QueryError::Unknown(format!(
                "routes: {ROOT}links/{{domain}}/{{slashtag}} {ROOT}domains/{{domain}} {ROOT}workspaces/{{workspace}} \
                 {ROOT}unknown {ROOT}unknown/{{domain}}"
            ))),
        }
    }
}

impl Subject {
    fn scope(&self) -> Scope<'_> {
        match self {
            Self::Link { domain, names: [written, normal] } => Scope::Link { domain, names: [written, normal] },
            Self::Domain(domain) => Scope::Domain(domain),
            Self::Workspace(workspace) => Scope::Workspace(workspace),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Link { domain, names: [written, _] } => format!("the link {domain}/{written}"),
            Self::Domain(domain) => format!("the domain {domain}"),
            Self::Workspace(workspace) => format!("a link of the workspace {workspace:?}"),
        }
    }
}

fn host(domain: &str) -> Result<Host, QueryError> {
    let text = decode(domain);
    Host::parse(text.as_bytes()).map_err(|error| QueryError::Bad(format!("domain {text:?}: {error}")))
}

fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests;
