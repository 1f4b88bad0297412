use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const GOOD: &str = r#"{"version": "1", "colour": "blue", "secret": {"password": "x"}}"#;

/// A server whose connections each answer `answers` requests and then close without a word.
async fn server(answers: usize, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                for _ in 0..answers {
                    if stream.read(&mut buffer).await.unwrap_or(0) == 0 {
                        return;
                    }
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
                // Takes one more request and closes.
                let _ = stream.read(&mut buffer).await;
            });
        }
    });
    url
}

async fn run(url: &str, kept: usize, fresh: usize) -> Report {
    let pause = Duration::from_millis(1);
    let load = Load::start(url, Intensity { kept, fresh, pause, ..Intensity::default() }).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    load.stop().await
}

#[tokio::test]
async fn a_kept_connection_that_closes_is_tried_once_more() {
    let report = run(&server(3, GOOD).await, 2, 0).await;
    assert!(report.requests > 10 && report.retried > 2, "{report:?}");
    assert_eq!(report.failed, 0, "{:?}", report.reasons());
    assert_eq!(report.answers.keys().next().unwrap().to_string(), "version 1 (blue, secret password=x)");
}

#[tokio::test]
async fn a_new_connection_that_closes_is_a_failure() {
    let report = run(&server(0, GOOD).await, 1, 1).await;
    assert_eq!((report.failed, report.retried), (report.requests, 0));
}

#[tokio::test]
async fn nobody_there_and_a_strange_answer_are_failures() {
    let report = run("http://127.0.0.1:1/", 1, 1).await;
    assert!(report.failed == report.requests && report.failed > 0);
    let report = run(&server(1, "<html>").await, 0, 1).await;
    assert!(
        report.reasons().keys().all(|reason| reason.starts_with("the answer is not JSON")),
        "{:?}",
        report.reasons()
    );
}

#[test]
fn the_first_sight_after_a_time() {
    let mut report = Report::default();
    let answer = Answer::read(GOOD.as_bytes()).unwrap();
    for at in [100, 200, 5000, 5100] {
        report.note(true, false, Ok(answer.clone()), Duration::from_millis(at));
    }
    let sight = &report.answers[&answer];
    let first = |since| sight.first_since(Duration::from_millis(since)).map(|d| d.as_millis());
    assert_eq!([first(0), first(150), first(1000), first(9000)], [Some(100), Some(5000), Some(5000), None]);
}
