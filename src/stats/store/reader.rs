//! Queries on the store of counts. Each is bounded in rows ([`MAX_ROWS`]), in memory (larger sorts use the disk) and in
//! time.

use std::{
    collections::HashMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, ToSql, Transaction, params, params_from_iter};

use super::{
    Counted, Covered, MAX_ROWS, Order, Owner, Row, Scope, Step, StoreError,
    sql::{SINCE, SUMMED, connect, hour, marked, signed, unsigned},
};
use crate::{
    runtime::Hour,
    stats::{Counts, SubjectKind},
};

/// Memory for pages and for sorting, in KiB.
const CACHE_KIB: i64 = 8 << 10;

/// Instructions of the database between two checks of the deadline.
const CHECK_EVERY: i32 = 4_096;

/// All possible hours.
const ALL_HOURS: Range<u64> = 0..1 << 40;

const SUMS: &str = "SUM(clicks), SUM(humans), SUM(bots), SUM(sessions), MIN(first), MAX(last)";
const COUNTS: &str = "t.clicks, t.humans, t.bots, t.sessions, t.first, t.last";

/// A connection that reads.
pub struct Reader {
    connection: Connection,
    file: PathBuf,
    /// When the current query is interrupted.
    deadline: Arc<Mutex<Option<Instant>>>,
}

impl Reader {
    /// Opens an existing store.
    ///
    /// # Errors
    /// When it is missing or cannot be read.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        let mut connection = connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let deadline: Arc<Mutex<Option<Instant>>> = Arc::default();
        let until = Arc::clone(&deadline);
        let late = move || {
            let until = *until.lock().unwrap_or_else(PoisonError::into_inner);
            until.is_some_and(|until| Instant::now() >= until)
        };
        let tuned = connection
            .pragma_update(None, "cache_size", -CACHE_KIB)
            .and_then(|()| connection.progress_handler(CHECK_EVERY, Some(late)));
        tuned.map_err(|error| StoreError::of(file, &error))?;
        Ok(Self { connection, file: file.to_owned(), deadline })
    }

    /// A snapshot of the store. Queries on it fail after the time limit.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn snapshot(&mut self, limit: Duration) -> Result<Snapshot<'_>, StoreError> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + limit);
        let file = self.file.as_path();
        let failed = |error| StoreError::of(file, &error);
        let transaction = self.connection.transaction().map_err(failed)?;
        // The first read fixes the snapshot.
        let since = marked(&transaction, SINCE).map_err(failed)?;
        let summed = marked(&transaction, SUMMED).map_err(failed)?;
        Ok(Snapshot { transaction, file, since, summed })
    }
}

/// A consistent view of the store.
pub struct Snapshot<'a> {
    transaction: Transaction<'a>,
    file: &'a Path,
    since: u64,
    summed: u64,
}

