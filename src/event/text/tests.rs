use std::borrow::Cow;

use proptest::{option, prelude::*};
use serde_json::{Value, json};

use super::{
    super::{AgentType, BotReason, Edge, Invalid, OptOut, OriginType, Query, Verdict},
    *,
};

/// Text with everything in it that could break JSON.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,40}",
        prop::collection::vec(
            prop_oneof![
                4 => prop::char::range('\0', '\u{7f}'),
                1 => any::<char>(),
                1 => prop::sample::select(vec!['"', '\\', '\u{2028}'])
            ],
            0..50
        )
        .prop_map(String::from_iter),
    ]
}

/// Without the members that are `null`.
fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(members) = &mut value {
        members.retain(|_, member| !member.is_null());
        for member in members.values_mut() {
            *member = without_nulls(member.take());
        }
    }
    value
}

fn query(pairs: &[(String, String)]) -> Option<Params<'_>> {
    let pair = |(name, value): &(String, String)| (name.clone().into(), value.clone().into());
    (!pairs.is_empty()).then(|| Params { query: Query(pairs.iter().map(pair).collect()) })
}

fn query_value(pairs: &[(String, String)]) -> Value {
    let pair = |(name, value): &(String, String)| json!({"name": name, "value": value});
    if pairs.is_empty() { Value::Null } else { json!({ "query": pairs.iter().map(pair).collect::<Value>() }) }
}

