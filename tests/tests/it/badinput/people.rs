//! People who ask for what they may not.

use anyhow::{Result, ensure};
use homelab_tests::case::Case;
use serde_json::json;

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_request_without_the_right_or_in_anothers_name_is_refused() -> Result<()> {
    let case = Case::new("request").await?;
    let ns = case.namespace.clone();
    let spec = json!({"helm": {"chart": "./chart"}});
    let meta = json!({"name": "web", "namespace": ns});
    case.cluster
        .apply(&json!({"apiVersion": "homelab.dev/v1alpha1", "kind": "App", "metadata": meta, "spec": spec}))
        .await?;
    let rules = json!([{"apiGroups": ["homelab.dev"], "resources": ["apps"], "verbs": ["get", "patch", "promote"]}]);
    let meta = json!({"name": "promoter", "namespace": ns});
    case.cluster
        .apply(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": rules}))
        .await?;
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "promoter"});
    let subjects = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}]);
    case.cluster.apply(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta, "roleRef": role, "subjects": subjects})).await?;
    let ask = async |verb: &str, by: &str| {
        let request = format!("homelab.dev/request=id=1;verb={verb};by={by};reason=test");
        case.cluster
            .kubectl(["annotate", "app.homelab.dev", "web", "-n", &ns, "--as=eve", "--overwrite", &request])
            .await
    };
    let refused = ask("rollback", "eve").await.err().map(|e| format!("{e:#}")).unwrap_or_default();
    ensure!(refused.contains("eve may not rollback"), "{refused:?}");
    let foreign = ask("promote", "alice").await.err().map(|e| format!("{e:#}")).unwrap_or_default();
    ensure!(foreign.contains("by=alice"), "{foreign:?}");
    ask("promote", "eve").await?;
    case.finish().await
}
