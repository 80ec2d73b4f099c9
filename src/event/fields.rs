//! The fields of the event, by the published schema: what a feed can leave out.

use std::collections::BTreeMap;

use serde_json::Value;

use super::JSON_SCHEMA;

/// Why a field cannot be left out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BadField {
    /// The contract promises it wherever the object around it is: that is named, unless it is the event itself.
    Required {
        path: String,
        owner: Option<String>,
    },
    /// Several fields end like this.
    Ambiguous(Vec<String>),
    Unknown,
}

/// All fields.
#[derive(Clone, Debug)]
pub struct Fields {
    /// By path, `client.location.city`: whether the contract promises it.
    all: BTreeMap<String, bool>,
}

impl Fields {
    /// The fields of the published schema.
    pub fn of_schema() -> Self {
        let mut all = BTreeMap::new();
        // A test holds that the schema parses.
        let schema = serde_json::from_str(JSON_SCHEMA).unwrap_or_default();
        collect(&schema, &schema, "", &mut all);
        Self { all }
    }

    /// The paths.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }

    /// The path of a field that can be left out. The end of a path is enough if no other field ends so.
    ///
    /// # Errors
    /// When there is no such field, or the contract promises it.
    pub fn optional(&self, name: &str) -> Result<&str, BadField> {
        let ends_so = |path: &&str| path.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
        let exact = self.paths().find(|path| *path == name);
        let found: Vec<&str> = exact.map_or_else(|| self.paths().filter(ends_so).collect(), |path| vec![path]);
        match found[..] {
            [] => Err(BadField::Unknown),
            [path] if self.all.get(path) == Some(&true) => {
                let owner = path.rsplit_once('.').map(|(owner, _)| owner.to_owned());
                Err(BadField::Required { path: path.to_owned(), owner })
            }
            [path] => Ok(path),
            _ => Err(BadField::Ambiguous(found.into_iter().map(str::to_owned).collect())),
        }
    }
}

fn collect(schema: &Value, whole: &Value, path: &str, all: &mut BTreeMap<String, bool>) {
    let reference = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    let schema = reference.and_then(|place| whole.pointer(place)).unwrap_or(schema);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let is_required = schema["required"].as_array().is_some_and(|names| names.iter().any(|other| other == name));
        all.insert(below.clone(), is_required);
        collect(field, whole, &below, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_contract_does_not_promise_can_be_left_out() {
        let fields = Fields::of_schema();
        for (name, path) in [
            ("client.location", "client.location"),
            ("location", "client.location"),
            ("city", "client.location.city"),
            ("referral.path", "referral.path"),
            ("os.version", "client.agent.os.version"),
            ("client", "client"),
            ("route.params", "route.params"),
            ("quality", "quality"),
        ] {
            assert_eq!(fields.optional(name), Ok(path));
        }
        let required = |path: &str, owner: Option<&str>| {
            Err(BadField::Required { path: path.to_owned(), owner: owner.map(str::to_owned) })
        };
        assert_eq!(fields.optional("timestamp"), required("timestamp", None));
        assert_eq!(fields.optional("schema"), required("schema", None));
        assert_eq!(fields.optional("id"), required("id", None), "the event's own, and not a link's");
        assert_eq!(fields.optional("session.first"), required("client.session.first", Some("client.session")));
        assert_eq!(fields.optional("client.locaton"), Err(BadField::Unknown));
        assert_eq!(fields.optional(""), Err(BadField::Unknown));
        let Err(BadField::Ambiguous(paths)) = fields.optional("params") else { panic!("two fields end so") };
        assert_eq!(paths, ["route.destination.params", "route.params"]);
    }
}
