//! Random histories with crashes between any two writes.

use proptest::prelude::*;
use serde_json::json;

use super::super::*;
use super::model::Cluster;
use crate::request::Verb;

#[derive(Clone, Debug)]
enum Op {
    Want(u8),
    Tick(u64),
    Round(usize),
    Rounds(u8),
    Sick(u8),
    Well,
    Reject(u8),
    Unrenderable(u8),
    Lose(Slot),
    LoseRelease(Slot),
    Ask(usize, Option<u8>),
    Forget,
    LoseRoute,
    Cut,
    Edit,
    Unedit,
}

fn op() -> impl Strategy<Value = Op> {
    let slot = || prop_oneof![Just(Slot::Blue), Just(Slot::Green), Just(Slot::App)];
    prop_oneof![
        4 => (0_u8..4).prop_map(Op::Want),
        6 => prop_oneof![1_u64..4, 5_u64..20, Just(4000_u64)].prop_map(Op::Tick),
        8 => (0_usize..3).prop_map(Op::Round),
        8 => (1_u8..12).prop_map(Op::Rounds),
        1 => (0_u8..4).prop_map(Op::Sick),
        1 => Just(Op::Well),
        1 => (0_u8..4).prop_map(Op::Reject),
        1 => (0_u8..4).prop_map(Op::Unrenderable),
        2 => slot().prop_map(Op::Lose),
        1 => slot().prop_map(Op::LoseRelease),
        4 => (0_usize..7, proptest::option::of(0_u8..4)).prop_map(|(verb, revision)| Op::Ask(verb, revision)),
        2 => Just(Op::Forget),
        1 => Just(Op::LoseRoute),
        2 => Just(Op::Cut),
        1 => Just(Op::Edit),
        2 => Just(Op::Unedit),
    ]
}

fn run(cluster: &mut Cluster, op: Op) {
    let name = |n: u8| format!("r{n}");
    match op {
        Op::Want(n) => cluster.want(&name(n)),
        Op::Tick(seconds) => cluster.tick(seconds),
        Op::Round(upto) => drop(cluster.round(upto)),
        Op::Rounds(count) => {
            for _ in 0..count {
                let planned = cluster.round(usize::MAX);
                cluster.tick(planned.requeue.as_secs().clamp(1, 5));
            }
        }
        Op::Sick(n) => drop(cluster.sick.insert(name(n))),
        Op::Well => heal(cluster),
        Op::Reject(n) => drop(cluster.rejected.insert(name(n))),
        Op::Unrenderable(n) => drop(cluster.unrenderable.insert(name(n))),
        Op::Lose(slot) => cluster.lose(slot),
        Op::LoseRelease(slot) => drop(cluster.observed.slots.remove(&slot)),
        Op::Ask(verb, revision) => cluster.ask(Verb::ALL[verb], revision.map(name)),
        Op::Forget => {
            cluster.observed.gates.clear();
            cluster.observed.answered = None;
        }
        Op::LoseRoute => {
            cluster.observed.route.state = Default::default();
            cluster.observed.route.confirmation = None;
        }
        Op::Edit => {
            cluster.observed.route.state.edited_by = cluster.observed.route.state.exists.then(|| "kubectl-edit".into())
        }
        Op::Cut => cluster.cut(),
        Op::Unedit => cluster.observed.route.state.edited_by = None,
    }
}

fn heal(cluster: &mut Cluster) {
    cluster.sick.clear();
    cluster.rejected.clear();
    cluster.unrenderable.clear();
    cluster.tick(0);
}

fn end(cluster: &mut Cluster, fresh: &str) -> Result<(), TestCaseError> {
    // An engine that fails for ever is asked for ever, once a minute.
    cluster.unrenderable.clear();
    cluster.converge();
    // Whatever happened: what Git asks for next takes over, once the cluster is well again.
    heal(cluster);
    cluster.observed.route.state.edited_by = None;
    cluster.observed.request = None;
    cluster.want(fresh);
    cluster.converge();
    let report = cluster.plan().report;
    prop_assert_eq!(report.active.map(|(_, revision)| revision), Some(fresh.to_owned()), "{:?}", cluster.plan().report);
    prop_assert!(report.ready.ready);
    prop_assert_eq!(cluster.stale(), vec![], "a dead value is left");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn blue_green_keeps_its_invariants_and_converges(weights: bool, ops in proptest::collection::vec(op(), 1..60)) {
        let spec = super::blue_green(&[10, 50, 100], json!([{"name": "smoke", "http": {"path": "/"}}, {"name": "later", "after": 50, "http": {"path": "/"}}]));
        let mut cluster = Cluster::new(spec, weights);
        for op in ops {
            run(&mut cluster, op);
        }
        end(&mut cluster, "r9")?;
        let state = &cluster.observed.route.state;
        let serving = state.active.as_deref().and_then(|active| active.split_once('@')).map(|(colour, _)| colour.to_owned());
        prop_assert_eq!(state.weights.get(&serving.unwrap_or_default()), Some(&100));
    }

    #[test]
    fn rolling_converges(ops in proptest::collection::vec(op(), 1..60)) {
        let mut cluster = Cluster::new(super::rolling(json!([{"name": "smoke", "http": {"path": "/"}}])), false);
        for op in ops {
            if !matches!(op, Op::LoseRoute | Op::Edit) {
                run(&mut cluster, op);
            }
        }
        end(&mut cluster, "r9")?;
    }

    #[test]
    fn a_plan_depends_on_nothing_else(ops in proptest::collection::vec(op(), 1..40)) {
        let mut cluster = Cluster::new(super::blue_green(&[50, 100], json!([])), true);
        for op in ops {
            run(&mut cluster, op);
            // Through JSON, as `app explain -o case` writes it, the same plan follows.
            let copy: Observed = serde_json::from_value(serde_json::to_value(&cluster.observed).unwrap()).unwrap();
            prop_assert_eq!(&copy, &cluster.observed);
            prop_assert_eq!(plan(&cluster.spec, &copy, cluster.now), cluster.plan());
        }
    }
}
