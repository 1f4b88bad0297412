//! `sys/homelab/backup` (POST): the whole store in one file, as it is sealed ([`backup`](crate::backup)).
//!
//! It is sent while it is read. When somebody writes meanwhile the connection ends without the file's end, by which whoever
//! reads it knows that it is not whole, and asks again.

use std::io;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use futures::stream;

use super::ServerState;
use super::answer::{Answer, Refused};
use super::request::{Asked, Caller, Op};

pub(super) async fn take(state: &ServerState, caller: &Caller, asked: &Asked) -> Answer {
    state.allow_care(caller, asked)?;
    if asked.op != Op::Write {
        return Err(Refused::unsupported());
    }
    let backup = state.0.store.backup(env!("CARGO_PKG_VERSION")).await?;
    tracing::info!(who = %caller.session.identity, "a backup of the store is taken");
    let pieces = stream::try_unfold(backup, |mut backup| async move {
        match backup.next_piece().await {
            Ok(piece) => Ok(piece.map(|piece| (piece, backup))),
            Err(error) => {
                tracing::info!(%error, "a backup of the store was not ended");
                Err(io::Error::other(error.to_string()))
            }
        }
    });
    Ok(([(CONTENT_TYPE, "application/octet-stream")], Body::from_stream(pieces)).into_response())
}
