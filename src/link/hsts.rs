//! Checks a policy of HTTP Strict Transport Security.

/// Checks a value of `Strict-Transport-Security` as RFC 6797, 6.1 has it, with `preload`, which browsers' lists ask
/// for, and no other extension: an unknown word is a typing error, and browsers would pass over it.
///
/// # Errors
/// What is wrong with it, without the value's name: "has … ; write it like …".
pub fn check(value: &str) -> Result<(), String> {
    problem(value).map_or(Ok(()), |problem| Err(format!("{problem}; {REMEDY}")))
}

/// How it is written.
pub const REMEDY: &str = "write it like `max-age=31536000; includeSubDomains`";

/// What is wrong with a value, if something is.
pub fn problem(value: &str) -> Option<String> {
    if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Some("has a character that no header may hold".into());
    }
    let mut seen = Vec::new();
    for directive in value.split(';').map(str::trim).filter(|directive| !directive.is_empty()) {
        let (name, argument) = match directive.split_once('=') {
            Some((name, argument)) => (name.trim_end().to_ascii_lowercase(), Some(argument.trim_start())),
            None => (directive.to_ascii_lowercase(), None),
        };
        let is_valid = match (&*name, argument) {
            ("max-age", Some(secs)) => {
                let secs = secs.strip_prefix('"').and_then(|quoted| quoted.strip_suffix('"')).unwrap_or(secs);
                secs.bytes().all(|byte| byte.is_ascii_digit()) && secs.parse::<u32>().is_ok()
            }
            ("includesubdomains" | "preload", None) => true,
            _ => false,
        };
        if !is_valid {
            return Some(format!("has {directive:?}, which is no directive of HSTS"));
        }
        if seen.contains(&name) {
            return Some(format!("has `{name}` more than once"));
        }
        seen.push(name);
    }
    let has_age = seen.iter().any(|name| name == "max-age");
    (!has_age).then(|| format!("is {value:?}, which lacks `max-age`"))
}
