use proptest::prelude::*;

use super::*;

fn edges(pairs: &[(&'static str, &'static str)]) -> Edges<&'static str> {
    let mut edges = Edges::new();
    for (key, need) in pairs {
        edges.entry(*key).or_insert_with(BTreeSet::new).insert(*need);
    }
    edges
}

#[test]
fn dependencies_come_first_even_when_only_named() {
    let order = order(&edges(&[("web", "db"), ("db", "operator"), ("api", "db")])).unwrap();
    assert_eq!(order, ["operator", "db", "api", "web"]);
}

#[test]
fn a_cycle_is_named_without_what_only_leads_to_it() {
    let cycle = order(&edges(&[("a", "b"), ("b", "c"), ("c", "b")])).unwrap_err();
    assert_eq!(cycle.to_string(), "b → c → b");
    assert_eq!(order(&edges(&[("me", "me")])).unwrap_err(), Cycle(vec!["me"]));
}

#[test]
fn waits_only_for_what_is_not_met() {
    let edges = edges(&[("web", "db"), ("web", "cache")]);
    assert_eq!(waits_for(&edges, &"web", |key| *key == "db"), [&"cache"]);
    assert!(waits_for(&edges, &"db", |_| false).is_empty());
}

proptest! {
    #[test]
    fn an_order_respects_every_edge_and_a_cycle_is_one(pairs in prop::collection::vec((0..12_u8, 0..12_u8), 0..24)) {
        let mut edges = Edges::<u8>::new();
        for (key, need) in pairs {
            edges.entry(key).or_default().insert(need);
        }
        match order(&edges) {
            Ok(order) => {
                let place = |key: &u8| order.iter().position(|k| k == key).unwrap();
                for (key, needs) in &edges {
                    for need in needs {
                        prop_assert!(place(need) < place(key));
                    }
                }
                let all: BTreeSet<_> = edges.iter().flat_map(|(k, n)| n.iter().chain([k])).collect();
                prop_assert_eq!(order.len(), all.len());
            }
            Err(Cycle(keys)) => {
                prop_assert!(!keys.is_empty());
                for (key, next) in keys.iter().zip(keys.iter().cycle().skip(1)) {
                    prop_assert!(edges[key].contains(next));
                }
            }
        }
    }
}
