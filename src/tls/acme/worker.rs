//! The thread that obtains certificates: looks every second whether something is due, and orders one at a time.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use instant_acme::Account;
use tokio::time::{sleep, timeout};

use super::{
    Names, Stores,
    challenge::Challenges,
    folder::{Folder, Held, Stamp},
    http::CaClient,
    ledger::Ledger,
    metrics::AcmeMetrics,
    order::{OrderError, Orders},
    plan::{self, Next, Validity},
};
use crate::{
    config::{self, acme::is_certifiable},
    runtime::clock,
    tls::Pair,
};

/// Time between two looks.
const TICK: Duration = Duration::from_secs(1);

/// Time between two looks at what does not announce its changes: certificates of the operator.
const REFRESH: Duration = Duration::from_secs(60);

/// Longest time of an order. The lock holds longer.
const ORDER: Duration = Duration::from_secs(180);

/// Ceiling of the first wait for a CA that does not answer.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// Ceiling of every wait for a CA that does not answer.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Obtains certificates until it is dropped.
pub struct Worker {
    pub config: config::Acme,
    pub folder: Folder,
    pub client: CaClient,
    pub challenges: Arc<Challenges>,
    pub stores: Arc<Stores>,
    pub names: Arc<Names>,
    pub metrics: Arc<AcmeMetrics>,
    pub view: View,
}

/// What is known of names, certificates and orders.
#[derive(Default)]
pub struct View {
    pub held: Held,
    ledger: Ledger,
    read: Option<(Option<Stamp>, u64, Instant)>,
    wanted: BTreeSet<Box<str>>,
    account: Option<Account>,
    /// Failures of the CA in a row, and until when nothing is asked of it.
    unreachable: u32,
    not_before: Option<Instant>,
}

