//! The evidence of a click, the same at the redirect and in the workers.

use crate::{
    click::{Facts, Flags, Protocol},
    quality::{Claims, Evidence, Headers},
};

impl<'a> Facts<'a> {
    /// What the click itself shows, with the claims of its agent string. The caller adds what is remembered from click
    /// to click, or looked up.
    pub fn evidence(&self, agent: Claims) -> Evidence<'a> {
        let (texts, flags) = (&self.texts, self.flags);
        let mobile = match (flags.has(Flags::MOBILE), flags.has(Flags::NOT_MOBILE)) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            _ => None,
        };
        Evidence {
            path: texts.path,
            query: texts.query,
            referer: texts.referer,
            agent,
            headers: Headers {
                brands: texts.hint_brands,
                platform: texts.hint_platform,
                mobile,
                fetch_metadata: flags.has(Flags::FETCH_METADATA),
                tls: flags.has(Flags::TLS),
                http_1_0: self.protocol == Protocol::Http10,
            },
            enumeration: flags.has(Flags::ENUMERATION),
            ..Evidence::default()
        }
    }
}
