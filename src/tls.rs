//! TLS: certificates by server name, tickets that outlive the process, the settings of listeners, and certificates that
//! the edge obtains by itself.

#[cfg(feature = "acme")]
pub mod acme;
#[cfg(all(feature = "server", not(feature = "acme")))]
#[path = "tls/without_acme.rs"]
pub mod acme;
pub mod certificates;
#[cfg(any(feature = "nats", feature = "server", feature = "webhook"))]
pub mod client;
#[cfg(feature = "server")]
mod key_exchange;
pub mod metrics;
pub mod roots;
#[cfg(feature = "server")]
mod settings;
mod store;
mod tickets;

#[cfg(feature = "server")]
pub use acme::Acme;
pub use certificates::{CertificateError, CertificateWarning, Certificates, Inspected, Pair, folder::Folder};
#[cfg(feature = "server")]
pub use settings::{ServerConfigs, admin_config};
pub use store::CertificateStore;
pub use tickets::{Tickets, TicketsError, known_secret_of_this_machine, secret_of_this_machine};
