//! homelab-rollout's `PodInjector` by homelab-secrets' injection.

use anyhow::{Context as _, Result};
use homelab_core::class::Class;
use homelab_rollout::ports::{self, PodInjector, PortError};
use homelab_secrets::inject::{self, InjectConfig};
use serde_json::Value;

/// Adds `homelab-agent` and its volumes to pod templates.
pub struct Injector(pub InjectConfig);

impl Injector {
    /// From what the daemon wrote into the stamp's input.
    pub fn from_json(config: &Value) -> Result<Self> {
        serde_json::from_value(config.clone()).map(Self).context("read the injector's settings in the stamp input")
    }
}

impl PodInjector for Injector {
    fn inject(&self, template: &mut Value, secrets: &[ports::InjectedSecret]) -> Result<(), PortError> {
        let secrets: Vec<_> = secrets.iter().map(secret).collect();
        inject::inject(template, &secrets, &self.0)
            .map_err(|error| PortError { class: Class::Invalid, message: error.to_string() })
    }
}

fn secret(secret: &ports::InjectedSecret) -> inject::InjectedSecret {
    inject::InjectedSecret {
        path: secret.path.clone(),
        version: secret.version,
        keys: secret.keys.clone(),
        target: match &secret.target {
            ports::SecretTarget::Files(folder) => inject::SecretTarget::Files(folder.clone()),
            ports::SecretTarget::Env(prefix) => inject::SecretTarget::Env(prefix.clone()),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_gets_the_agent_and_twice_is_once() {
        let config = json!({"image": "homelab.dev/homelab-agent:dev", "addr": "https://homelab.homelab.svc:8200", "ca_pem": "PEM", "image_pull_policy": "IfNotPresent"});
        let injector = Injector::from_json(&config).expect("settings");
        let secrets = [ports::InjectedSecret {
            path: "kv/web/db".into(),
            version: 3,
            keys: vec!["password".into()],
            target: ports::SecretTarget::Files("/run/secrets/db".into()),
        }];
        let mut template = json!({"metadata": {}, "spec": {"containers": [{"name": "web", "image": "web"}]}});
        injector.inject(&mut template, &secrets).expect("injected");
        assert_eq!(template["spec"]["initContainers"][0]["name"], inject::AGENT);
        let once = template.clone();
        injector.inject(&mut template, &secrets).expect("injected again");
        assert_eq!(template, once);
    }
}
