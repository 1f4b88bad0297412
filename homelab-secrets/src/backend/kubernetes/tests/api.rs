//! As much of an API server as there is to the Secrets of one namespace, with faults.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Body as Answer;
use axum::http::{Method, Request, Response};
use futures::StreamExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::broadcast;

const SECRETS: &str = "/api/v1/namespaces/homelab/secrets";

/// What goes wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Fault {
    #[default]
    None,
    /// Nothing can be reached.
    Away,
    /// Writes can not be made any more after this many, and no further request is answered then.
    After(usize),
    /// This many writes are made from now on without an answer.
    Deaf(usize),
    /// Writes are refused with this code and message.
    Refuse(u16, String),
}

#[derive(Default)]
struct Kept {
    objects: BTreeMap<String, Value>,
    version: u64,
    fault: Fault,
    cut_off: bool,
}

#[derive(Clone)]
pub(super) struct Api {
    kept: Arc<Mutex<Kept>>,
    events: broadcast::Sender<Value>,
}

impl Default for Api {
    fn default() -> Self {
        Self { kept: Arc::default(), events: broadcast::channel(4096).0 }
    }
}

fn status(code: u16, reason: &str, message: &str) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}),
    )
}

impl Api {
    pub(super) fn client(&self) -> Client {
        let api = self.clone();
        let answer = move |request: Request<Body>| {
            let api = api.clone();
            async move { api.answer(request).await }
        };
        Client::new(tower::service_fn(answer), "homelab")
    }

    pub(super) fn fail(&self, fault: Fault) {
        self.kept.lock().unwrap().fault = fault;
    }

    /// Whether [`Fault::After`] has come.
    pub(super) fn was_cut_off(&self) -> bool {
        self.kept.lock().unwrap().cut_off
    }

    pub(super) fn objects(&self) -> BTreeMap<String, Value> {
        self.kept.lock().unwrap().objects.clone()
    }

    /// Changes an object as a person could, immutable or not; gives it as it was.
    pub(super) fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) -> Value {
        let before = self.objects()[name].clone();
        let mut object = before.clone();
        change(&mut object);
        self.put(name, object);
        before
    }

    pub(super) fn put(&self, name: &str, mut object: Value) {
        let mut kept = self.kept.lock().unwrap();
        kept.version += 1;
        object["metadata"]["resourceVersion"] = kept.version.to_string().into();
        kept.objects.insert(name.into(), object);
    }

    pub(super) fn remove(&self, name: &str) -> Value {
        self.kept.lock().unwrap().objects.remove(name).unwrap()
    }

    async fn answer(&self, request: Request<Body>) -> std::io::Result<Response<Answer>> {
        let (parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let writes = parts.method != Method::GET;
        let deaf = self.enter(writes)?;
        if let (Some((code, body)), true) = (self.refused(), writes) {
            return Ok(response(code, &body));
        }
        let body = body.collect_bytes().await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if query.contains("watch=true") {
            return Ok(self.watch());
        }
        let name = parts.uri.path().strip_prefix(SECRETS).unwrap().trim_start_matches('/').to_owned();
        let (code, body) = self.handle(&parts.method, &name, body);
        // As with a real one, others get on in between.
        tokio::task::yield_now().await;
        if deaf { Err(std::io::ErrorKind::ConnectionReset.into()) } else { Ok(response(code, &body)) }
    }

    /// Whether the request is to be done without an answer.
    fn enter(&self, writes: bool) -> std::io::Result<bool> {
        let kept = &mut *self.kept.lock().unwrap();
        match &mut kept.fault {
            Fault::Away => Err(std::io::ErrorKind::ConnectionRefused.into()),
            Fault::After(0) if writes || kept.cut_off => {
                kept.cut_off = true;
                Err(std::io::ErrorKind::ConnectionRefused.into())
            }
            Fault::After(left) if writes => {
                *left -= 1;
                Ok(false)
            }
            Fault::Deaf(left) if writes && *left > 0 => {
                *left -= 1;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn refused(&self) -> Option<(u16, Value)> {
        match &self.kept.lock().unwrap().fault {
            Fault::Refuse(code, message) => Some(status(*code, "", message)),
            _ => None,
        }
    }

    fn watch(&self) -> Response<Answer> {
        let events = futures::stream::unfold(self.events.subscribe(), async |mut events| {
            let event = events.recv().await.ok()?;
            Some((Ok::<_, std::io::Error>(format!("{event}\n")), events))
        });
        Response::new(Answer::from_stream(events.boxed()))
    }

    fn handle(&self, method: &Method, name: &str, body: Value) -> (u16, Value) {
        let kept = &mut *self.kept.lock().unwrap();
        let found = kept.objects.get(name).cloned();
        let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().map(ToOwned::to_owned);
        match (method.as_str(), found) {
            ("GET", _) if name.is_empty() => {
                let items: Vec<_> = kept.objects.values().cloned().collect();
                (200, json!({"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": items}))
            }
            ("GET", Some(object)) => (200, object),
            ("POST", _) => {
                let name = body["metadata"]["name"].as_str().unwrap().to_owned();
                if kept.objects.contains_key(&name) {
                    return status(409, "AlreadyExists", "already exists");
                }
                (201, self.write(kept, &name, body))
            }
            ("PUT", Some(object)) => {
                if version(&body).is_some_and(|wanted| Some(wanted) != version(&object)) {
                    return status(409, "Conflict", "the object has been modified");
                }
                assert_ne!(object["immutable"], Value::Bool(true), "{name}");
                (200, self.write(kept, name, body))
            }
            ("DELETE", Some(object)) => {
                let wanted = &body["preconditions"]["uid"];
                if !wanted.is_null() && *wanted != object["metadata"]["uid"] {
                    return status(409, "Conflict", "another uid");
                }
                kept.objects.remove(name);
                (200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
            }
            _ => status(404, "NotFound", "not found"),
        }
    }

    fn write(&self, kept: &mut Kept, name: &str, mut object: Value) -> Value {
        kept.version += 1;
        object["metadata"]["resourceVersion"] = kept.version.to_string().into();
        object["metadata"]["uid"] = format!("uid-{}", kept.version).into();
        kept.objects.insert(name.into(), object.clone());
        if name == "store" {
            let _ = self.events.send(json!({"type": "MODIFIED", "object": object}));
        }
        object
    }
}

fn response(code: u16, body: &Value) -> Response<Answer> {
    Response::builder().status(code).body(Answer::from(body.to_string())).unwrap()
}
