//! How fast a store in one file is, without HTTP: reads and durable writes a second.
//!
//! ```sh
//! cargo run --release -p homelab-secrets --example store_speed --features embedded -- /tmp/speed.redb 10000 16
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to whoever tries it")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use homelab_secrets::backend::embedded::Embedded;
use homelab_secrets::backend::{System, key_file};
use homelab_secrets::store::{Put, SecretData, SecretPath, SecretStore};

type Failed = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, secrets, tasks] = &arguments[..] else { return Err("usage: store_speed FILE SECRETS TASKS".into()) };
    let (file, secrets, tasks): (_, u64, u64) = (Path::new(file), secrets.parse()?, tasks.parse()?);
    let unlock = key_file(&file.with_extension("key"), !file.exists(), &System)?;
    let started = Instant::now();
    let store = SecretStore::open_or_init(Arc::new(Embedded::open(file)?), unlock, Arc::new(System)).await?;
    println!("open after {:?}", started.elapsed());

    let each = secrets.div_ceil(tasks);
    let writes = run(&store, (tasks, each), move |store, task, n| write(store, (task * each + n) % secrets));
    report("durable writes", writes.await?);
    let reads = run(&store, (tasks, 20_000_u64.div_ceil(tasks)), move |store, task, n| read(store, task, n, secrets));
    report("reads", reads.await?);
    let beside = store.clone();
    let writer = tokio::spawn(async move {
        for n in 0.. {
            write(beside.clone(), n % secrets).await?;
        }
        Ok::<_, Failed>(())
    });
    let reads = run(&store, (tasks, 20_000_u64.div_ceil(tasks)), move |store, task, n| read(store, task, n, secrets));
    report("reads beside a writer", reads.await?);
    writer.abort();
    Ok(())
}

fn path(n: u64) -> Result<SecretPath, Failed> {
    Ok(SecretPath::parse(&format!("kv/app-{}/secret-{n}", n % 100))?)
}

async fn write(store: SecretStore, n: u64) -> Result<(), Failed> {
    let value = format!(r#"{{"username":"user-{n}","password":"{n:0>32}","url":"postgres://db.example/{n}"}}"#);
    let data: SecretData = serde_json::from_str(&value)?;
    store.put(&path(n)?, data, Put { cas: None, writer: "speed".into() }).await?;
    Ok(())
}

/// Steps that meet all secrets in no order that a cache would like.
async fn read(store: SecretStore, task: u64, n: u64, secrets: u64) -> Result<(), Failed> {
    store.get(&path((task * 7919 + n * 104_729) % secrets)?, None).await?;
    Ok(())
}

/// Runs `each` calls in each task; how long each call took, and all of them together.
async fn run<F, C>(store: &SecretStore, (tasks, each): (u64, u64), call: C) -> Result<(Vec<Duration>, Duration), Failed>
where
    F: Future<Output = Result<(), Failed>> + Send,
    C: Fn(SecretStore, u64, u64) -> F + Clone + Send + Sync + 'static,
{
    let started = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let (store, call) = (store.clone(), call.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                for n in 0..each {
                    let began = Instant::now();
                    call(store.clone(), task, n).await?;
                    took.push(began.elapsed());
                }
                Ok::<_, Failed>(took)
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in running {
        all.extend(task.await??);
    }
    Ok((all, started.elapsed()))
}

fn report(what: &str, (mut took, all): (Vec<Duration>, Duration)) {
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    let rate = took.len() as f64 / all.as_secs_f64();
    println!("{what}: {rate:.0}/s, p50 {:?}, p99 {:?}, longest {:?}", at(0.5), at(0.99), at(1.0));
}
