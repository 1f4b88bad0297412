//! Watches of several kinds whose news come as one stream.

use std::future::ready;

use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt as _};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// A watch, by its number, has something new; `true` when its first list is complete.
pub(super) type Signals = SelectAll<BoxStream<'static, (usize, bool)>>;

/// Begins a watch; its signals go to `signals`.
pub(super) fn follow<K>(api: Api<K>, config: watcher::Config, signals: &mut Signals) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    let index = signals.len();
    let (store, writer) = reflector::store();
    let events = reflector::reflector(writer, watcher(api, config)).default_backoff();
    signals.push(signal(index, events).boxed());
    store
}

fn signal<K: Resource<DynamicType = ()> + Send>(
    index: usize,
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send,
) -> impl Stream<Item = (usize, bool)> + Send {
    let meaning = move |event| match event {
        Ok(watcher::Event::InitDone) => Some((index, true)),
        Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_)) => Some((index, false)),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(kind = %K::kind(&()), %error, "can not be watched; trying again");
            None
        }
    };
    events.filter_map(move |event| ready(meaning(event)))
}
