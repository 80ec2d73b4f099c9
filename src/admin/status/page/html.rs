//! Texts and numbers inside the page.

use std::fmt::{self, Display, Write};

use crate::link::page::escape;

/// Longest text that is shown, in bytes.
const LONGEST: usize = 600;

/// A text that others have chosen: escaped, without what changes its direction, and cut if it is long.
pub struct E<'a>(pub &'a str);

impl Display for E<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        escape::push(&mut out, &escape::readable(self.0, LONGEST));
        f.write_str(&out)
    }
}

/// A number with commas.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A measured number, with as many decimals as it needs.
pub fn measure(value: f64) -> String {
    match value {
        value if value >= 100.0 => number(value.round() as u64),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value > 0.0 => format!("{value:.2}"),
        _ => "0".into(),
    }
}

/// Bytes in the unit that fits.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 1_000.0 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A time span in its two largest units.
pub fn duration(secs: u64) -> String {
    let mut text = String::new();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let largest = units.iter().position(|(unit, _)| secs >= *unit).unwrap_or(units.len() - 1);
    let mut rest = secs;
    for (unit, name) in units.iter().skip(largest).take(2) {
        if rest >= *unit || text.is_empty() {
            let gap = if text.is_empty() { "" } else { " " };
            // Writing into a string cannot fail.
            _ = write!(text, "{gap}{} {name}", rest / unit);
        }
        rest %= unit;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.041, 12.34, 1_234.5].map(measure), ["0", "0.04", "12.3", "1,235"]);
        assert_eq!([999, 1_500, 12_345_678].map(bytes), ["999 B", "1.5 kB", "12.3 MB"]);
        assert_eq!(
            [0, 59, 60, 3_661, 90_000, 172_800].map(duration),
            ["0 s", "59 s", "1 min", "1 h 1 min", "1 d 1 h", "2 d"]
        );
    }

    #[test]
    fn a_text_of_others_is_escaped_and_bounded() {
        assert_eq!(E("<b onclick='x'>\u{202e}").to_string(), "&lt;b onclick=&#39;x&#39;&gt;\u{fffd}");
        assert!(E(&"<".repeat(9_999)).to_string().len() < 5 * LONGEST);
    }
}
