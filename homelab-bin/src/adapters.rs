//! Where the libraries meet. Each newtype answers a port of one library with another library.

pub mod artifacts;
pub mod backups;
pub mod injector;
pub mod sealed_files;
pub mod secrets;
pub mod traffic;

use crate::daemon::metrics::Metrics;

/// Awaits a call between two libraries and counts how it ended.
async fn counted<T, E>(
    metrics: &Metrics,
    operation: &'static str,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let result = call.await;
    metrics.operation(operation, result.is_ok());
    result
}
