#![allow(clippy::unwrap_used)]

use std::fs;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use web_bot_auth::message_signatures::GenerateSignature;

use super::*;
use crate::{
    click::{ClientAddr, EventId, Flags, Protocol, Texts},
    event::BotClass,
};

/// The private key of RFC 9421, B.1.4 (`test-key-ed25519`).
const KEY: [u8; 32] = [
    0x9f, 0x83, 0x62, 0xf8, 0x7a, 0x48, 0x4a, 0x95, 0x4e, 0x6e, 0x74, 0x0c, 0x5b, 0x4c, 0x0e, 0x84, 0x22, 0x91, 0x39,
    0xa2, 0x0a, 0xa8, 0xab, 0x56, 0xff, 0x66, 0x58, 0x6f, 0x6a, 0x7d, 0x29, 0xc5,
];
const KEY_ID: &str = "poqkLGiymh_W0uP6PZFw-dvez3QJT5SolqXBCW38r0U";
const AGENT: &str = r#""https://signature-agent.test""#;
/// When the vectors of the draft were created.
const CREATED: i64 = 1_735_689_600;

fn agents() -> SignedAgents {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agents.json");
    let keys = json!([{"kty": "OKP", "crv": "Ed25519", "x": "JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"}]);
    let text = json!({"https://signature-agent.test": {"name": "test-agent", "class": "ai", "keys": keys}});
    fs::write(&file, text.to_string()).unwrap();
    SignedAgents::read(&file).unwrap()
}

fn facts<'a>(second: i64, texts: &Texts<'a>) -> Facts<'a> {
    Facts {
        id: EventId::at(0),
        micros: second as u64 * 1_000_000,
        client: ClientAddr::from_ip([192, 0, 2, 1].into()),
        status: 302,
        protocol: Protocol::Http11,
        flags: Flags::default(),
        texts: *texts,
    }
}

fn verify(second: i64, texts: &Texts<'_>) -> Result<Bot, SignatureResult> {
    SignatureVerifier::default().verify(&facts(second, texts), &agents()).unwrap()
}

/// Signs components, each with its value, and returns `Signature-Input` and `Signature`.
fn sign(components: &[(&str, &str)], created: i64, expires: i64) -> (String, String) {
    let names: Vec<_> = components.iter().map(|(name, _)| *name).collect();
    let params = format!(
        r#"({});created={created};keyid="{KEY_ID}";alg="ed25519";expires={expires};tag="web-bot-auth""#,
        names.join(" ")
    );
    let lines: Vec<_> = components.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let base = format!("{}\"@signature-params\": {params}", lines.concat());
    let signature = KEY.generate_signature(Algorithm::Ed25519, base.as_bytes()).unwrap();
    (format!("sig={params}"), format!("sig=:{}:", STANDARD.encode(&signature)))
}

fn texts<'a>(agent: &'a str, (input, signature): &'a (String, String)) -> Texts<'a> {
    Texts {
        host: b"example.com",
        path: b"/spring",
        query: b"a=1",
        user_agent: b"Mozilla/5.0 (X11; Linux x86_64)",
        signature_agent: agent.as_bytes(),
        signature_input: input.as_bytes(),
        signature: signature.as_bytes(),
        ..Texts::default()
    }
}

