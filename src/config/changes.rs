//! Compares two configurations, key by key.

use toml::Value;

use super::Config;

/// The keys whose values differ, in the order of their names: `edge.pop`, `feeds[1].max_age_secs`.
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
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (i, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{key}[{i}]"), old, new, keys);
            }
        }
        (old, new) if old == new => {}
        _ => keys.push(key.to_owned()),
    }
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
        assert_eq!(changed_keys(&old, &new), ["edge.pop", "listeners[0].address", "upstream"]);
        assert_eq!(changed_keys(&old, &config("[catalog]\nfile = \"a\"\n[edge]\npop = \"ams1\"\n")), ["listeners"]);
    }
}
