//! What a start may stand on that is fine on one's own machine and unsafe where others reach it.
//! With `--profile production` all that is found refuses to start, at once and each with its
//! remedy; else each is a warning. Here alone is said what is unsafe: [`Start`] gathers what is so,
//! and the checks judge that and ask nobody.

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agon_edge::Users;
use agon_memory::SystemClock;
use clap::ValueEnum;

use crate::cli;
use crate::commands::credentials;
use crate::exit::Exit;
use crate::node;

#[cfg(test)]
mod tests;

/// For whom a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// For oneself: what would be unsafe elsewhere is a warning.
    Development,
    /// For others: what is unsafe refuses to start.
    Production,
}

/// Settings that are unsafe for others, by the names that `--allow` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Unsafe {
    /// Built-in agents write.
    Demo,
    /// The first administrator's password is made up and lies in a file.
    GeneratedPassword,
    /// /metrics is where others than Prometheus reach it.
    PublicMetrics,
    /// No TLS to the brokers.
    LogPlaintext,
    /// The password at the brokers is sent, and not only proved, without TLS.
    LogPasswordInClear,
    /// No TLS to the store.
    StorePlaintext,
    /// A password that is guessed.
    WeakPassword,
    /// A file of a secret that every user of the machine reads.
    OpenSecretFile,
    /// A public stream is read without a way to reach who reads it.
    AnonymousSource,
    /// A build that tests can break on purpose.
    TestBuild,
}

impl fmt::Display for Unsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// One thing that is looked for.
struct Check {
    name: Unsafe,
    /// What is so, if it is.
    finds: fn(&Start) -> Option<String>,
    remedy: &'static str,
}

const CHECKS: [Check; 10] = [
    Check {
        name: Unsafe::Demo,
        finds: |start| start.demo.then(|| "--demo lets built-in agents write for ever".to_owned()),
        remedy: "leave --demo out",
    },
    Check {
        name: Unsafe::GeneratedPassword,
        finds: |start| start.first_admin.as_ref().map(FirstAdmin::to_string),
        remedy: "make the first user yourself, with a password of yours: `agon user add NAME \
                 --role admin --password-stdin --data DIR`; keep a made-up one elsewhere and \
                 remove its file",
    },
    Check {
        name: Unsafe::PublicMetrics,
        finds: public_metrics,
        remedy: "give it an address of its own that only Prometheus reaches: --metrics-listen \
                 127.0.0.1:9100, or one of a private network",
    },
    Check {
        name: Unsafe::LogPlaintext,
        finds: |start| plaintext("--log", start.log.as_ref()),
        remedy: "--log-tls, with --log-ca FILE for an authority of your own",
    },
    Check {
        name: Unsafe::LogPasswordInClear,
        finds: log_password_in_clear,
        remedy: "--log-tls, or --log-sasl scram-sha-512, which does not send it",
    },
    Check {
        name: Unsafe::StorePlaintext,
        finds: |start| plaintext("--store", start.store.as_ref()),
        remedy: "keep the way to the store within a network of your own, and say so: there is no \
                 TLS to it yet",
    },
    Check {
        name: Unsafe::WeakPassword,
        finds: weak_password,
        remedy: "give that user a password of 12 characters or more that is not its name",
    },
    Check {
        name: Unsafe::OpenSecretFile,
        finds: open_secret_file,
        remedy: "chmod o-r on it (in Kubernetes: defaultMode 0440 and fsGroup)",
    },
    Check {
        name: Unsafe::AnonymousSource,
        finds: |start| {
            let found = "the live source is read without a way to reach you, as it asks for";
            start.is_source_anonymous.then(|| found.to_owned())
        },
        remedy: "--source-user-agent 'NAME/VERSION (MAIL OR URL)'",
    },
    Check {
        name: Unsafe::TestBuild,
        finds: |start| {
            let found = "this build ends or errs on purpose when a variable says so";
            start.has_faults.then(|| found.to_owned())
        },
        remedy: "build agon without --features faults",
    },
];

