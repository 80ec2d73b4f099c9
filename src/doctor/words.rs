//! Sizes and times in words.

/// Bytes in binary units, with a digit after the point: `1.5 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    let number = format!("{value:.1}");
    format!("{} {}", number.strip_suffix(".0").unwrap_or(&number), UNITS[unit])
}

/// A time in its largest fitting unit: `90 minutes`, `3 days`.
pub fn secs(secs: u64) -> String {
    let (n, unit) = match secs {
        172_800.. => (secs / 86_400, "day"),
        7_200.. => (secs / 3_600, "hour"),
        120.. => (secs / 60, "minute"),
        _ => (secs, "second"),
    };
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

/// Microseconds as milliseconds.
pub fn millis(micros: u64) -> String {
    format!("{:.1} ms", micros as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_the_unit_that_fits() {
        let sizes = [0, 1_023, 1_024, 1_536, 128 << 20, 20 << 30, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 bytes", "1023 bytes", "1 KiB", "1.5 KiB", "128 MiB", "20 GiB", "16384 PiB"]);
        let times = [0, 1, 119, 120, 7_199, 7_200, 172_799, 172_800].map(secs);
        assert_eq!(
            times,
            ["0 seconds", "1 second", "119 seconds", "2 minutes", "119 minutes", "2 hours", "47 hours", "2 days"]
        );
        assert_eq!(millis(1_250), "1.2 ms");
    }
}
