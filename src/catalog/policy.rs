//! Reads what a link says beyond its destination.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
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

/// The fields that make the policy of a link, as a snapshot keeps them: a JSON object without what is absent.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyEntity {
    #[serde(skip_serializing_if = "Option::is_none")]
    forward_path: Option<Value>,
    /// The list of `forwardParameters`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    forward_only: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_from: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_until: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expired_at: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_clicks: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_hash: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    click_id_parameter: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variants: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_index: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scripts: Option<Value>,
}

/// The policy of a link, if it has one, and the text that a snapshot keeps of it.
///
/// # Errors
/// When a part of it is invalid: the reason names the field.
pub fn of(link: &LinkEntity, schemes: &Schemes) -> Result<Option<(Policy, String)>, String> {
    let only = match &link.forward_parameters {
        Some(ForwardEntity::Only(names)) => Some(only(names)?),
        _ => None,
    };
    let given = |value: &Option<Value>| given(value.as_ref()).cloned();
    let raw = &link.scripts.raw;
    let scripts = Scripts::parse(raw).map_err(|invalid| invalid.to_string())?.map(|_| raw.clone());
    let entity = PolicyEntity {
        forward_path: given(&link.forward_path),
        forward_only: only.unwrap_or_default(),
        active_from: given(&link.active_from),
        active_until: given(&link.active_until),
        expires_at: given(&link.expires_at),
        expired_at: given(&link.expired_at),
        max_clicks: given(&link.max_clicks),
        password_hash: given(&link.password_hash),
        fallback: given(&link.fallback),
        click_id_parameter: given(&link.click_id_parameter),
        rules: given(&link.rules),
        variants: given(&link.variants),
        card: given(&link.card),
        no_index: given(&link.no_index),
        scripts,
    };
    let text = serde_json::to_string(&entity).map_err(|error| error.to_string())?;
    if text == "{}" {
        return Ok(None);
    }
    Ok(Some((read(&entity, schemes)?, text)))
}

/// The policy that a snapshot keeps in this text, which was checked when the snapshot was built.
///
/// # Errors
/// When it is invalid all the same.
pub fn parse(text: &str) -> Result<Policy, String> {
    let entity = serde_json::from_str(text).map_err(|error| error.to_string())?;
    read(&entity, &Schemes::any())
}

fn read(entity: &PolicyEntity, schemes: &Schemes) -> Result<Policy, String> {
    let PolicyEntity { forward_path, active_from, max_clicks, fallback, .. } = entity;
    let scripts =
        Scripts::parse(entity.scripts.as_ref().unwrap_or(&Value::Null)).map_err(|invalid| invalid.to_string())?;
    let ends =
        [("activeUntil", &entity.active_until), ("expiresAt", &entity.expires_at), ("expiredAt", &entity.expired_at)];
    let (end, active_until) = ends.into_iter().find(|(_, end)| end.is_some()).unwrap_or(ends[0]);
    let PolicyEntity { password_hash, click_id_parameter, rules, variants, card, no_index, .. } = entity;
    let check = |raw: &str| destination::check(raw, schemes).map(String::into_boxed_str);
    let policy = Policy {
        forward_path: field("forwardPath", forward_path.as_ref(), self::forward_path)?.unwrap_or_default(),
        forward_only: entity.forward_only.iter().map(|name| name.as_str().into()).collect(),
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
    Ok(policy)
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

fn only(names: &[String]) -> Result<Vec<String>, String> {
    if names.is_empty() || names.len() > MAX_KEYS {
        return Err(format!(
            "`forwardParameters` lists {} keys; list 1 to {MAX_KEYS}, or write false to forward nothing",
            names.len()
        ));
    }
    if let Some(name) = names.iter().find(|name| name.is_empty() || name.len() > MAX_PARAMETER) {
        return Err(format!("`forwardParameters` has the key {name:?}; a key has 1 to {MAX_PARAMETER} bytes"));
    }
    Ok(names.to_vec())
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
