//! Links and domains in bodies: JSON in the form of the catalog file, which names the same link as the path.

use serde_json::{Map, Value, json};

use super::{
    address::{self, Address},
    problem::{Kind, Problem},
};
use crate::{
    catalog::{
        change::{Condition, Operation, Shown},
        entity::lenient,
    },
    link::key::Host,
};

/// A change as it is asked for, before it is checked against the catalog.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Planned {
    pub address: Address,
    pub operation: Operation,
    pub condition: Condition,
    /// Id of the workspace that the body names.
    pub workspace: Option<String>,
    /// Other hosts that the body takes for its domain; those of a wildcard by what follows it.
    pub hosts: Vec<String>,
    /// The wildcards among them, see [`wildcards`].
    pub wildcards: Vec<String>,
}

impl Planned {
    /// Deletes a link or a domain.
    pub fn delete(address: Address, condition: Condition) -> Self {
        let domain = address.host.clone();
        let operation = match address.slashtag.clone() {
            Some(slashtag) => Operation::DeleteLink { domain, slashtag },
            None => Operation::DeleteDomain { domain },
        };
        Self { address, operation, condition, workspace: None, hosts: Vec::new(), wildcards: Vec::new() }
    }

    /// Makes a link or domain what a body says. It may name itself otherwise than the path, if that is the same: in
    /// another case, or by an alias.
    pub fn put(
        path: &Address,
        body: &[u8],
        condition: Condition,
        is_same: impl Fn(&Address, &Address) -> bool,
    ) -> Result<Self, Problem> {
        let object = object(body)?;
        let planned = match path.slashtag {
            Some(_) => Self::put_link(Some(path), object, condition)?,
            None => Self::put_domain(Some(path), object, condition)?,
        };
        if planned.address == *path || is_same(&planned.address, path) {
            return Ok(planned);
        }
        let field = match (planned.address.host == path.host, &path.slashtag) {
            (true, _) => "slashtag",
            (false, Some(_)) => "domain.fullName",
            (false, None) => "fullName",
        };
        let detail = format!(
            "the body is of `{}`, and the path of `{path}`: correct one of them, or leave `{field}` out",
            planned.address
        );
        Err(Problem::invalid(field, detail))
    }

    /// Makes a link or domain what it says, which names itself.
    pub fn put_named(object: Map<String, Value>, condition: Condition) -> Result<Self, Problem> {
        match object.get("kind").and_then(Value::as_str) {
            Some(kind) if kind.eq_ignore_ascii_case("domain") => Self::put_domain(None, object, condition),
            _ => Self::put_link(None, object, condition),
        }
    }

    fn put_link(path: Option<&Address>, mut link: Map<String, Value>, condition: Condition) -> Result<Self, Problem> {
        of_kind(&link, "link")?;
        let host = match (given(&link, "domain"), path) {
            (Some(value), _) => {
                let domain = lenient::domain(value).map_err(|error| unreadable("domain", &error))?;
                host(&domain.full_name, "domain.fullName")?
            }
            (None, Some(path)) => {
                link.insert("domain".into(), json!({ "fullName": path.host }));
                path.host.clone()
            }
            (None, None) => return Err(missing("domain", "write an object with `fullName`")),
        };
        let slashtag = match (given(&link, "slashtag"), path.and_then(|path| path.slashtag.as_ref())) {
            (Some(value), _) => normal(&lenient::text(value).map_err(|error| unreadable("slashtag", &error))?)?,
            (None, Some(slashtag)) => {
                link.insert("slashtag".into(), slashtag.as_str().into());
                slashtag.clone()
            }
            (None, None) => return Err(missing("slashtag", "write a text, empty for the link of the domain itself")),
        };
        let workspace = match given(&link, "workspace") {
            Some(value) => lenient::workspace(value).map_err(|error| unreadable("workspace", &error))?,
            None => None,
        };
        Ok(Self {
            address: Address { host, slashtag: Some(slashtag) },
            operation: Operation::PutLink { link: Value::Object(link).to_string() },
            condition,
            workspace: workspace.map(|workspace| workspace.id),
            hosts: Vec::new(),
            wildcards: Vec::new(),
        })
    }

