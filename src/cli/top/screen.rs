//! A status as lines of text. Names and errors are chosen by others: nothing in them moves the cursor.

use serde_json::Value;

use crate::link::page::escape::readable;

/// Longest text of others in a line, in bytes.
const LONGEST: usize = 300;

/// Where the lines are shown.
pub struct Screen {
    /// Columns; longer lines are cut.
    pub width: usize,
    pub is_coloured: bool,
}

#[derive(Clone, Copy)]
enum Colour {
    Good,
    Warn,
    Bad,
    Bold,
}

impl Screen {
    /// The lines of a status, as `/v1/status` answers it. What an older edge does not say is left out.
    pub fn lines(&self, status: &Value) -> Vec<String> {
        let mut lines = self.head(status);
        lines.push(String::new());
        lines.extend(self.traffic(&status["traffic"]));
        lines.push(String::new());
        lines.extend(self.account(&status["account"]));
        lines.push(String::new());
        lines.extend(self.feeds(&status["feeds"]));
        lines.push(String::new());
        lines.extend(self.catalog(status));
        lines.extend(self.top_links(&status["topLinks"]));
        lines
    }

    /// A line that reports a failure.
    pub fn bad(&self, text: &str) -> String {
        self.paint(Colour::Bad, &shown(text))
    }