proptest! {
    #[test]
    fn a_text_is_written_as_a_json_parser_reads_it(text in text()) {
        let mut out = Vec::new();
        string(&text, &mut out);
        prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
    }

    /// Every member that is present is written, once and in its place, and no other.
    #[test]
    fn an_event_is_read_as_it_was_written(
        texts in prop::array::uniform16(text()),
        names in prop::array::uniform16(option::of(text())),
        members in prop::array::uniform8(any::<bool>()),
        degrees in prop::array::uniform2(option::of(prop_oneof![(-1_800..=1_800_i32).prop_map(|tenth| f64::from(tenth) / 10.0), Just(f64::NAN)])),
        params in prop::array::uniform2(prop::collection::vec((text(), text()), 0..4)),
        status: u16,
    ) {
        let name = |at: usize| names[at].as_deref();
        let owned = |at: usize| names[at].clone();
        let code = |code: &str, is_there: bool| is_there.then(|| Code::read(code.as_bytes())).flatten();
        let location = Location {
            country: code("pt", members[0]), region: code("A1z", members[1]), city: owned(2), latitude: degrees[0], longitude: degrees[1],
        };
        let bot = Bot { reason: BotReason::EmptyAgent, class: members[0].then_some(BotClass::SocialPreview), name: owned(3).map(Cow::from), verified: members[6] };
        let browser = Named { name: texts[0].clone().into(), version: owned(4) };
        let os = Named { name: texts[1].clone().into(), version: owned(5) };
        let device = members[5].then_some(Device::MobilePhone);
        let agent_text =
            AgentText::of(members[3].then_some(&browser), members[4].then_some(&os), device);
        let rendered = serde_json::value::to_raw_value(&json!({"id": texts[2]})).unwrap();
        let event = ClickEvent {
            id: &texts[3],
            schema: "click/1",
            timestamp: &texts[4],
            client: Client {
                language: name(6),
                location: members[1].then_some(&location),
                agent: Agent {
                    kind: AgentType::Human,
                    bot: members[2].then_some(&bot),
                    browser: members[3].then_some(&browser),
                    os: members[4].then_some(&os),
                    device,
                    text: members[7].then_some(&agent_text),
                },
                opt_out: members[4].then_some(if members[5] { OptOut::Gpc } else { OptOut::Dnt }),
                session: name(7).map(|started| Session { started, first: members[6] }),
            },
            referral: members[7].then(|| Referral {
                hostname: texts[5].as_str().into(),
                protocol: name(8).map(Cow::from),
                path: name(9).map(Cow::from),
                origin: members[0].then(|| Origin { kind: OriginType::Ai, name: name(10) }),
            }),
            route: Route {
                id: &texts[6],
                slashtag: &texts[7],
                created_at: name(11),
                params: query(&params[0]),
                creator: members[2].then_some(&rendered),
                domain: &rendered,
                tags: members[3].then_some(&rendered),
                scripts: members[4].then_some(&rendered),
                rule: name(12),
                variant: name(13),
                status,
                destination: Destination {
                    raw: &texts[8],
                    protocol: &texts[9],
                    hostname: &texts[10],
                    path: &texts[11],
                    params: query(&params[1]),
                },
            },
            quality: Quality {
                verdict: Verdict::Suspicious,
                reasons: if members[6] { vec!["scanner", "click-flood"] } else { Vec::new() },
                invalid: members[7].then_some(if members[6] { Invalid::Sophisticated } else { Invalid::General }),
            },
            edge: Edge { pop: &texts[12] },
        };
        let mut out = b"before ".to_vec();
        event.write(&mut out);
        let catalog = json!({"id": texts[2]});
        let expected = without_nulls(json!({
            "id": texts[3],
            "schema": "click/1",
            "timestamp": texts[4],
            "client": {
                "language": name(6),
                "location": members[1].then(|| json!({
                    "country": members[0].then_some("pt"), "region": members[1].then_some("a1z"), "city": name(2),
                    "latitude": degrees[0], "longitude": degrees[1],
                })),
                "agent": {
                    "type": "human",
                    "bot": members[2].then(|| json!({
                        "reason": "empty-agent", "class": members[0].then_some("social-preview"), "name": name(3),
                        "verified": members[6].then_some(true),
                    })),
                    "browser": members[3].then(|| json!({"name": texts[0], "version": name(4)})),
                    "os": members[4].then(|| json!({"name": texts[1], "version": name(5)})),
                    "device": members[5].then(|| json!({"name": "mobile-phone"})),
                },
                "optOut": members[4].then_some(if members[5] { "gpc" } else { "dnt" }),
                "session": name(7).map(|started| json!({"started": started, "first": members[6]})),
            },
            "referral": members[7].then(|| json!({
                "hostname": texts[5],
                "protocol": name(8),
                "path": name(9),
                "origin": members[0].then(|| json!({"type": "ai", "name": name(10)})),
            })),
            "route": {
                "id": texts[6],
                "slashtag": texts[7],
                "createdAt": name(11),
                "params": query_value(&params[0]),
                "creator": members[2].then_some(&catalog),
                "domain": catalog,
                "tags": members[3].then_some(&catalog),
                "scripts": members[4].then_some(&catalog),
                "rule": name(12),
                "variant": name(13),
                "status": status,
                "destination": {
                    "raw": texts[8],
                    "protocol": texts[9],
                    "hostname": Some(&texts[10]).filter(|text| !text.is_empty()),
                    "path": Some(&texts[11]).filter(|text| !text.is_empty()),
                    "params": query_value(&params[1]),
                },
            },
            "quality": {"verdict": "suspicious", "reasons": members[6].then_some(["scanner", "click-flood"]),
                "invalid": members[7].then_some(if members[6] { "sophisticated" } else { "general" })},
            "edge": {"pop": texts[12]},
        }));
        let written = std::str::from_utf8(&out[b"before ".len()..]).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(written).unwrap(), expected.clone());
        // A parser keeps the last of two members of one name: so many bytes leave no room for a second one.
        prop_assert_eq!(written.len(), serde_json::to_string(&expected).unwrap().len());
    }
}

#[test]
fn a_code_has_one_to_three_letters_or_digits() {
    for (text, code) in [("en", "en"), ("GB", "gb"), ("7", "7"), ("Eng", "eng")] {
        assert_eq!(Code::read(text.as_bytes()).unwrap().as_str(), code);
    }
    for text in ["", "engl", "e-", "\u{e9}"] {
        assert_eq!(Code::read(text.as_bytes()), None, "{text}");
    }
}