    fn put_domain(
        path: Option<&Address>,
        mut domain: Map<String, Value>,
        condition: Condition,
    ) -> Result<Self, Problem> {
        of_kind(&domain, "domain")?;
        domain.insert("kind".into(), "domain".into());
        let field = if given(&domain, "fullName").is_some() { "fullName" } else { "name" };
        let host = match (given(&domain, field), path) {
            (Some(Value::String(name)), _) => host(name, field)?,
            (Some(_), _) => return Err(Problem::invalid(field, format!("`{field}` is not a text; write a host"))),
            (None, Some(path)) => {
                domain.insert("fullName".into(), path.host.as_str().into());
                path.host.clone()
            }
            (None, None) => return Err(missing("fullName", "write the host of the domain")),
        };
        // As the catalog reads it: in fewer forms than that of a link.
        let workspace = match given(&domain, "workspace") {
            Some(Value::Object(workspace)) => workspace.get("id").and_then(id),
            Some(value) => id(value),
            None => None,
        };
        let hosts = hosts(&domain);
        let wildcards = wildcards(&domain);
        Ok(Self {
            address: Address { host, slashtag: None },
            operation: Operation::PutDomain { domain: Value::Object(domain).to_string() },
            condition,
            workspace,
            hosts,
            wildcards,
        })
    }
}

/// A body that is a JSON object.
pub fn object(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    let malformed = |what: String| Problem::new(Kind::BadRequest, format!("{what}; send one JSON object in UTF-8"));
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(malformed("the JSON is not an object".into())),
        Err(error) if body.is_empty() => Err(malformed(format!("there is no body: {error}"))),
        Err(error) => Err(malformed(format!("the body is not JSON: {error}"))),
    }
}

/// The value of a field that is there and not null.
pub fn given<'o>(object: &'o Map<String, Value>, field: &str) -> Option<&'o Value> {
    object.get(field).filter(|value| !value.is_null())
}

/// The wildcards of a domain, each as the host that follows `*.`, in normal form. One that is invalid is left out: the
/// catalog rejects it.
pub fn wildcards(domain: &Map<String, Value>) -> Vec<String> {
    let hosts = aliases(domain).filter_map(|alias| Host::parse(alias.strip_prefix("*.")?.trim().as_bytes()).ok());
    hosts.map(|host| host.as_str().to_owned()).collect()
}

/// The other hosts of a domain, those of a wildcard by what follows it.
fn hosts(domain: &Map<String, Value>) -> Vec<String> {
    aliases(domain).map(|alias| alias.trim_start_matches("*.").to_owned()).collect()
}

/// The other hosts of a domain that the catalog has.
pub fn hosts_of(shown: &Shown) -> Vec<String> {
    object(shown.json.as_bytes()).map(|domain| hosts(&domain)).unwrap_or_default()
}

fn aliases(domain: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let aliases = given(domain, "aliases").and_then(Value::as_array).into_iter().flatten();
    aliases.filter_map(Value::as_str).map(str::trim)
}

fn of_kind(object: &Map<String, Value>, wanted: &str) -> Result<(), Problem> {
    match given(object, "kind") {
        None => Ok(()),
        Some(Value::String(kind)) if kind.is_empty() || kind.eq_ignore_ascii_case(wanted) => Ok(()),
        Some(_) => Err(Problem::invalid("kind", format!("`kind` can be {wanted:?} here, or be left out"))),
    }
}

fn host(name: &str, field: &str) -> Result<String, Problem> {
    match Host::parse(name.trim().as_bytes()) {
        Ok(host) => Ok(host.as_str().to_owned()),
        Err(error) => Err(Problem::invalid(field, format!("`{field}`: {error}"))),
    }
}

fn normal(slashtag: &str) -> Result<String, Problem> {
    address::normal(slashtag).map_err(|reason| Problem::invalid("slashtag", format!("`slashtag`: {reason}")))
}

fn unreadable(field: &str, error: &serde_json::Error) -> Problem {
    Problem::invalid(field, format!("`{field}`: {error}"))
}

fn missing(field: &str, remedy: &str) -> Problem {
    Problem::invalid(field, format!("`{field}` is missing; {remedy}"))
}

fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(path: &str, body: &Value) -> Result<Planned, Problem> {
        let address = Address::link("go.brand.com", path).unwrap();
        Planned::put(&address, body.to_string().as_bytes(), Condition::Always, |_, _| false)
    }

    fn written_link(planned: &Planned) -> Value {
        let Operation::PutLink { link } = &planned.operation else { panic!("{planned:?}") };
        serde_json::from_str(link).unwrap()
    }

    #[test]
    fn a_body_gets_the_domain_and_slashtag_of_its_path() {
        let planned =
            link("/caf%C3%A9", &json!({"id": 7, "destination": "https://e.example", "domain": null})).unwrap();
        let link = written_link(&planned);
        assert_eq!(link["domain"]["fullName"], "go.brand.com");
        assert_eq!((link["slashtag"].as_str(), link["id"].as_u64()), (Some("caf\u{e9}"), Some(7)));
        assert_eq!(planned.workspace, None);
    }

    #[test]
    fn a_body_that_agrees_with_its_path_is_kept_as_it_is() {
        let body = json!({"slashtag": "caf%C3%A9/", "domain": {"fullName": "GO.brand.com", "id": "d"},
            "workspace": {"id": "w-1"}, "extra": [1.5, {}]});
        let planned = link("/caf\u{e9}", &body).unwrap();
        assert_eq!(written_link(&planned), body);
        assert_eq!(planned.address.to_string(), "go.brand.com/caf\u{e9}");
        assert_eq!(planned.workspace.as_deref(), Some("w-1"));
        assert_eq!(link("/a", &json!({"workspace": 12})).unwrap().workspace.as_deref(), Some("12"));
    }

    #[test]
    fn a_body_that_contradicts_its_path_is_rejected_by_field() {
        let cases = [
            (json!({"slashtag": "b"}), "slashtag"),
            (json!({"slashtag": "A"}), "slashtag"),
            (json!({"slashtag": []}), "slashtag"),
            (json!({"domain": "other.brand.com"}), "domain.fullName"),
            (json!({"domain": {"fullName": "a b"}}), "domain.fullName"),
            (json!({"domain": 7}), "domain"),
            (json!({"kind": "domain"}), "kind"),
            (json!({"workspace": true}), "workspace"),
        ];
        for (body, field) in cases {
            let problem = link("/a", &body).unwrap_err();
            assert_eq!((problem.kind, problem.field.as_deref()), (Kind::Invalid, Some(field)), "{body}");
        }
        let address = Address::link("go.brand.com", "/a").unwrap();
        let planned = Planned::put(&address, br#"{"slashtag":"A"}"#, Condition::Always, |_, _| true).unwrap();
        assert_eq!(planned.address.to_string(), "go.brand.com/A", "the domain takes both as one");
        for body in ["", "[]", "7", "{", "{\"a\":1}x", "\u{feff}{}"] {
            let problem = Planned::put(&address, body.as_bytes(), Condition::Always, |_, _| true).unwrap_err();
            assert_eq!(problem.kind, Kind::BadRequest, "{body}");
        }
    }

    #[test]
    fn a_domain_is_known_by_its_kind() {
        let named = |body: Value| Planned::put_named(body.as_object().unwrap().clone(), Condition::Always);
        let planned =
            named(json!({"kind": "Domain", "fullName": "go.brand.com", "workspace": {"id": "w-1"}})).unwrap();
        assert_eq!((planned.address.to_string().as_str(), planned.address.noun()), ("go.brand.com", "domain"));
        assert_eq!(planned.workspace.as_deref(), Some("w-1"));
        assert!(
            matches!(planned.operation, Operation::PutDomain { domain } if domain.contains(r#""kind":"domain""#))
        );
        assert_eq!(named(json!({"kind": "domain"})).unwrap_err().field.as_deref(), Some("fullName"));
        assert_eq!(named(json!({"kind": "folder"})).unwrap_err().field.as_deref(), Some("kind"));
        assert_eq!(named(json!({"slashtag": "a"})).unwrap_err().field.as_deref(), Some("domain"));
        assert_eq!(named(json!({"domain": "a.example"})).unwrap_err().field.as_deref(), Some("slashtag"));
        let path = Address::domain("go.brand.com").unwrap();
        let put = |body: &str| Planned::put(&path, body.as_bytes(), Condition::Always, |_, _| false);
        assert!(put(r#"{"name": "go.brand.com"}"#).is_ok() && put("{}").is_ok());
        assert_eq!(put(r#"{"fullName": "b.example"}"#).unwrap_err().field.as_deref(), Some("fullName"));
    }
}
