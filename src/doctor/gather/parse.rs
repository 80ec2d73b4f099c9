//! Formats of `/proc`, `/sys` and of units. Total: what is not understood is unknown.

use std::{collections::BTreeMap, path::Path};

use crate::doctor::facts::Limit;

/// The rest of the line that begins with a name.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// Bytes of a value such as `24684084 kB`.
pub fn kib(value: &str) -> Option<u64> {
    value.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
}

/// Processors of a list such as `0-3,8`.
pub fn count_of_ranges(list: &str) -> usize {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse::<usize>().ok()?);
        Some((last + 1).saturating_sub(first))
    };
    list.split(',').filter_map(count).sum()
}

/// Soft and hard limit of a line of `/proc/PID/limits`.
pub fn limits(text: &str, name: &str) -> [Limit; 2] {
    let Some(rest) = field(text, name) else { return [Limit::Unknown; 2] };
    let mut values = rest.split_whitespace().map(|value| match value {
        "unlimited" => Limit::Unlimited,
        number => number.parse().map_or(Limit::Unknown, Limit::At),
    });
    [values.next().unwrap_or_default(), values.next().unwrap_or_default()]
}

/// Whether a set of capabilities, in hexadecimal digits, has `CAP_IPC_LOCK`.
pub fn may_lock_memory(capabilities: &str) -> bool {
    const CAP_IPC_LOCK: u64 = 1 << 14;
    u64::from_str_radix(capabilities, 16).is_ok_and(|set| set & CAP_IPC_LOCK != 0)
}

/// Bytes of swap on disks, of `/proc/swaps`.
pub fn swap(text: &str) -> u64 {
    let lines = text.lines().skip(1).filter(|line| !line.starts_with("/dev/zram"));
    lines.filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum::<u64>().saturating_mul(1_024)
}

/// The value in brackets, of `always [madvise] never`.
pub fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// Processors of a quota and a period, `50000 100000`. `None` without a limit: `max`, or a negative number.
pub fn quota(text: &str) -> Option<f64> {
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    let (quota, period) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// The control group of a process, of `/proc/PID/cgroup`. An empty controller is the second version.
pub fn control_group(text: &str, controller: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|known| known == controller).then(|| group.to_owned())
    })
}

/// Type and options of the file system that holds a folder, of `/proc/PID/mountinfo`.
pub fn mount(text: &str, folder: &Path) -> Option<(String, Vec<String>)> {
    let mounts = text.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(4);
        let (point, options) = (unescaped(fields.next()?), fields.next()?);
        let mut rest = after.split(' ');
        let (kind, of_file_system) = (rest.next()?, rest.nth(1).unwrap_or_default());
        let depth = Path::new(&point).components().count();
        let options = options.split(',').chain(of_file_system.split(',')).map(str::to_owned).collect();
        folder.starts_with(&point).then(|| (depth, (kind.to_owned(), options)))
    });
    // The last of equals lies on top.
    mounts.max_by_key(|(depth, _)| *depth).map(|(_, mount)| mount)
}

/// A path with the octal escapes that the kernel writes for blanks and backslashes.
fn unescaped(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (escape, plain)| path.replace(escape, plain))
}

/// Keys of `[Service]` in a unit and its drop-ins, with the last value of each.
pub fn service(texts: &[&str]) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    for text in texts {
        let mut is_service = false;
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            if line.starts_with('[') {
                is_service = line == "[Service]";
            } else if is_service && let Some((key, value)) = line.split_once('=') {
                keys.insert(key.trim().to_owned(), value.trim().to_owned());
            }
        }
    }
    keys
}

/// The hard limit of a key such as `LimitNOFILE=1024:524288`.
pub fn limit_of_unit(value: &str) -> Limit {
    match value.rsplit(':').next().unwrap_or(value) {
        "infinity" => Limit::Unlimited,
        value => size(value).map_or(Limit::Unknown, Limit::At),
    }
}

