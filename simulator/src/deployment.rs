//! The deployment that is broken: servers behind proxies, a producer, consumers, an API, each a
//! process of its own, made ready as a person would.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::Mutex;

use crate::Error;
use crate::client::Client;
use crate::process::{Process, clean_command, finish};
use crate::servers::{Servers, ServersConfig};
use crate::traffic::{BENCHMARKS, ENVIRONMENTS, benchmark, environment};

/// Who posts; its password is of this run's directory alone, on loopback.
const USER: &str = "nemesis";
/// Longest wait for a command of the program; after a long run `verify` has much to compare.
const COMMAND_SECONDS_MAX: u64 = 3_600;
/// Longest wait for a role to be ready, and for a definition to be folded.
const READY_SECONDS_MAX: u64 = 300;
/// How often verify is asked until it says yes or no.
const VERIFY_ATTEMPTS_MAX: u32 = 3;
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What is deployed.
#[derive(Clone, Debug)]
pub struct DeploymentConfig {
    /// The program under test.
    pub agon: PathBuf,
    /// Where everything is kept: logs, the servers' data.
    pub dir: PathBuf,
    /// The servers.
    pub servers: ServersConfig,
    /// Consumers that are meant to run.
    pub consumers: usize,
    /// Partitions of a topic.
    pub partitions: u32,
    /// After which a silent consumer loses its partitions.
    pub session_timeout_ms: u64,
}

/// A process that one fault at a time works on.
pub type Slot = Arc<Mutex<Process>>;

/// Everything that runs; dropped, all of it ends.
#[derive(Debug)]
pub struct Deployment {
    config: DeploymentConfig,
    /// The write side.
    pub producer: Slot,
    /// The read side.
    pub api: Slot,
    /// Those that are meant to run.
    pub consumers: Vec<Slot>,
    /// The place of one more, empty at first.
    pub extra: Slot,
    /// Speaks to the producer.
    pub writer: Client,
    /// Speaks to the API.
    pub reader: Client,
    /// Where logs and store are; last, so that it outlives the processes.
    pub servers: Servers,
}

impl Deployment {
    /// Starts the servers, makes topics, tables and a user, starts every role, and defines what is
    /// played.
    ///
    /// # Errors
    /// When anything does not come up or says no.
    pub async fn start(config: DeploymentConfig) -> Result<Deployment, Error> {
        let failed = || Error::io(format!("make {}", config.dir.display()));
        std::fs::create_dir_all(&config.dir).map_err(failed())?;
        let servers = Servers::start(config.servers.clone()).await?;
        let password = format!("{:032x}", rand::random::<u128>());
        prepare(&config, &servers, &password).await?;
        let role = |name: &str, number: u16, args: &[&str]| -> Slot {
            let address = servers.role_address(number);
            let args = [args, &["--listen", &address]].concat();
            let args = place(&servers, &args);
            Arc::new(Mutex::new(Process::new(name, &config.agon, args, address, &config.dir)))
        };
        let timeout = format!("{}ms", config.session_timeout_ms);
        let consumer =
            |name: &str, number| role(name, number, &["consumer", "--session-timeout", &timeout]);
        let consumers = (0_u16..)
            .take(config.consumers)
            .map(|number| consumer(&format!("consumer-{number}"), 3 + number))
            .collect();
        let client = |number| {
            Client::new(format!("http://{}", servers.role_address(number)), USER, &password)
        };
        let deployment = Deployment {
            producer: role("producer", 0, &["producer"]),
            api: role("api", 1, &["api"]),
            extra: consumer("consumer-extra", 2),
            consumers,
            writer: client(0)?,
            reader: client(1)?,
            servers,
            config,
        };
        deployment.start_roles().await?;
        deployment.define().await?;
        Ok(deployment)
    }

    /// Partitions of a topic.
    pub fn partitions(&self) -> u32 {
        self.config.partitions
    }

