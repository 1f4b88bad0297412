use proptest::prelude::*;

use super::*;

/// What a view holds, as the backend would read it.
fn all(view: &View, objects: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let read = |entry: &Entry| match entry {
        Entry::Inline(text) => Entry::inline(text).unwrap(),
        Entry::Object(object) => {
            let content = objects[&object.name].clone();
            assert_eq!(sum(&content), object.sum);
            content
        }
    };
    view.range("", "", usize::MAX).into_iter().map(|(key, entry)| (key.to_owned(), read(entry))).collect()
}

/// Opens the view again as another process would: from texts.
fn reread(view: &View, objects: &BTreeMap<String, Vec<u8>>) -> View {
    let text = HeadText::read(&view.text.write().unwrap()).unwrap();
    let pages = text.pages.iter().map(|page| Arc::new(read_page(&objects[&page.object.name]).unwrap())).collect();
    View { text, version: None, pages }
}

fn writes() -> impl Strategy<Value = Vec<(u16, Option<usize>)>> {
    prop::collection::vec((0_u16..400, prop::option::of(prop_oneof![Just(0_usize), Just(40), Just(300)])), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_index_is_an_ordered_map(commits in prop::collection::vec(writes(), 1..40)) {
        let (mut view, mut model, mut objects) = (View::default(), BTreeMap::new(), BTreeMap::new());
        for (n, writes) in commits.iter().enumerate() {
            let mut batch = Batch::default();
            for (key, length) in writes {
                // Long keys, so that pages are cut.
                let key = format!("s/{key:0200}");
                let record = length.map(|length| vec![n as u8; length]);
                batch.writes.push((key.clone(), record.clone()));
                match record {
                    Some(record) => drop(model.insert(key, record)),
                    None => drop(model.remove(&key)),
                }
            }
            let Planned { fresh, next, dead } = view.commit(&batch, &format!("a{n}")).unwrap();
            for Fresh { object, content } in fresh {
                prop_assert!(objects.insert(object.name, content).is_none(), "a name was used twice");
            }
            prop_assert_eq!(&all(&view, &objects), &all(&reread(&view, &objects), &objects), "before it, nothing has changed");
            let mut changed: Vec<_> = next.changed_since(&view);
            let before = all(&view, &objects);
            for name in dead {
                prop_assert!(objects.remove(&name).is_some(), "dead twice");
            }
            prop_assert_eq!(next.objects().into_iter().map(ToOwned::to_owned).collect::<Vec<_>>(), objects.keys().cloned().collect::<Vec<_>>(), "no more and no fewer objects than are used");
            prop_assert_eq!(&all(&next, &objects), &model);
            prop_assert_eq!(&all(&reread(&next, &objects), &objects), &model);
            changed.retain(|key| before.get(key) != model.get(key));
            let expected: Vec<_> = before.keys().chain(model.keys()).collect::<BTreeSet<_>>().into_iter().filter(|key| before.get(*key) != model.get(*key)).cloned().collect();
            prop_assert_eq!(changed, expected, "every change is told");
            prop_assert_eq!((next.head(), next.text.made(next.head(), &format!("a{n}"))), (Head(n as u64 + 1), Some(true)));
            view = next;
        }
    }
}

#[test]
fn the_head_stays_small_and_pages_are_cut() {
    let mut view = View::default();
    let mut pages = 0;
    for n in 0..300_u32 {
        let mut batch = Batch::default();
        for k in 0..10 {
            batch.put(format!("s/0123456789abcdef0123456789abcdef/apps/{n:05}/credentials-{k}"), vec![1; 300]);
        }
        let planned = view.commit(&batch, &format!("{n:016x}")).unwrap();
        assert!(planned.fresh.len() <= 10 + planned.next.pages.len());
        view = planned.next;
        pages = pages.max(view.pages.len());
        assert!(view.text.write().unwrap().len() < 2 * JOURNAL);
    }
    assert!((4..40).contains(&pages), "{pages}");
    assert!(view.pages.iter().all(|page| text(&**page).unwrap().len() < 2 * PAGE));
    assert_eq!(view.text.recent.len(), RECENT);
    assert_eq!(view.text.made(Head(1), "0000000000000000"), None, "too long ago");
}

#[test]
fn newer_and_broken_texts_are_refused() {
    for (text, expected) in [
        (&br#"{"format":2,"content":{}}"#[..], Unreadable::Newer(2)),
        (br#"{"format":1,"content":{}}"#, Unreadable::Broken),
        (b"{", Unreadable::Broken),
    ] {
        assert_eq!(HeadText::read(text).unwrap_err(), expected);
    }
    let first = View::default().commit(&Batch { writes: vec![("a".into(), Some(vec![1]))] }, "x").unwrap().next;
    insta::assert_snapshot!(
        String::from_utf8(first.text.write().unwrap()).unwrap(),
        @r#"{"format":1,"content":{"head":1,"recent":[[1,"x"]],"pages":[],"journal":{"a":{"inline":"AQ=="}}}}"#
    );
}