impl Worker {
    /// Reads the folder, and passes its certificates to the listeners.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn read(&mut self) -> std::io::Result<()> {
        let seen = (self.folder.ledger_stamp(), self.names.version(), Instant::now());
        self.folder.read_certificates(&mut self.view.held, clock::now())?;
        self.view.ledger = self.folder.ledger();
        self.view.wanted = self.wanted();
        self.view.read = Some(seen);
        let wanted = &self.view.wanted;
        self.view.ledger.retain(clock::unix_secs(), wanted);
        self.challenges.set_names(wanted);
        self.stores.publish(self.view.held.pairs().map(Arc::clone).collect());
        let missing = wanted.iter().filter(|name| self.view.held.get(name).is_none()).count();
        self.metrics.certificates.set(self.view.held.pairs().count() as i64);
        self.metrics.missing.set(missing as i64);
        self.metrics.failing.set(self.view.ledger.failing(wanted) as i64);
        Ok(())
    }

    /// Obtains what is due, for ever.
    pub async fn run(mut self) {
        let mut unreadable = false;
        loop {
            if self.has_changed() {
                match self.read() {
                    Ok(()) => unreadable = false,
                    Err(error) => {
                        if !std::mem::replace(&mut unreadable, true) {
                            tracing::error!(%error, "cannot read the ACME folder; its certificates stay as they are");
                        }
                    }
                }
            }
            if unreadable || !self.step().await {
                sleep(TICK).await;
            }
        }
    }

    /// Makes an order if one is due. Returns whether there was something to do.
    async fn step(&mut self) -> bool {
        let now = clock::unix_secs();
        let Some(next) = self.next(now) else {
            self.metrics.next.set(0);
            return false;
        };
        self.metrics.next.set(next.at as i64);
        if next.at > now || self.view.not_before.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        let lock = match self.folder.lock(now) {
            Ok(Some(lock)) => lock,
            Ok(None) => return false,
            Err(error) => {
                self.wait_for_ca(None);
                tracing::error!(%error, "cannot lock the ACME folder; no certificate is obtained");
                return false;
            }
        };
        // Another edge may have been faster.
        let is_read = self.read().is_ok();
        if is_read && self.next(now).is_some_and(|again| again.name == next.name && again.at <= now) {
            self.order(&next).await;
        }
        drop(lock);
        is_read
    }

    async fn order(&mut self, next: &Next) {
        let name = &*next.name;
        self.view.ledger.ordered(clock::unix_secs());
        // Before the order: an edge that dies within it has made it, and what cannot be counted is not ordered.
        if let Err(error) = self.folder.store_ledger(&self.view.ledger) {
            self.wait_for_ca(None);
            let remedy = "check space and permissions of `acme.dir`";
            tracing::error!(%error, remedy, "cannot write the ACME folder; no certificate is obtained");
            return;
        }
        self.client.take_wanted();
        let result = timeout(ORDER, self.obtain(name)).await;
        let late = |_| Err(OrderError::Unfinished(instant_acme::Error::Str("the CA takes too long")));
        match result.unwrap_or_else(late) {
            Ok(()) => {
                self.view.ledger.succeeded(name);
                (self.view.unreachable, self.view.not_before) = (0, None);
                self.metrics.issued.inc();
                tracing::info!(domain = name, renewal = next.is_renewal, "certificate obtained");
            }
            Err(error) => self.failed(name, &error),
        }
        if let Err(error) = self.folder.store_ledger(&self.view.ledger).and_then(|()| self.read()) {
            tracing::warn!(%error, "cannot use the ACME folder");
        }
    }

    /// Decides when the name, or any, is ordered again.
    fn failed(&mut self, name: &str, error: &OrderError) {
        let (wanted, now) = (self.client.take_wanted(), clock::unix_secs());
        if error.kind() == Some("rateLimited") {
            self.view.ledger.pause(now, wanted.unwrap_or(0));
        }
        if error.kind() == Some("accountDoesNotExist")
            && let Some(account) = self.view.account.take()
        {
            self.folder.forget_account(account.id());
        }
        let (counter, message, retry_secs) = match error {
            OrderError::Rejected(_) => {
                let retry_at = self.view.ledger.failed(name, now, wanted);
                (&self.metrics.rejected, "the CA rejected an order", retry_at.saturating_sub(now))
            }
            OrderError::Unreachable(_) => {
                let wait = self.wait_for_ca(wanted).as_secs();
                (&self.metrics.unreachable, "a certificate could not be obtained", wait)
            }
            OrderError::Unfinished(_) | OrderError::NotOffered(_) | OrderError::Folder(_) => {
                self.wait_for_ca(wanted);
                let retry_at = self.view.ledger.failed(name, now, wanted);
                (&self.metrics.failed, "a certificate could not be obtained", retry_at.saturating_sub(now))
            }
        };
        counter.inc();
        let remedy = error.remedy();
        let is_past = |pair: &Arc<Pair>| u64::try_from(pair.inspected.not_after.as_second()).unwrap_or(0) <= now;
        if self.view.held.get(name).is_some_and(is_past) {
            tracing::error!(domain = name, %error, remedy, retry_secs, "certificate expired: {message}");
        } else {
            tracing::warn!(domain = name, %error, remedy, retry_secs, "{message}");
        }
    }

    async fn obtain(&mut self, name: &str) -> Result<(), OrderError> {
        let orders =
            Orders { config: &self.config, folder: &self.folder, challenges: &self.challenges, client: &self.client };
        let account = match &self.view.account {
            Some(account) => account.clone(),
            None => self.view.account.insert(orders.account().await?).clone(),
        };
        orders.obtain(&account, name).await
    }

    fn next(&self, now: u64) -> Option<Next> {
        let validity = |pair: &Arc<Pair>| Validity {
            from: u64::try_from(pair.inspected.not_before.as_second()).unwrap_or(0),
            to: u64::try_from(pair.inspected.not_after.as_second()).unwrap_or(0),
        };
        let View { wanted, held, ledger, .. } = &self.view;
        let mut next = plan::next(wanted, |name| held.get(name).map(validity), ledger, now)?;
        next.at = next.at.max(ledger.open_at(now, self.config.orders_per_hour));
        Some(next)
    }

    fn wanted(&self) -> BTreeSet<Box<str>> {
        let of_catalog = self.names.all();
        let of_catalog = of_catalog
            .iter()
            .filter(|name| self.config.catalog && is_certifiable(name) && !self.config.excludes(name));
        let listed = self.config.domains.iter().map(|name| name.as_str().into());
        let covered = self.stores.covered();
        of_catalog.cloned().chain(listed).filter(|name| !covered.contains(name)).collect()
    }

    fn has_changed(&self) -> bool {
        let Some((stamp, version, at)) = self.view.read else { return true };
        version != self.names.version() || stamp != self.folder.ledger_stamp() || at.elapsed() > REFRESH
    }

    /// Asks nothing of the CA for a random time, and for as long as it says.
    fn wait_for_ca(&mut self, wanted: Option<u64>) -> Duration {
        let ceiling = FIRST_WAIT.saturating_mul(1 << self.view.unreachable.min(16)).min(LONGEST_WAIT);
        self.view.unreachable = self.view.unreachable.saturating_add(1);
        let wait = TICK + ceiling.mul_f64(fastrand::f64());
        let wait = wait.max(Duration::from_secs(wanted.unwrap_or(0)));
        self.view.not_before = Instant::now().checked_add(wait);
        wait
    }
}
