//! `POST /v1/links:batch`: many changes in one request, one JSON object a line.
//!
//! | line | change |
//! |---|---|
//! | `{"op":"put","link":{...}}` | as `PUT` of the link |
//! | `{"op":"delete","domain":"go.brand.com","slashtag":"spring"}` | as `DELETE` of the link |
//! | a link or domain as in the catalog file | as `PUT` of it |
//!
//! Each can have `ifMatch` and `ifNoneMatch`, with what the header would have. The answer has a line for each line that
//! is not empty, in their order: `{"line":1,"status":201,"revision":7,"etag":"\"...\""}`, or `status` and `problem`.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    address::Address,
    apply::Applied,
    body::{MAX_ITEM, too_large},
    condition,
    entity::{Planned, given, object},
    problem::{Kind, Problem, ProblemJson},
};
use crate::runtime::priority;

/// Most changes of a batch.
pub const MOST: usize = 10_000;

/// A batch that was read.
pub struct Batch {
    /// The changes of its lines.
    pub planned: Vec<Planned>,
    /// The numbers of the lines, counted from 1, and what is wrong with those that are no change.
    lines: Vec<(u64, Option<Problem>)>,
}

/// The result of a line.
#[derive(Serialize)]
struct ResultJson<'r> {
    line: u64,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemJson<'r>>,
}

impl Batch {
    /// Reads the lines of a batch.
    ///
    /// # Errors
    /// When there are too many. What is wrong with one of them does not keep the others from being read.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let mut batch = Self { planned: Vec::new(), lines: Vec::new() };
        for (number, line) in (1..).zip(body.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            if batch.lines.len() == MOST {
                let detail = format!("the batch has more than {MOST} changes; send them in several batches");
                return Err(Problem::new(Kind::TooLarge, detail));
            }
            priority::give_way();
            let planned = if line.len() > MAX_ITEM { Err(too_large(MAX_ITEM)) } else { plan(line) };
            let problem = planned.map(|planned| batch.planned.push(planned)).err();
            batch.lines.push((number, problem));
        }
        Ok(batch)
    }

    /// The answer: a line for each.
    pub fn answer(self, applied: impl IntoIterator<Item = Applied>) -> Vec<u8> {
        let mut applied = applied.into_iter();
        let mut body = Vec::new();
        for (number, problem) in self.lines {
            priority::give_way();
            let result = match problem {
                Some(problem) => Err(problem),
                None => applied.next().unwrap_or_else(|| Err(Problem::new(Kind::Unavailable, "try again"))),
            };
            // A text cannot fail to be written.
            _ = serde_json::to_writer(&mut body, &ResultJson::of(number, &result));
            body.push(b'\n');
        }
        body
    }
}

impl<'r> ResultJson<'r> {
    fn of(line: u64, result: &'r Applied) -> Self {
        match result {
            Ok(accepted) => Self {
                line,
                status: super::status_of(accepted).as_u16(),
                revision: Some(accepted.revision),
                etag: accepted.etag.as_deref(),
                problem: None,
            },
            Err(problem) => Self {
                line,
                status: problem.kind.parts().0.as_u16(),
                revision: None,
                etag: None,
                problem: Some(problem.json(Some(line))),
            },
        }
    }
}

fn plan(line: &[u8]) -> Result<Planned, Problem> {
    let mut line = object(line)?;
    let (if_match, if_none_match) = (condition(&mut line, "ifMatch")?, condition(&mut line, "ifNoneMatch")?);
    let condition = condition::of(if_match.as_deref(), if_none_match.as_deref())?;
    match line.get("op") {
        None => Planned::put_named(line, condition),
        Some(Value::String(op)) if op == "put" => match line.remove("link") {
            Some(Value::Object(link)) => Planned::put_named(link, condition),
            _ => Err(Problem::invalid("link", "`link` is not an object; write the link as in the catalog file")),
        },
        Some(Value::String(op)) if op == "delete" => {
            let text = |field: &str| {
                given(&line, field).and_then(Value::as_str).ok_or_else(|| {
                    Problem::invalid(field, format!("`{field}` is missing or not a text; it names the link"))
                })
            };
            Ok(Planned::delete(Address::named(text("domain")?, text("slashtag")?)?, condition))
        }
        Some(_) => Err(Problem::invalid("op", "`op` can be \"put\" or \"delete\"; a link without it is put")),
    }
}

