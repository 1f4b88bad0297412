//! What a policy object's status says. Pure.

use homelab_core::condition;
use homelab_core::meta::Account;
use jiff::Timestamp;

use crate::api::v1alpha1::PolicyStatus;

/// What became of a policy.
pub(super) enum Finding {
    /// Its rules count.
    InForce {
        /// Accounts that it names and that do not exist.
        missing: Vec<Account>,
    },
    /// None of its rules counts.
    Invalid(Vec<String>),
}

impl Finding {
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::InForce { missing } if missing.is_empty() => "InForce",
            Self::InForce { .. } => "AccountMissing",
            Self::Invalid(reasons) if reasons.iter().all(|reason| reason.ends_with("lets nobody in")) => "LetsNobodyIn",
            Self::Invalid(_) => "Invalid",
        }
    }

    /// What its author has to do; none if all is well.
    pub(super) fn complaint(&self) -> Option<String> {
        match self {
            Self::InForce { missing } if missing.is_empty() => None,
            Self::InForce { missing } => {
                let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
                Some(format!(
                    "lets nobody in as {}: no such ServiceAccount; make it, or correct the name",
                    names.join(", ")
                ))
            }
            Self::Invalid(reasons) => Some(format!("not in force: {}", reasons.join("; "))),
        }
    }

    fn message(&self) -> String {
        match (self, self.complaint()) {
            (_, None) => "in force".into(),
            (Self::InForce { .. }, Some(complaint)) => format!("in force, but {complaint}"),
            (Self::Invalid(_), Some(complaint)) => complaint,
        }
    }
}

/// The new status; none if nothing in it changes.
pub(super) fn status(
    before: &PolicyStatus,
    generation: i64,
    finding: &Finding,
    now: Timestamp,
) -> Option<PolicyStatus> {
    let mut after = before.clone();
    let conditions = &mut after.conditions;
    let (reason, message) = (finding.reason(), finding.message());
    let ready = matches!(finding, Finding::InForce { .. });
    condition::set(conditions, condition::READY, ready, reason, message.as_str(), generation, now);
    if ready {
        condition::remove(conditions, condition::STALLED);
    } else {
        condition::set(conditions, condition::STALLED, true, reason, message.as_str(), generation, now);
    }
    after.observed_generation = Some(generation);
    (after != *before).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn brief(status: &PolicyStatus) -> Vec<String> {
        let line = |c: &condition::Condition| format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message);
        status.conditions.iter().map(line).collect()
    }

    #[test]
    fn a_policy_is_in_force_stalled_and_in_force_again() {
        let fine = Finding::InForce { missing: vec![] };
        let first = status(&PolicyStatus::default(), 1, &fine, at(1)).unwrap();
        assert_eq!(brief(&first), ["Ready=True InForce: in force"]);
        assert_eq!(status(&first, 1, &fine, at(2)), None, "nothing new is not written");

        let nobody = Finding::Invalid(vec!["it has no rules, so it lets nobody in".into()]);
        let second = status(&first, 2, &nobody, at(3)).unwrap();
        let message = "not in force: it has no rules, so it lets nobody in";
        assert_eq!(
            brief(&second),
            [format!("Ready=False LetsNobodyIn: {message}"), format!("Stalled=True LetsNobodyIn: {message}"),]
        );
        assert_eq!(brief(&status(&second, 3, &fine, at(4)).unwrap()), ["Ready=True InForce: in force"]);
    }

    #[test]
    fn a_name_that_is_no_account_is_told_but_the_rule_counts() {
        let finding = Finding::InForce { missing: vec![Account::new("web", "wbe")] };
        let status = status(&PolicyStatus::default(), 1, &finding, at(1)).unwrap();
        assert_eq!(
            brief(&status),
            [
                "Ready=True AccountMissing: in force, but lets nobody in as web/wbe: no such ServiceAccount; make it, or correct the name",
            ]
        );
        assert!(finding.complaint().is_some());
    }
}
