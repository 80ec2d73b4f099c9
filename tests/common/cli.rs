//! The binary as an operator runs it: arguments in, exit code and text out.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

/// What it said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs it.
pub fn clickedge(arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clickedge"));
    let Output { status, stdout, stderr } = command.args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code().unwrap(), stdout: text(stdout), stderr: text(stderr) }
}

/// Runs `spool` of an edge that lives in this folder, whether it runs or not.
pub fn spool(dir: &Path, what: &str, arguments: &[&str]) -> Said {
    let config = dir.join("clickedge.toml");
    clickedge(&[&["spool", what, "--config", config.to_str().unwrap()], arguments].concat())
}

impl Said {
    /// It succeeded and had nothing to complain about: what it printed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{}", self.stdout);
        self.stdout
    }

    /// Likewise, as one JSON value.
    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.ok()).expect("JSON")
    }

    /// Likewise, as one event a line.
    #[track_caller]
    pub fn events(self) -> Vec<Value> {
        self.ok().lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
    }

    /// It failed with this code, printed nothing, and said this.
    #[track_caller]
    pub fn fails(&self, code: i32, message: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
        assert!(self.stderr.contains(message), "{} does not say {message:?}", self.stderr);
    }
}
