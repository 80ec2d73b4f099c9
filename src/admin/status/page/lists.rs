//! The lists of the page: problems, feeds, the catalog and what came of the last reload, certificates, databases, top
//! links; and the form that tries a URL.

use std::fmt::{self, Write};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    super::{Problem, Severity, Tried, top_links::Counted},
    account::losses,
    html::{E, bytes, duration, number},
};
use crate::{
    files::mmdb::OLD_DAYS,
    pipeline::{
        LastReload,
        lookup::Answered,
        status::{CatalogFacts, CertificateFacts, DatabaseFacts, FeedFacts, FeedState, MOST_NAMES},
    },
};

/// Most feeds on the page, those in trouble first. `/v1/status` has all.
const MOST_FEEDS: usize = 200;

/// Days before its expiry from which on a certificate needs attention.
const SOON: i64 = 14;

/// What is wrong, the most urgent first; nothing when all is well.
pub fn problems(out: &mut String, problems: &[Problem]) -> fmt::Result {
    if problems.is_empty() {
        return Ok(());
    }
    out.write_str(
        "<section aria-labelledby=\"problems\">\n<h2 id=\"problems\">Problems</h2>\n\
         <p class=\"quiet\">Each has a section of its name in the runbook.</p>\n<ul>\n",
    )?;
    for wanted in [Severity::Critical, Severity::Warning, Severity::Info] {
        let class = if wanted == Severity::Critical { "bad" } else { "warn" };
        for Problem { alert, summary, of, .. } in problems.iter().filter(|problem| problem.severity == wanted) {
            let of = if of.is_empty() { String::new() } else { format!(" ({})", of.join(", ")) };
            writeln!(
                out,
                "<li><span class=\"{class}\">{summary}{}</span> <span class=\"quiet\">{alert}</span></li>",
                E(&of)
            )?;
        }
    }
    out.write_str("</ul>\n</section>\n")
}

pub fn feeds(out: &mut String, feeds: &[FeedFacts]) -> fmt::Result {
    out.write_str("<section aria-labelledby=\"feeds\">\n<h2 id=\"feeds\">Feeds</h2>\n")?;
    if feeds.is_empty() {
        return out.write_str("<p>No feed is configured.</p>\n</section>\n");
    }
    let mut shown: Vec<&FeedFacts> = feeds.iter().collect();
    shown.sort_by_key(|feed| !feed.is_in_trouble());
    if shown.len() > MOST_FEEDS {
        writeln!(out, "<p>{MOST_FEEDS} of {} feeds, those in trouble first.</p>", number(shown.len() as u64))?;
        shown.truncate(MOST_FEEDS);
    }
    out.write_str(
        "<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Feed</th><th scope=\"col\">State</th>\
         <th scope=\"col\">Lag</th><th scope=\"col\">Waiting</th><th scope=\"col\">Delivered</th>\
         <th scope=\"col\">Last object</th><th scope=\"col\"><span class=\"hidden\">Retry</span></th></tr></thead>\n<tbody>\n",
    )?;
    shown.into_iter().try_for_each(|feed| row(out, feed))?;
    out.write_str("</tbody></table></div>\n</section>\n")
}

fn row(out: &mut String, feed: &FeedFacts) -> fmt::Result {
    let class = match feed.state {
        FeedState::Parked => "bad",
        FeedState::Retrying | FeedState::Unclaimed => "warn",
        _ => "good",
    };
    write!(
        out,
        "<tr><th scope=\"row\">{}<div class=\"quiet\">{} {}</div></th><td class=\"{class}\">{}</td><td>{}</td>\
         <td>{} in {}<div class=\"quiet\">{} events pending</div></td><td>{}<div class=\"quiet\">{}</div></td><td>",
        E(&feed.name),
        feed.sink.unwrap_or("not configured"),
        E(&feed.workspaces.join(", ")),
        feed.state.name(),
        if feed.waiting_objects > 0 { duration(feed.lag_secs) } else { "-".into() },
        number(feed.waiting_objects),
        bytes(feed.waiting_bytes),
        number(feed.pending),
        number(feed.delivered),
        bytes(feed.delivered_bytes),
    )?;
    match &feed.last_object {
        Some(last) => write!(out, "<code>{}</code><div class=\"quiet\">{}</div>", E(&last.key), last.at)?,
        None => out.write_str("-")?,
    }
    out.write_str("</td><td>")?;
    if feed.sink.is_some() {
        let path = utf8_percent_encode(&feed.name, NON_ALPHANUMERIC);
        write!(
            out,
            "<form method=\"post\" action=\"/v1/feeds/{path}/retry\"><button id=\"retry-{name}\" \
             aria-label=\"Retry {name} now\">Retry now</button></form>",
            name = E(&feed.name)
        )?;
    }
    out.write_str("</td></tr>\n")?;
    let has_losses = !feed.dropped.is_empty();
    if feed.last_error.is_none() && feed.set_aside == 0 && !has_losses {
        return Ok(());
    }
    write!(out, "<tr class=\"{}\"><td colspan=\"7\">", if feed.is_in_trouble() { "trouble" } else { "past" })?;
    losses(out, "Events dropped", &feed.dropped)?;
    if feed.set_aside > 0 {
        writeln!(out, "<p>{} manifests or rollups are set aside, and are retried.</p>", number(feed.set_aside))?;
    }
    if let Some(error) = &feed.last_error {
        let what = if feed.is_in_trouble() { "Last error" } else { "Earlier error, over since" };
        write!(out, "<p>{what}, {}: <q>{}</q>", error.at, E(&error.message))?;
        let known = [error.status.map(|status| status.to_string()), error.code.clone(), error.request_id.clone()];
        for (name, value) in ["status", "code", "request"].iter().zip(known) {
            if let Some(value) = value {
                write!(out, " <span class=\"quiet\">{name} {}</span>", E(&value))?;
            }
        }
        out.write_str("</p>")?;
        if feed.is_in_trouble() {
            write!(out, "<p>What to do: {}.</p>", E(&error.remedy))?;
        }
    }
    out.write_str("</td></tr>\n")
}

