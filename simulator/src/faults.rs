//! Carries out the faults of a schedule, and undoes them.

use std::time::Duration;

use crate::Error;
use crate::deployment::{Deployment, Slot};
use crate::proxy::{Condition, Proxy};
use crate::schedule::{Fault, Link};

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
        Fault::KillBroker { node, down_ms } => {
            server(deployment, "kafka", node, ["kill", "restart"], down_ms).await
        }
        Fault::PauseBroker { node, for_ms } => {
            server(deployment, "kafka", node, ["pause", "resume"], for_ms).await
        }
        Fault::KillStore { node, down_ms } => {
            server(deployment, "cassandra", node, ["kill", "restart"], down_ms).await
        }
        Fault::PauseStore { node, for_ms } => {
            server(deployment, "cassandra", node, ["pause", "resume"], for_ms).await
        }
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
    for proxy in deployment.servers.log.iter().chain(&deployment.servers.store) {
        proxy.set(Condition::Clear);
    }
    deployment.extra.lock().await.stop().await
}

async fn kill(slot: &Slot, down_ms: u64) -> Result<(), Error> {
    let mut process = slot.lock().await;
    process.kill().await?;
    sleep(down_ms).await;
    process.start()
}

async fn server(
    deployment: &Deployment,
    name: &str,
    node: u32,
    [breaks, mends]: [&str; 2],
    for_ms: u64,
) -> Result<(), Error> {
    deployment.servers.node(breaks, name, node).await?;
    sleep(for_ms).await;
    deployment.servers.node(mends, name, node).await
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
        Fault::Cut { link } => return of(deployment, link).iter().for_each(Proxy::cut),
        _ => return,
    };
    of(deployment, link).iter().for_each(|proxy| proxy.set(condition));
    sleep(for_ms).await;
    of(deployment, link).iter().for_each(|proxy| proxy.set(Condition::Clear));
}

fn of(deployment: &Deployment, link: Link) -> &[Proxy] {
    match link {
        Link::Log => &deployment.servers.log,
        Link::Store => &deployment.servers.store,
    }
}

async fn sleep(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