/// Takes a condition out of a line: it is not of the link.
fn condition(line: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Problem> {
    match line.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Problem::invalid(name, format!("`{name}` is not a text; write what the header would have"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::change::{Accepted, Condition, Operation};

    fn one(line: &str) -> Result<Planned, Problem> {
        let mut batch = Batch::read(line.as_bytes()).unwrap();
        assert_eq!(batch.lines.len(), 1);
        batch.lines.remove(0).1.map_or_else(|| Ok(batch.planned.remove(0)), Err)
    }

    #[test]
    fn a_line_is_a_change() {
        let link = r#"{"slashtag":"a","domain":"go.brand.com"}"#;
        let put = one(&format!(r#"{{"op":"put","link":{link},"ifNoneMatch":"*"}}"#)).unwrap();
        assert_eq!((put.address.to_string().as_str(), put.condition), ("go.brand.com/a", Condition::Absent));
        let bare = one(r#"{"slashtag":"a","domain":"go.brand.com","ifMatch":"\"1\""}"#).unwrap();
        assert_eq!(bare.condition, Condition::Matches(vec!["\"1\"".into()]));
        assert_eq!(bare.operation, put.operation, "the condition is not of the link");
        let delete = one(r#"{"op":"delete","domain":"GO.brand.com","slashtag":"a%20b","ifMatch":"*"}"#).unwrap();
        let operation = Operation::DeleteLink { domain: "go.brand.com".into(), slashtag: "a b".into() };
        assert_eq!((delete.operation, delete.condition), (operation, Condition::Present));
        let root = one(r#"{"op":"delete","domain":"go.brand.com","slashtag":""}"#).unwrap();
        assert_eq!(root.address.slashtag.as_deref(), Some(""));
        let domain = one(r#"{"kind":"domain","fullName":"go.brand.com"}"#).unwrap();
        assert_eq!(domain.address.noun(), "domain");
    }

    #[test]
    fn a_wrong_line_is_rejected_by_field() {
        let cases = [
            (r#"{"op":"delete","domain":"go.brand.com"}"#, Some("slashtag")),
            (r#"{"op":"delete","domain":7,"slashtag":"a"}"#, Some("domain")),
            (r#"{"op":"delete","domain":"a b","slashtag":"a"}"#, Some("domain")),
            (r#"{"op":"move"}"#, Some("op")),
            (r#"{"op":1}"#, Some("op")),
            (r#"{"op":"put","link":[]}"#, Some("link")),
            (r#"{"op":"put"}"#, Some("link")),
            (r#"{"slashtag":"a","domain":"a.example","ifMatch":1}"#, Some("ifMatch")),
            ("7", None),
            ("{", None),
        ];
        for (line, field) in cases {
            assert_eq!(one(line).unwrap_err().field.as_deref(), field, "{line}");
        }
    }

    #[test]
    fn each_line_has_its_result_in_order() {
        let body = "\r\n{\n{\"op\":\"delete\",\"domain\":\"a.example\",\"slashtag\":\"a\"}\r\n\n";
        let batch = Batch::read(body.as_bytes()).unwrap();
        let deleted = Accepted { revision: 8, etag: None, created: false, unchanged: false };
        let written = String::from_utf8(batch.answer([Ok(deleted)])).unwrap();
        let results: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((results[0]["line"].as_u64(), results[0]["status"].as_u64()), (Some(2), Some(400)));
        assert_eq!(results[0]["problem"]["line"], 2);
        assert_eq!(results[1], serde_json::json!({"line": 3, "status": 204, "revision": 8}));
    }

    #[test]
    fn a_batch_has_a_bound() {
        assert_eq!(Batch::read("7\n".repeat(MOST).as_bytes()).unwrap().lines.len(), MOST);
        assert_eq!(Batch::read("7\n".repeat(MOST + 1).as_bytes()).err().unwrap().kind, Kind::TooLarge);
        assert_eq!(one(&format!("\"{}\"", "a".repeat(MAX_ITEM))).unwrap_err().kind, Kind::TooLarge);
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_rejected(
            body in "[{}:,\"\n]{0,40}|(\\{\"op\":\"(put|delete)\",\"(link|domain)\":\\PC{0,20}\\}\n){1,3}"
        ) {
            if let Ok(batch) = Batch::read(body.as_bytes()) {
                let lines = batch.lines.len();
                let answer = batch.answer(std::iter::repeat_n(Err(Problem::new(Kind::Conflict, "")), lines));
                prop_assert_eq!(answer.split(|byte| *byte == b'\n').count(), lines + 1);
            }
        }
    }
}
