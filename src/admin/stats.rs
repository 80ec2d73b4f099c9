//! The counts, as `GET /v1/stats/...` answers with them.
//!
//! | route | answer |
//! |---|---|
//! | `/v1/stats/links/{domain}/{slashtag}` | totals and series of a link |
//! | `/v1/stats/domains/{domain}` | totals and series of a domain, of all workspaces together; its top links |
//! | `/v1/stats/workspaces/{workspace}` | totals and series of a workspace; or with `by`, its top links and so on |
//!
//! Parts of the path are percent-encoded. A slashtag may hold a `/`; domain and slashtag are brought into the form that
//! the redirect looks up.
//!
//! | parameter | what it says | default |
//! |---|---|---|
//! | `from`, `until` | the range, half-open: `2026-11-23`, `2026-11-23T09`, or an RFC 3339 time. Counts are by the hour: a range begins and ends with one | the last 24 hours, the one under way among them |
//! | `step` | `hour` or `day` (UTC), what the series has an entry for; those without clicks are left out | `hour` up to two days |
//! | `by` | of a workspace: `links`, `domains`, `tags`, `creators`, `countries`, `referrers`, `devices`, `browsers`, `os`; `hours` and `days` are series | a series |
//! | `top` | how many, up to 1000 | 10 |
//! | `order` | of those, the largest by `clicks`, `humans` or `sessions` | `clicks` |
//!
//! Answers are JSON; times are RFC 3339 in UTC. `countedUntil` says how fresh they are: what was on this machine's disk
//! by then is counted. Hours from before `wholeDaysBefore` were summed into days: of them an answer has whole days.
//! What has no name (`countries` of clicks from nobody knows where, `referrers` of direct ones) is listed without one.
//!
//! 400 says which parameter is wrong, 404 that nothing was ever counted of this, 503 that counts are off, cannot be
//! read, or would take longer than two seconds. At the most two queries run at a time, beside the thread that answers
//! all else.

mod answer;
mod params;

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::{
    catalog::CatalogStore,
    link::key::Host,
    runtime::clock,
    stats::{
        Counts, Kind, Live,
        store::{Covered, Order, Row, Scope, Snapshot, Step, StoreError},
    },
};
use answer::Answer;
use params::{By, Params};

/// What a query may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Queries that run at a time.
const QUERIES: usize = 2;

/// Where the routes begin.
pub const ROOT: &str = "/v1/stats/";

/// Why there is no answer.
#[derive(Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The request is wrong, and this says where.
    Bad(String),
    /// There is no such thing.
    Unknown(String),
    /// Not now.
    Unavailable(String),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooLong => Self::Unavailable(format!(
                "the query took longer than {} s; ask for a shorter range",
                LIMIT.as_secs()
            )),
            error => {
                tracing::warn!(%error, "cannot answer with counts");
                Self::Unavailable(error.to_string())
            }
        }
    }
}

/// Answers with counts. Cheap to clone.
#[derive(Clone)]
pub struct Stats {
    /// `None` when nothing is counted.
    live: Option<Live>,
    catalog: Arc<CatalogStore>,
    running: Arc<Semaphore>,
}

/// What a path names.
enum Subject {
    Link { domain: String, names: [String; 2] },
    Domain(String),
    Workspace(String),
}

impl Stats {
    pub fn new(live: Option<Live>, catalog: Arc<CatalogStore>) -> Self {
        Self { live, catalog, running: Arc::new(Semaphore::new(QUERIES)) }
    }

    /// Answers on a thread of its own. `path` begins with [`ROOT`].
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn answer(&self, path: &str, query: &str) -> Result<String, Refusal> {
        let busy = || Refusal::Unavailable(format!("{QUERIES} queries are running; try again"));
        let permit = tokio::time::timeout(LIMIT, Arc::clone(&self.running).acquire_owned()).await;
        let permit = permit.map_err(|_| busy())?.map_err(|_| busy())?;
        let (stats, path, query) = (self.clone(), path.to_owned(), query.to_owned());
        let answered = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            stats.answer_now(&path, &query, clock::unix_micros())
        });
        answered.await.unwrap_or_else(|failure| Err(Refusal::Unavailable(failure.to_string())))
    }

    /// Answers as of `now`, microseconds since the Unix epoch.
    fn answer_now(&self, path: &str, query: &str, now: u64) -> Result<String, Refusal> {
        let subject = self.subject(path)?;
        let params = Params::parse(query, &subject).map_err(Refusal::Bad)?;
        let hours = params.hours(now).map_err(Refusal::Bad)?;
        let Some(live) = &self.live else {
            return Err(Refusal::Unavailable("nothing is counted: set `stats.enabled = true`".into()));
        };
        let mut reader = live.reader()?;
        let snapshot = reader.snapshot(LIMIT)?;
        let covered = snapshot.cover(hours);
        let totals = snapshot.totals(subject.scope(), &covered)?;
        if totals.clicks == 0 && !snapshot.knows(subject.scope())? {
            return Err(Refusal::Unknown(format!("no click on {} was ever counted", subject.describe())));
        }
        let mut answer = Answer::new(&subject, &covered, live.counted_until(snapshot.counted()?), &totals);
        if let Some(by) = params.by {
            answer.top(by, &self.top(&snapshot, &subject, by, &covered, &params)?);
        } else {
            let step = params.step(&covered).map_err(Refusal::Bad)?;
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

    /// Reads what follows [`ROOT`].
    fn subject(&self, path: &str) -> Result<Subject, Refusal> {
        let rest = path.strip_prefix(ROOT).unwrap_or(path);
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let host = |text: &str| {
            let text = decode(text);
            Host::parse(text.as_bytes()).map_err(|error| Refusal::Bad(format!("domain {text:?}: {error}")))
        };
        match rest.split_once('/') {
            Some(("links", link)) => {
                let Some((domain, _)) = link.split_once('/') else {
                    return Err(Refusal::Bad(format!(
                        "the link {link:?} has no slashtag: write {ROOT}links/{{domain}}/{{slashtag}}"
                    )));
                };
                let host = host(domain)?;
                let slashtag = &link[domain.len()..];
                let names = self.catalog.slashtag_names(&host, slashtag.as_bytes());
                let names = names.map_err(|error| Refusal::Bad(format!("slashtag {slashtag:?}: {error}")))?;
                Ok(Subject::Link { domain: host.as_str().into(), names })
            }
            Some(("domains", domain)) => Ok(Subject::Domain(host(domain)?.as_str().into())),
            Some(("workspaces", workspace)) if !workspace.is_empty() => Ok(Subject::Workspace(decode(workspace))),
            _ => Err(Refusal::Unknown(format!(
                "routes: {ROOT}links/{{domain}}/{{slashtag}} {ROOT}domains/{{domain}} {ROOT}workspaces/{{workspace}}"
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

#[cfg(test)]
mod tests;