/// Bytes of a size such as `8M`.
pub fn size(value: &str) -> Option<u64> {
    let (digits, shift) = match value.chars().last()? {
        'K' => (&value[..value.len() - 1], 10),
        'M' => (&value[..value.len() - 1], 20),
        'G' => (&value[..value.len() - 1], 30),
        'T' => (&value[..value.len() - 1], 40),
        _ => (value, 0),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_counted() {
        let lists = ["0", "0-1", "0-3,8", "0-3,8-15\n", "", "x", "5-3"].map(count_of_ranges);
        assert_eq!(lists, [1, 2, 5, 12, 0, 0, 0]);
    }

    #[test]
    fn limits_of_a_process_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            20000                524288               files     \n\
                    Max locked memory         unlimited            8388608              bytes     \n";
        assert_eq!(limits(text, "Max open files"), [Limit::At(20_000), Limit::At(524_288)]);
        assert_eq!(limits(text, "Max locked memory"), [Limit::Unlimited, Limit::At(8 << 20)]);
        assert_eq!(limits(text, "Max core file size"), [Limit::Unknown; 2]);
        assert!(may_lock_memory("000001ffffffffff") && may_lock_memory("4000"));
        assert!(!may_lock_memory("0000000000000400") && !may_lock_memory(""));
    }

    #[test]
    fn compressed_swap_in_memory_does_not_count() {
        let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert_eq!(swap(head), 0);
        let text = format!(
            "{head}/dev/zram0 partition 4194300 0 100\n/dev/vdb1 partition 1048576 0 -2\n/swap file 1 0 -3\n"
        );
        assert_eq!(swap(&text), (1 << 30) + 1_024);
    }

    #[test]
    fn control_groups_of_both_versions_are_read() {
        let text = "9:name=systemd:/\n4:memory:/box/one\n2:cpu,cpuacct:/c\n0::/system.slice/clickedge.service\n";
        let group = |controller| control_group(text, controller);
        assert_eq!(group("").as_deref(), Some("/system.slice/clickedge.service"));
        assert_eq!((group("memory").as_deref(), group("cpu").as_deref()), (Some("/box/one"), Some("/c")));
        assert_eq!(group("pids"), None);
        assert_eq!(
            ["150000 100000", "max 100000", "-1 100000", "", "0 0"].map(quota),
            [Some(1.5), None, None, None, None]
        );
    }

    #[test]
    fn the_deepest_mount_and_the_last_of_equals_hold_a_folder() {
        let text = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n\
                    30 27 0:22 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=4936820k,mode=755\n\
                    31 27 0:23 / /var/my\\040spool rw,noatime - xfs /dev/vdb rw\n\
                    32 31 0:24 / /var/my\\040spool ro - nfs4 store:/x rw\n";
        let of = |folder: &str| mount(text, Path::new(folder)).unwrap();
        assert_eq!(of("/var/lib").0, "ext4");
        let (kind, options) = of("/run/clickedge");
        assert!(
            kind == "tmpfs" && options.contains(&"size=4936820k".to_owned()) && options.contains(&"nosuid".into())
        );
        assert_eq!(of("/running").0, "ext4", "a name that only begins like a mount point");
        let (kind, options) = of("/var/my spool/x");
        assert!(kind == "nfs4" && options.contains(&"ro".to_owned()));
        assert!(mount("nonsense\n", Path::new("/")).is_none());
    }

    #[test]
    fn the_last_value_of_a_unit_counts() {
        let unit = "[Unit]\nType=no\n[Service]\n# Type=simple\nType=notify\nLimitNOFILE = 1024\n[Install]\nType=x\n";
        let keys = service(&[unit, "[Service]\nLimitNOFILE=1024:1048576\n"]);
        assert_eq!(keys.get("Type").map(String::as_str), Some("notify"));
        assert_eq!(limit_of_unit(&keys["LimitNOFILE"]), Limit::At(1 << 20));
        assert_eq!(
            ["infinity", "8M", "64K:infinity", "1x", ""].map(limit_of_unit),
            [Limit::Unlimited, Limit::At(8 << 20), Limit::Unlimited, Limit::Unknown, Limit::Unknown]
        );
    }

    #[test]
    fn single_values_are_read() {
        assert_eq!(kib("24684084 kB"), Some(24_684_084 << 10));
        assert_eq!(chosen("always [madvise] never\n").as_deref(), Some("madvise"));
        assert_eq!(chosen("never"), None);
    }
}
