//! Makes changes for a token: checks its scope, asks for the changes, and records what became of each.
//!
//! A token without the right to all workspaces changes only what belongs to one of its own, before and after. Another
//! change may come between this check and the change itself. So each change is tied to the version that was checked:
//! if it is another one by then, both are repeated.

use std::collections::HashSet;

use super::{
    View,
    entity::{self, Planned},
    metrics::{ApiMetrics, Outcome},
    problem::{Kind, Problem},
};
use crate::{
    catalog::{
        change::{Accepted, Change, Changes, Condition, Operation, Refused, Shown, Unavailable},
        tokens::{Grant, Scope},
    },
    link::key::Host,
    runtime::priority,
    telemetry::logs::AUDIT,
};

/// How often a change is tried that others overtake.
const TRIES: usize = 8;

/// What became of a change.
pub type Applied = Result<Accepted, Problem>;

/// What changes are made with.
pub struct Applier<'a> {
    pub view: &'a dyn View,
    pub changes: &'a dyn Changes,
    pub metrics: &'a ApiMetrics,
    pub grant: &'a Grant,
}

/// A change that may be made.
struct Permitted {
    change: Change,
    /// Whether its condition is ours: that of the version whose workspace was checked.
    is_tied: bool,
}

impl Applier<'_> {
    /// Makes changes in their order, and returns what became of each.
    ///
    /// # Errors
    /// When none was made.
    pub async fn apply(&self, planned: &[Planned]) -> Result<Vec<Applied>, Unavailable> {
        let mut results: Vec<Option<Applied>> = planned.iter().map(|_| None).collect();
        let mut waiting: Vec<usize> = (0..planned.len()).collect();
        let mut tries = 0;
        while !waiting.is_empty() {
            let rest = waiting.split_off(self.group(waiting.iter().map(|&number| &planned[number])));
            let (mut numbers, mut group) = (Vec::new(), Vec::new());
            for number in waiting {
                match self.permit(&planned[number]) {
                    Ok(permitted) => {
                        numbers.push((number, permitted.is_tied));
                        group.push(permitted.change);
                    }
                    Err(problem) => results[number] = Some(Err(problem)),
                }
            }
            waiting = Vec::new();
            tries += 1;
            if !group.is_empty() {
                let outcomes = match self.changes.change(group).await {
                    Ok(outcomes) => outcomes,
                    Err(unavailable) if results.iter().any(|result| matches!(result, Some(Ok(_)))) => {
                        let problem = Problem::from(unavailable);
                        for number in numbers.into_iter().map(|(number, _)| number).chain(rest) {
                            results[number] = Some(Err(problem.clone()));
                        }
                        break;
                    }
                    Err(unavailable) => {
                        for planned in planned {
                            self.record(planned, None);
                        }
                        return Err(unavailable);
                    }
                };
                for ((number, is_tied), outcome) in numbers.into_iter().zip(outcomes) {
                    match outcome {
                        Err(Refused::ConditionFailed { .. }) if is_tied && tries < TRIES => waiting.push(number),
                        Err(Refused::ConditionFailed { .. }) if is_tied => {
                            let detail = "others change it at the same time; try again";
                            results[number] = Some(Err(Problem::new(Kind::Conflict, detail)));
                        }
                        outcome => results[number] = Some(outcome.map_err(Problem::from)),
                    }
                }
            }
            if waiting.is_empty() {
                tries = 0;
            }
            waiting.extend(rest);
        }
        let unanswered = || Err(Problem::new(Kind::Unavailable, "the change was not answered; try again"));
        let results: Vec<_> = results.into_iter().map(|result| result.unwrap_or_else(unanswered)).collect();
        for (planned, result) in planned.iter().zip(&results) {
            priority::give_way();
            self.record(planned, Some(result));
        }
        Ok(results)
    }

    /// How many of these changes are checked and made together. A token that sees all has nothing to check. For others,
    /// what a change is checked against is what the one before has made of it.
    fn group<'p>(&self, planned: impl ExactSizeIterator<Item = &'p Planned>) -> usize {
        let all = planned.len();
        if self.grant.scope == Scope::All {
            return all;
        }
        let mut seen = HashSet::new();
        for (number, planned) in planned.enumerate() {
            let is_domain = planned.address.slashtag.is_none();
            if is_domain {
                return number.max(1);
            }
            if !seen.insert(planned.address.to_string().to_lowercase()) {
                return number;
            }
        }
        all
    }

    /// Checks the scope of the token.
    fn permit(&self, planned: &Planned) -> Result<Permitted, Problem> {
        let Planned { address, operation, condition, workspace, .. } = planned;
        let free = |condition: &Condition| Permitted {
            change: Change { operation: operation.clone(), condition: condition.clone() },
            is_tied: false,
        };
        if self.grant.scope == Scope::All {
            return Ok(free(condition));
        }
        let is_put = matches!(operation, Operation::PutLink { .. } | Operation::PutDomain { .. });
        let before = self.view.show(address);
        match &before {
            Some(shown) if self.grant.scope.has(&shown.workspace) => {}
            Some(_) if is_put => {
                let (noun, name) = (address.noun(), &self.grant.name);
                let detail =
                    format!("the {noun} is of a workspace that token {name:?} has no access to; use another {noun}");
                return Err(Problem::new(Kind::OutsideScope, detail));
            }
            None if is_put => {}
            Some(_) | None => return Err(not_found(address.noun())),
        }
        if is_put {
            self.permit_workspace(planned, before.as_ref(), workspace.as_deref())?;
        }
        let failed = |etag| Err(Problem::from(Refused::ConditionFailed { etag }));
        let tied = match (condition, before) {
            (Condition::Always, None) => Condition::Absent,
            (Condition::Always | Condition::Present, Some(shown)) => Condition::Matches(vec![shown.etag]),
            (Condition::Present, None) => return failed(None),
            (Condition::Absent, Some(shown)) => return failed(Some(shown.etag)),
            (Condition::Absent, None) | (Condition::Matches(_), _) => return Ok(free(condition)),
        };
        Ok(Permitted { is_tied: true, ..free(&tied) })
    }

    /// Checks the workspace that a link or domain is to have, and where a new link is put.
    fn permit_workspace(
        &self,
        planned: &Planned,
        before: Option<&Shown>,
        workspace: Option<&str>,
    ) -> Result<(), Problem> {
        let (scope, name) = (&self.grant.scope, &self.grant.name);
        let outside = |field: &str, detail: String| Err(Problem::new(Kind::OutsideScope, detail).of_field(field));
        let of_link = planned.address.slashtag.is_some();
        let domain = of_link.then(|| self.view.show_domain(&planned.address.host)).flatten();
        let of_domain = domain.as_ref().map(|domain| domain.workspace.as_str()).filter(|id| !id.is_empty());
        match workspace.or(of_domain) {
            None | Some("") => {
                let detail = format!("`workspace` is missing; name one that token {name:?} has access to");
                return outside("workspace", detail);
            }
            Some(id) if !scope.has(id) => {
                let detail = format!("the workspace is {id:?}; name one that token {name:?} has access to");
                return outside("workspace", detail);
            }
            Some(_) => {}
        }
        // A new link or domain, or an alias, would take its host out of a wildcard.
        let host = before.is_none().then_some(&planned.address.host);
        let mut hosts = host.into_iter().chain(&planned.hosts);
        if let Some(host) =
            hosts.find(|host| self.view.owner(host).is_some_and(|id| !id.is_empty() && !scope.has(&id)))
        {
            let detail = format!("{host} is of a workspace that token {name:?} has no access to; use another host");
            return outside("domain", detail);
        }
        if let Some(rest) = foreign_wildcard(planned, before) {
            let detail = format!(
                "`*.{rest}` has hosts beyond the domain: token {name:?} can name wildcards below the domain's own host \
                 only, which has a dot, as `*.go.brand.com` is below `go.brand.com`; name hosts one by one, or use a \
                 token of all workspaces"
            );
            return outside("aliases", detail);
        }
        if let Some((field, host)) = public_suffix(planned, before, of_link && domain.is_some()) {
            let detail = format!(
                "{host} is a public suffix, below which others register names: token {name:?} cannot take it; use a \
                 token of all workspaces"
            );
            return outside(field, detail);
        }
        Ok(())
    }

    /// Logs and counts what became of a change; `None` if none could be made.
    fn record(&self, planned: &Planned, applied: Option<&Applied>) {
        let op = match planned.operation {
            Operation::PutLink { .. } => "put-link",
            Operation::DeleteLink { .. } => "delete-link",
            Operation::PutDomain { .. } => "put-domain",
            Operation::DeleteDomain { .. } => "delete-domain",
        };
        let outcome = Outcome::of(applied);
        let revision = applied.and_then(|applied| applied.as_ref().ok()).map(|accepted| accepted.revision);
        let problem = applied.and_then(|applied| applied.as_ref().err()).map(|problem| problem.kind.parts().1);
        let (who, what, result) = (&*self.grant.name, planned.address.to_string(), outcome.name());
        self.metrics.changed(outcome);
        tracing::info!(target: AUDIT, who, op, what, revision, result, problem, "change of the catalog");
    }
}

