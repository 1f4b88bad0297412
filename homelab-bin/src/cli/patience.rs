//! Waiting for somebody else's answer: what is waited for is said after a few seconds, and a daemon that is away is not
//! waited for to the end.
#![expect(clippy::disallowed_methods, reason = "waiting looks at the clock")]

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;

use super::cluster::Cluster;
use super::output;
use crate::args::Global;
use crate::daemon::LEASE;

/// After this time it is said what is waited for.
const SAID: Duration = Duration::from_secs(3);
/// How long one request is waited for when no flag says it.
pub(super) const LIMIT: Duration = Duration::from_secs(15);
/// So long a daemon that holds no Lease is given to take it.
const START: Duration = Duration::from_secs(5);

/// How long one request may take: by `--request-timeout`, else 15 s.
pub(super) fn limit(global: &Global) -> Duration {
    Some(global.request_timeout).filter(|time| !time.is_zero()).unwrap_or(LIMIT)
}

/// Does `work`, saying after 3 s that `whom` is waited for, and giving up after `limit`; `remedy` is what to do then.
pub(super) async fn patient<T>(
    whom: &str,
    limit: Duration,
    remedy: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut work = std::pin::pin!(work);
    if let Ok(done) = tokio::time::timeout(SAID.min(limit), &mut work).await {
        return done;
    }
    if limit > SAID {
        output::note(&format!("waiting for {whom} …"));
        if let Ok(done) = tokio::time::timeout(limit - SAID, work).await {
            return done;
        }
    }
    bail!("{whom} has not answered in {}s; {remedy}, or wait longer with --request-timeout", limit.as_secs_f32())
}

/// Looks after the daemon while its answer is waited for: by its Lease, whose holder renews it all the time. Only
/// whether it is renewed counts, so that clocks that differ do no harm.
pub(super) struct Vigil {
    since: Instant,
    first: Option<(Instant, LeaseSpec)>,
    /// It is there, or nobody may look.
    over: bool,
}

impl Vigil {
    /// Begins to wait.
    pub(super) fn begin() -> Self {
        Self { since: Instant::now(), first: None, over: false }
    }

    /// Says after some seconds that the daemon is waited for; an error once it is clear that there is none.
    pub(super) async fn look(&mut self, cluster: &Cluster, whom: &str) -> Result<()> {
        if self.over || self.since.elapsed() < SAID {
            return Ok(());
        }
        let Some((at, first)) = &self.first else {
            output::note(&format!("waiting for the daemon to answer for {whom} …"));
            match lease(cluster).await {
                Some(spec) => self.first = Some((Instant::now(), spec)),
                None => self.over = true,
            }
            return Ok(());
        };
        if at.elapsed() < runs_out(first) {
            return Ok(());
        }
        self.over = true;
        let Some(now) = lease(cluster).await else { return Ok(()) };
        match silence(first, &now) {
            Some(why) => bail!(
                "{why} in namespace {0}: look at it with `kubectl -n {0} get pods`, or name its namespace with --daemon-namespace",
                cluster.daemon
            ),
            None => Ok(()),
        }
    }
}

/// The daemon's Lease, an empty one if there is none; none if it may not be read.
async fn lease(cluster: &Cluster) -> Option<LeaseSpec> {
    let leases = Api::<Lease>::namespaced(cluster.client.clone(), &cluster.daemon);
    let found = leases.get_opt(LEASE).await.ok()?;
    Some(found.and_then(|lease| lease.spec).unwrap_or_default())
}

fn holder(lease: &LeaseSpec) -> Option<&str> {
    lease.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// After this time a Lease that is not renewed has no living holder.
fn runs_out(lease: &LeaseSpec) -> Duration {
    let seconds = lease.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(15);
    if holder(lease).is_some() { Duration::from_secs(seconds) } else { START }
}

/// Why nobody will answer, by the Lease as it was and as it is after it would have run out.
fn silence(first: &LeaseSpec, now: &LeaseSpec) -> Option<String> {
    match (holder(first), holder(now)) {
        (_, None) => Some("no daemon leads".into()),
        (Some(before), Some(holder)) if before == holder && first.renew_time == now.renew_time => {
            Some(format!("the daemon {holder} is silent"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    fn held(by: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(by.into()).filter(|by: &String| !by.is_empty()),
            renew_time: Some(MicroTime(jiff::Timestamp::from_second(renewed).expect("a time"))),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_that_is_not_renewed_has_a_silent_holder() {
        let none = LeaseSpec::default();
        for (first, now, why) in [
            (held("a", 1), held("a", 1), Some("the daemon a is silent")),
            (held("a", 1), held("a", 2), None),
            (held("a", 1), held("b", 1), None),
            (held("a", 1), none.clone(), Some("no daemon leads")),
            (none.clone(), none.clone(), Some("no daemon leads")),
            (none.clone(), held("a", 1), None),
            (held("", 1), held("", 1), Some("no daemon leads")),
        ] {
            assert_eq!(silence(&first, &now).as_deref(), why, "{first:?} → {now:?}");
        }
        assert_eq!((runs_out(&held("a", 1)).as_secs(), runs_out(&none)), (15, START));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_is_given_up() {
        let never = std::future::pending::<Result<()>>();
        let error = patient("the server", Duration::from_secs(15), "start it", never).await.expect_err("no answer");
        assert_eq!(
            error.to_string(),
            "the server has not answered in 15s; start it, or wait longer with --request-timeout"
        );
        let late = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            Ok(7)
        };
        assert_eq!(patient("the server", Duration::from_secs(15), "start it", late).await.expect("in time"), 7);
        let never = std::future::pending::<Result<()>>();
        assert!(patient("the server", Duration::from_secs(1), "start it", never).await.is_err());
    }
}
