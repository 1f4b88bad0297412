//! The daemon's flags about backups of the store.

use std::time::Duration;

use clap::Args as ClapArgs;

use super::duration;

/// The daemon's flags about backups of the store.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Backups")]
pub struct BackupFlags {
    /// Where backups of the store are kept: a directory, s3://BUCKET/PREFIX (by $AWS_ENDPOINT_URL, $AWS_REGION,
    /// $AWS_ACCESS_KEY_ID, $AWS_SECRET_ACCESS_KEY), or git+https://HOST/REPOSITORY.git#BRANCH (by $HOMELAB_BACKUP_GIT_USER,
    /// $HOMELAB_BACKUP_GIT_TOKEN); can be given again
    #[arg(long, value_name = "WHERE")]
    pub backup_to: Vec<String>,
    /// How old the newest backup may be when there is something new
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = duration)]
    pub backup_every: Duration,
    /// How many backups are kept in each place
    #[arg(long, default_value_t = 30, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    pub backup_keep: u16,
}