    fn head(&self, status: &Value) -> Vec<String> {
        let state = text(&status["state"]);
        let ready = status["ready"] == true;
        let colour = match (ready, &*state) {
            (true, "ready") => Colour::Good,
            (true, _) => Colour::Warn,
            _ => Colour::Bad,
        };
        let reasons: Vec<_> = items(&status["degraded"]).map(text).collect();
        let why = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join(", ")) };
        let uptime = duration(number(&status["uptimeSecs"]));
        let line = format!(
            "clickedge {}  PoP {}  up {uptime}  {}",
            text(&status["version"]),
            text(&status["pop"]),
            text(&status["at"])
        );
        let mut lines = vec![self.cut(&line), self.paint(colour, &format!("{state}{why}"))];
        for problem in items(&status["problems"]) {
            let of: Vec<_> = items(&problem["of"]).map(text).collect();
            let of = if of.is_empty() { String::new() } else { format!(" ({})", of.join(", ")) };
            let colour = if problem["severity"] == "critical" { Colour::Bad } else { Colour::Warn };
            let line = format!("  {}{of}  {}", text(&problem["summary"]), text(&problem["alert"]));
            lines.push(self.paint(colour, &line));
        }
        lines
    }

    fn traffic(&self, traffic: &Value) -> Vec<String> {
        let of = |name: &str, window: &Value| {
            let secs = window["secs"].as_f64().unwrap_or(0.0).max(1.0);
            let rate = |key: &str| number(&window[key]) as f64 / secs;
            let millis = |key: &str| window[key].as_f64().map_or_else(|| "-".into(), |value| format!("{value:.2}"));
            self.cut(&format!(
                "{name:<10} {:>12.1} {:>12.1} {:>12.1} {:>10} {:>10}",
                rate("clicks"),
                rate("notFound"),
                rate("blocked"),
                millis("p50Millis"),
                millis("p99Millis")
            ))
        };
        let title = format!(
            "{:<10} {:>12} {:>12} {:>12} {:>10} {:>10}",
            "", "clicks/s", "404/s", "blocked/s", "p50 ms", "p99 ms"
        );
        vec![self.paint(Colour::Bold, &title), of("now", &traffic["now"]), of("last hour", &traffic["hour"])]
    }

    fn account(&self, account: &Value) -> Vec<String> {
        let (clicks, events) = (&account["clicks"], &account["events"]);
        let stages = format!(
            "rings {}  journal {}  outbox {}  delivered {}",
            grouped(number(&clicks["inRings"])),
            grouped(number(&events["inJournal"])),
            grouped(number(&events["inOutbox"])),
            grouped(number(&events["delivered"]))
        );
        let mut lines = vec![self.paint(Colour::Bold, "account"), self.cut(&stages)];
        for (name, part) in [("clicks", clicks), ("events", events)] {
            let dropped = losses(&part["dropped"]);
            if !dropped.is_empty() {
                lines.push(self.paint(Colour::Bad, &format!("{name} dropped: {dropped}")));
            }
        }
        lines
    }

    fn feeds(&self, feeds: &Value) -> Vec<String> {
        let title = format!(
            "{:<24} {:<11} {:>9} {:>8} {:>12} {:>14}",
            "feed", "state", "lag", "waiting", "pending", "delivered"
        );
        let mut lines = vec![self.paint(Colour::Bold, &title)];
        let mut all: Vec<_> = items(feeds).collect();
        all.sort_by_key(|feed| matches!(feed["state"].as_str(), Some("idle" | "delivering")));
        for feed in all {
            let state = text(&feed["state"]);
            let colour = match &*state {
                "parked" => Some(Colour::Bad),
                "retrying" | "unclaimed" => Some(Colour::Warn),
                _ => None,
            };
            let line = format!(
                "{:<24} {state:<11} {:>9} {:>8} {:>12} {:>14}",
                text(&feed["name"]),
                duration(number(&feed["lagSecs"])),
                grouped(number(&feed["waitingObjects"])),
                grouped(number(&feed["pending"])),
                grouped(number(&feed["delivered"]))
            );
            lines.push(colour.map_or_else(|| self.cut(&line), |colour| self.paint(colour, &line)));
            let error = &feed["lastError"];
            if colour.is_some() && error.is_object() {
                let code = error["code"].as_str().map(|code| format!(" ({})", shown(code))).unwrap_or_default();
                lines.push(self.cut(&format!("  {} {}{code}", text(&error["at"]), text(&error["message"]))));
                lines.push(self.cut(&format!("  what to do: {}", text(&error["remedy"]))));
            }
        }
        lines
    }

    fn catalog(&self, status: &Value) -> Vec<String> {
        let catalog = &status["catalog"];
        let line = format!(
            "catalog    {} links, {} domains, generation {}, revision {}",
            grouped(number(&catalog["links"])),
            grouped(number(&catalog["domains"])),
            number(&catalog["generation"]),
            number(&catalog["revision"])
        );
        let mut lines = vec![self.cut(&line)];
        if let Some(halted) = catalog["fleet"]["halted"].as_str() {
            lines.push(
                self.paint(Colour::Bad, &format!("           the fleet's catalog is not taken: {}", shown(halted))),
            );
        }
        let reload = &status["lastReload"];
        if reload["rejected"] == true {
            lines.push(self.paint(Colour::Bad, &format!("           reload rejected at {}", text(&reload["at"]))));
            for notice in items(&reload["notices"]).take(5) {
                let line = notice["line"].as_u64().map_or_else(String::new, |line| format!(":{line}"));
                lines.push(self.cut(&format!(
                    "           {}{line}: {}",
                    text(&notice["file"]),
                    text(&notice["message"])
                )));
            }
        }
        if let Some(first) = status["certificates"]["first"].get(0) {
            let days = first["daysLeft"].as_i64().unwrap_or_default();
            let names: Vec<_> = items(&first["names"]).map(text).collect();
            let line = format!("certificate {days} days left: {}", names.join(", "));
            let colour = if days < 0 { Some(Colour::Bad) } else { (days < 14).then_some(Colour::Warn) };
            lines.push(colour.map_or_else(|| self.cut(&line), |colour| self.paint(colour, &line)));
        }
        for database in items(&status["databases"]) {
            let (name, days) = (text(&database["name"]), number(&database["ageDays"]));
            lines.push(self.cut(&format!("database   {name}, {days} days old")));
        }
        lines
    }

    fn top_links(&self, top: &Value) -> Vec<String> {
        let mut lines = Vec::new();
        for workspace in items(&top["workspaces"]).take(3) {
            if lines.is_empty() {
                lines.extend([String::new(), self.paint(Colour::Bold, "top links of the last 24 hours")]);
            }
            lines.push(self.cut(&format!(
                "{:>12}  {}",
                grouped(number(&workspace["clicks"])),
                text(&workspace["id"])
            )));
            for link in items(&workspace["links"]).take(3) {
                let (domain, slashtag) = (text(&link["domain"]), text(&link["slashtag"]));
                lines.push(self.cut(&format!("{:>12}    {domain}/{slashtag}", grouped(number(&link["clicks"])))));
            }
        }
        lines
    }

    fn cut(&self, line: &str) -> String {
        line.chars().take(self.width).collect()
    }

    fn paint(&self, colour: Colour, line: &str) -> String {
        let line = self.cut(line);
        if !self.is_coloured {
            return line;
        }
        let code = match colour {
            Colour::Good => "32",
            Colour::Warn => "33",
            Colour::Bad => "31;1",
            Colour::Bold => "1",
        };
        format!("\u{1b}[{code}m{line}\u{1b}[0m")
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    shown(value.as_str().unwrap_or("-"))
}