pub fn catalog(out: &mut String, catalog: &CatalogFacts, reload: Option<&LastReload>) -> fmt::Result {
    out.write_str("<section aria-labelledby=\"catalog\">\n<h2 id=\"catalog\">Catalog</h2>\n<dl class=\"facts\">\n")?;
    let mut fact = |name: &str, class: &str, value: &str| {
        writeln!(out, "<div><dt>{name}</dt><dd class=\"{class}\">{}</dd></div>", E(value))
    };
    fact("Links", "", &number(catalog.links as u64))?;
    fact("Domains", "", &number(catalog.domains as u64))?;
    fact("Memory", "", &bytes(catalog.bytes as u64))?;
    fact("Loaded", "", &catalog.loaded_at.to_string())?;
    fact("Generation", "", &catalog.generation.to_string())?;
    fact("Revision", "", &catalog.revision.to_string())?;
    fact("Changed since", "", &number(catalog.changed as u64))?;
    fact("Hash", "hash", &catalog.hash)?;
    if catalog.damaged {
        fact("The copy of the catalog", "bad", "damaged: some links may be wrong")?;
    }
    if let Some(fleet) = &catalog.fleet {
        fact("Behind the fleet", if fleet.lag_secs > 60 { "warn" } else { "good" }, &duration(fleet.lag_secs))?;
        if let Some(reason) = fleet.halted {
            fact("The fleet's catalog is not taken", "bad", reason)?;
        }
    }
    out.write_str("</dl>\n")?;
    match reload {
        None => out.write_str("<p>No reload since the start.</p>\n")?,
        Some(reload) => last_reload(out, reload)?,
    }
    out.write_str("</section>\n")
}

fn last_reload(out: &mut String, reload: &LastReload) -> fmt::Result {
    let LastReload { at, rejected, notices, more, restart_keys } = reload;
    if *rejected {
        writeln!(
            out,
            "<p class=\"bad\">The last reload was rejected at {at}; the previous version of everything stays active.</p>"
        )?;
    } else {
        writeln!(out, "<p>The last reload was applied at {at}.</p>")?;
    }
    if !restart_keys.is_empty() {
        writeln!(out, "<p class=\"warn\">Restart required for: {}.</p>", E(&restart_keys.join(", ")))?;
    }
    if notices.is_empty() {
        return Ok(());
    }
    out.write_str("<ul>\n")?;
    for notice in notices {
        let line = notice.line.map_or_else(String::new, |line| format!(":{line}"));
        write!(out, "<li><code>{}{line}</code> {}", E(&notice.file), E(&notice.message))?;
        if !notice.remedy.is_empty() {
            write!(out, "<div class=\"quiet\">What to do: {}</div>", E(&notice.remedy))?;
        }
        out.write_str("</li>\n")?;
    }
    if *more > 0 {
        writeln!(out, "<li>and {} more, see the log</li>", number(*more as u64))?;
    }
    out.write_str("</ul>\n")
}

pub fn certificates(out: &mut String, certificates: &CertificateFacts) -> fmt::Result {
    let CertificateFacts { loaded, expired, first } = certificates;
    out.write_str("<section aria-labelledby=\"certificates\">\n<h2 id=\"certificates\">Certificates</h2>\n")?;
    if *loaded == 0 {
        return out.write_str("<p>No listener has a certificate.</p>\n</section>\n");
    }
    let class = if *expired > 0 { "bad" } else { "good" };
    writeln!(
        out,
        "<p>{} loaded, <span class=\"{class}\">{} expired</span>; those that expire first:</p>\n\
         <div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Names</th><th scope=\"col\">Days left</th>\
         <th scope=\"col\">Expires</th></tr></thead>\n<tbody>",
        number(*loaded as u64),
        number(*expired as u64)
    )?;
    for certificate in first.iter().take(MOST_NAMES) {
        let class = match certificate.days_left {
            ..0 => "bad",
            0..SOON => "warn",
            _ => "good",
        };
        writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td class=\"{class}\">{}</td><td>{}</td></tr>",
            E(&certificate.names.join(", ")),
            certificate.days_left,
            certificate.expires_at
        )?;
    }
    out.write_str("</tbody></table></div>\n</section>\n")
}

