//! The facts of a click, borrowed from the request and its link.

use super::{ClientAddr, EventId, Flags};

/// What a click consists of. Texts that visitors send may hold any bytes.
pub struct Facts<'a> {
    pub id: EventId,
    /// When the request was answered, microseconds since the Unix epoch.
    pub micros: u64,
    pub client: ClientAddr,
    /// HTTP status of the answer.
    pub status: u16,
    pub protocol: Protocol,
    pub flags: Flags,
    pub texts: Texts<'a>,
}

/// The HTTP version of the visitor's request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub enum Protocol {
    /// Behind a trusted proxy, whose own connection says nothing about the visitor's.
    #[default]
    Unknown = 0,
    Http10 = 1,
    Http11 = 2,
    Http2 = 3,
}

impl Protocol {
    pub(super) fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Http10,
            2 => Self::Http11,
            3 => Self::Http2,
            _ => Self::Unknown,
        }
    }
}

/// The texts of a click.
#[derive(Clone, Copy, Default)]
pub struct Texts<'a> {
    pub user_agent: &'a [u8],
    pub referer: &'a [u8],
    pub accept_language: &'a [u8],
    /// `Sec-CH-UA-Full-Version-List`, else `Sec-CH-UA`.
    pub hint_brands: &'a [u8],
    /// `Sec-CH-UA-Platform`.
    pub hint_platform: &'a [u8],
    /// `Sec-CH-UA-Platform-Version`.
    pub hint_platform_version: &'a [u8],
    /// `Sec-CH-UA-Form-Factors`.
    pub hint_form_factors: &'a [u8],
    /// `X-Requested-With`, in which Android names the application around a web view.
    pub requested_with: &'a [u8],
    /// Raw query of the short link, without `?`.
    pub query: &'a [u8],
    /// Raw path of the short link.
    pub path: &'a [u8],
    /// Where the visitor was sent.
    pub destination: &'a [u8],
    pub link_id: &'a [u8],
    pub slashtag: &'a [u8],
    pub created_at: &'a [u8],
    pub workspace: &'a [u8],
    /// The branded host.
    pub host: &'a [u8],
    /// The event's `route.creator`, `route.domain`, `route.tags`, `route.scripts`, rendered as JSON; empty for none.
    pub creator_json: &'a [u8],
    pub domain_json: &'a [u8],
    pub tags_json: &'a [u8],
    pub scripts_json: &'a [u8],
    /// Name of the rule that chose the destination; empty for none.
    pub rule: &'a [u8],
    /// Name of the variant that chose the destination; empty for none.
    pub variant: &'a [u8],
    /// `Signature-Agent`, in which a bot that signs its requests names itself.
    pub signature_agent: &'a [u8],
    /// `Signature-Input` and `Signature` of such a bot; empty for all others.
    pub signature_input: &'a [u8],
    pub signature: &'a [u8],
    /// The location that a rule has looked up, encoded; empty when none has.
    pub location: &'a [u8],
}

/// The visit that a click belongs to. A worker notes it in the click's ring, so that a click that is read again after
/// a crash still belongs to the same visit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Visit {
    /// When its first click was answered, microseconds since the Unix epoch; not 0.
    pub started: u64,
    /// Whether this is its first click.
    pub first: bool,
}

impl Visit {
    pub(crate) fn encode(self) -> [u8; 8] {
        (self.started << 1 | u64::from(self.first)).to_le_bytes()
    }

    pub(super) fn decode(word: u64) -> Option<Self> {
        (word != 0).then_some(Self { started: word >> 1, first: word & 1 == 1 })
    }
}
