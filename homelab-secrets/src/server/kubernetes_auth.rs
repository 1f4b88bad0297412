//! Login with a token of a ServiceAccount, judged by the API server (TokenReview), or by its public keys.
//!
//! A TokenReview sees what a local check of the signature can not: that the pod or the account is gone. The token has to
//! be made for the audience that is asked for (`homelab`, where no role says otherwise), so the token that every pod has by
//! default opens nothing here.

use std::time::Duration;

use async_trait::async_trait;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::Deserialize;

use super::{Authenticator, Fetch, Login};
use crate::Error;
use crate::policy::Identity;

const TIMEOUT: Duration = Duration::from_secs(10);
/// A token of a ServiceAccount has about a kilobyte.
const MAX_TOKEN: usize = 16 * 1024;
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Asks the API server.
#[derive(Clone)]
pub struct TokenReviewer {
    reviews: Api<TokenReview>,
}

impl std::fmt::Debug for TokenReviewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenReviewer")
    }
}

impl TokenReviewer {
    /// Asks with `client`, which needs `create` on `tokenreviews.authentication.k8s.io`.
    pub fn new(client: Client) -> Self {
        Self { reviews: Api::all(client) }
    }
}

#[async_trait]
impl Authenticator for TokenReviewer {
    async fn authenticate(&self, credential: &str, audience: &str) -> Result<Login, Error> {
        if credential.len() > MAX_TOKEN {
            return Err(Error::Denied("the token is too long to be one of a ServiceAccount".into()));
        }
        let spec = TokenReviewSpec { token: credential.into(), audiences: Some(vec![audience.into()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let params = PostParams::default();
        let asked = tokio::time::timeout(TIMEOUT, self.reviews.create(&params, &review)).await;
        let asked =
            asked.map_err(|_| Error::Backend("the API server did not answer a TokenReview within 10 s".into()))?;
        // An error of the API server does not quote what it was sent, but the class is all that is needed.
        let answer = asked
            .map_err(|error| Error::Backend(format!("the API server refused a TokenReview: {}", short(&error))))?;
        judge(answer.status, audience, expiry(credential))
    }
}

/// Gets documents of the API server by their paths, such as its public keys.
#[derive(Clone)]
pub struct ApiServerDocuments {
    client: Client,
}

impl std::fmt::Debug for ApiServerDocuments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiServerDocuments")
    }
}

impl ApiServerDocuments {
    /// Asks with `client`, which needs `get` on the paths: Kubernetes lets all ServiceAccounts read what
    /// `system:service-account-issuer-discovery` names.
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl Fetch for ApiServerDocuments {
    async fn get(&self, path: &str, _: Option<&str>) -> Result<Vec<u8>, Error> {
        let failed = |what: String| Error::Backend(format!("{path} of the API server: {what}"));
        let request = Request::get(path).body(Vec::new()).map_err(|_| failed("that is no path".into()))?;
        let asked = tokio::time::timeout(TIMEOUT, self.client.request_text(request)).await;
        let asked = asked.map_err(|_| failed("it did not answer within 10 s".into()))?;
        Ok(asked.map_err(|error| failed(short(&error)))?.into_bytes())
    }
}

fn short(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.reason, status.code),
        _ => "it can not be reached".into(),
    }
}

/// Says who the API server vouches for.
fn judge(status: Option<TokenReviewStatus>, audience: &str, ends: Option<Timestamp>) -> Result<Login, Error> {
    let status = status.unwrap_or_default();
    let denied = |why: &str| Err(Error::Denied(why.into()));
    if status.authenticated != Some(true) {
        return denied(
            "the API server does not accept the token: it has ended, its pod is gone, or it has another audience",
        );
    }
    // An API server that does not know audiences leaves them out: then the token may be meant for anybody.
    if !status.audiences.unwrap_or_default().iter().any(|theirs| theirs == audience) {
        return Err(Error::Denied(format!(
            "the token is not made for the audience {audience}: use a projected token with this audience"
        )));
    }
    let Some(user) = status.user else { return denied("the API server named no user for the token") };
    let pod_uid = user.extra.and_then(|mut extra| extra.remove(POD_UID)).and_then(|uids| uids.into_iter().next());
    let identity =
        Identity::reviewed(user.username.as_deref().unwrap_or_default(), user.groups.unwrap_or_default(), pod_uid);
    if !matches!(identity, Identity::ServiceAccount { .. }) {
        return denied("the token is not one of a ServiceAccount");
    }
    let Some(ends) = ends else { return denied("the token never ends: use a projected token") };
    Ok(Login { identity, ends: Some(ends) })
}

