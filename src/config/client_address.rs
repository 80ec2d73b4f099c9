//! `[client_address]`: which address counts as the client's.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Section, findings::Findings};

/// Which address counts as the client's.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientAddress {
    /// Networks of the load balancers in front of this edge, whose hosts are trusted to name the client. A network that
    /// is too wide lets visitors claim any address.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// Name of the HTTP header in which they name the client. It is read from the right; the first address that is not
    /// trusted is the client.
    pub header: String,
}

impl Default for ClientAddress {
    fn default() -> Self {
        Self { trusted_proxies: Vec::new(), header: "x-forwarded-for".into() }
    }
}

impl Section for ClientAddress {
    fn rules(&self, _all: &Config, findings: &mut Findings) {
        let header = &self.header;
        if !is_http_field_name(header) {
            findings.error(
                "client_address.header",
                format!("must be the name of an HTTP header, is {header:?}"),
                "write the name alone, such as `x-forwarded-for`",
            );
        }
        for (i, network) in self.trusted_proxies.iter().enumerate() {
            if network.prefix_len() == 0 {
                findings.warning(
                    format!("client_address.trusted_proxies[{i}]"),
                    "trusts every host, so that any visitor may claim any address",
                    "name the networks of your load balancers only",
                );
            }
        }
    }
}

/// A token as RFC 9110 has it.
fn is_http_field_name(value: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !value.is_empty() && value.bytes().all(token)
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::{each_is_a_warning, each_is_an_error};

    #[test]
    fn headers_and_networks_are_checked() {
        each_is_an_error(&[
            ("client_address.header", "is \"\"", |c| c.client_address.header.clear()),
            ("client_address.header", "is \"x forwarded\"", |c| c.client_address.header = "x forwarded".into()),
        ]);
        each_is_a_warning(&[("client_address.trusted_proxies[0]", "every host", |c| {
            c.client_address.trusted_proxies = vec!["0.0.0.0/0".parse().unwrap()];
        })]);
    }
}