pub fn databases(out: &mut String, databases: &[DatabaseFacts]) -> fmt::Result {
    out.write_str("<section aria-labelledby=\"databases\">\n<h2 id=\"databases\">Databases</h2>\n")?;
    if databases.is_empty() {
        return out.write_str("<p>No database is configured: locations and networks are unknown.</p>\n</section>\n");
    }
    out.write_str("<dl class=\"facts\">\n")?;
    for DatabaseFacts { name, built_at, age_days } in databases {
        let class = if *age_days > OLD_DAYS { "warn" } else { "good" };
        writeln!(
            out,
            "<div><dt>{name}</dt><dd class=\"{class}\" title=\"built {built_at}\">{} days old</dd></div>",
            number(*age_days)
        )?;
    }
    out.write_str("</dl>\n</section>\n")
}

pub fn top_links(out: &mut String, counted: &Counted) -> fmt::Result {
    let Counted { hours, workspaces, missing } = counted;
    writeln!(out, "<section aria-labelledby=\"top\">\n<h2 id=\"top\">Top links of the last {hours} hours</h2>")?;
    if let Some(missing) = missing {
        return write!(out, "<p>{}.</p>\n</section>\n", E(missing));
    }
    if workspaces.is_empty() {
        return out.write_str("<p>No click is counted yet.</p>\n</section>\n");
    }
    out.write_str(
        "<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Workspace</th><th scope=\"col\">Link</th>\
         <th scope=\"col\">Clicks</th><th scope=\"col\">Humans</th></tr></thead>\n<tbody>\n",
    )?;
    for workspace in workspaces {
        let name = if workspace.id.is_empty() { "(none)" } else { workspace.id.as_str() };
        writeln!(
            out,
            "<tr class=\"group\"><th scope=\"row\">{}</th><td>all links</td><td>{}</td><td></td></tr>",
            E(name),
            number(workspace.clicks)
        )?;
        for link in &workspace.links {
            writeln!(
                out,
                "<tr><td></td><td>{}/{}</td><td>{}</td><td>{}</td></tr>",
                E(&link.domain),
                E(&link.slashtag),
                number(link.clicks),
                number(link.humans)
            )?;
        }
    }
    out.write_str("</tbody></table></div>\n</section>\n")
}

pub fn try_url(out: &mut String, tried: Option<&Tried>) -> fmt::Result {
    let url = tried.map_or("", |tried| tried.url.as_str());
    write!(
        out,
        "<section aria-labelledby=\"try\">\n<h2 id=\"try\">Try a URL</h2>\n<form method=\"get\" action=\"/\">\n\
         <label for=\"url\">Short link</label>\n<input id=\"url\" name=\"url\" size=\"40\" autocomplete=\"off\" \
         spellcheck=\"false\" inputmode=\"url\" placeholder=\"go.brand.com/spring\" value=\"{}\">\n\
         <button>Explain</button>\n</form>\n<p class=\"quiet\">What the edge answers to a new visitor, and why. \
         Nothing is counted.</p>\n",
        E(url)
    )?;
    match tried.map(|tried| &tried.answer) {
        None => {}
        Some(Err(error)) => writeln!(out, "<p class=\"bad\" role=\"alert\">{}</p>", E(error))?,
        Some(Ok(answered)) => explain(out, answered)?,
    }
    out.write_str("</section>\n")
}

fn explain(out: &mut String, answered: &Answered) -> fmt::Result {
    let answer = match (answered.is_passed_on, answered.header("location")) {
        (true, _) => "not a branded domain: the upstream answers".to_owned(),
        (false, Some(location)) => format!("{} {location}", answered.status),
        (false, None) => answered.status.to_string(),
    };
    writeln!(out, "<p class=\"answer\" role=\"status\"><strong>{}</strong></p>", E(&answer))?;
    if let Some(followed) = &answered.followed {
        let link = format!("{} ({}/{})", followed.id, followed.domain, followed.slashtag);
        let click = if followed.is_click { "a click" } else { "not a click" };
        writeln!(out, "<p>Link {}, {click}.</p>", E(&link))?;
    }
    out.write_str("<ol class=\"steps\">\n")?;
    for taken in &answered.steps {
        writeln!(out, "<li><b>{}</b> {}</li>", E(taken.step), E(&taken.result))?;
    }
    out.write_str("</ol>\n")
}
