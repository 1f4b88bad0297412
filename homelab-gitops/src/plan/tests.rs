use super::*;
use proptest::prelude::*;

const SET: &str = "applyset-ours-v1";
const OTHER: &str = "applyset-other-v1";

/// An API server that does what it is told; kinds of `defines` are served once their definition is there.
#[derive(Clone, Debug, Default)]
struct World {
    live: BTreeMap<ObjectRef, Live>,
    applied: BTreeMap<ObjectRef, Applied>,
    desired: Vec<Desired>,
    counter: u64,
    prune: bool,
}

impl World {
    fn unserved(&self) -> BTreeSet<GroupKind> {
        let custom = GroupKind { group: "db.example".into(), kind: "Db".into() };
        let served = self.live.keys().any(crate::render::is_crd);
        if served { BTreeSet::new() } else { BTreeSet::from([custom]) }
    }

    fn plan(&self, goal: Goal<'_>) -> Plan {
        let unserved = self.unserved();
        plan(&Input {
            goal,
            set: SET,
            prune: self.prune,
            live: &self.live,
            applied: &self.applied,
            unserved: &unserved,
        })
    }

    fn put(&mut self, reference: &ObjectRef, part_of: Option<&str>) {
        self.counter += 1;
        let uid = self
            .live
            .get(reference)
            .map_or_else(|| format!("uid-{}", self.counter), |live| live.fingerprint.uid.clone());
        let fingerprint = Fingerprint { uid, state: format!("g{}", self.counter), metadata: String::new() };
        let live = Live {
            fingerprint,
            resource_version: self.counter.to_string(),
            part_of: part_of.map(Into::into),
            terminating: false,
            prune: None,
            confirmed: None,
        };
        self.live.insert(reference.clone(), live);
    }

    fn execute(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Apply { reference, .. } => {
                    self.put(reference, Some(SET));
                    let digest =
                        self.desired.iter().find(|d| d.reference == *reference).map(|d| d.digest.clone()).unwrap();
                    let fingerprint = self.live[reference].fingerprint.clone();
                    self.applied.insert(reference.clone(), Applied { digest, fingerprint });
                }
                Action::Delete { reference, uid, .. } => {
                    assert_eq!(&self.live[reference].fingerprint.uid, uid);
                    assert_eq!(self.live[reference].part_of.as_deref(), Some(SET), "never removes what another holds");
                    self.live.remove(reference);
                }
            }
        }
    }

    /// Plans and executes until nothing is left to do.
    fn settle(&mut self) -> Plan {
        for _ in 0..20 {
            let desired = self.desired.clone();
            let plan = self.plan(Goal::Hold(&desired));
            if plan.actions.is_empty() {
                return plan;
            }
            self.execute(&plan.actions);
        }
        panic!("no fixpoint after 20 rounds: {self:?}");
    }
}

fn desired(reference: ObjectRef) -> Desired {
    let defines =
        crate::render::is_crd(&reference).then(|| GroupKind { group: "db.example".into(), kind: "Db".into() });
    Desired { reference, digest: "d1".into(), defines }
}

fn crd() -> ObjectRef {
    ObjectRef::cluster("apiextensions.k8s.io", "CustomResourceDefinition", "dbs.db.example")
}

fn universe() -> Vec<ObjectRef> {
    vec![
        crd(),
        ObjectRef::cluster("", "Namespace", "web"),
        ObjectRef::namespaced("", "ConfigMap", "web", "a"),
        ObjectRef::namespaced("", "ConfigMap", "web", "b"),
        ObjectRef::namespaced("", "PersistentVolumeClaim", "web", "data"),
        ObjectRef::namespaced("apps", "Deployment", "web", "api"),
        ObjectRef::namespaced("db.example", "Db", "web", "main"),
        ObjectRef::namespaced("homelab.dev", "App", "web", "web"),
    ]
}

fn world(references: &[ObjectRef]) -> World {
    World { desired: references.iter().cloned().map(desired).collect(), prune: true, ..World::default() }
}

fn names(plan: &Plan) -> Vec<String> {
    plan.actions
        .iter()
        .map(|action| match action {
            Action::Apply { reference, force } => format!("apply{} {reference}", if *force { "!" } else { "" }),
            Action::Delete { reference, .. } => format!("delete {reference}"),
        })
        .collect()
}

