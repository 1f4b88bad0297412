use kube::core::response::{StatusCause, StatusDetails};

use super::*;

fn api(code: u16, reason: &str, message: &str, causes: Vec<StatusCause>) -> kube::Error {
    let details = StatusDetails { causes, ..serde_json::from_str("{}").unwrap() };
    kube::Error::Api(Status::failure(message, reason).with_code(code).with_details(details).boxed())
}

#[test]
fn the_code_decides_the_class() {
    let class = |code| classify(&api(code, "", "", Vec::new()));
    let table = [
        (400, Class::Invalid),
        (401, Class::Denied),
        (403, Class::Denied),
        (404, Class::NotFound),
        (409, Class::Conflict),
        (410, Class::Retry),
        (422, Class::Invalid),
        (429, Class::Retry),
        (500, Class::Retry),
        (503, Class::Retry),
    ];
    for (code, expected) in table {
        assert_eq!(class(code), expected, "{code}");
    }
    let cause = StatusCause { reason: "NamespaceTerminating".into(), message: String::new(), field: String::new() };
    assert_eq!(classify(&api(403, "Forbidden", "", vec![cause])), Class::Retry);
}

#[test]
fn an_explanation_is_one_line() {
    let invalid = api(422, "Invalid", "App \"web\" is invalid:\n  spec.helm: Required value", Vec::new());
    insta::assert_snapshot!(explain(&invalid), @r#"App "web" is invalid: spec.helm: Required value"#);
    insta::assert_snapshot!(explain(&api(503, "ServiceUnavailable", "", Vec::new())), @"the API server answered 503 ServiceUnavailable");
    let io = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
    insta::assert_snapshot!(explain(&kube::Error::Service(io.into())), @"the API server can not be reached: connection refused");
}
