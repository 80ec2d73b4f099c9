//! Reads the alerts, and what is compared with them.

use std::{fs, path::Path};

/// An alert of `conf/prometheus/alerts.yml`.
#[derive(Debug, Default)]
pub struct Alert {
    pub name: String,
    pub expr: String,
    pub summary: String,
    pub runbook: String,
}

/// All alerts, in their order. The file is ours, and has one form.
pub fn alerts() -> Vec<Alert> {
    let text = super::read("conf/prometheus/alerts.yml");
    let alerts: Vec<_> = text.split("      - alert: ").skip(1).map(alert).collect();
    assert!(alerts.len() > 20);
    alerts
}

fn alert(text: &str) -> Alert {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix(key)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {key} in {text}")).to_owned()
    };
    let expr = text.split("expr: ").nth(1).and_then(|rest| rest.split("labels:").next()).unwrap().to_owned();
    Alert {
        name: text.lines().next().unwrap().to_owned(),
        expr,
        summary: value("summary"),
        runbook: value("runbook"),
    }
}

/// The value of a sample, by its full name with labels.
pub fn sample(exposition: &str, name: &str) -> f64 {
    let line = exposition.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {exposition}")).parse().unwrap()
}

/// The text of all files below a folder.
pub fn sources(dir: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}