impl Snapshot<'_> {
    /// The position up to which the journal is counted. `None` when nothing was counted yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn counted(&self) -> Result<Option<Counted>, StoreError> {
        let counted = self.transaction.query_row("SELECT segment, place, at FROM counted", [], |row| {
            let position = (unsigned(row.get(0)?), unsigned(row.get(1)?));
            Ok(Counted { position, at: unsigned(row.get(2)?) })
        });
        self.checked(counted.optional())
    }

    /// Since when all clicks are counted, microseconds since the Unix epoch. Counts of hours that began before may be
    /// incomplete.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// The hours that an answer about these hours covers.
    pub fn cover(&self, hours: Range<u64>) -> Covered {
        let Range { start, end } = hours;
        if start >= self.summed {
            return Covered { hours, whole_days_before: None };
        }
        let end = if end <= self.summed { end.div_ceil(24) * 24 } else { end };
        Covered { hours: start / 24 * 24..end, whole_days_before: Some(hour(self.summed)) }
    }

    /// The counts of a subject in all of these hours together.
    ///
    /// # Errors
    /// When the store cannot be read, or at the time limit. The same for all queries below.
    pub fn totals(&self, of: Scope<'_>, covered: &Covered) -> Result<Counts, StoreError> {
        let query = Query::new(of, &covered.hours);
        let sql = format!("{} SELECT {SUMS} FROM r", query.rows);
        self.checked(self.transaction.query_row(&sql, query.params(), |row| counts(row, 0)))
    }

    /// Whether the store has any counts of a subject.
    pub fn knows(&self, of: Scope<'_>) -> Result<bool, StoreError> {
        let query = Query::new(of, &ALL_HOURS);
        let sql = format!("{} SELECT 1 FROM r LIMIT 1", query.rows);
        let row = self.transaction.query_row(&sql, query.params(), |_| Ok(()));
        self.checked(row.optional()).map(|row| row.is_some())
    }

    /// The counts of a subject by the hour or by the day: the first [`MAX_ROWS`] rows with clicks.
    pub fn series(&self, of: Scope<'_>, covered: &Covered, step: Step) -> Result<Vec<(Hour, Counts)>, StoreError> {
        let query = Query::new(of, &covered.hours);
        let time = match step {
            Step::Hour => "at",
            Step::Day => "at / 24 * 24",
        };
        let sql = format!("{} SELECT {time}, {SUMS} FROM r GROUP BY 1 ORDER BY 1 LIMIT {MAX_ROWS}", query.rows);
        self.rows(&sql, query.params(), |row| Ok((hour(unsigned(row.get(0)?)), counts(row, 1)?)))
    }

    /// The largest subjects, at most [`MAX_ROWS`], largest first, and by name where counts are equal.
    pub fn top(&self, of: Scope<'_>, covered: &Covered, by: Order, most: usize) -> Result<Vec<Row>, StoreError> {
        self.top_where(of, covered, by, most, |_, _| Ok(true))
    }

    /// The largest links of a workspace. On a domain that it shares with another, `owner` decides which links it owns.
    pub fn top_links_of(
        &self,
        workspace: &str,
        covered: &Covered,
        by: Order,
        most: usize,
        owner: Owner<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let mut shared: HashMap<String, bool> = HashMap::new();
        self.top_where(Scope::LinksOf(workspace), covered, by, most, |domain, slashtag| {
            if !shared.contains_key(domain) {
                shared.insert(domain.to_owned(), self.is_shared(domain, workspace, covered)?);
            }
            Ok(!shared[domain] || owner(domain, slashtag).as_deref() == Some(workspace))
        })
    }

    /// Calls `visit` with all subjects of a kind in an hour, of one scope or of all, in the order of scope and name.
    ///
    /// # Errors
    /// Those of the store and of `visit`.
    pub fn each(
        &self,
        hour: Hour,
        kind: SubjectKind,
        scope: Option<&str>,
        mut visit: impl FnMut(&str, &str, &Counts) -> io::Result<()>,
    ) -> io::Result<()> {
        let filter = if scope.is_some() { "AND scope = ?3" } else { "AND ?3 IS NULL" };
        let sql = format!(
            "SELECT scope, name, {COUNTS} FROM hours AS t WHERE hour = ?1 AND kind = ?2 {filter} ORDER BY scope, name"
        );
        let failed = |error| io::Error::from(StoreError::of(self.file, &error));
        let mut statement = self.transaction.prepare_cached(&sql).map_err(failed)?;
        let mut rows = statement.query(params![signed(hour.since_epoch()), kind as u8, scope]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let text = |column| row.get_ref(column).and_then(|text| Ok(text.as_str()?)).map_err(failed);
            visit(text(0)?, text(1)?, &counts(row, 2).map_err(failed)?)?;
        }
        Ok(())
    }

    /// The workspaces that have clicks on a domain in an hour.
    pub fn workspaces_of(&self, domain: &str, hour: Hour) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT scope FROM hours INDEXED BY hours_domain WHERE hour = ?1 AND kind = 2 AND name = ?2";
        self.rows(sql, params![signed(hour.since_epoch()), domain], |row| row.get(0))
    }

    /// Whether other workspaces have clicks on a domain in these hours.
    fn is_shared(&self, domain: &str, workspace: &str, covered: &Covered) -> rusqlite::Result<bool> {
        let mut query = Query::new(Scope::Domain(domain), &covered.hours);
        query.params.push(Box::new(workspace));
        let sql = format!("{} SELECT 1 FROM r WHERE scope <> ?4 LIMIT 1", query.rows);
        Ok(self.transaction.query_row(&sql, query.params(), |_| Ok(())).optional()?.is_some())
    }

    fn top_where(
        &self,
        of: Scope<'_>,
        covered: &Covered,
        by: Order,
        most: usize,
        mut wanted: impl FnMut(&str, &str) -> rusqlite::Result<bool>,
    ) -> Result<Vec<Row>, StoreError> {
        let query = Query::new(of, &covered.hours);
        let column = match by {
            Order::Clicks => 3,
            Order::Humans => 4,
            Order::Sessions => 6,
        };
        let sql = format!(
            "{} SELECT scope, name, {SUMS} FROM r GROUP BY scope, name ORDER BY {column} DESC, scope, name",
            query.rows
        );
        let mut read = || {
            let mut statement = self.transaction.prepare(&sql)?;
            let mut rows = statement.query(query.params())?;
            let mut top = Vec::new();
            while top.len() < most.min(MAX_ROWS)
                && let Some(row) = rows.next()?
            {
                let (scope, name): (String, String) = (row.get(0)?, row.get(1)?);
                if wanted(&scope, &name)? {
                    top.push(Row { scope, name, counts: counts(row, 2)? });
                }
            }
            Ok(top)
        };
        self.checked(read())
    }

    fn rows<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let collect = || self.transaction.prepare_cached(sql)?.query_map(params, read)?.collect();
        self.checked(collect())
    }

    fn checked<T>(&self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        result.map_err(|error| StoreError::of(self.file, &error))
    }
}