/// A password, as far as it may be known here.
#[derive(Clone, Debug)]
pub struct Password {
    /// The setting that names its user.
    pub of: &'static str,
    /// Whether it is sent as it is.
    pub is_sent: bool,
    /// Whether it is too short, or the user's name.
    pub is_weak: bool,
    /// The file that it stands in.
    pub file: Option<SecretFile>,
}

/// A file that holds a secret.
#[derive(Clone, Debug)]
pub struct SecretFile {
    path: PathBuf,
    /// Whether every user of the machine may read it.
    is_open: bool,
}

impl SecretFile {
    /// Looks at the file; one that is not there is open to nobody.
    pub fn look(path: &Path) -> SecretFile {
        let found = std::fs::metadata(path);
        let is_open = found.is_ok_and(|found| found.permissions().mode() & 0o004 != 0);
        SecretFile { path: path.to_owned(), is_open }
    }
}

/// Where a process listens.
#[derive(Clone, Debug, Default)]
struct Listening {
    /// As it was given.
    text: String,
    /// What it stands for; none where it is no address, which is refused when it is taken.
    ips: Vec<IpAddr>,
}

impl Listening {
    /// Asks for the addresses of a name.
    fn look(text: &str) -> Listening {
        let addresses = text.to_socket_addrs().into_iter().flatten();
        Listening { text: text.to_owned(), ips: addresses.map(|address| address.ip()).collect() }
    }

    /// Whether it may be reached from beyond networks of one's own.
    fn is_public(&self) -> bool {
        self.ips.iter().any(|ip| match ip.to_canonical() {
            IpAddr::V4(ip) => !(ip.is_loopback() || ip.is_private() || ip.is_link_local()),
            IpAddr::V6(ip) => {
                !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local())
            }
        })
    }
}

/// The way to a server.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// The address as it was given: `SCHEME://HOST:PORT[,HOST:PORT…][/…]`.
    pub address: String,
    /// Whether TLS is spoken.
    pub has_tls: bool,
    /// The password that is proved there.
    pub password: Option<Password>,
    /// Files of other secrets.
    pub secret_files: Vec<SecretFile>,
}

/// The administrator whom `serve` makes of itself.
#[derive(Clone, Debug)]
pub enum FirstAdmin {
    /// There is no user yet, so one would be made.
    ToBeMade,
    /// The file with the made-up password is still there.
    InFile(PathBuf),
}

impl fmt::Display for FirstAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FirstAdmin::ToBeMade => {
                f.write_str("there is no user yet: an admin with a made-up password would be made")
            }
            FirstAdmin::InFile(path) => {
                write!(f, "the made-up password of the first admin lies in {}", path.display())
            }
        }
    }
}

/// What a process would stand on, as far as it can be unsafe. No secret is in it.
#[derive(Clone, Debug, Default)]
pub struct Start {
    demo: bool,
    first_admin: Option<FirstAdmin>,
    listen: Listening,
    metrics_listen: Option<Listening>,
    log: Option<Link>,
    store: Option<Link>,
    is_source_anonymous: bool,
    has_faults: bool,
}

impl Start {
    /// That of `agon serve`.
    ///
    /// # Errors
    /// When the users of the directory cannot be read.
    pub async fn of_serve(options: &cli::Serve) -> Result<Start, Exit> {
        let first_admin = first_admin(&options.data.data).await?;
        let start = Start { demo: options.demo, first_admin, ..Start::of_listen(&options.listen) };
        Ok(start.with_source(&options.streams))
    }

    /// That of a role on servers.
    pub fn of_role(listen: &cli::Listen, servers: &cli::Servers) -> Start {
        let (log, store) = servers.links();
        Start { log: Some(log), store: Some(store), ..Start::of_listen(listen) }
    }

    /// The same with a live source.
    #[must_use]
    pub fn with_source(self, streams: &cli::Streams) -> Start {
        Start { is_source_anonymous: streams.is_anonymous(), ..self }
    }

    fn of_listen(listen: &cli::Listen) -> Start {
        Start {
            listen: Listening::look(&listen.listen),
            metrics_listen: listen.metrics_listen.as_deref().map(Listening::look),
            has_faults: cfg!(feature = "faults"),
            ..Start::default()
        }
    }

