//! One order: from a name to its certificate.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order, OrderStatus,
    Problem, RetryPolicy,
};
use zeroize::Zeroizing;

use super::{
    challenge::{Challenges, is_token},
    folder::{Challenge, Folder},
    http::CaClient,
};
use crate::{
    config::{self, Challenge as Kind},
    runtime::clock,
};

/// Time for the CA to check a name, and again for it to make the certificate.
const POLLING: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).backoff(1.5).timeout(Duration::from_secs(60));

/// Seconds that a challenge is answered at most.
const OPEN: u64 = 300;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The CA says no.
    #[error("{}", describe(.0))]
    Rejected(Box<Problem>),
    /// The CA does not answer, or not as it should.
    #[error("{}", causes(.0))]
    Unreachable(Error),
    /// The CA has begun and does not come to an end.
    #[error("{}", causes(.0))]
    Unfinished(Error),
    #[error("the CA does not offer the challenge {0}; set `acme.challenge` to another one")]
    NotOffered(&'static str),
    /// What it sends cannot be used, or not be stored.
    #[error("{0}")]
    Folder(#[from] std::io::Error),
}

impl From<Error> for OrderError {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(problem) if !is_trouble_of_the_ca(&problem) => Self::Rejected(Box::new(problem)),
            error => Self::Unreachable(error),
        }
    }
}

impl OrderError {
    /// The kind of the CA's problem, such as `rateLimited`.
    pub fn kind(&self) -> Option<&str> {
        match self {
            Self::Rejected(problem) => kind(problem),
            Self::Unreachable(Error::Api(problem)) | Self::Unfinished(Error::Api(problem)) => kind(problem),
            _ => None,
        }
    }

    /// What the operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unfinished(_) => "wait: it is tried again",
            Self::Unreachable(_) => "check that this machine reaches the CA, and `acme.directory_url`",
            Self::NotOffered(_) => "set `acme.challenge` to another one",
            Self::Folder(_) => "check space and permissions of `acme.dir`",
            Self::Rejected(_) => match self.kind().unwrap_or_default() {
                "dns" => "let the name lead to this edge in DNS, or add it to `acme.exclude`",
                "connection" | "tls" => {
                    "let the CA reach this edge on port 80 (http-01) or 443 (tls-alpn-01) of the name"
                }
                "unauthorized" | "incorrectResponse" => {
                    "another server answers for the name: let it lead to this edge in DNS, all of its addresses"
                }
                "caa" => "allow the CA in the CAA record of the domain",
                "rateLimited" => "wait: it is tried again when the CA allows it",
                "rejectedIdentifier" | "unsupportedIdentifier" => "add the name to `acme.exclude`",
                "externalAccountRequired" => "choose a CA that gives certificates without an account made elsewhere",
                _ => "see the message of the CA",
            },
        }
    }
}

/// Obtains certificates of one CA.
pub struct Orders<'a> {
    pub config: &'a config::Acme,
    pub folder: &'a Folder,
    pub challenges: &'a Challenges,
    pub client: &'a CaClient,
}

impl Orders<'_> {
    /// The account in the folder, made if it is missing.
    ///
    /// # Errors
    /// When the CA or the folder does not agree.
    pub async fn account(&self) -> Result<Account, OrderError> {
        let builder = Account::builder_with_http(Box::new(self.client.clone()));
        if let Some(known) = self.folder.account()? {
            return Ok(builder.from_credentials(known).await?);
        }
        let contact: Vec<_> = self.config.contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: self.config.accept_terms,
            only_return_existing: false,
        };
        let (account, credentials) = builder.create(&new, self.config.directory_url.clone(), None).await?;
        self.folder.store_account(&credentials)?;
        tracing::info!(account = account.id(), "ACME account created");
        Ok(account)
    }

    /// Obtains a certificate, and stores it.
    ///
    /// # Errors
    /// When the CA or the folder does not agree.
    pub async fn obtain(&self, account: &Account, name: &str) -> Result<(), OrderError> {
        let identifiers = [Identifier::Dns(name.to_owned())];
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
        self.finish(&mut order, name).await.map_err(|error| match error {
            OrderError::Unreachable(error) => OrderError::Unfinished(error),
            error => error,
        })
    }

    async fn finish(&self, order: &mut Order, name: &str) -> Result<(), OrderError> {
        let mut open = Opened { folder: self.folder, challenges: self.challenges, tokens: Vec::new() };
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            // It may be that the CA has checked the name not long ago.
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let (kind, label) = match self.config.challenge {
                Kind::Http01 => (ChallengeType::Http01, "http-01"),
                Kind::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
            };
            let mut challenge = authorization.challenge(kind).ok_or(OrderError::NotOffered(label))?;
            // Before the CA learns that it may ask.
            open.answer(&Challenge {
                name: name.to_owned(),
                token: challenge.token.clone(),
                key_authorization: challenge.key_authorization().as_str().to_owned(),
                kind: self.config.challenge,
                until: clock::unix_secs() + OPEN,
            })?;
            challenge.set_ready().await?;
        }
        let checked = order.poll_ready(&POLLING).await;
        if !matches!(checked, Ok(OrderStatus::Ready)) {
            return Err(why(order, checked.err()).await);
        }
        drop(open);
        let key = Zeroizing::new(order.finalize().await?);
        let chain = order.poll_certificate(&POLLING).await?;
        self.folder.store_certificate(name, &chain, &key, clock::now())?;
        Ok(())
    }
}

