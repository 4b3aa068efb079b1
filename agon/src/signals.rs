//! When to stop: SIGINT or SIGTERM, and a second one for at once.

use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// A token that the first signal cancels; the second ends the process.
///
/// # Errors
/// When signals cannot be listened to.
pub fn stop() -> Result<CancellationToken, Exit> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|error| Exit::missing(format!("signals: {error}")));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if token.is_cancelled() {
                std::process::exit(130);
            }
            token.cancel();
        }
    });
    Ok(stop)
}