/// A wildcard that a domain takes for hosts that are not its own, by what follows `*.`. What it has already it keeps.
fn foreign_wildcard<'p>(planned: &'p Planned, before: Option<&Shown>) -> Option<&'p String> {
    if planned.wildcards.is_empty() {
        return None;
    }
    let host = &planned.address.host;
    let is_below = |rest: &str| {
        let above = rest.strip_suffix(host.as_str());
        host.contains('.') && above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    };
    let former = before.and_then(|shown| entity::object(shown.json.as_bytes()).ok());
    let former = former.map(|domain| entity::wildcards(&domain)).unwrap_or_default();
    planned.wildcards.iter().find(|rest| !is_below(rest) && !former.contains(rest))
}

/// A host that a change takes and that no one owns, such as `co.uk`, and the field that names it. What the domain has
/// already it keeps.
fn public_suffix<'p>(
    planned: &'p Planned,
    before: Option<&Shown>,
    is_known: bool,
) -> Option<(&'static str, &'p String)> {
    let host = &planned.address.host;
    if before.is_none() && !is_known && is_public_suffix(host) {
        return Some(("domain", host));
    }
    let former = before.map(entity::hosts_of).unwrap_or_default();
    let mut new = planned.hosts.iter().filter(|host| !former.contains(host));
    new.find(|host| is_public_suffix(host)).map(|host| ("aliases", host))
}

/// Whether all of a host is a public suffix. One label alone is one, listed or not.
fn is_public_suffix(host: &str) -> bool {
    let Ok(host) = Host::parse(host.as_bytes()) else { return false };
    psl::suffix(host.as_str().as_bytes()).is_some_and(|suffix| suffix.as_bytes().len() == host.as_str().len())
}

fn not_found(what: &'static str) -> Problem {
    Problem::from(Refused::NotFound { what })
}
