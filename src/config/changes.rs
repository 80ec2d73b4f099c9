//! Compares two configurations, key by key.

use toml::Value;

use super::Config;

/// The keys whose values differ, in the order of their names: `edge.pop`, `feeds[1].max_age_secs`. Feeds and listeners
/// are compared by name and address, and numbered as in the new configuration; `feeds` alone means that one is removed.
pub fn changed_keys(old: &Config, new: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    compare("", &tree(old), &tree(new), &mut keys);
    keys
}

fn tree(config: &Config) -> Value {
    // A configuration that was read can be written.
    Value::try_from(config).unwrap_or(Value::Boolean(false))
}

fn compare(key: &str, old: &Value, new: &Value, keys: &mut Vec<String>) {
    match (old, new) {
        (Value::Table(old), Value::Table(new)) => {
            let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
            for name in names {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                match (old.get(name), new.get(name)) {
                    (Some(old), Some(new)) => compare(&key, old, new, keys),
                    _ => keys.push(key),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if old.iter().chain(new).all(|entry| name(entry).is_some()) => {
            let of_old = |name| old.iter().find(|entry| self::name(entry) == name);
            if old.iter().any(|entry| new.iter().all(|other| name(other) != name(entry))) {
                keys.push(key.to_owned());
            }
            for (i, new) in new.iter().enumerate() {
                match of_old(name(new)) {
                    Some(old) => compare(&format!("{key}[{i}]"), old, new, keys),
                    None => keys.push(format!("{key}[{i}]")),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (i, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{key}[{i}]"), old, new, keys);
            }
        }
        (old, new) if old == new => {}
        _ => keys.push(key.to_owned()),
    }
}

/// By what a listener or a feed is known.
fn name(entry: &Value) -> Option<&Value> {
    entry.get("name").or_else(|| entry.get("address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn every_changed_key_is_named_once() {
        let old =
            config("[edge]\npop = \"ams1\"\n[[listeners]]\naddress = \"127.0.0.1:80\"\n[catalog]\nfile = \"a\"\n");
        assert_eq!(changed_keys(&old, &old), [""; 0]);
        let new = config(
            "[edge]\npop = \"fra1\"\n[[listeners]]\naddress = \"127.0.0.1:81\"\n[catalog]\nfile = \"a\"\n\
             [upstream]\naddress = \"127.0.0.1:90\"\n",
        );
        assert_eq!(changed_keys(&old, &new), ["edge.pop", "listeners", "listeners[0]", "upstream"]);
        let feeds = |names: &[&str]| {
            let feed =
                |name| format!("[[feeds]]\nname = \"{name}\"\nworkspaces = [\"w-{name}\"]\nsink.dir.path = \"x\"\n");
            config(&names.iter().map(feed).collect::<String>())
        };
        let mut new = feeds(&["c", "b", "d"]);
        new.feeds[1].max_age_secs += 1;
        assert_eq!(changed_keys(&feeds(&["a", "b", "c"]), &new), ["feeds", "feeds[1].max_age_secs", "feeds[2]"]);
        assert_eq!(changed_keys(&old, &config("[catalog]\nfile = \"a\"\n[edge]\npop = \"ams1\"\n")), ["listeners"]);
    }
}
