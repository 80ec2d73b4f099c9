//! Reads what a link says beyond its destination.

use jiff::{Timestamp, civil};
use serde_json::Value;

use super::entity::{ForwardEntity, LinkEntity};
use crate::link::{ForwardPath, Policy, destination::Schemes, placeholder::Address};

/// Most keys that `forwardParameters` may list.
const MAX_KEYS: usize = 64;

/// Longest name of a parameter, in bytes.
const MAX_PARAMETER: usize = 64;

/// The policy of a link, if it has one.
///
/// # Errors
/// When a part of it is invalid: the reason names the field.
pub fn of(link: &LinkEntity, schemes: &Schemes) -> Result<Option<Policy>, String> {
    let (only, scripts) =
        (only(link)?, link.scripts.iter().any(|script| script.uri.is_some() || script.value.is_some()));
    let LinkEntity { forward_path, active_from, active_until, max_clicks, fallback, .. } = link;
    let LinkEntity { password_hash, click_id_parameter, rules, variants, card, no_index, .. } = link;
    let some = [
        forward_path,
        active_from,
        active_until,
        max_clicks,
        fallback,
        password_hash,
        click_id_parameter,
        rules,
        variants,
        card,
        no_index,
    ];
    if only.is_empty() && !scripts && some.into_iter().all(|field| field.as_ref().is_none_or(Value::is_null)) {
        return Ok(None);
    }
    let policy = Policy {
        forward_path: field("forwardPath", forward_path, self::forward_path)?.unwrap_or_default(),
        forward_only: only,
        active_from: field("activeFrom", active_from, time)?,
        active_until: field("activeUntil", active_until, time)?,
        max_clicks: field("maxClicks", max_clicks, count)?,
        fallback: field("fallback", fallback, |value| address(value, schemes))?,
        click_id_parameter: field("clickIdParameter", click_id_parameter, parameter)?,
        no_index: field("noIndex", no_index, switch)?.unwrap_or_default(),
    };
    if let (Some(from), Some(until)) = (policy.active_from, policy.active_until)
        && from >= until
    {
        return Err("`activeFrom` is not before `activeUntil`: the link would never work; correct one of them".into());
    }
    Ok(Some(policy))
}

/// Reads a field, unless it is absent or null. `null` of an optional field is what exports write for nothing.
pub fn field<T>(
    name: &str,
    value: &Option<Value>,
    read: impl FnOnce(&Value) -> Result<T, String>,
) -> Result<Option<T>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).map_err(|reason| format!("`{name}` {reason}")),
    }
}

fn only(link: &LinkEntity) -> Result<Box<[Box<str>]>, String> {
    let Some(ForwardEntity::Only(names)) = &link.forward_parameters else { return Ok(Box::default()) };
    if names.is_empty() || names.len() > MAX_KEYS {
        return Err(format!(
            "`forwardParameters` lists {} keys; list 1 to {MAX_KEYS}, or write false to forward nothing",
            names.len()
        ));
    }
    if let Some(name) = names.iter().find(|name| name.is_empty() || name.len() > MAX_PARAMETER) {
        return Err(format!("`forwardParameters` has the key {name:?}; a key has 1 to {MAX_PARAMETER} bytes"));
    }
    Ok(names.iter().map(|name| name.as_str().into()).collect())
}

fn forward_path(value: &Value) -> Result<ForwardPath, String> {
    match value {
        Value::Bool(false) => Ok(ForwardPath::Reject),
        Value::Bool(true) => Ok(ForwardPath::Append),
        Value::String(word) => match &*word.to_ascii_lowercase() {
            "append" | "true" => Ok(ForwardPath::Append),
            "ignore" => Ok(ForwardPath::Ignore),
            "reject" | "false" => Ok(ForwardPath::Reject),
            _ => Err(format!("is {value}; it can be false, \"append\" or \"ignore\"")),
        },
        _ => Err(format!("is {value}; it can be false, \"append\" or \"ignore\"")),
    }
}

/// A time, in seconds since the Unix epoch: RFC 3339, the same without a zone (UTC), a date, or a number of seconds or
/// milliseconds.
fn time(value: &Value) -> Result<i64, String> {
    const REMEDY: &str = "write it like \"2026-01-31T12:00:00Z\"";
    /// A number of seconds beyond it would be after the year 5138, one of milliseconds below it before March 1973.
    const MILLIS: i64 = 100_000_000_000;
    let text = match value {
        Value::String(text) => text.trim(),
        Value::Number(number) => {
            let number = number.as_i64().filter(|number| (0..1_000 * MILLIS).contains(number));
            let number = number.ok_or_else(|| format!("is {value}, not a time; {REMEDY}"))?;
            return Ok(if number >= MILLIS { number / 1_000 } else { number });
        }
        _ => return Err(format!("is {value}, not a time; {REMEDY}")),
    };
    let zoned = text.parse::<Timestamp>();
    let local = || text.parse::<civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    match zoned.ok().or_else(|| local().map(|time| time.timestamp())) {
        Some(time) => Ok(time.as_second()),
        None => Err(format!("is {text:?}, not a time; {REMEDY}")),
    }
}

fn count(value: &Value) -> Result<u64, String> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| *number > 0).ok_or_else(|| {
        format!("is {value}; write how many clicks are redirected, such as 100, or leave it out for no limit")
    })
}

/// A fallback: an address that may have placeholders.
pub fn address(value: &Value, schemes: &Schemes) -> Result<Address, String> {
    Address::parse(text(value)?, schemes)
}

/// The name of a parameter, which stands in a query as it is.
fn parameter(value: &Value) -> Result<Box<str>, String> {
    let name = text(value)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    if name.is_empty() || name.len() > MAX_PARAMETER || !name.bytes().all(is_plain) {
        return Err(format!("is {name:?}; write 1 to {MAX_PARAMETER} letters, digits, `-`, `_`, `.` or `~`"));
    }
    Ok(name.into())
}

pub fn switch(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(switch) => Ok(*switch),
        Value::String(word) if word.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(word) if word.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(format!("is {value}; it can be true or false")),
    }
}

pub fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("is {value}; write a text"))
}
