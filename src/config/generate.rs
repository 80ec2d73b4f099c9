//! Writes the default configuration, with every key and its meaning.
//!
//! The text comes from the schema of [`Config`], that is from the doc comments of the fields, so that no key is
//! missing. What a schema does not know is in two tables below: the sections that are live although they have no
//! default, and examples for keys without one. A key or section that is commented out is written `# key = value`;
//! without the `# ` the file is valid, as long as one sink is kept.

use serde_json::{Map, Value};

use super::Config;

const HEADER: &str = "\
# Configuration of clickedge, with every key.
#
# Live values are the defaults, except in [[listeners]] and [[feeds]], which have no defaults: a
# file needs only the keys that it changes. Values that are commented out are examples. Relative
# paths are taken from the folder of this file. A file with an unknown key, a wrong type or a value
# out of range is rejected as a whole.
#
#   clickedge check FILE          reports what is wrong with a file, and where
#   clickedge generate config     prints this one
";

/// Columns of a line.
const WIDTH: usize = 100;

/// Sections that are written live although the default does not have them.
const LIVE: &[&str] = &["listeners", "feeds", "feeds.sink.dir"];

/// Values for keys without a default, and for keys of commented sections whose default would show little.
const EXAMPLES: &[(&str, &str)] = &[
    ("listeners.address", r#""0.0.0.0:8080""#),
    ("listeners.certificates_dir", r#""/etc/clickedge/certificates""#),
    ("listeners.tls.certificate_file", r#""/etc/clickedge/tls/example.com.pem""#),
    ("listeners.tls.key_file", r#""/etc/clickedge/tls/example.com.key""#),
    ("telemetry.otlp.endpoint", r#""http://127.0.0.1:4318/v1/metrics""#),
    ("telemetry.otlp.headers_file", r#""/etc/clickedge/otlp-headers""#),
    ("telemetry.otlp.ca_file", r#""/etc/clickedge/collector-ca.pem""#),
    ("tls.ticket_secret_file", r#""/etc/clickedge/tickets.key""#),
    ("acme.accept_terms", "true"),
    ("acme.contact", r#"["mailto:certificates@example.com"]"#),
    ("acme.catalog", "true"),
    ("acme.domains", r#"["www.example.com"]"#),
    ("acme.exclude", r#"["parked.example.com"]"#),
    ("acme.root_file", r#""/etc/clickedge/ca.pem""#),
    ("catalog.state_dir", r#""/var/lib/clickedge/catalog""#),
    ("catalog.fleet.canary", "true"),
    ("catalog.fleet.hold_until_canary_secs", "300"),
    ("catalog.fleet.bucket.bucket", r#""example-catalog""#),
    ("catalog.fleet.bucket.prefix", r#""links""#),
    ("catalog.fleet.bucket.region", r#""eu-west-1""#),
    ("catalog.fleet.bucket.endpoint", r#""https://minio.example.com:9000""#),
    ("catalog.fleet.bucket.path_style", "true"),
    ("catalog.fleet.bucket.credentials_file", r#""/etc/clickedge/catalog-credentials""#),
    ("catalog.fleet.bucket.profile", r#""catalog""#),
    ("catalog.fleet.bucket.encryption", r#"{ kms = { key_id = "alias/catalog" } }"#),
    ("catalog.fleet.bucket.acl", r#""bucket-owner-full-control""#),
    ("catalog.fleet.bucket.storage_class", r#""STANDARD_IA""#),
    ("catalog.fleet.bucket.tags", r#"{ source = "clickedge" }"#),
    ("catalog.fleet.bucket.expected_bucket_owner", r#""123456789012""#),
    ("catalog.fleet.bucket.assume_role.role_arn", r#""arn:aws:iam::123456789012:role/catalog""#),
    ("catalog.fleet.bucket.assume_role.external_id", r#""a-long-id-that-the-owner-chose""#),
    ("catalog.fleet.bucket.assume_role.sts_endpoint", r#""https://minio.example.com:9000""#),
    ("catalog.fleet.nats.servers", r#"["nats://10.0.0.4:4222"]"#),
    ("catalog.fleet.nats.credentials_file", r#""/etc/clickedge/nats.creds""#),
    ("catalog.fleet.nats.ca_file", r#""/etc/clickedge/nats-ca.pem""#),
    ("catalog.domains", r#""go.example.com""#),
    ("catalog.domains.case", r#""insensitive""#),
    ("catalog.domains.hsts", r#""max-age=31536000; includeSubDomains""#),
    ("redirect.no_track_parameter", r#""notrack""#),
    ("upstream.address", r#""10.0.0.80:443""#),
    ("upstream.tls", "true"),
    ("upstream.server_name", r#""www.example.com""#),
    ("enrich.geoip_file", r#""/var/lib/clickedge/GeoLite2-City.mmdb""#),
    ("enrich.asn_file", r#""/var/lib/clickedge/GeoLite2-ASN.mmdb""#),
    ("enrich.hosting_networks_file", r#""/etc/clickedge/hosting.txt""#),
    ("enrich.anonymizer_networks_file", r#""/etc/clickedge/anonymizer.txt""#),
    ("enrich.crawlers_file", r#""/var/lib/clickedge/crawler-user-agents.json""#),
    ("enrich.search_engines_file", r#""/var/lib/clickedge/SearchEngines.yml""#),
    ("enrich.socials_file", r#""/var/lib/clickedge/Socials.yml""#),
    ("enrich.ai_assistants_file", r#""/var/lib/clickedge/AIAssistants.yml""#),
    ("enrich.spammers_file", r#""/var/lib/clickedge/spammers.txt""#),
    ("enrich.signed_agents_file", r#""/etc/clickedge/signed-agents.json""#),
    ("enrich.session_key_file", r#""/etc/clickedge/session.key""#),
    ("enrich.workspaces", r#""w-1""#),
    ("enrich.workspaces.location", r#""country""#),
    ("enrich.workspaces.honour_opt_out", "true"),
    ("quality.blocked_domains_file", r#""/var/lib/clickedge/blocked-domains.txt""#),
    ("quality.blocked_urls_file", r#""/var/lib/clickedge/blocked-urls.txt""#),
    ("feeds.name", r#""all-clicks""#),
    ("feeds.workspaces", r#"["*"]"#),
    ("feeds.only", r#""human""#),
    ("feeds.sink.dir.path", r#""/var/lib/clickedge/feeds""#),
    ("feeds.sink.s3.bucket", r#""example-clicks""#),
    ("feeds.sink.s3.prefix", r#""clicks/brand""#),
    ("feeds.sink.s3.region", r#""eu-west-1""#),
    ("feeds.sink.s3.endpoint", r#""https://minio.example.com:9000""#),
    ("feeds.sink.s3.path_style", "true"),
    ("feeds.sink.s3.credentials_file", r#""/etc/clickedge/credentials""#),
    ("feeds.sink.s3.profile", r#""clicks""#),
    ("feeds.sink.s3.encryption", r#"{ kms = { key_id = "alias/clicks" } }"#),
    ("feeds.sink.s3.acl", r#""bucket-owner-full-control""#),
    ("feeds.sink.s3.storage_class", r#""STANDARD_IA""#),
    ("feeds.sink.s3.tags", r#"{ source = "clickedge" }"#),
    ("feeds.sink.s3.expected_bucket_owner", r#""123456789012""#),
    ("feeds.sink.s3.assume_role.role_arn", r#""arn:aws:iam::123456789012:role/clicks""#),
    ("feeds.sink.s3.assume_role.external_id", r#""a-long-id-that-the-customer-chose""#),
    ("feeds.sink.s3.assume_role.sts_endpoint", r#""https://minio.example.com:9000""#),
    ("feeds.sink.webhook.url", r#""https://hooks.example.com/clicks""#),
    ("feeds.sink.webhook.secret_files", r#"["/etc/clickedge/webhook.secret"]"#),
    ("feeds.sink.webhook.ca_file", r#""/etc/clickedge/receiver-ca.pem""#),
    ("feeds.sink.nats.servers", r#"["nats://10.0.0.4:4222"]"#),
    ("feeds.sink.nats.subject", r#""clicks.brand""#),
    ("feeds.sink.nats.stream", r#""CLICKS""#),
    ("feeds.sink.nats.credentials_file", r#""/etc/clickedge/nats.creds""#),
    ("feeds.sink.nats.ca_file", r#""/etc/clickedge/nats-ca.pem""#),
    ("feeds.sink.custom.name", r#""archive""#),
    ("admin.socket", r#""/run/clickedge/admin.sock""#),
    ("admin.tokens_file", r#""/etc/clickedge/tokens""#),
    ("admin.tls.certificate_file", r#""/etc/clickedge/admin.pem""#),
    ("admin.tls.key_file", r#""/etc/clickedge/admin.key""#),
];

/// The default configuration as a commented file: the content of `conf/clickedge.toml`.
pub fn default_toml() -> String {
    let schema = Value::from(schemars::schema_for!(Config));
    let mut writer = Writer { definitions: &schema["$defs"], out: HEADER.to_owned() };
    writer.properties(&schema, "", true);
    writer.out
}

struct Writer<'a> {
    definitions: &'a Value,
    out: String,
}

/// How a property is written.
enum Shape<'a> {
    /// `key = value`
    Value,
    /// `[key]`
    Section(&'a Value),
    /// `[[key]]`
    List(&'a Value),
    /// `[key."name"]`
    Named(&'a Value),
    /// `[key.choice]`
    Choices(Vec<(&'a String, &'a Value)>),
}

impl<'a> Writer<'a> {
    /// Values before sections, as TOML wants it.
    fn properties(&mut self, schema: &'a Value, path: &str, live: bool) {
        let mut sections = Vec::new();
        for (key, property) in object(&schema["properties"]) {
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match self.shape(property) {
                Shape::Value => self.value(key, &inner, property, live),
                shape => sections.push((inner, property, shape)),
            }
        }
        for (path, property, shape) in sections {
            self.section(&path, property, shape, live);
        }
    }

    fn section(&mut self, path: &str, property: &'a Value, shape: Shape<'a>, live: bool) {
        let shown = LIVE.contains(&path);
        match shape {
            Shape::Value => {}
            Shape::Section(schema) => {
                let live = live && property["default"].is_object();
                self.header(text(property), &format!("[{path}]"), live);
                self.properties(schema, path, live);
            }
            Shape::List(schema) => {
                self.header(text(property), &format!("[[{path}]]"), live && shown);
                self.properties(schema, path, live && shown);
            }
            Shape::Named(schema) => {
                let name = example(path).unwrap_or("\"name\"");
                self.header(text(property), &format!("[{path}.{name}]"), false);
                self.properties(schema, path, false);
            }
            Shape::Choices(choices) => {
                let names: Vec<String> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
                self.out.push('\n');
                self.comment(&format!("{} Exactly one of: {}.", text(property), names.join(", ")), "");
                for (name, schema) in choices {
                    let path = format!("{path}.{name}");
                    let live = live && LIVE.contains(&path.as_str());
                    self.header(text(schema), &format!("[{path}]"), live);
                    self.properties(schema, &path, live);
                }
            }
        }
    }

    fn header(&mut self, doc: &str, header: &str, live: bool) {
        self.out.push('\n');
        self.comment(doc, "");
        self.line(header, live);
    }

    fn value(&mut self, key: &str, path: &str, property: &'a Value, live: bool) {
        let default = Some(&property["default"]).filter(|default| !default.is_null());
        let example = example(path);
        let shown = match (default, example) {
            (Some(default), None) => literal(default),
            (Some(default), Some(_)) if live => literal(default),
            (_, Some(example)) => example.to_owned(),
            // A test checks that every such key has an example.
            (None, None) => "\"\"".to_owned(),
        };
        self.out.push('\n');
        self.comment(text(property), "");
        for choice in self.choices(property) {
            self.comment(&choice, "  ");
        }
        if let Some(default) = default.map(literal).filter(|default| *default != shown) {
            self.comment(&format!("Default: {default}"), "");
        }
        // A key that may be absent by default stays absent, unless the section cannot do without it.
        let optional = property.get("default").is_some_and(Value::is_null);
        self.line(&format!("{key} = {shown}"), live && !optional);
    }

    /// The meaning of each choice of an enumeration.
    fn choices(&self, property: &'a Value) -> Vec<String> {
        let mut lines = Vec::new();
        for choice in array(&self.resolve(property)["oneOf"]) {
            if let Some(name) = choice["const"].as_str() {
                lines.push(format!("- {name:?}: {}", text(choice)));
            }
            for (name, settings) in object(&choice["properties"]) {
                let settings = object(&settings["properties"]);
                let settings: Vec<String> =
                    settings.map(|(name, schema)| format!(" `{name}`: {}", text(schema))).collect();
                lines.push(format!("- {{ {name} = {{ ... }} }}: {}{}", text(choice), settings.concat()));
            }
        }
        lines
    }

    fn shape(&self, property: &'a Value) -> Shape<'a> {
        let schema = self.resolve(property);
        if schema["properties"].is_object() {
            return Shape::Section(schema);
        }
        let named = self.resolve(&schema["additionalProperties"]);
        if named["properties"].is_object() {
            return Shape::Named(named);
        }
        let items = self.resolve(&schema["items"]);
        if items["properties"].is_object() {
            return Shape::List(items);
        }
        // A choice whose settings are a type of their own is large enough for a section.
        let mut choices = Vec::new();
        for choice in array(&schema["oneOf"]) {
            for (name, settings) in object(&choice["properties"]) {
                if settings["$ref"].is_string() {
                    choices.push((name, self.resolve(settings)));
                }
            }
        }
        if choices.is_empty() { Shape::Value } else { Shape::Choices(choices) }
    }

    /// Follows references, and looks through "or null".
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let present = array(&schema["anyOf"]).iter().find(|choice| choice["type"] != "null").unwrap_or(schema);
        let name = present["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/"));
        name.and_then(|name| self.definitions.get(name)).unwrap_or(present)
    }

    /// Wrapped words behind `# `; lines after the first are indented by `hanging`.
    fn comment(&mut self, text: &str, hanging: &str) {
        let mut line = "#".to_owned();
        for word in text.split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.line(&line, true);
                line = format!("#{hanging}");
            }
            line.push(' ');
            line.push_str(word);
        }
        self.line(&line, true);
    }

    fn line(&mut self, content: &str, live: bool) {
        if !live {
            self.out.push_str("# ");
        }
        self.out.push_str(content);
        self.out.push('\n');
    }
}

fn example(path: &str) -> Option<&'static str> {
    EXAMPLES.iter().find(|(key, _)| *key == path).map(|(_, example)| *example)
}

fn text(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// The value as TOML; long whole numbers in groups of three.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.as_u64().map_or_else(|| number.to_string(), grouped),
        Value::String(text) => toml::Value::from(text.as_str()).to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Object(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{key} = {}", literal(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../conf/clickedge.toml");

    #[test]
    fn the_shipped_file_is_what_is_generated() {
        assert!(
            default_toml() == SHIPPED,
            "conf/clickedge.toml is out of date: clickedge generate config > conf/clickedge.toml"
        );
    }

    #[test]
    fn every_key_of_the_schema_is_written() {
        let schema = Value::from(schemars::schema_for!(Config));
        let text = default_toml();
        let mut keys = Vec::new();
        collect_keys(&schema, &mut keys);
        assert!(keys.len() > 50, "{keys:?}");
        for key in keys {
            let as_value = format!("{key} = ");
            let as_section = [format!("[{key}]"), format!(".{key}]"), format!(".{key}.\""), format!("[{key}.\"")];
            assert!(
                key == "sink" || text.contains(&as_value) || as_section.iter().any(|section| text.contains(section)),
                "{key} is missing"
            );
        }
    }

    #[test]
    fn the_file_has_no_problems() {
        let config: Config = toml::from_str(&default_toml()).unwrap();
        assert_eq!(config.problems(), []);
    }

    #[test]
    fn the_file_has_no_problems_with_every_commented_key_live() {
        for sink in ["dir", "s3", "webhook", "nats", "custom"] {
            let all: Vec<String> = default_toml().lines().map(uncommented).collect();
            let all = with_one_sink(&all, sink).join("\n");
            let config: Config = toml::from_str(&all).unwrap_or_else(|error| panic!("{error}\n{all}"));
            // Of two examples that exclude each other, one is found. The only listener has no `acme`, and has TLS.
            let excluded = ["feeds[0].rollups", "acme", "acme.challenge"];
            let problems = config.problems();
            let problems: Vec<_> = problems.iter().filter(|problem| !excluded.contains(&&*problem.key)).collect();
            assert!(problems.is_empty(), "{sink}: {problems:?}");
            assert!(config.upstream.is_some());
            assert_eq!(config.catalog.domains.len(), 1);
            let live = serde_json::to_value(&config.feeds[0].sink).unwrap();
            let values = live[sink].as_object().expect("the sink is live").values();
            assert_eq!(values.filter(|value| value.is_null()).count(), 0, "{live}");
        }
    }

    fn uncommented(line: &str) -> String {
        if is_commented_key(line) { line[2..].to_owned() } else { line.to_owned() }
    }

    /// The lines without the sections of the other sinks.
    fn with_one_sink<'a>(lines: &'a [String], sink: &str) -> Vec<&'a str> {
        let mut inside_another = false;
        let keep = |line: &&str| {
            if line.starts_with('[') {
                let of_a_sink = line.strip_prefix("[feeds.sink.");
                inside_another = of_a_sink.is_some_and(|rest| rest.split(['.', ']']).next() != Some(sink));
            }
            !inside_another
        };
        lines.iter().map(String::as_str).filter(keep).collect()
    }

    #[test]
    fn live_values_are_the_defaults() {
        let config: Config = toml::from_str(&default_toml()).unwrap();
        let mut live = serde_json::to_value(&config).unwrap();
        let mut default = serde_json::to_value(Config::default()).unwrap();
        for key in ["listeners", "feeds"] {
            live[key].take();
            default[key].take();
        }
        assert_eq!(live, default);

        let minimal =
            "[[feeds]]\nname = 'all-clicks'\nworkspaces = ['*']\nsink.dir.path = '/var/lib/clickedge/feeds'";
        let minimal: Config = toml::from_str(minimal).unwrap();
        assert_eq!(serde_json::to_value(&config.feeds).unwrap(), serde_json::to_value(&minimal.feeds).unwrap());
    }

    #[test]
    fn every_example_belongs_to_a_key() {
        let text = default_toml();
        for line in text.lines().filter(|line| is_commented_key(line)) {
            assert!(!line.ends_with("= \"\""), "no example for {line}");
        }
        for (path, example) in EXAMPLES {
            assert!(text.contains(example), "{path} is not a key any more");
        }
    }

    #[test]
    fn no_line_is_too_wide() {
        for line in default_toml().lines().filter(|line| line.starts_with("# ")) {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    fn is_commented_key(line: &str) -> bool {
        let Some(rest) = line.strip_prefix("# ") else { return false };
        let key = rest.split_once(" = ").is_some_and(|(key, _)| {
            !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        });
        key || (rest.starts_with('[') && rest.ends_with(']'))
    }

    fn collect_keys(schema: &Value, keys: &mut Vec<String>) {
        match schema {
            Value::Object(entries) => {
                for (name, inner) in entries {
                    if name == "properties" {
                        keys.extend(object(inner).map(|(key, _)| key.clone()));
                    }
                    collect_keys(inner, keys);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect_keys(item, keys)),
            _ => {}
        }
    }
}