    /// The roles that are meant to run.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        [&self.producer, &self.api].into_iter().chain(&self.consumers)
    }

    async fn start_roles(&self) -> Result<(), Error> {
        for slot in self.slots() {
            slot.lock().await.start()?;
        }
        self.ready().await
    }

    /// Waits until every role that is meant to run is ready.
    ///
    /// # Errors
    /// When one is not for too long.
    pub async fn ready(&self) -> Result<(), Error> {
        for slot in self.slots() {
            let (name, url) = {
                let process = slot.lock().await;
                (process.name().to_owned(), process.url())
            };
            let client = Client::new(url, USER, "")?;
            self.until(&format!("{name} is not ready"), async || {
                matches!(client.get("/readyz").await, Ok((200, _)))
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until `is_so`.
    ///
    /// # Errors
    /// [`Error::Late`] when it never is.
    pub async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) -> Result<(), Error> {
        let start = Instant::now();
        while !is_so().await {
            if start.elapsed().as_secs() >= READY_SECONDS_MAX {
                return Err(self.late(what, READY_SECONDS_MAX));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// That something is still not so.
    pub fn late(&self, what: &str, seconds: u64) -> Error {
        Error::Late { what: what.to_owned(), seconds, logs: self.config.dir.display().to_string() }
    }

    /// Defines environments and benchmarks, and waits until the API shows them: from then on no
    /// write may be refused for want of them.
    async fn define(&self) -> Result<(), Error> {
        self.writer.login().await?;
        let environments = (0..ENVIRONMENTS).map(|number| {
            ("/api/v1/environments", environment(number), json!({"id": environment(number)}))
        });
        let benchmarks = (0..BENCHMARKS).map(|number| {
            let id = benchmark(number);
            let body = json!({"id": id, "metric": "points", "direction": "higher",
                "aggregation": "sum"});
            ("/api/v1/benchmarks", id, body)
        });
        for (path, id, body) in environments.chain(benchmarks) {
            let (status, answer) = self.writer.post(path, &body).await?;
            if !(200..300).contains(&status) {
                let what = format!("define {id}");
                return Err(Error::Answer { what, said: format!("{status} {answer}") });
            }
            let shown = format!("{path}/{id}");
            self.until(&format!("{id} is not shown by the API"), async || {
                matches!(self.reader.get(&shown).await, Ok((200, _)))
            })
            .await?;
        }
        Ok(())
    }

    /// What `agon verify` says. When it says neither yes nor no it is asked again, and `say` is
    /// told: a long run's answer is worth more than the first failure.
    ///
    /// # Errors
    /// When it never says yes or no.
    pub async fn verify(&self, say: fn(&str)) -> Result<serde_json::Value, Error> {
        let args = || place(&self.servers, &["verify", "--format", "json"]);
        let mut said = run(&self.config, args(), "", &[0, 1]).await;
        for _ in 1..VERIFY_ATTEMPTS_MAX {
            if let Err(error) = &said {
                say(&error.to_string());
                said = run(&self.config, args(), "", &[0, 1]).await;
            }
        }
        let said = said?;
        serde_json::from_str(&said).map_err(|error| Error::Answer {
            what: "read what verify says".to_owned(),
            said: format!("{error}: {said}"),
        })
    }
}

/// Topics, tables and a user. `init` chooses by itself how many copies there are; asked for one on
/// each node, it finds no difference: of topics min.insync.replicas too, which follows from that.
async fn prepare(
    config: &DeploymentConfig,
    servers: &Servers,
    password: &str,
) -> Result<(), Error> {
    let partitions = config.partitions.to_string();
    let init = ["init", "--partitions", &partitions];
    run(config, place(servers, &init), "", &[0]).await?;
    let copies = servers.nodes().to_string();
    let same = [&init[..], &["--replication", &copies]].concat();
    run(config, place(servers, &same), "", &[0]).await?;
    let user = ["user", "add", USER, "--role", "producer", "--password-stdin"];
    let mut user: Vec<OsString> = user.map(OsString::from).to_vec();
    user.extend(["--store".into(), servers.store_url().into()]);
    run(config, user, &format!("{password}\n"), &[0]).await.map(drop)
}

fn place(servers: &Servers, args: &[&str]) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.iter().map(OsString::from).collect();
    args.extend(["--log".into(), servers.log_url().into()]);
    args.extend(["--store".into(), servers.store_url().into()]);
    args
}

async fn run(
    config: &DeploymentConfig,
    args: Vec<OsString>,
    input: &str,
    good: &[i32],
) -> Result<String, Error> {
    let mut command = clean_command(Path::new(&config.agon), &config.dir);
    command.args(args);
    finish(command, input, COMMAND_SECONDS_MAX, good).await
}