/// Challenges that are answered until this is dropped.
struct Opened<'a> {
    folder: &'a Folder,
    challenges: &'a Challenges,
    tokens: Vec<String>,
}

impl Opened<'_> {
    fn answer(&mut self, challenge: &Challenge) -> std::io::Result<()> {
        if !is_token(challenge.token.as_bytes()) {
            return Err(std::io::Error::other("the CA gives a token that is no base64 for URLs"));
        }
        self.tokens.push(challenge.token.clone());
        self.folder.store_challenge(challenge)?;
        self.challenges.look(self.folder);
        Ok(())
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        for token in &self.tokens {
            self.folder.remove_challenge(token);
        }
        self.challenges.look(self.folder);
    }
}

/// Why a name was not accepted: the challenge says it best.
async fn why(order: &mut Order, error: Option<Error>) -> OrderError {
    if let Some(error) = error.filter(|error| !matches!(error, Error::Api(_) | Error::Timeout(_))) {
        return error.into();
    }
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { break };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.clone()) {
            return OrderError::Rejected(Box::new(problem));
        }
    }
    let no_answer = "the CA has not said whether it accepts the name";
    OrderError::Unreachable(order.state().error.clone().map_or(Error::Str(no_answer), Error::Api))
}

/// Whether a problem would be the same for every name.
fn is_trouble_of_the_ca(problem: &Problem) -> bool {
    matches!(kind(problem), Some("serverInternal" | "badNonce" | "accountDoesNotExist"))
        || kind(problem).is_none() && problem.status.is_some_and(|status| status >= 500)
}

fn kind(problem: &Problem) -> Option<&str> {
    Some(problem.r#type.as_deref()?.rsplit(':').next().unwrap_or_default())
}

fn describe(problem: &Problem) -> String {
    let detail = problem.detail.as_deref().unwrap_or("the CA gives no reason");
    let more = problem.subproblems.iter().filter_map(|problem| problem.detail.as_deref());
    let all = [detail].into_iter().chain(more).collect::<Vec<_>>().join("; ");
    match kind(problem) {
        Some(kind) => format!("{all} ({kind})"),
        None => all,
    }
}

/// An error with what caused it: the first one of a connection says little.
fn causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> OrderError {
        Error::Api(serde_json::from_str(text).unwrap()).into()
    }

    #[test]
    fn a_rejection_names_the_reason_and_the_remedy() {
        let error = problem(r#"{"type": "urn:ietf:params:acme:error:dns", "detail": "no such name"}"#);
        assert_eq!((error.to_string().as_str(), error.kind()), ("no such name (dns)", Some("dns")));
        assert!(matches!(error, OrderError::Rejected(_)) && error.remedy().contains("acme.exclude"));
        let limited = problem(r#"{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "x", "status": 503}"#);
        assert!(matches!(limited, OrderError::Rejected(_)) && limited.remedy().starts_with("wait"));
    }

    #[test]
    fn what_is_the_same_for_every_name_is_no_failure_of_one() {
        for text in [
            r#"{"type": "urn:ietf:params:acme:error:serverInternal", "detail": "x"}"#,
            r#"{"type": "urn:ietf:params:acme:error:accountDoesNotExist", "detail": "x"}"#,
            r#"{"detail": "x", "status": 502}"#,
        ] {
            assert!(matches!(problem(text), OrderError::Unreachable(_)), "{text}");
        }
    }
}
