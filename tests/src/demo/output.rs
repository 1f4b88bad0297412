//! What the person at the terminal sees.
#![expect(clippy::print_stdout, reason = "the demo talks to a person")]

use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;

use super::{Demo, Repaired, Row, SYSTEM, WEB};
use crate::cluster::Cluster;
use crate::daemon::homelab;
use crate::load::Report;

pub(super) fn begin(step: &str) {
    println!("\n── {step}");
}

pub(super) fn say(text: impl AsRef<str>) {
    for line in text.as_ref().trim_end().lines() {
        println!("   {line}");
    }
}

pub(super) fn end(what: &str, took: Duration) {
    println!("   ✔ {what} ({:.1} s)", took.as_secs_f32());
}

/// The table at the end, and what became of the load.
pub(super) fn table(rows: &[Row], report: Option<&Report>, repaired: Option<Repaired>) {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY).set_header(["step", "what happened", "seconds"]);
    for row in rows {
        table.add_row([row.step, &row.what, &format!("{:.1}", row.took.as_secs_f32())]);
    }
    if let Some(repaired) = repaired {
        let seconds = format!("{:.1}", repaired.after.as_secs_f32());
        let what = format!("active Deployment deleted → healthy again; {} requests failed meanwhile", repaired.failed);
        table.add_row(["outside the count", &what, &seconds]);
    }
    println!("\n{table}");
    let Some(report) = report else { return };
    println!(
        "{} requests, {} failed (half over connections kept for 5 s, half over new ones)",
        report.requests, report.failed
    );
    if report.retried > 0 {
        println!(
            "{} of them were sent twice: their idle kept connection closed first, and they were tried once more over a new \
             one, as Go's client and browsers do",
            report.retried
        );
    }
    for (answer, sight) in &report.answers {
        println!("  {:>7} × {answer}", sight.count);
    }
    for failure in report.failures.iter().take(20) {
        let kind = if failure.kept { "kept" } else { "new" };
        println!("  failed at {:.1} s ({kind} connection): {}", failure.at.as_secs_f32(), failure.reason);
    }
}

/// What a person would look at first when it went wrong.
pub(super) async fn look(cluster: &Cluster) {
    println!("\nHow things stand:");
    let commands: [&[&str]; 4] = [
        &["get", "gitsyncs,apps,secretpolicies", "-A", "-o", "wide"],
        &["get", "pods,services", "-n", WEB, "-o", "wide", "--show-labels"],
        &["get", "events", "-n", WEB, "--sort-by=.lastTimestamp"],
        &["logs", "-n", SYSTEM, "deployment/homelab", "--tail=40"],
    ];
    for command in commands {
        let output = cluster.kubectl(command.iter().copied()).await;
        say(output.map_or_else(|error| format!("{error:#}"), |o| o.text()));
    }
    for args in [["app", "status"], ["app", "explain"]] {
        if let Ok(program) = homelab(cluster)
            && let Ok(output) = program.args(args).args([WEB, "-n", WEB, "--daemon-namespace", SYSTEM]).run().await
        {
            say(output.text());
            say(output.complaint());
        }
    }
}

/// How to look around after `--keep`.
pub(super) fn look_around(demo: &Demo) {
    let kubeconfig = demo.cluster.kubeconfig.display();
    println!("\nEverything is left as it is. Look around (the Git server ends with this program):");
    println!("  export KUBECONFIG={kubeconfig} HOMELAB_DAEMON_NAMESPACE={SYSTEM}");
    println!("  homelab status -A");
    println!("  homelab app status {WEB} -n {WEB}; homelab app history {WEB} -n {WEB}");
    println!("  homelab kv get kv/web/db");
    println!("  curl {}", demo.url);
}