#[test]
fn kinds_and_namespaces_come_first_and_apps_last() {
    let mut world = world(&universe());
    let mut rounds = Vec::new();
    loop {
        let desired = world.desired.clone();
        let plan = world.plan(Goal::Hold(&desired));
        if plan.actions.is_empty() {
            break;
        }
        rounds.push(names(&plan));
        world.execute(&plan.actions);
    }
    insta::assert_debug_snapshot!(rounds, @r##"
    [
        [
            "apply CustomResourceDefinition.apiextensions.k8s.io dbs.db.example",
        ],
        [
            "apply Namespace web",
        ],
        [
            "apply ConfigMap web/a",
            "apply ConfigMap web/b",
            "apply PersistentVolumeClaim web/data",
            "apply Deployment.apps web/api",
            "apply Db.db.example web/main",
            "apply App.homelab.dev web/web",
        ],
    ]
    "##);
}

#[test]
fn a_foreign_change_is_taken_back_and_a_foreign_object_is_not_taken_over() {
    let config = ObjectRef::namespaced("", "ConfigMap", "web", "a");
    let mut world = world(std::slice::from_ref(&config));
    world.put(&config, None);
    assert_eq!(
        names(&world.plan(Goal::Hold(&world.desired.clone()))),
        ["apply ConfigMap web/a"],
        "adopted without force"
    );
    world.settle();
    world.put(&config, Some(SET));
    assert_eq!(names(&world.plan(Goal::Hold(&world.desired.clone()))), ["apply! ConfigMap web/a"]);
    world.put(&config, Some(OTHER));
    let plan = world.plan(Goal::Hold(&world.desired.clone()));
    assert_eq!(plan.actions, []);
    assert_eq!(plan.waits[0].reason, Reason::OwnedBy(OTHER.into()));
}

#[test]
fn pruning_waits_for_finalizers_and_asks_before_data_goes() {
    let mut world = world(&universe());
    world.settle();
    world.desired.truncate(3);
    world.desired.remove(0);
    world.live.get_mut(&ObjectRef::namespaced("homelab.dev", "App", "web", "web")).unwrap().terminating = true;
    let plan = world.plan(Goal::Hold(&world.desired.clone()));
    assert_eq!(plan.actions, [], "the App takes down what it made first");
    world.live.remove(&ObjectRef::namespaced("homelab.dev", "App", "web", "web"));
    let plan = world.settle();
    let left: Vec<String> = plan.waits.iter().map(ToString::to_string).collect();
    insta::assert_debug_snapshot!(left, @r##"
    [
        "PersistentVolumeClaim web/data: is no longer in Git; to delete it for good, annotate it with homelab.dev/prune-confirmed=uid-5",
        "CustomResourceDefinition.apiextensions.k8s.io dbs.db.example: is no longer in Git; to delete it for good, annotate it with homelab.dev/prune-confirmed=uid-1",
    ]
    "##);
    assert!(plan.is_done());
    let claim = ObjectRef::namespaced("", "PersistentVolumeClaim", "web", "data");
    let live = world.live.get_mut(&claim).unwrap();
    live.confirmed = Some(live.fingerprint.uid.clone());
    assert_eq!(names(&world.plan(Goal::Hold(&world.desired.clone()))), ["delete PersistentVolumeClaim web/data"]);
}

#[test]
fn an_empty_folder_deletes_nothing_but_the_gitsyncs_deletion_does() {
    let mut world = world(&universe()[2..4]);
    world.settle();
    let plan = world.plan(Goal::Hold(&[]));
    assert_eq!((plan.actions.len(), plan.waits.len()), (0, 2));
    assert_eq!(plan.waits[0].reason, Reason::NothingDesired);
    assert_eq!(names(&world.plan(Goal::Release)), ["delete ConfigMap web/a", "delete ConfigMap web/b"]);
    world.prune = false;
    assert_eq!(world.plan(Goal::Release).actions, []);
}

#[test]
fn an_unknown_kind_waits_alone() {
    let mut world = world(&universe()[2..]);
    let plan = world.settle();
    assert_eq!(plan.waits.len(), 1);
    assert_eq!(plan.waits[0].reason, Reason::KindUnserved);
    assert_eq!(world.live.len(), universe().len() - 3);
}

proptest! {
    #[test]
    fn plans_come_to_a_fixpoint_whose_plan_is_empty(
        wanted in proptest::sample::subsequence(universe(), 0..=8),
        mine in proptest::sample::subsequence(universe(), 0..=8),
        foreign in proptest::sample::subsequence(universe(), 0..=8),
        plain in proptest::sample::subsequence(universe(), 0..=8),
        prune: bool,
    ) {
        let mut world = world(&wanted);
        world.prune = prune;
        for reference in &mine { world.put(reference, Some(SET)); }
        for reference in &foreign { world.put(reference, Some(OTHER)); }
        for reference in &plain { world.put(reference, None); }
        let before = world.live.clone();
        let end = world.settle();
        prop_assert_eq!(&world.plan(Goal::Hold(&world.desired.clone())), &end, "a fixpoint stays one");
        for (reference, live) in &before {
            let gone = !world.live.contains_key(reference);
            if live.part_of.as_deref() != Some(SET) || !prune || order::needs_confirmation(reference) || wanted.is_empty() {
                prop_assert!(!gone, "{} must stay", reference);
            }
        }
        if end.waits.iter().all(|wait| wait.reason.is_left_over()) {
            for reference in &wanted {
                prop_assert_eq!(world.live[reference].part_of.as_deref(), Some(SET));
            }
        }
    }
}
