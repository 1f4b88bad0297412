//! Secrets that a GitSync names, read as its account: naming a Secret gives nobody the right to read it.

use homelab_core::class::Class;
use homelab_core::client::{Clients, classify, explain};
use homelab_core::meta::Account;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;

use crate::Error;
use crate::source::{Credentials, Login};
use crate::spec::Settings;

/// How to log in to the repository.
pub(super) async fn credentials(clients: &Clients, settings: &Settings) -> Result<Credentials, Error> {
    let Some(name) = &settings.secret else { return Ok(Credentials::default()) };
    let secret = read(clients, &settings.account, name, "spec.secretRef").await?;
    let text = |key: &str| text(&secret, key);
    let login = match (text("username"), text("password"), text("token")) {
        (Some(username), Some(password), _) => Some(Login { username, password }),
        (username, _, Some(token)) => {
            Some(Login { username: username.unwrap_or_else(|| "git".into()), password: token })
        }
        _ => None,
    };
    let credentials = Credentials { login, ca_pem: text("caCrt") };
    if credentials == Credentials::default() {
        let detail =
            "has neither username and password, nor token, nor caCrt: add the keys that the repository needs".into();
        return Err(Error::Object {
            object: label(&settings.account, name, "spec.secretRef"),
            detail,
            class: Class::Invalid,
        });
    }
    Ok(credentials)
}

/// A Secret in the account's namespace.
pub(super) async fn read(clients: &Clients, account: &Account, name: &str, field: &str) -> Result<Secret, Error> {
    let object = label(account, name, field);
    let client = clients.of(account).map_err(|e| super::api_error(&object, &e))?;
    match Api::<Secret>::namespaced(client, &account.namespace).get_opt(name).await {
        Ok(Some(secret)) => Ok(secret),
        Ok(None) => Err(Error::Object {
            object,
            detail: "does not exist: make it, or correct the name".into(),
            class: Class::NotFound,
        }),
        Err(error) => {
            let class = classify(&error);
            let advice = if class == Class::Denied {
                format!("; let account {account} get this Secret, by a Role and its binding")
            } else {
                String::new()
            };
            Err(Error::Object { object, detail: format!("can not be read: {}{advice}", explain(&error)), class })
        }
    }
}

/// A value of a Secret as text without the line end that editors add.
pub(super) fn text(secret: &Secret, key: &str) -> Option<String> {
    let value = &secret.data.as_ref()?.get(key)?.0;
    let text = std::str::from_utf8(value).ok()?;
    Some(text.trim_end_matches(['\n', '\r']).to_owned()).filter(|text| !text.is_empty())
}

fn label(account: &Account, name: &str, field: &str) -> String {
    format!("Secret {}/{name} ({field})", account.namespace)
}
