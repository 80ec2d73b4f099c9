//! Retention of counts: by the hour for some weeks, then by the day for about a year.
//!
//! The writer does it in bounded steps, one transaction each, between two commits. A step moves some rows of the oldest
//! hour into its day, or removes some of the oldest day; after a crash the next step continues where the last one
//! ended. From the first step on, the whole day counts as summed: readers add up both tables, so that half a day that
//! was moved already is neither missed nor counted twice. Late counts for a summed day go into their hour, and from
//! there into the day, like all others.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Retention,
    sql::{ADD, SUMMED, mark, marked, signed, unsigned},
};

/// Rows that a step moves or removes: some tens of milliseconds.
pub(super) const ROWS: i64 = 5_000;

/// Takes one step, of at most `rows` rows. True if there is another one to take.
pub(super) fn step(
    connection: &mut Connection,
    retention: Retention,
    today: u64,
    rows: i64,
) -> rusqlite::Result<bool> {
    let Retention { hours_days, days } = retention;
    let transaction = connection.transaction()?;
    // Once summed, a day stays summed, even if the configuration keeps hours for longer now.
    let marked = marked(&transaction, SUMMED)?;
    let summed = marked.max(today.saturating_sub(hours_days) * 24);
    let dropped = today.saturating_sub(days);
    let oldest = |table, time| oldest(&transaction, table, time);
    if summed > marked {
        mark(&transaction, SUMMED, summed)?;
    } else if let Some(day) = oldest("days", "day")?.filter(|day| *day < dropped) {
        remove(&transaction, "days", "day", day, rows)?;
    } else if let Some(hour) = oldest("hours", "hour")?.filter(|hour| *hour < summed) {
        if hour / 24 >= dropped {
            sum_up(&transaction, hour, rows)?;
        }
        remove(&transaction, "hours", "hour", hour, rows)?;
    } else {
        return Ok(false);
    }
    transaction.commit()?;
    Ok(true)
}

fn oldest(connection: &Connection, table: &str, time: &str) -> rusqlite::Result<Option<u64>> {
    let mut statement = connection.prepare_cached(&format!("SELECT MIN({time}) FROM {table}"))?;
    let oldest: Option<i64> = statement.query_row([], |row| row.get(0))?;
    Ok(oldest.map(unsigned))
}

/// Adds the first rows of an hour to its day.
fn sum_up(connection: &Connection, hour: u64, step: i64) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT INTO days
         SELECT ?1, kind, scope, name, clicks, humans, bots, sessions, first, last FROM hours
         WHERE hour = ?2 ORDER BY kind, scope, name LIMIT ?3
         ON CONFLICT DO UPDATE SET {ADD}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    statement.execute(params![signed(hour / 24), signed(hour), step]).map(drop)
}

/// Removes the first rows of an hour or a day.
fn remove(connection: &Connection, table: &str, time: &str, at: u64, step: i64) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT kind, scope, name FROM {table} WHERE {time} = ?1 ORDER BY kind, scope, name LIMIT 1 OFFSET ?2"
    );
    let mut next = connection.prepare_cached(&sql)?;
    let next = next.query_row(params![signed(at), step], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
    });
    match next.optional()? {
        Some((kind, scope, name)) => {
            let sql = format!("DELETE FROM {table} WHERE {time} = ?1 AND (kind, scope, name) < (?2, ?3, ?4)");
            connection.prepare_cached(&sql)?.execute(params![signed(at), kind, scope, name])?;
        }
        None => {
            connection.prepare_cached(&format!("DELETE FROM {table} WHERE {time} = ?1"))?.execute([signed(at)])?;
        }
    }
    Ok(())
}