/// Without control characters, and without what changes the direction of the text.
fn shown(text: &str) -> String {
    readable(text, LONGEST).into_owned()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn losses(dropped: &Value) -> String {
    let losses = dropped.as_object().into_iter().flatten();
    losses
        .map(|(reason, count)| format!("{} {}", grouped(number(count)), shown(reason)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn grouped(n: u64) -> String {
    indicatif::HumanCount(n).to_string()
}

fn duration(secs: u64) -> String {
    match secs {
        0 => "-".into(),
        1..60 => format!("{secs} s"),
        60..3_600 => format!("{} min", secs / 60),
        3_600..86_400 => format!("{} h", secs / 3_600),
        _ => format!("{} d", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_shown_and_no_name_moves_the_cursor() {
        let evil = "x\u{1b}[2J\u{1b}]0;owned\u{7}\r\n";
        let status = json!({
            "version": "0.1.0", "pop": evil, "at": "2026-11-28T09:30:00Z", "uptimeSecs": 90_061,
            "state": "degraded", "ready": false, "degraded": ["spool_stalled"],
            "problems": [{"alert": "ClickedgeDiskFull", "severity": "critical", "summary": "the disk is full", "of": [evil]}],
            "traffic": {"now": {"secs": 10.0, "clicks": 50, "notFound": 1, "blocked": 0, "p50Millis": 0.04}},
            "account": {"events": {"dropped": {"spool_quota": 1_234}}},
            "feeds": [
                {"name": "fine", "state": "idle"},
                {"name": evil, "state": "parked", "lagSecs": 7_200,
                 "lastError": {"at": "t", "message": evil, "code": "AccessDenied", "remedy": "grant it"}},
            ],
            "lastReload": {"at": "t", "rejected": true, "notices": [{"file": evil, "line": 7, "message": evil}]},
            "certificates": {"first": [{"names": [evil], "daysLeft": -3}]},
            "topLinks": {"workspaces": [{"id": evil, "clicks": 3, "links": [{"domain": evil, "slashtag": evil}]}]},
        });
        let screen = Screen { width: 60, is_coloured: false };
        let lines = screen.lines(&status);
        let whole = lines.join("\n");
        for part in [
            "degraded: spool_stalled",
            "the disk is full (x",
            "5.0",
            "1,234 spool_quota",
            "2 h",
            "AccessDenied",
            ":7",
            "-3 days",
            "1 d",
        ] {
            assert!(whole.contains(part), "no {part:?} in\n{whole}");
        }
        assert!(!whole.chars().any(|c| c.is_control() && c != '\n'), "{whole:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 60), "{whole}");
        assert!(whole.find("parked").unwrap() < whole.find("idle").unwrap());
        let coloured = Screen { width: 60, is_coloured: true }.lines(&status);
        assert_eq!(console::strip_ansi_codes(&coloured.join("\n")), whole);
    }

    #[test]
    fn an_edge_that_says_nothing_is_no_failure() {
        assert!(!Screen { width: 80, is_coloured: false }.lines(&json!({})).is_empty());
    }
}
