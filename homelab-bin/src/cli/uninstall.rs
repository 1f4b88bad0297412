//! `homelab uninstall`: what the daemon wrote for the whole cluster goes, so that nothing waits for a daemon that is gone.

use anyhow::Result;
use homelab_secrets::inject::policy_name;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::api::DeleteParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::cluster::{Cluster, failed};
use super::output;
use crate::args::Global;
use crate::daemon::settings::cluster_name;

pub(crate) async fn run(global: &Global) -> Result<()> {
    let cluster = Cluster::connect(global).await?;
    let webhook = cluster_name(&cluster.daemon);
    let policy = policy_name(&webhook);
    // The policy refuses pods that the webhook did not see, so it goes first; nothing is refused in between.
    delete::<ValidatingAdmissionPolicyBinding>(&cluster.client, &policy).await?;
    delete::<ValidatingAdmissionPolicy>(&cluster.client, &policy).await?;
    delete::<MutatingWebhookConfiguration>(&cluster.client, &webhook).await
}

/// What is not there need not go.
async fn delete<K>(client: &Client, name: &str) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let what = format!("{} {name}", K::kind(&()));
    match Api::<K>::all(client.clone()).delete(name, &DeleteParams::default()).await {
        Ok(_) => output::note(&format!("{what} deleted")),
        Err(kube::Error::Api(status)) if status.is_not_found() => output::note(&format!("{what} is not there")),
        Err(error) => return Err(failed(&format!("delete {what}"), &error)),
    }
    Ok(())
}
