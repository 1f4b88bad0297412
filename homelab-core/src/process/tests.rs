use tokio::time::Instant;

use super::*;

fn sh(script: &str) -> Program {
    Program::new("/bin/sh").args(["-c", script])
}

#[tokio::test]
async fn input_goes_in_and_output_and_status_come_out() {
    let output = sh("cat; echo oops >&2; exit 3").stdin("hello").run().await.unwrap();
    assert_eq!((output.text().as_str(), output.complaint().as_str(), output.status.code()), ("hello", "oops", Some(3)));
}

#[tokio::test]
async fn a_large_input_does_not_block_on_a_large_output() {
    let output = sh("cat").stdin(vec![b'x'; 1 << 20]).run().await.unwrap();
    assert_eq!(output.stdout.len(), 1 << 20);
    assert!(sh("exit 0").stdin(vec![b'x'; 1 << 20]).run().await.unwrap().status.success());
}

#[tokio::test]
async fn the_environment_is_only_what_was_given() {
    let output = Program::new("env").env("A", "b").run().await.unwrap();
    assert_eq!(output.text(), "A=b\n");
}

#[tokio::test]
async fn it_runs_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let output = sh("pwd -P").cwd(folder.path()).run().await.unwrap();
    assert_eq!(output.text().trim(), folder.path().canonicalize().unwrap().to_str().unwrap());
}

#[tokio::test]
async fn a_timeout_kills_the_whole_process_group() {
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let script = "(sleep 1; touch survived) & wait";
    let error = sh(script)
        .env("PATH", "/bin:/usr/bin")
        .cwd(folder.path())
        .timeout(Duration::from_millis(200))
        .run()
        .await
        .unwrap_err();
    insta::assert_snapshot!(error, @"sh did not end within 0.2 s and was killed");
    assert!(start.elapsed() < Duration::from_secs(1));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(!folder.path().join("survived").exists());
}

#[tokio::test]
async fn a_dropped_run_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let run = sh("(sleep 0.5; touch survived) & wait").env("PATH", "/bin:/usr/bin").cwd(folder.path()).run();
    assert!(tokio::time::timeout(Duration::from_millis(100), run).await.is_err());
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!folder.path().join("survived").exists());
}

#[tokio::test]
async fn too_much_output_is_an_error_and_too_many_complaints_are_cut() {
    let error = sh("while :; do echo x; done").output_limit(1000).run().await.unwrap_err();
    insta::assert_snapshot!(error, @"sh wrote more than 1000 bytes and was killed");
    let output =
        sh("i=0; while [ $i -lt 500 ]; do echo xxxxx >&2; i=$((i+1)); done").output_limit(1000).run().await.unwrap();
    assert_eq!(output.stderr.len(), 1000);
}

#[tokio::test]
async fn a_missing_program_and_a_bad_end_are_named() {
    let error = Program::new("/no/such/helm").run().await.unwrap_err();
    insta::assert_snapshot!(error, @"can not start /no/such/helm: is it installed and executable?");
    let error = sh("echo 'chart is bad' >&2; exit 1").run_ok().await.unwrap_err();
    insta::assert_snapshot!(error, @"sh ended with exit status: 1: chart is bad");
    assert_eq!(error.class(), Class::Invalid);
}
