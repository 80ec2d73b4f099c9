//! The API answers as its description says, whatever is sent: schemathesis makes requests of the description, and
//! checks the answers. It comes from `PyPI`; without it the test prints `skipped:` and passes.

use super::*;
use crate::loaders::tools::{self, Tool};

/// What is checked. The others hold requests to be right or wrong by the types of fields alone, where the catalog reads
/// a value in many forms, and checks more than types.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,unsupported_method,ignored_auth,\
                      allow_header_conformance,use_after_free,ensure_resource_availability";

#[test]
fn answers_are_as_described() {
    let Some(tool) = tools::get(Tool::Schemathesis) else { return };
    let (edge, tokens) = edge();
    let output = Command::new(tool.dir.join("env/bin/schemathesis"))
        .args(["run", &format!("http://{}/v1/openapi.json", edge.admin), "--no-color", "--warnings", "off"])
        .args(["--checks", CHECKS, "--continue-on-failure"])
        // What it finds by chance would fail some runs only.
        .args(["--generation-deterministic"])
        .args(["--max-examples", "30", "--header", &format!("Authorization: Bearer {}", tokens.all)])
        .env("SCHEMATHESIS_HOOKS", tools::file("tests/links_api/hooks.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(edge.dir())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(edge.sum("clickedge_api_requests_total") > 300, "{text}");
    assert!(!edge.log().contains("panicked"), "{}", edge.log());
}

#[test]
fn the_description_is_that_of_the_repository() {
    let edge = Edge::builder().start();
    let answer = ask(&edge, "", "GET", "/v1/openapi.json", &[], "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let file = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/conf/openapi.json")).unwrap();
    assert_eq!(answer.body, file);
}
