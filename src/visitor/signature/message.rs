//! A click as a signed message: the values of the components that it holds.

use web_bot_auth::{
    components::{CoveredComponent, DerivedComponent, HTTPField, HTTPFieldParameters},
    message_signatures::SignedMessage,
};

use crate::click::{
    Texts,
    wire::{MAX_HEADER, MAX_QUERY},
};

/// The texts of a click that a signature may cover.
pub(super) struct ClickMessage<'a> {
    agent: &'a str,
    input: &'a str,
    signature: &'a str,
    texts: &'a Texts<'a>,
}

impl<'a> ClickMessage<'a> {
    /// `None` when one of the three headers is missing, was cut, or is not ASCII.
    pub fn of(texts: &'a Texts<'a>) -> Option<Self> {
        let [agent, input, signature] =
            [texts.signature_agent, texts.signature_input, texts.signature].map(|text| whole(text, MAX_HEADER));
        Some(Self { agent: agent?, input: input?, signature: signature?, texts })
    }

    /// The addresses in `Signature-Agent`: all that stands in quotes.
    pub fn agents(&self) -> impl Iterator<Item = &'a str> {
        self.agent.split('"').skip(1).step_by(2)
    }

    /// The keys that `Signature-Input` names.
    pub fn key_ids(&self) -> impl Iterator<Item = &'a str> {
        self.input.split("keyid=\"").skip(1).filter_map(|rest| rest.split('"').next())
    }

    /// A member of `Signature-Agent` as a dictionary, if it is a string without parameters: `agent2="https://…"`.
    fn agent_member(&self, key: &str) -> Option<String> {
        let mut quoted = false;
        let members = self.agent.split(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        // The last of several members with one key counts.
        let values = members.filter_map(|member| member.trim().strip_prefix(key)?.strip_prefix('='));
        values.last().filter(|value| value.starts_with('"') && value.ends_with('"')).map(str::to_owned)
    }

    fn field(&self, name: &str) -> Option<&'a str> {
        match name {
            "signature-agent" => Some(self.agent),
            "signature-input" => Some(self.input),
            "signature" => Some(self.signature),
            "user-agent" => whole(self.texts.user_agent, MAX_HEADER),
            "referer" => whole(self.texts.referer, MAX_HEADER),
            "accept-language" => whole(self.texts.accept_language, MAX_HEADER),
            _ => None,
        }
    }

    fn value(&self, component: &CoveredComponent) -> Option<String> {
        match component {
            CoveredComponent::HTTP(HTTPField { name, parameters }) => match &parameters.0[..] {
                [] => self.field(name).map(str::to_owned),
                [HTTPFieldParameters::Key(key)] if name == "signature-agent" => self.agent_member(key),
                _ => None,
            },
            CoveredComponent::Derived(DerivedComponent::Authority { req: false }) => {
                whole(self.texts.host, MAX_HEADER).map(str::to_owned)
            }
            CoveredComponent::Derived(DerivedComponent::Path { req: false }) => {
                whole(self.texts.path, MAX_HEADER).map(str::to_owned)
            }
            CoveredComponent::Derived(DerivedComponent::Query { req: false }) => {
                let query = std::str::from_utf8(self.texts.query).ok().filter(|query| query.len() < MAX_QUERY)?;
                query.is_ascii().then(|| format!("?{query}"))
            }
            CoveredComponent::Derived(_) => None,
        }
    }
}

impl SignedMessage for ClickMessage<'_> {
    fn lookup_component(&self, component: &CoveredComponent) -> Vec<String> {
        self.value(component).into_iter().collect()
    }
}

/// A text that is there, was not cut, and is ASCII.
fn whole(text: &[u8], limit: usize) -> Option<&str> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii())?;
    (!text.is_empty() && text.len() < limit).then_some(text)
}
