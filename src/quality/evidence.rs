//! A click as the judge of clicks sees it, the same at the redirect and in the workers.

use crate::click::{Facts, Flags, Protocol};
use crate::quality::{Claims, Evidence, Headers};

impl<'a> Facts<'a> {
    /// What the click itself shows, with what is known of its agent string. What must be remembered from click to
    /// click, or looked up, is left for the caller to add.
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
