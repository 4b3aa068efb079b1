//! Carries out the faults of a schedule, and undoes them.

use std::time::Duration;

use crate::Error;
use crate::deployment::{Deployment, Slot};
use crate::proxy::{Condition, Proxy};
use crate::schedule::{Fault, Link};
use crate::servers::Servers;

/// How long one more consumer lives in a forced rebalance: long enough to join.
const JOINED: Duration = Duration::from_millis(1_500);

/// Carries out one fault from its beginning to its end.
///
/// # Errors
/// When a process or a server cannot be started again.
pub async fn carry_out(deployment: &Deployment, fault: Fault) -> Result<(), Error> {
    match fault {
        Fault::KillConsumer { consumer, down_ms } => {
            kill(&deployment.consumers[consumer], down_ms).await
        }
        Fault::PauseConsumer { consumer, for_ms } => {
            let process = deployment.consumers[consumer].lock().await;
            process.signal("STOP").await?;
            sleep(for_ms).await;
            process.signal("CONT").await
        }
        Fault::StopConsumer { consumer, down_ms } => {
            let mut process = deployment.consumers[consumer].lock().await;
            process.stop().await?;
            sleep(down_ms).await;
            process.start()
        }
        Fault::AddConsumer { for_ms } => {
            let mut process = deployment.extra.lock().await;
            process.start()?;
            sleep(for_ms).await;
            process.stop().await
        }
        Fault::Rebalance { times } => {
            let mut process = deployment.extra.lock().await;
            for _ in 0..times {
                process.start()?;
                tokio::time::sleep(JOINED).await;
                process.kill().await?;
            }
            Ok(())
        }
        Fault::KillProducer { down_ms } => kill(&deployment.producer, down_ms).await,
        Fault::KillApi { down_ms } => kill(&deployment.api, down_ms).await,
        Fault::KillBroker { .. }
        | Fault::PauseBroker { .. }
        | Fault::RestartBroker { .. }
        | Fault::CutOffBroker { .. }
        | Fault::LoseBrokers { .. } => server(&deployment.servers, Link::Log, fault).await,
        Fault::KillStore { .. }
        | Fault::PauseStore { .. }
        | Fault::RestartStore { .. }
        | Fault::CutOffStore { .. }
        | Fault::LoseStores { .. } => server(&deployment.servers, Link::Store, fault).await,
        Fault::Cut { .. }
        | Fault::Refuse { .. }
        | Fault::ReplyLost { .. }
        | Fault::Delay { .. }
        | Fault::CutAfter { .. } => {
            disturb(deployment, fault).await;
            Ok(())
        }
    }
}

/// Leaves nothing broken: every way is clear, one more consumer is gone. Faults have ended by
/// themselves before.
///
/// # Errors
/// When the one more cannot be stopped.
pub async fn heal(deployment: &Deployment) -> Result<(), Error> {
    let proxies = [Link::Log, Link::Store].map(|link| deployment.servers.proxies(link));
    for proxy in proxies.into_iter().flatten() {
        proxy.set(Condition::Clear);
        proxy.silence(false);
    }
    deployment.extra.lock().await.stop().await
}

async fn kill(slot: &Slot, down_ms: u64) -> Result<(), Error> {
    let mut process = slot.lock().await;
    process.kill().await?;
    sleep(down_ms).await;
    process.start()
}

/// The faults of nodes. The next one of the same kind of server waits until this one's node is
/// back, however long a busy machine takes: it would be two nodes that are away.
async fn server(servers: &Servers, link: Link, fault: Fault) -> Result<(), Error> {
    let _turn = servers.turn(link).lock().await;
    match fault {
        Fault::KillBroker { node, down_ms } | Fault::KillStore { node, down_ms } => {
            servers.node("kill", link, node).await?;
            sleep(down_ms).await;
            servers.node("restart", link, node).await
        }
        Fault::PauseBroker { node, for_ms } | Fault::PauseStore { node, for_ms } => {
            servers.node("pause", link, node).await?;
            sleep(for_ms).await;
            servers.node("resume", link, node).await
        }
        Fault::RestartBroker { node } | Fault::RestartStore { node } => {
            servers.node("restart", link, node).await
        }
        Fault::CutOffBroker { node, for_ms } | Fault::CutOffStore { node, for_ms } => {
            let proxy = (1..).zip(servers.proxies(link)).find(|(number, _)| *number == node);
            let Some((_, proxy)) = proxy else { return Ok(()) };
            proxy.silence(true);
            sleep(for_ms).await;
            proxy.silence(false);
            Ok(())
        }
        Fault::LoseBrokers { stays, for_ms } | Fault::LoseStores { stays, for_ms } => {
            lose(servers, link, stays, for_ms).await
        }
        _ => Ok(()),
    }
}

/// Takes all nodes but one away. Those that are only paused are back first.
async fn lose(servers: &Servers, link: Link, stays: u32, for_ms: u64) -> Result<(), Error> {
    let all = (1..).zip(servers.proxies(link)).map(|(node, _)| node);
    let mut lost = all.filter(|node| *node != stays);
    let Some(killed) = lost.next() else { return Ok(()) };
    let paused: Vec<u32> = lost.collect();
    servers.node("kill", link, killed).await?;
    for &node in &paused {
        servers.node("pause", link, node).await?;
    }
    sleep(for_ms).await;
    for &node in &paused {
        servers.node("resume", link, node).await?;
    }
    servers.node("restart", link, killed).await
}

/// The faults of a link: all its proxies at once.
async fn disturb(deployment: &Deployment, fault: Fault) {
    let (link, condition, for_ms) = match fault {
        Fault::Refuse { link, for_ms } => (link, Condition::Refuse, for_ms),
        Fault::ReplyLost { link, for_ms } => (link, Condition::ReplyLost, for_ms),
        Fault::Delay { link, delay_ms, for_ms } => {
            (link, Condition::Delay { ms: delay_ms }, for_ms)
        }
        Fault::CutAfter { link, bytes, for_ms } => (link, Condition::CutAfter { bytes }, for_ms),
        Fault::Cut { link } => {
            return deployment.servers.proxies(link).iter().for_each(Proxy::cut);
        }
        _ => return,
    };
    let proxies = deployment.servers.proxies(link);
    proxies.iter().for_each(|proxy| proxy.set(condition));
    sleep(for_ms).await;
    proxies.iter().for_each(|proxy| proxy.set(Condition::Clear));
}

async fn sleep(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