/// When a JWT ends. Read without checking it: the API server does that.
fn expiry(token: &str) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Claims {
        exp: i64,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    Timestamp::from_second(serde_json::from_slice::<Claims>(&claims).ok()?.exp).ok()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::{TokenRequest, UserInfo};
    use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
    use kube::api::DeleteParams;
    use serde_json::json;

    use super::*;

    fn status(username: &str, audience: &str) -> TokenReviewStatus {
        let extra = [(POD_UID.to_owned(), vec!["uid-1".to_owned()])].into();
        let user = UserInfo { username: Some(username.into()), extra: Some(extra), ..Default::default() };
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(vec![audience.into()]),
            user: Some(user),
            error: None,
        }
    }

    #[test]
    fn only_a_passing_token_for_us_of_a_serviceaccount_logs_in() {
        let ends = Timestamp::from_second(2_000_000_000).ok();
        let web = "system:serviceaccount:web:default";
        let login = judge(Some(status(web, "homelab")), "homelab", ends).unwrap();
        insta::assert_snapshot!(login.identity, @"serviceaccount web/default");
        assert!(matches!(&login.identity, Identity::ServiceAccount { pod_uid: Some(uid), .. } if uid == "uid-1"));
        assert_eq!(login.ends, ends);

        let why = |status: TokenReviewStatus, ends| judge(Some(status), "homelab", ends).unwrap_err().to_string();
        insta::assert_snapshot!(why(status(web, "https://kubernetes.default.svc"), ends),
            @"the token is not made for the audience homelab: use a projected token with this audience");
        insta::assert_snapshot!(why(status("kubernetes-admin", "homelab"), ends), @"the token is not one of a ServiceAccount");
        insta::assert_snapshot!(why(status(web, "homelab"), None), @"the token never ends: use a projected token");
        for refused in [None, Some(TokenReviewStatus { authenticated: Some(false), ..status(web, "homelab") })] {
            assert!(judge(refused, "homelab", ends).is_err());
        }
        assert!(judge(Some(TokenReviewStatus { audiences: None, ..status(web, "homelab") }), "homelab", ends).is_err());
    }

    #[test]
    fn the_end_of_a_token_is_read_from_its_claims() {
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(r#"{"exp":1800000600,"aud":["homelab"]}"#));
        assert_eq!(expiry(&token).map(Timestamp::as_second), Some(1_800_000_600));
        for wrong in ["", "a", "a.b.c", "e30.e30.e30"] {
            assert_eq!(expiry(wrong), None);
        }
    }

    #[tokio::test]
    #[ignore = "needs a cluster"]
    async fn the_api_server_vouches_for_living_accounts_only() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_default().await.unwrap();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = serde_json::from_value(json!({ "metadata": { "generateName": "secrets-login-" } })).unwrap();
        let name = namespaces.create(&PostParams::default(), &namespace).await.unwrap().metadata.name.unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
        let account = serde_json::from_value(json!({ "metadata": { "name": "web" } })).unwrap();
        accounts.create(&PostParams::default(), &account).await.unwrap();
        let token = async |audience: &str| {
            let spec = json!({ "audiences": [audience], "expirationSeconds": 600 });
            let request: TokenRequest = serde_json::from_value(json!({ "metadata": {}, "spec": spec })).unwrap();
            let given = accounts.create_token_request("web", &PostParams::default(), &request).await.unwrap();
            serde_json::to_value(given).unwrap()["status"]["token"].as_str().unwrap().to_owned()
        };
        let (ours, other) = (token("homelab").await, token("https://kubernetes.default.svc").await);

        let reviewer = TokenReviewer::new(client);
        let login = reviewer.authenticate(&ours, "homelab").await.unwrap();
        assert_eq!(login.identity.to_string(), format!("serviceaccount {name}/web"));
        assert!(login.ends.is_some());
        assert!(matches!(reviewer.authenticate(&other, "homelab").await, Err(Error::Denied(_))), "another audience");
        assert!(matches!(reviewer.authenticate("nonsense", "homelab").await, Err(Error::Denied(_))));
        accounts.delete("web", &DeleteParams::default()).await.unwrap();
        // The API server remembers a good answer for 10 s.
        tokio::time::sleep(Duration::from_secs(12)).await;
        assert!(matches!(reviewer.authenticate(&ours, "homelab").await, Err(Error::Denied(_))), "its account is gone");
        namespaces.delete(&name, &DeleteParams::background()).await.unwrap();
    }
}
