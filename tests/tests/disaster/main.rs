//! A home goes with its machine, and comes back on another one from Git, a backup and a recovery key.
//!
//! Run by `cargo xtask test --suite disaster`, which has two clusters for it, one after the other. They share nothing but the
//! folder `HOMELAB_TEST_ELSEWHERE`: what somebody keeps in another place.

mod home;

mod before {
    use std::fs;

    use anyhow::{Result, ensure};

    use crate::home::Home;

    #[tokio::test]
    async fn a_home_is_made_with_one_command_and_its_store_is_backed_up() -> Result<()> {
        let home = Home::new("disk-before").await?;
        let made = home.bootstrap(&[]).await?;
        let key = made.text();
        ensure!(key.starts_with("homelab-recovery/1 ") && key.lines().count() == 1, "the recovery key, and only that");
        ensure!(!made.complaint().contains(key.trim()), "what is said beside it is no secret");
        let recovery = home.elsewhere.join("recovery.txt");
        fs::write(&recovery, key)?;

        home.cli(&["kv", "put", "kv/web/db", "password=first"]).await?;
        home.cli(&["kv", "put", "kv/web/db", "password=second"]).await?;
        // The same command goes on where it was: with a repository this time.
        let again = home.bootstrap(&["--repo", &home.repo.url, "--path", "apps"]).await?;
        ensure!(
            again.text().is_empty() && again.complaint().contains("a recovery key already"),
            "{}",
            again.complaint()
        );
        home.serves("second").await?;

        let (backup, recovery) = (home.elsewhere.join("by-hand.backup"), recovery.display().to_string());
        home.cli(&["secrets", "backup", &backup.display().to_string(), "--verify-recovery", &recovery]).await?;
        home.cli(&["kv", "put", "kv/web/other", "newest=of-all"]).await?;
        let scheduled = home.backed_up().await?;
        fs::copy(&scheduled, home.elsewhere.join("scheduled.backup"))?;
        fs::write(home.elsewhere.join("name"), scheduled.file_name().unwrap_or_default().as_encoded_bytes())?;
        let doctor = home.cli(&["doctor"]).await?.text();
        ensure!(
            doctor.contains("was seen to open a backup") && doctor.contains("the last one was looked after"),
            "{doctor}"
        );
        Ok(())
    }
}

mod after {
    use std::fs;
    use std::io::Write as _;
    use std::time::Instant;

    use anyhow::{Result, ensure};

    use crate::home::Home;

    #[tokio::test]
    async fn it_comes_back_in_an_empty_cluster_with_its_apps_and_their_secrets() -> Result<()> {
        let home = Home::new("disk-after").await?;
        let named = |name: &str| home.elsewhere.join(name).display().to_string();
        let (backup, recovery) = (named("by-hand.backup"), named("recovery.txt"));
        fs::copy(named("scheduled.backup"), home.backups.path(&fs::read_to_string(named("name"))?))?;
        home.backups.push("kept").await?;

        fs::write(named("wrong.txt"), "not what opens it")?;
        home.refused(&["--backup", &backup, "--recovery", &named("wrong.txt")], "open the backup with").await?;
        let bytes = fs::read(&backup)?;
        fs::write(named("cut.backup"), &bytes[..bytes.len() / 2])?;
        home.refused(&["--backup", &named("cut.backup"), "--recovery", &recovery], "ends in the middle").await?;
        ensure!(home.cluster.get("v1", "Namespace", "", "homelab").await?.is_none(), "nothing was touched");

        let newest = home.backup_place();
        let lost = ["--backup", &newest, "--recovery", &recovery, "--repo", &home.repo.url, "--path", "apps"];
        let start = Instant::now();
        let back = home.bootstrap(&lost).await?;
        let seconds = start.elapsed().as_secs_f64();
        let _ =
            writeln!(std::io::stderr(), "from an empty cluster to all Apps Ready with their secrets: {seconds:.0} s");
        let _ = writeln!(std::io::stderr(), "{}", back.complaint());
        ensure!(back.text().is_empty(), "no key is shown: the old one opens it");
        home.serves("second").await?;
        let history = home.cli(&["kv", "get", "kv/web/db", "--version", "1", "--field", "password"]).await?;
        ensure!(history.text() == "first", "old versions are there, too");
        ensure!(home.cli(&["kv", "get", "kv/web/other", "--field", "newest"]).await?.text() == "of-all");

        // It opens without anybody from now on.
        home.restart_daemon().await?;
        ensure!(home.cli(&["kv", "get", "kv/web/db", "--field", "password"]).await?.text() == "second");
        let again = home.bootstrap(&lost).await?;
        ensure!(again.complaint().contains("nothing is put back"), "{}", again.complaint());
        home.serves("second").await
    }
}
