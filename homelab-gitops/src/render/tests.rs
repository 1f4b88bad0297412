use super::*;
use crate::source::{Owner, TreeId};
use homelab_core::meta::Account;
use proptest::prelude::*;

fn file(path: &str, content: &str) -> SourceFile {
    SourceFile { path: RepoPath::parse(path).unwrap(), content: Content::Bytes(content.into()) }
}

fn found(files: &[SourceFile]) -> Vec<String> {
    render(files).unwrap().manifests.iter().map(|m| format!("{} {}", m.origin, m.reference)).collect()
}

fn problems(files: &[SourceFile]) -> Vec<String> {
    render(files).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn streams_comments_json_lists_and_windows_lines_are_read() {
    let files = [
        file(
            "a.yaml",
            "# a comment\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: one\n---\n# nothing\n---\n\napiVersion: v1\nkind: Secret\nmetadata: {name: two, namespace: web}\n",
        ),
        file(
            "b.yml",
            "apiVersion: v1\r\nkind: ConfigMap\r\nmetadata:\r\n  name: three\r\ndata:\r\n  text: |\r\n    line\r\n--- # next\r\napiVersion: v1\r\nkind: ConfigMap\r\nmetadata: {name: four}\r\n",
        ),
        file("c.json", r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"five"}}"#),
        file(
            "list.yaml",
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: six}}\n- {apiVersion: v1, kind: Service, metadata: {name: seven}}\n",
        ),
        file("typed.yaml", "apiVersion: v1\nkind: ConfigMapList\nitems: [{metadata: {name: eight}}]\n"),
        file("inline.yaml", "--- {apiVersion: v1, kind: ConfigMap, metadata: {name: nine}}\n"),
    ];
    insta::assert_debug_snapshot!(found(&files), @r##"
    [
        "a.yaml:3 ConfigMap one",
        "a.yaml:11 Secret web/two",
        "b.yml:1 ConfigMap three",
        "b.yml:9 ConfigMap four",
        "c.json:1 Deployment.apps five",
        "list.yaml:1 Service six",
        "list.yaml:1 Service seven",
        "typed.yaml:1 ConfigMap eight",
        "inline.yaml:1 ConfigMap nine",
    ]
    "##);
}

#[test]
fn other_files_are_skipped_and_counted() {
    let files = [
        file("README.md", "# hello"),
        file("values.yaml", "replicas: 2\n"),
        file("empty.yaml", "# only words\n---\n"),
        file(".github/workflows/ci.yaml", "{{ not yaml"),
        file("cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"),
    ];
    let rendered = render(&files).unwrap();
    assert_eq!((rendered.manifests.len(), rendered.skipped), (1, 3));
}

#[test]
fn a_chart_is_never_a_manifest() {
    let files = [
        file(
            "apps/web/app.yaml",
            "apiVersion: homelab.dev/v1alpha1\nkind: App\nmetadata: {name: web}\nspec: {helm: {chart: ./chart}}\n",
        ),
        file("apps/web/chart/Chart.yaml", "apiVersion: v2\nname: web\nversion: 0.1.0\n"),
        file("apps/web/chart/templates/deployment.yaml", "{{ if .Values.on }}\nkind: Deployment\n{{ end }}"),
    ];
    let rendered = render(&files).unwrap();
    assert_eq!(rendered.manifests.len(), 1);
    assert_eq!(rendered.charts().iter().map(RepoPath::as_str).collect::<Vec<_>>(), ["apps/web/chart"]);
}

#[test]
fn everything_broken_is_named_with_its_line() {
    let link = SourceFile { path: RepoPath::parse("link.yaml").unwrap(), content: Content::Symlink };
    let files = [
        file(
            "bad.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b\n",
        ),
        file("bad.json", "{\n  \"apiVersion\": }"),
        file("twice.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nkind: Secret\n"),
        file("nameless.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {labels: {a: b}}\n"),
        file("generated.yaml", "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: a-}\n"),
        file("label.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {version: 1.0}}\n"),
        file("sops.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nsops: {mac: ENC}\n"),
        file("k/kustomization.yaml", "resources: [a.yaml]\n"),
        file(
            "app.yaml",
            "apiVersion: homelab.dev/v1alpha1\nkind: App\nmetadata: {name: web}\nspec: {helm: {chart: ../../x}}\n",
        ),
        file("hidden.yaml", "apiVersion: v1\nkind: Secret\nstringData: {password: hunter2\n"),
        link,
    ];
    let problems = problems(&files);
    assert!(!problems.iter().any(|problem| problem.contains("hunter2")));
    insta::assert_debug_snapshot!(problems, @r##"
    [
        "bad.yaml:8: is not YAML: unclosed bracket '{'",
        "bad.json:2: is not JSON: expected value",
        "twice.yaml:4: is not YAML: duplicate mapping key: kind",
        "nameless.yaml:1: ConfigMap has no metadata.name: give it a name",
        "generated.yaml:1: Job has generateName, which would make a new object each time: give it a name",
        "label.yaml:1: ConfigMap a: metadata.labels[\"version\"] must be text: write it in quotes, as in \"1.0\"",
        "sops.yaml:1: Secret is encrypted with SOPS, which is not supported yet: keep the secret in the store (homelab kv put)",
        "k/kustomization.yaml:1: kustomize is not supported yet: name a folder of plain manifests in spec.path, or remove this file",
        "app.yaml:1: App.homelab.dev web: spec.helm.chart \"../../x\" leaves the repository: name a folder relative to this file",
        "hidden.yaml:3: is not YAML: unclosed bracket '{'",
        "link.yaml:1: is a symbolic link: put a real file there",
    ]
    "##);
}

#[test]
fn flux_kustomizations_and_octal_modes_are_ordinary() {
    let text = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps}\nspec: {mode: 0644, on: yes}\n";
    let rendered = render(&[file("kustomization.yaml", text)]).unwrap();
    assert_eq!(
        rendered.manifests[0].object["spec"],
        serde_json::json!({"mode": 420, "on": true}),
        "as kubectl reads it"
    );
}

