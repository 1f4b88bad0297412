//! `homelab app …`.

use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::{Listing, Output, duration};

/// Flags of a request to an App.
#[derive(Clone, Debug, ClapArgs)]
pub struct Request {
    /// Name of the App
    pub name: String,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Do not wait for the answer
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    pub timeout: Duration,
}

/// `homelab app …`.
#[derive(Debug, Subcommand)]
pub enum App {
    /// List Apps
    List {
        /// `-A`, `-w`, `-o`.
        #[command(flatten)]
        listing: Listing,
    },
    /// What an App does and what it waits for
    Status {
        /// Name of the App
        name: String,
        /// Print again whenever something changes
        #[arg(short, long)]
        watch: bool,
        /// `-o`.
        #[command(flatten)]
        output: Output,
    },
    /// The revisions that are kept, newest first
    History {
        /// Name of the App
        name: String,
        /// `-o`.
        #[command(flatten)]
        output: Output,
    },
    /// Go on to the next step, or over the gates that are left (a revision that failed is not promoted: `retry` it)
    Promote {
        /// Which App, why, how long to wait.
        #[command(flatten)]
        request: Request,
    },
    /// Open an approval gate
    Approve {
        /// Which App, why, how long to wait.
        #[command(flatten)]
        request: Request,
    },
    /// Stop the rollout and give the traffic back
    Abort {
        /// Which App, why, how long to wait.
        #[command(flatten)]
        request: Request,
    },
    /// Hold the rollout where it is
    Pause {
        /// Which App, why, how long to wait.
        #[command(flatten)]
        request: Request,
    },
    /// Go on after a pause, or take the route back from who edited it
    Resume {
        /// Which App, why, how long to wait.
        #[command(flatten)]
        request: Request,
    },
    /// Try a failed revision again
    Retry {
        /// Which App, why, how long to wait.
        #[command(flatten)]
        request: Request,
    },
    /// Go back to an earlier revision with its secret versions
    Rollback {
        /// Which App, why, how long to wait.
        #[command(flatten)]
        request: Request,
        /// The revision (default: the one that served before)
        #[arg(long)]
        revision: Option<String>,
    },
    /// Why the App is as it is: its conditions, its plan and its last events
    Explain {
        /// Name of the App
        name: String,
        /// `case`: spec, observation and time as a test case of the planner
        #[arg(short = 'o', long = "output", value_name = "FORMAT")]
        format: Option<ExplainFormat>,
    },
}

/// `homelab app explain -o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExplainFormat {
    /// A test case of the planner (YAML)
    Case,
}