    /// Refuses or warns, as the profile says; of what is allowed by name nothing is said.
    ///
    /// # Errors
    /// Wrong use, with everything that was found, in production.
    pub fn check(&self, guard: &cli::Guard) -> Result<(), Exit> {
        let found = self.findings(&guard.allow);
        if found.is_empty() {
            return Ok(());
        }
        if guard.profile == Profile::Development {
            for finding in &found {
                tracing::warn!("unsafe where others reach it: {finding}");
            }
            return Ok(());
        }
        let count = found.len();
        let lines: String = found.iter().map(|finding| format!("\n  {finding}")).collect();
        Err(Exit::Usage(format!(
            "--profile production does not start on what is unsafe, found {count}:{lines}\nwhat \
             is meant to be so passes with --allow NAME[,NAME…] (AGON_ALLOW)"
        )))
    }

    /// All that is found and not allowed, as `NAME: WHAT; REMEDY`.
    fn findings(&self, allowed: &[Unsafe]) -> Vec<String> {
        let asked = CHECKS.iter().filter(|check| !allowed.contains(&check.name));
        let found = asked.filter_map(|Check { name, finds, remedy }| {
            finds(self).map(|what| format!("{name}: {what}; {remedy}"))
        });
        found.collect()
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        self.log.iter().chain(&self.store)
    }
}

/// Whether an administrator would be made in this directory, or was and its file lies there.
async fn first_admin(data: &Path) -> Result<Option<FirstAdmin>, Exit> {
    // A directory is not made only to look into it.
    if !data.is_dir() {
        return Ok(Some(FirstAdmin::ToBeMade));
    }
    let control = node::open_control(&node::lock(data)?)?;
    let users = Users::new(control, Arc::new(SystemClock)).list().await.map_err(Exit::missing)?;
    let file = data.join(credentials::FILE);
    Ok(match users.is_empty() {
        true => Some(FirstAdmin::ToBeMade),
        false => file.is_file().then_some(FirstAdmin::InFile(file)),
    })
}

fn public_metrics(start: &Start) -> Option<String> {
    match &start.metrics_listen {
        None if start.listen.is_public() => {
            Some(format!("/metrics is shown to all who reach --listen {}", start.listen.text))
        }
        Some(own) if own.is_public() => {
            Some(format!("/metrics is shown to all who reach --metrics-listen {}", own.text))
        }
        _ => None,
    }
}

fn plaintext(setting: &str, link: Option<&Link>) -> Option<String> {
    let link = link.filter(|link| !link.has_tls && !is_on_this_machine(&link.address))?;
    Some(format!("{setting} {} is spoken to without TLS, for all to read", link.address))
}

/// Whether every host of an address is this machine, by its very text.
fn is_on_this_machine(address: &str) -> bool {
    let nodes = address.split_once("://").map_or(address, |(_, rest)| rest);
    let nodes = nodes.split('/').next().unwrap_or(nodes);
    nodes.split(',').all(|node| {
        let host = node.rsplit_once(':').map_or(node, |(host, _)| host);
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
    })
}

fn log_password_in_clear(start: &Start) -> Option<String> {
    let link = start.log.as_ref().filter(|link| !link.has_tls)?;
    let password = link.password.as_ref().filter(|password| password.is_sent)?;
    let is_sent = !is_on_this_machine(&link.address);
    is_sent.then(|| format!("the password of {} is sent to brokers without TLS", password.of))
}

fn weak_password(start: &Start) -> Option<String> {
    let weak: Vec<&str> = start
        .links()
        .filter_map(|link| link.password.as_ref())
        .filter(|password| password.is_weak)
        .map(|password| password.of)
        .collect();
    (!weak.is_empty()).then(|| format!("the password of {} is easily guessed", weak.join(", ")))
}

fn open_secret_file(start: &Start) -> Option<String> {
    let files = start.links().flat_map(|link| {
        let of_password = link.password.as_ref().and_then(|password| password.file.as_ref());
        link.secret_files.iter().chain(of_password)
    });
    let open: Vec<String> =
        files.filter(|file| file.is_open).map(|file| file.path.display().to_string()).collect();
    (!open.is_empty()).then(|| format!("every user here may read {}", open.join(", ")))
}
