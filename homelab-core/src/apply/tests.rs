use http::{Request, Response};
use kube::client::Body;
use serde_json::json;

use super::*;

type Handle = tower_test::mock::Handle<Request<Body>, Response<Body>>;

fn resource() -> ApiResource {
    ApiResource {
        group: "apps".into(),
        version: "v1".into(),
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        plural: "deployments".into(),
    }
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "home"}})
}

/// Answers one request with `code` and `answer`; returns its line, content type and body.
async fn serve(mut handle: Handle, code: u16, answer: Value) -> (String, String, Value) {
    let (request, send) = handle.next_request().await.unwrap();
    let line = format!("{} {}", request.method(), request.uri());
    let kind = request.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = request.into_body().collect_bytes().await.unwrap();
    send.send_response(Response::builder().status(code).body(Body::from(answer.to_string().into_bytes())).unwrap());
    (line, kind, serde_json::from_slice(&body).unwrap_or_default())
}

fn mock() -> (Client, Handle) {
    let (service, handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    (Client::new(service, "default"), handle)
}

async fn applied(
    options: ApplyOptions,
    code: u16,
    answer: Value,
) -> ((String, String, Value), Result<DynamicObject, ApplyError>) {
    let (client, handle) = mock();
    let server = tokio::spawn(serve(handle, code, answer));
    let result = apply(&client, &resource(), true, &deployment(), "homelab-gitops", options).await;
    (server.await.unwrap(), result)
}

fn refusal(code: u16, reason: &str, causes: Value) -> Value {
    json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "no", "details": {"causes": causes}})
}

#[tokio::test]
async fn an_apply_forces_nothing_and_is_strict() {
    let ((line, kind, body), result) = applied(ApplyOptions::default(), 200, deployment()).await;
    assert_eq!(
        line,
        "PATCH /apis/apps/v1/namespaces/home/deployments/web?&fieldManager=homelab-gitops&fieldValidation=Strict"
    );
    assert_eq!(kind, "application/apply-patch+yaml");
    assert_eq!(body, deployment());
    assert_eq!(reference(&resource(), &result.unwrap()).to_string(), "Deployment.apps home/web");
}

#[tokio::test]
async fn dry_run_force_and_version_reach_the_wire() {
    let options = ApplyOptions { dry_run: true, force: true, resource_version: Some("7".into()) };
    let ((line, _, body), _) = applied(options, 200, deployment()).await;
    assert!(line.contains("dryRun=All&force=true"), "{line}");
    assert_eq!(body["metadata"]["resourceVersion"], "7");
}

#[tokio::test]
async fn a_conflict_names_the_other_owner_and_the_field() {
    let causes = json!([
        {"reason": "FieldManagerConflict", "message": "conflict with \"kubectl-edit\" using apps/v1", "field": ".spec.replicas"},
        {"reason": "FieldManagerConflict", "message": "conflict with \"hpa\" with subresource \"scale\" using v1", "field": ".spec.x"},
    ]);
    let error = applied(ApplyOptions::default(), 409, refusal(409, "Conflict", causes)).await.1.unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    insta::assert_snapshot!(error, @"Deployment.apps home/web has fields of other owners: .spec.replicas (kubectl-edit), .spec.x (hpa); take them out, or let their owner give them up");
}

#[tokio::test]
async fn an_old_version_is_stale_and_a_refusal_keeps_its_class() {
    let stale = applied(ApplyOptions::default(), 409, refusal(409, "Conflict", json!([]))).await.1.unwrap_err();
    assert!(matches!(stale, ApplyError::Stale { .. }), "{stale}");
    let denied = applied(ApplyOptions::default(), 403, refusal(403, "Forbidden", json!([]))).await.1.unwrap_err();
    assert_eq!(denied.class(), Class::Denied);
    insta::assert_snapshot!(denied, @"can not apply Deployment.apps home/web: no");
}

#[tokio::test]
async fn an_object_without_its_namespace_is_refused_before_the_wire() {
    let (client, _handle) = mock();
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
    let error = apply(&client, &resource(), true, &object, "m", ApplyOptions::default()).await.unwrap_err();
    insta::assert_snapshot!(error, @"an object without metadata.namespace can not be written: Deployment.apps web");
}

#[tokio::test]
async fn a_delete_is_bound_to_the_uid_and_missing_is_fine() {
    let (client, handle) = mock();
    let server = tokio::spawn(serve(handle, 404, refusal(404, "NotFound", json!([]))));
    let target = ObjectRef::of(&deployment()).unwrap();
    let options = DeleteOptions { uid: Some("u1".into()), ..DeleteOptions::default() };
    assert!(!delete(&client, &resource(), true, &target, options).await.unwrap());
    let (line, _, body) = server.await.unwrap();
    assert!(line.starts_with("DELETE /apis/apps/v1/namespaces/home/deployments/web"), "{line}");
    assert_eq!(body["preconditions"]["uid"], "u1");
    assert_eq!(body["propagationPolicy"], "Background");
}