/// A signature as the profile asks for it, in its time.
fn usual() -> (String, String) {
    sign(&[(r#""@authority""#, "example.com"), (r#""signature-agent""#, AGENT)], CREATED, CREATED + 3_600)
}

fn test_agent() -> Bot {
    let name = Some("test-agent".into());
    Bot { reason: BotReason::Agent, class: Some(BotClass::Ai), name, verified: true }
}

#[test]
fn the_vectors_of_the_draft_are_verified() {
    // Signature-Agent as a string (E.2.2), and as a dictionary (E.2.1), whose validity of a century is against the
    // draft's own advice: its signature is right, and it is outside the window.
    let string = (
        format!(
            r#"sig2=("@authority" "signature-agent");created=1735689600;keyid="{KEY_ID}";alg="ed25519";expires=1735693200;nonce="e8N7S2MFd/qrd6T2R3tdfAuuANngKI7LFtKYI/vowzk4lAZYadIX6wW25MwG7DCT9RUKAJ0qVkU0mEeLElW1qg==";tag="web-bot-auth""#
        ),
        "sig2=:jdq0SqOwHdyHr9+r5jw3iYZH6aNGKijYp/EstF4RQTQdi5N5YYKrD+mCT1HA1nZDsi6nJKuHxUi/5Syp3rLWBA==:".to_owned(),
    );
    assert_eq!(verify(CREATED + 1, &texts(AGENT, &string)), Ok(test_agent()));
    assert_eq!(verify(CREATED + 3_600, &texts(AGENT, &string)), Err(SignatureResult::OutsideWindow));

    let dictionary = (
        format!(
            r#"sig2=("@authority" "signature-agent";key="agent2");created=1735689600;keyid="{KEY_ID}";alg="ed25519";expires=4889289600;nonce="n9p433xm+NJ3ph3upfBIGmsuwHw387YV7Q/F+6BSpGCVjYCqQw6rznNA8PVVLySrAWsv0hQtFioQb6E1YsauiA==";tag="web-bot-auth""#
        ),
        "sig2=:RdNFx5Bj6au3YgAMQL/RzmUlZE8QZLIaXGRpw985hWnwPfMxT228NMk6ehRS1PSl4e8PhbNZACSanGdhEwYCCg==:".to_owned(),
    );
    let agent = r#"agent2="https://signature-agent.test""#;
    assert_eq!(verify(CREATED + 1, &texts(agent, &dictionary)), Err(SignatureResult::OutsideWindow));
    let texts = texts(agent, &dictionary);
    let verifier = WebBotAuthVerifier::parse(&ClickMessage::of(&texts).unwrap()).unwrap();
    let agents = agents();
    let keys = agents.find("signature-agent.test").unwrap().keys_at(KEY_ID, CREATED).unwrap();
    assert!(verifier.verify(keys, None).is_ok());
}

#[test]
fn every_component_that_a_click_holds_may_be_covered() {
    let agent = r#"other="https://other.example", a="https://signature-agent.test""#;
    let signed = sign(
        &[
            (r#""@authority""#, "example.com"),
            (r#""@path""#, "/spring"),
            (r#""@query""#, "?a=1"),
            (r#""user-agent""#, "Mozilla/5.0 (X11; Linux x86_64)"),
            (r#""signature-agent";key="a""#, r#""https://signature-agent.test""#),
        ],
        CREATED,
        CREATED + MAX_VALIDITY_SECS,
    );
    assert_eq!(verify(CREATED, &texts(agent, &signed)), Ok(test_agent()));
}

#[test]
fn a_component_that_a_click_does_not_hold_is_not_verified() {
    for component in [r#""@method""#, r#""cookie""#, r#""referer""#, r#""@authority";req"#, r#""user-agent";bs"#] {
        let signed = sign(
            &[(r#""@authority""#, "example.com"), (r#""signature-agent""#, AGENT), (component, "GET")],
            CREATED,
            CREATED + 60,
        );
        assert_eq!(verify(CREATED, &texts(AGENT, &signed)), Err(SignatureResult::Uncovered), "{component}");
    }
}

#[test]
fn a_signature_of_another_request_is_invalid() {
    let signed = usual();
    let of = |change: fn(&mut Texts<'static>)| {
        let mut texts = texts(AGENT, Box::leak(Box::new(signed.clone())));
        change(&mut texts);
        verify(CREATED, &texts)
    };
    assert_eq!(of(|_| {}), Ok(test_agent()));
    assert_eq!(of(|texts| texts.host = b"other.example"), Err(SignatureResult::Invalid));
    assert_eq!(
        of(|texts| texts.signature_agent = br#""https://signature-agent.test/x""#),
        Err(SignatureResult::Invalid)
    );
    let other = (signed.0.replace("created=1735689600", "created=1735689601"), signed.1.clone());
    assert_eq!(verify(CREATED, &texts(AGENT, &other)), Err(SignatureResult::Invalid));
    let other = (signed.0.clone(), signed.1.replace("sig=:", "sig=:AAAA"));
    assert_eq!(verify(CREATED, &texts(AGENT, &other)), Err(SignatureResult::Invalid));
}

#[test]
fn a_signature_counts_only_in_its_time() {
    let of = |created, expires, now| {
        let signed = sign(&[(r#""@authority""#, "example.com"), (r#""signature-agent""#, AGENT)], created, expires);
        verify(now, &texts(AGENT, &signed))
    };
    let outside = Err(SignatureResult::OutsideWindow);
    assert_eq!(of(CREATED, CREATED + 60, CREATED + 59), Ok(test_agent()));
    assert_eq!(of(CREATED, CREATED + 60, CREATED + 60), outside, "expired");
    assert_eq!(of(CREATED + 60, CREATED + 120, CREATED), Ok(test_agent()), "a clock that is ahead");
    assert_eq!(of(CREATED + 61, CREATED + 120, CREATED), outside, "created later");
    assert_eq!(of(CREATED, CREATED + MAX_VALIDITY_SECS + 1, CREATED), outside, "valid for too long");
    assert_eq!(of(i64::from(i32::MIN), i64::from(i32::MAX), CREATED), outside);
}

#[test]
fn an_unknown_agent_or_key_is_not_verified() {
    let signed = usual();
    for agent in [r#""https://other.example""#, r#""data:application/json,{}""#, "signature-agent.test", "x=1"] {
        assert_eq!(verify(CREATED, &texts(agent, &signed)), Err(SignatureResult::UnknownAgent), "{agent}");
    }
    let other = (signed.0.replace(KEY_ID, "other"), signed.1.clone());
    assert_eq!(verify(CREATED, &texts(AGENT, &other)), Err(SignatureResult::UnknownKey));
    let empty = SignedAgents::default();
    let result = SignatureVerifier::default().verify(&facts(CREATED, &texts(AGENT, &signed)), &empty);
    assert_eq!(result, Some(Err(SignatureResult::UnknownAgent)));
}

#[test]
fn headers_that_are_not_as_the_profile_says_are_malformed() {
    let (input, signature) = usual();
    let inputs = [
        input.replace("web-bot-auth", "other"),
        input.replace(";expires=1735693200", ""),
        input.replace(r#" "signature-agent""#, ""),
        input.replace("ed25519", "rsa-pss-sha512"),
        input.replace("sig=", "other="),
        format!("{input}{}", "x".repeat(4_096)),
        format!(r#"x"keyid="{KEY_ID}""#),
        format!(r#"keyid="{KEY_ID}"\u{{e9}}é"#),
    ];
    for input in inputs {
        let signed = (input, signature.clone());
        assert_eq!(verify(CREATED, &texts(AGENT, &signed)), Err(SignatureResult::Malformed), "{}", signed.0);
    }
    assert_eq!(verify(CREATED, &texts(AGENT, &(input.clone(), String::new()))), Err(SignatureResult::Malformed));
    assert_eq!(verify(CREATED, &texts(AGENT, &(input, "sig=1".into()))), Err(SignatureResult::Malformed));
}

#[test]
fn a_flood_of_wrong_signatures_is_verified_no_more_often_than_the_bound() {
    let (agents, signed) = (agents(), usual());
    let wrong = (signed.0.clone(), signed.1.replace("sig=:", "sig=:AAAA"));
    let mut verifier = SignatureVerifier::default();
    let mut of = |second, signed| verifier.verify(&facts(second, &texts(AGENT, signed)), &agents).unwrap();
    for _ in 0..MAX_FAILURES {
        assert_eq!(of(CREATED, &signed), Ok(test_agent()));
        assert_eq!(of(CREATED, &wrong), Err(SignatureResult::Invalid));
    }
    assert_eq!(of(CREATED, &wrong), Err(SignatureResult::Skipped));
    assert_eq!(of(CREATED, &signed), Err(SignatureResult::Skipped), "which is which is not known before");
    assert_eq!(of(CREATED + 1, &signed), Ok(test_agent()));
}

#[test]
fn a_click_without_the_header_has_no_result() {
    let texts = Texts { signature_input: b"sig=()", signature: b"sig=::", ..Texts::default() };
    assert!(SignatureVerifier::default().verify(&facts(CREATED, &texts), &agents()).is_none());
}

proptest::proptest! {
    #[test]
    fn any_headers_have_a_result(agent in ".{0,60}", input in ".{0,200}", signature in ".{0,100}") {
        let agent = format!("{AGENT}{agent}");
        let input = format!(r#"sig=("@authority" "signature-agent");keyid="{KEY_ID}"{input}"#);
        assert!(verify(CREATED, &texts(&agent, &(input, signature))).is_err());
    }
}
