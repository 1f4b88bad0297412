use super::*;
use proptest::prelude::*;

#[test]
fn paths_are_normalised_and_stay_inside() {
    let text = |path: &str| RepoPath::parse(path).map(|p| p.as_str().to_owned());
    assert_eq!(text("."), Some(String::new()));
    assert_eq!(text("./a//b/./c/"), Some("a/b/c".into()));
    assert_eq!(text("a/../b"), Some("b".into()));
    assert_eq!([text(".."), text("a/../../b"), text("/etc"), text("a\\b")], [None, None, None, None]);
    let folder = RepoPath::parse("apps/web").unwrap();
    assert_eq!(folder.join("../../charts/web").unwrap().as_str(), "charts/web");
    assert_eq!(folder.join("./chart").unwrap().as_str(), "apps/web/chart");
    assert!(folder.is_below(&RepoPath::parse("apps").unwrap()));
    assert!(!RepoPath::parse("apps2").unwrap().is_below(&RepoPath::parse("apps").unwrap()));
}

#[test]
fn credentials_are_not_shown() {
    let credentials = Credentials {
        login: Some(Login { username: "me".into(), password: "hunter2".into() }),
        ca_pem: Some("-----BEGIN".into()),
    };
    assert_eq!(format!("{credentials:?}"), "Credentials { login: Some(Login(…)), ca_pem: true }");
}

proptest! {
    #[test]
    fn no_path_leaves_the_repository(base in "[a-z./]{0,20}", relative in "[a-z./]{0,20}") {
        if let Some(path) = RepoPath::parse(&base).and_then(|base| base.join(&relative)) {
            prop_assert!(path.parts().all(|part| part != ".." && part != "." && !part.is_empty()));
            prop_assert!(!path.as_str().starts_with('/'));
        }
    }
}