#[test]
fn namespaces_follow_the_scope_and_doubles_are_refused() {
    let files = [
        file("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"),
        file("b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: home}\n"),
        file("n.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: web, namespace: oops}\n"),
        file("x.yaml", "apiVersion: x.dev/v1\nkind: Thing\nmetadata: {name: x}\n"),
    ];
    let scope = |manifest: &Manifest| match manifest.reference.kind.as_str() {
        "ConfigMap" => Some(Scope::Namespaced),
        "Namespace" => Some(Scope::Cluster),
        _ => None,
    };
    let mut rendered = render(&files).unwrap();
    let problems = rendered.settle("home", scope).unwrap_err();
    assert_eq!(problems[0].to_string(), "b.yaml:1: ConfigMap home/a is already in a.yaml:1: keep one of the two");
    let references: Vec<String> = rendered.manifests.iter().map(|m| m.reference.to_string()).collect();
    assert_eq!(references, ["ConfigMap home/a", "ConfigMap home/a", "Namespace web", "Thing.x.dev x"]);
    assert_eq!(rendered.manifests[0].object["metadata"]["namespace"], "home");
    assert_eq!(rendered.manifests[2].object["metadata"].get("namespace"), None);
}

#[test]
fn stamps_replace_whatever_git_says() {
    let app = "apiVersion: homelab.dev/v1alpha1\nkind: App\nmetadata:\n  name: web\n  uid: x\n  labels: {applyset.kubernetes.io/part-of: other, a: b}\n  annotations: {homelab.dev/account: kube-system/admin, homelab.dev/source: x, homelab.dev/prune-confirmed: uid}\nspec: {helm: {chart: ../charts/web}}\nstatus: {}\n";
    let remote = "apiVersion: homelab.dev/v1alpha1\nkind: App\nmetadata: {name: far, annotations: {homelab.dev/source: forged}}\nspec: {helm: {chart: 'oci://r/c'}}\n";
    let mut rendered = render(&[file("apps/web.yaml", app), file("apps/far.yaml", remote)]).unwrap();
    let owner = Owner { namespace: "infra".into(), name: "home".into() };
    let account = Account::new("infra", "deployer");
    let missing = stamp(&mut rendered.clone(), &Stamps { owner: &owner, account: &account, trees: &BTreeMap::new() })
        .unwrap_err();
    assert_eq!(
        missing[0].to_string(),
        "apps/web.yaml:1: App.homelab.dev web: spec.helm.chart names folder charts/web, which is not in the repository"
    );
    let tree = TreeId::parse(&"a".repeat(40)).unwrap();
    let trees = BTreeMap::from([(RepoPath::parse("charts/web").unwrap(), tree)]);
    stamp(&mut rendered, &Stamps { owner: &owner, account: &account, trees: &trees }).unwrap();
    let metadata: Vec<&Value> = rendered.manifests.iter().map(|m| &m.object["metadata"]).collect();
    insta::assert_json_snapshot!(metadata, @r##"
    [
      {
        "annotations": {
          "homelab.dev/account": "infra/deployer",
          "homelab.dev/source": "infra/home@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        },
        "labels": {
          "a": "b",
          "applyset.kubernetes.io/part-of": "applyset-Y-6XlJHTxZz5xVEZNrgfWJWxWiQFJrYP0JMr892Cqv4-v1"
        },
        "name": "web"
      },
      {
        "annotations": {
          "homelab.dev/account": "infra/deployer"
        },
        "labels": {
          "applyset.kubernetes.io/part-of": "applyset-Y-6XlJHTxZz5xVEZNrgfWJWxWiQFJrYP0JMr892Cqv4-v1"
        },
        "name": "far"
      }
    ]
    "##);
    assert!(rendered.manifests[0].object.get("status").is_none());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "([a-z{}\\[\\]:\\-|>&* \n\"']{0,12}(---|kind: List|apiVersion: v1|\r\n)?){0,6}", json: bool) {
        let _ = render(&[file(if json { "a.json" } else { "a.yaml" }, &text)]);
    }
}

#[test]
fn sealed_files_are_told_apart_by_their_name_and_lack_of_objects() {
    let text = "homelab: sealed/1\nrepository: home\n";
    let rendered = render(&[
        file("apps/db.sealed.yaml", text),
        file("apps/other.yaml", text),
        file("apps/object.sealed.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"),
        file("chart/Chart.yaml", "name: chart\n"),
        file("chart/db.sealed.yaml", text),
        file(".hidden/db.sealed.yaml", text),
    ])
    .unwrap();
    let sealed: Vec<&str> = rendered.sealed.iter().map(|sealed| sealed.path.as_str()).collect();
    assert_eq!((sealed, rendered.manifests.len(), rendered.skipped), (vec!["apps/db.sealed.yaml"], 1, 1));
    assert_eq!(rendered.sealed[0].text, text);
    let torn = problems(&[file("db.sealed.yaml", "<<<<<<< ours\nhomelab: sealed/1\n=======\n")]);
    assert!(torn[0].starts_with("db.sealed.yaml:"), "{torn:?}");
}
