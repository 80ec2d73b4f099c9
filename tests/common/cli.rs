//! The binary as an operator runs it: arguments in, exit code and text out.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

/// Exit code and output of a run.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs it.
pub fn clickedge(arguments: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clickedge"));
    let Output { status, stdout, stderr } = command.args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: status.code().unwrap(), stdout: text(stdout), stderr: text(stderr) }
}

/// Runs `clickedge spool` on the folder of an edge, running or not.
pub fn spool(dir: &Path, what: &str, arguments: &[&str]) -> Outcome {
    let config = dir.join("clickedge.toml");
    clickedge(&[&["spool", what, "--config", config.to_str().unwrap()], arguments].concat())
}

impl Outcome {
    /// It succeeded without a word on standard error: what it printed.
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

    /// It failed with this code and message, and printed nothing else.
    #[track_caller]
    pub fn fails(&self, code: i32, message: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
        assert!(self.stderr.contains(message), "{} does not contain {message:?}", self.stderr);
    }
}