/// The rows of a subject in some hours, as a table `r` that the rest of the query sums up.
struct Query<'a> {
    rows: String,
    params: Vec<Box<dyn ToSql + 'a>>,
}

impl<'a> Query<'a> {
    fn new(of: Scope<'a>, hours: &Range<u64>) -> Self {
        let mut params: Vec<Box<dyn ToSql + 'a>> = vec![Box::new(signed(hours.start)), Box::new(signed(hours.end))];
        let mut param = |value: &'a str| params.push(Box::new(value));
        match of {
            Scope::Link { domain, names: [one, other] } => [domain, one, other].into_iter().for_each(&mut param),
            Scope::Domain(name) | Scope::Workspace(name) | Scope::All(_, name) | Scope::LinksOf(name) => param(name),
            Scope::Workspaces => {}
        }
        // Finds each existing hour with one seek, and the rows of the subject in it with another.
        let times = |table, time, from, until| {
            format!(
                "(at) AS (SELECT MIN({time}) FROM {table} WHERE {time} >= {from} AND {time} < {until} UNION ALL
                 SELECT (SELECT MIN({time}) FROM {table} WHERE {time} > at AND {time} < {until}) FROM {table}_at
                 WHERE at IS NOT NULL)"
            )
        };
        let rows = format!(
            "WITH RECURSIVE hours_at{}, days_at{}, r AS (
             SELECT t.hour AS at, t.scope, t.name, {COUNTS} FROM {}
             UNION ALL SELECT t.day * 24, t.scope, t.name, {COUNTS} FROM {})",
            times("hours", "hour", "?1", "?2"),
            times("days", "day", "?1 / 24", "(?2 + 23) / 24"),
            source(of, "hours", "hour"),
            source(of, "days", "day"),
        );
        Self { rows, params }
    }

    fn params(&self) -> impl rusqlite::Params {
        params_from_iter(&self.params)
    }
}

fn source(of: Scope<'_>, table: &str, time: &str) -> String {
    let subjects = |index: &str, filter: &str| {
        format!("{table}_at CROSS JOIN {table} AS t {index} ON t.{time} = at WHERE {filter}")
    };
    match of {
        Scope::Link { .. } => subjects("", "t.kind = 1 AND t.scope = ?3 AND t.name IN (?4, ?5)"),
        // Without this, the planner uses the primary key, and reads all domains.
        Scope::Domain(_) => subjects(&format!("INDEXED BY {table}_domain"), "t.kind = 2 AND t.name = ?3"),
        Scope::Workspace(_) => subjects("", "t.kind = 3 AND t.scope = ?3 AND t.name = ''"),
        Scope::Workspaces => subjects("", "t.kind = 3"),
        Scope::All(kind, _) => subjects("", &format!("t.kind = {} AND t.scope = ?3", kind as u8)),
        Scope::LinksOf(_) => format!(
            "{table}_at CROSS JOIN {table} AS w ON w.{time} = at AND w.kind = 2 AND w.scope = ?3
             CROSS JOIN {table} AS t ON t.{time} = at AND t.kind = 1 AND t.scope = w.name"
        ),
    }
}

/// Six columns, from `first` on. Without rows they are `NULL`.
fn counts(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Counts> {
    let number = |column| Ok::<_, rusqlite::Error>(unsigned(row.get::<_, Option<i64>>(first + column)?.unwrap_or(0)));
    Ok(Counts {
        clicks: number(0)?,
        humans: number(1)?,
        bots: number(2)?,
        sessions: number(3)?,
        first: number(4)?,
        last: number(5)?,
    })
}
