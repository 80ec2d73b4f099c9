//! What an operator can do when no request was sent, by errors of the SDK.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::dns::ResolveDnsError;

use crate::deliver::remedy::{NO_NAME, chain};

/// `None` when the error is not one of the SDK's own.
pub(super) fn of_cause(error: &(dyn Error + 'static)) -> Option<&'static str> {
    chain(error).find_map(|cause| match cause.downcast_ref::<CredentialsError>() {
        Some(error) => Some(of_credentials(error)),
        None => cause.is::<ResolveDnsError>().then_some(NO_NAME),
    })
}

fn of_credentials(error: &CredentialsError) -> &'static str {
    match error {
        CredentialsError::CredentialsNotLoaded(_) => {
            "configure credentials: `credentials_file` or `profile` of the feed's sink, or the service's environment"
        }
        CredentialsError::InvalidConfiguration(_) => "correct the credentials file or profile of the feed's sink",
        CredentialsError::ProviderTimedOut(_) => {
            "check the network between this machine and the source of credentials"
        }
        _ => "check `assume_role` of the feed's sink, the role's trust policy and the credentials that assume it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_names_have_remedies_of_their_own() {
        let causes: [(Box<dyn Error>, &str); 2] = [
            (Box::new(ResolveDnsError::new("no such name")), "name resolution"),
            (Box::new(CredentialsError::not_loaded("no file")), "`credentials_file`"),
        ];
        for (cause, part) in causes {
            assert!(of_cause(&*cause).is_some_and(|remedy| remedy.contains(part)), "{cause}");
        }
        assert_eq!(of_cause(&std::io::Error::other("reset")), None);
    }
}
