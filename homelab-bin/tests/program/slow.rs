//! Many clients that keep the server waiting.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::process::{Server, connect};

/// Slow clients at once; twice as many as a listener has places.
const SLOW: usize = 1000;
const PLACES: u64 = 512;

/// One request on a connection of its own; its status.
fn ask(address: &str, token: &str) -> u16 {
    let mut stream = connect(address);
    let request =
        format!("GET /v1/kv/data/web HTTP/1.1\r\nHost: h\r\nX-Vault-Token: {token}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

/// The 99th percentile of the times of `count` requests, all answered.
fn p99(server: &Server, count: usize) -> Duration {
    let mut times: Vec<_> = (0..count)
        .map(|_| {
            let started = Instant::now();
            assert_eq!(ask(&server.address, &server.token), 200);
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[count * 99 / 100]
}

/// A client that begins something: nothing, half a head, or a head whose body does not come.
fn slow(server: &Server, kind: usize) -> TcpStream {
    let mut stream = connect(&server.address);
    let text = match kind % 4 {
        0 => String::new(),
        1 => "PRI * HTTP/2.0\r\n".into(),
        2 => "GET /v1/kv/data/web HTTP/1.1\r\nHost: h\r\nX-Slow:".into(),
        _ => format!(
            "POST /v1/kv/data/web HTTP/1.1\r\nHost: h\r\nX-Vault-Token: {}\r\nContent-Length: 1000\r\n\r\n{{\"data\":",
            server.token
        ),
    };
    stream.write_all(text.as_bytes()).expect("sent");
    stream
}

#[test]
fn a_thousand_slow_clients_push_out_each_other_and_nobody_else() {
    let server = Server::dev();
    server.done(&["kv", "put", "kv/web", "k=v"]);
    let (alone, memory) = (p99(&server, 300), server.metric("process_resident_memory_bytes"));
    let mut held: Vec<_> = (0..SLOW).map(|kind| slow(&server, kind)).collect();
    let among = p99(&server, 300);
    let open = server.metric("homelab_connections{listener=\"secrets\"}");
    assert!(open > PLACES / 2 && open <= PLACES, "{open} connections are open");
    assert!(server.metric("homelab_connections_cut_total{listener=\"secrets\",reason=\"full\"}") > 0);
    let grown = server.metric("process_resident_memory_bytes").saturating_sub(memory);
    assert!(grown < 64 << 20, "{grown} bytes more");
    eprintln!("p99 alone {alone:?}, among {SLOW} slow clients {among:?}, {} KiB more memory", grown >> 10);

    // All are ended by the server: they wait for nothing but that.
    for stream in &mut held {
        let mut rest = Vec::new();
        // Reset or closed, both are an end; to run into the time limit is not.
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "a slow client is still held");
        }
    }
    assert_eq!(ask(&server.address, &server.token), 200);
}
