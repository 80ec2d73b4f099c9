//! Reads what a link says beyond its destination.

use jiff::Timestamp;
use serde_json::Value;

use super::entity::{ForwardEntity, LinkEntity, time};
use crate::link::{
    ForwardPath, Policy, Rules, Variants,
    destination::{self, Schemes},
    page::{Card, Scripts},
    password::PasswordHash,
    placeholder::Address,
};

/// Most keys that `forwardParameters` may list.
const MAX_KEYS: usize = 64;

/// Longest name of a parameter, in bytes.
const MAX_PARAMETER: usize = 64;

/// The policy of a link, if it has one.
///
/// # Errors
/// When a part of it is invalid: the reason names the field.
pub fn of(link: &LinkEntity, schemes: &Schemes) -> Result<Option<Policy>, String> {
    let only = only(link)?;
    let scripts = Scripts::parse(given(Some(&link.scripts.raw)).unwrap_or(&Value::Null))
        .map_err(|invalid| invalid.to_string())?;
    let LinkEntity { forward_path, active_from, max_clicks, fallback, .. } = link;
    let ends =
        [("activeUntil", &link.active_until), ("expiresAt", &link.expires_at), ("expiredAt", &link.expired_at)];
    let (end, active_until) = ends.into_iter().find(|(_, end)| given(end.as_ref()).is_some()).unwrap_or(ends[0]);
    let LinkEntity { password_hash, click_id_parameter, rules, variants, card, no_index, .. } = link;
    let fields = [
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
    let is_plain = fields.into_iter().all(|field| given(field.as_ref()).is_none());
    if is_plain && only.is_empty() && scripts.is_none() {
        return Ok(None);
    }
    let check = |raw: &str| destination::check(raw, schemes).map(String::into_boxed_str);
    let policy = Policy {
        forward_path: field("forwardPath", forward_path.as_ref(), self::forward_path)?.unwrap_or_default(),
        forward_only: only,
        active_from: field("activeFrom", active_from.as_ref(), time)?,
        active_until: field(end, active_until.as_ref(), time)?,
        max_clicks: field("maxClicks", max_clicks.as_ref(), count)?,
        password: field("passwordHash", password_hash.as_ref(), |value| PasswordHash::parse(text(value)?))?,
        fallback: field("fallback", fallback.as_ref(), |value| address(value, schemes))?,
        click_id_parameter: field("clickIdParameter", click_id_parameter.as_ref(), parameter)?,
        rules: given(rules.as_ref()).map_or_else(|| Ok(Rules::default()), |rules| Rules::parse(rules, &check))?,
        variants: given(variants.as_ref()).map(|variants| Variants::parse(variants, &check)).transpose()?,
        scripts,
        card: given(card.as_ref()).map_or(Ok(None), Card::parse).map_err(|invalid| invalid.to_string())?,
        no_index: field("noIndex", no_index.as_ref(), switch)?.unwrap_or_default(),
    };
    if let (Some(from), Some(until)) = (policy.active_from, policy.active_until)
        && from >= until
    {
        return Err("`activeFrom` is not before `activeUntil`: the link would never work; correct one of them".into());
    }
    Ok(Some(policy))
}

/// Reads a field, unless it is absent. `null` and an empty text are what exports write for nothing.
pub fn field<T>(
    name: &str,
    value: Option<&Value>,
    read: impl FnOnce(&Value) -> Result<T, String>,
) -> Result<Option<T>, String> {
    given(value).map(read).transpose().map_err(|reason| format!("`{name}` {reason}"))
}

pub fn given(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null() && value.as_str() != Some(""))
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

/// A time, in seconds since the Unix epoch, in any of the forms of [`time::parse`].
fn time(value: &Value) -> Result<i64, String> {
    let time = match value {
        Value::String(text) => time::parse(text),
        Value::Number(number) => time::parse(&number.to_string()),
        _ => None,
    };
    time.map(Timestamp::as_second).ok_or_else(|| format!("is {value}, not a time; write {}", time::EXAMPLE))
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
        Value::Number(number) if number.as_u64() == Some(1) => Ok(true),
        Value::Number(number) if number.as_u64() == Some(0) => Ok(false),
        Value::String(word) if word.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(word) if word.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(format!("is {value}; it can be true or false")),
    }
}

pub fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("is {value}; write a text"))
}
