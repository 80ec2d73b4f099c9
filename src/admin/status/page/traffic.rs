//! Requests now and in the last hour, with small graphs.

use std::fmt::{self, Write};

use super::{
    super::{Traffic, Window},
    html::{measure, number},
};

/// Size of a graph, in units of its drawing.
const SIZE: (f64, f64) = (240.0, 48.0);

/// A number of a window.
type Of<N> = fn(&Window) -> N;

pub fn section(out: &mut String, traffic: &Traffic) -> fmt::Result {
    let Traffic { now, hour, series } = traffic;
    out.write_str(
        "<section aria-labelledby=\"traffic\">\n<h2 id=\"traffic\">Traffic</h2>\n<div class=\"scroll\"><table>\n\
        <thead><tr><th scope=\"col\">Requests</th><th scope=\"col\">now</th><th scope=\"col\">last hour</th>\
        <th scope=\"col\">over time</th></tr></thead>\n<tbody>\n",
    )?;
    let rate = |count: u64, of: &Window| if of.secs > 0.0 { count as f64 / of.secs } else { 0.0 };
    let counted: [(&str, Of<u64>); 3] = [
        ("Clicks", |window| window.clicks),
        ("Unknown links (404)", |window| window.not_found),
        ("Blocked", |window| window.blocked),
    ];
    for (name, count) in counted {
        let points: Vec<f64> = series.iter().map(|window| rate(count(window), window)).collect();
        write!(
            out,
            "<tr><th scope=\"row\">{name}</th><td>{} /s</td><td>{}</td><td>",
            measure(rate(count(now), now)),
            number(count(hour)),
        )?;
        graph(out, &format!("{name} per second"), &points)?;
        out.write_str("</td></tr>\n")?;
    }
    let times: [(&str, Of<Option<f64>>); 2] = [
        ("Half answered within (p50)", |window| window.p50_millis),
        ("99 % within (p99)", |window| window.p99_millis),
    ];
    for (name, quantile) in times {
        let points: Vec<f64> = series.iter().map(|window| quantile(window).unwrap_or_default()).collect();
        let millis = |window| quantile(window).map_or_else(|| "-".into(), |millis| format!("{} ms", measure(millis)));
        write!(out, "<tr><th scope=\"row\">{name}</th><td>{}</td><td>{}</td><td>", millis(now), millis(hour))?;
        graph(out, &format!("{name}, in milliseconds"), &points)?;
        out.write_str("</td></tr>\n")?;
    }
    out.write_str("</tbody></table></div>\n</section>\n")
}

/// A line from left to right, from 0 to the highest value.
fn graph(out: &mut String, label: &str, points: &[f64]) -> fmt::Result {
    let Some(last) = points.last().filter(|_| points.len() > 1) else {
        return out.write_str("<span class=\"quiet\">in a minute</span>");
    };
    let highest = points.iter().copied().fold(0.0, f64::max);
    let (width, height) = SIZE;
    write!(
        out,
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}: {} at the end, {} at most\">\
         <path class=\"base\" d=\"M0 {base}H{width}\"/><polyline points=\"",
        measure(*last),
        measure(highest),
        base = height - 0.5,
    )?;
    let step = width / (points.len() - 1) as f64;
    for (at, value) in points.iter().enumerate() {
        let share = if highest > 0.0 { value / highest } else { 0.0 };
        write!(out, "{:.1},{:.1} ", at as f64 * step, (height - 2.0) * (1.0 - share) + 1.0)?;
    }
    write!(out, "\"/></svg><span class=\"quiet\">max {}</span>", measure(highest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_stays_within_its_frame_and_has_a_text() {
        let mut svg = String::new();
        graph(&mut svg, "Clicks per second", &[0.0, 5.0, 10.0]).unwrap();
        assert!(svg.contains("points=\"0.0,47.0 120.0,24.0 240.0,1.0 \""), "{svg}");
        assert!(svg.contains("aria-label=\"Clicks per second: 10.0 at the end, 10.0 at most\""), "{svg}");
        svg.clear();
        graph(&mut svg, "x", &[0.0, 0.0]).unwrap();
        assert!(svg.contains("0.0,47.0 240.0,47.0") && !svg.contains("NaN"), "{svg}");
        svg.clear();
        graph(&mut svg, "x", &[1.0]).unwrap();
        assert!(!svg.contains("<svg"), "{svg}");
    }
}
