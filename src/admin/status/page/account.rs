//! The account: where every click and event of this run is, as a bar from the rings to the sinks; and the
//! spool with its disk.

use std::fmt::{self, Write};

use super::html::{E, bytes, number};
use crate::pipeline::status::{AccountFacts, Damage, Losses, SpoolFacts};

/// Width of the bar, in units of its drawing.
const WIDTH: f64 = 1_000.0;

/// What is there is seen, however small its share.
const LEAST: f64 = 4.0;

pub fn section(out: &mut String, account: &AccountFacts) -> fmt::Result {
    let AccountFacts { clicks, events } = account;
    let dropped = total(&clicks.dropped) + total(&events.dropped);
    let stages = [
        ("rings", "Waiting in the rings (clicks)", clicks.in_rings),
        ("journal", "In the journal (events)", events.in_journal),
        ("outbox", "In the outbox (events)", events.in_outbox),
        ("delivered", "Delivered (events)", events.delivered),
        ("dropped", "Dropped", dropped),
    ];
    out.write_str("<section aria-labelledby=\"account\">\n<h2 id=\"account\">Account of this run</h2>\n")?;
    bar(out, &stages)?;
    out.write_str("<dl class=\"facts legend\">\n")?;
    for (class, name, count) in stages {
        let bad = if class == "dropped" && count > 0 { " bad" } else { "" };
        writeln!(
            out,
            "<div><dt><i class=\"key {class}\"></i>{name}</dt><dd class=\"{bad}\">{}</dd></div>",
            number(count)
        )?;
    }
    out.write_str("</dl>\n")?;
    writeln!(
        out,
        "<p>{} clicks answered, {} found in the rings of an earlier process, {} enriched, {} in the journal; {} events \
         made for feeds, {} found in the spool.</p>",
        number(clicks.answered),
        number(clicks.recovered),
        number(clicks.enriched),
        number(clicks.journaled),
        number(events.routed),
        number(events.recovered),
    )?;
    losses(out, "Clicks dropped", &clicks.dropped)?;
    losses(out, "Events dropped", &events.dropped)?;
    out.write_str("</section>\n")
}

/// The journal, the outbox, and their disk.
pub fn spool(out: &mut String, spool: &SpoolFacts) -> fmt::Result {
    out.write_str("<section aria-labelledby=\"spool\">\n<h2 id=\"spool\">Spool</h2>\n<dl class=\"facts\">\n")?;
    if let Some(disk) = &spool.disk {
        let class = if spool.disk_full || spool.is_disk_filling() { "bad" } else { "good" };
        writeln!(
            out,
            "<div><dt>Free disk space</dt><dd class=\"{class}\">{} of {}</dd></div>",
            bytes(disk.free_bytes),
            bytes(disk.capacity_bytes)
        )?;
    }
    for (name, used, limit) in [
        ("Journal", spool.journal_bytes, spool.journal_limit_bytes),
        ("Outbox", spool.outbox_bytes, spool.outbox_limit_bytes),
    ] {
        let class = if used > limit / 10 * 7 { "warn" } else { "good" };
        writeln!(out, "<div><dt>{name}</dt><dd class=\"{class}\">{} of {}</dd></div>", bytes(used), bytes(limit))?;
    }
    out.write_str("</dl>\n")?;
    if let Some(Damage { state_files, journal_events, doubtful_events }) = spool.damage {
        writeln!(
            out,
            "<p class=\"bad\">The spool was damaged when the process started: {} files of its state moved aside, {} \
             events missing from the journal, {} events that may be delivered twice.</p>",
            number(state_files),
            number(journal_events),
            number(doubtful_events)
        )?;
    }
    out.write_str("</section>\n")
}

/// Losses by reason; nothing without any.
pub fn losses(out: &mut String, name: &str, losses: &Losses) -> fmt::Result {
    if losses.is_empty() {
        return Ok(());
    }
    write!(out, "<p class=\"bad\">{name}: ")?;
    for (at, (reason, count)) in losses.iter().enumerate() {
        let comma = if at > 0 { ", " } else { "" };
        write!(out, "{comma}{} <code>{}</code>", number(*count), E(reason))?;
    }
    out.write_str(".</p>\n")
}

fn total(losses: &Losses) -> u64 {
    losses.values().sum()
}

fn bar(out: &mut String, stages: &[(&str, &str, u64)]) -> fmt::Result {
    let all: u64 = stages.iter().map(|(_, _, count)| count).sum();
    let label: Vec<String> = stages.iter().map(|(_, name, count)| format!("{name}: {}", number(*count))).collect();
    write!(
        out,
        "<svg class=\"bar\" viewBox=\"0 0 {WIDTH} 24\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">\
         <rect class=\"empty\" width=\"{WIDTH}\" height=\"24\"/>",
        E(&label.join(", "))
    )?;
    let shown = stages.iter().filter(|(_, _, count)| *count > 0);
    let share = |count: u64| (count as f64 / all as f64 * WIDTH).max(LEAST);
    let whole: f64 = shown.clone().map(|(_, _, count)| share(*count)).sum();
    let mut x = 0.0;
    for (class, name, count) in shown {
        let width = share(*count) / whole * WIDTH;
        write!(
            out,
            "<rect class=\"{class}\" x=\"{x:.1}\" width=\"{width:.1}\" height=\"24\"><title>{name}: {}</title></rect>",
            number(*count)
        )?;
        x += width;
    }
    out.write_str("</svg>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lost_event_among_millions_is_seen() {
        let mut svg = String::new();
        bar(&mut svg, &[("delivered", "Delivered", 5_000_000), ("dropped", "Dropped", 1), ("rings", "Rings", 0)])
            .unwrap();
        assert!(svg.contains("class=\"dropped\" x=\"996.0\" width=\"4.0\""), "{svg}");
        assert!(!svg.contains("class=\"rings\""), "{svg}");
        svg.clear();
        bar(&mut svg, &[("delivered", "Delivered", 0)]).unwrap();
        assert!(!svg.contains("NaN"), "{svg}");
    }
}
