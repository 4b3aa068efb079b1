//! When to stop: SIGINT or SIGTERM, and a second one for at once.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// What a signal cancels.
#[derive(Clone)]
pub struct Stop {
    /// At once: `/readyz` says no, everything is still done.
    pub leaving: CancellationToken,
    /// After the delay: nothing new is taken. Cancelled for another reason, it takes `leaving`
    /// with it.
    pub stop: CancellationToken,
}

/// Listens to signals: the first one stops after a delay, the second ends the process.
///
/// # Errors
/// When signals cannot be listened to.
pub fn stop(delay: Duration) -> Result<Stop, Exit> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|error| Exit::missing(format!("signals: {error}")));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let leaving = stop.child_token();
    let given = Stop { leaving: leaving.clone(), stop: stop.clone() };
    tokio::spawn(async move {
        let mut signalled = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        signalled().await;
        leaving.cancel();
        let delayed = async {
            tokio::time::sleep(delay).await;
            stop.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = delayed => {}
            () = signalled() => std::process::exit(130),
        }
    });
    Ok(given)
}
