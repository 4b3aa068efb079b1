//! As whom servers are spoken to. Passwords come from variables and files, never from flags, which
//! every user of the machine can read.

use std::fmt;
use std::path::PathBuf;

use agon_kafka::{HAS_TLS, KafkaAddress, KafkaSettings, Login, Mechanism, TlsSettings};
use agon_scylla::CqlAddress;
use clap::Args;

use crate::exit::Exit;
use crate::production::{Link, Password, SecretFile};

/// Options that are variables and keys of the file alone.
pub const SECRETS: [&str; 2] = ["log_password", "store_password"];

/// A password of fewer characters is guessed by trying.
const PASSWORD_CHARS_MIN: usize = 12;

/// A text that is never shown, and the file that it comes from.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    file: Option<PathBuf>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret { text, file: None }
    }
}

/// User, password and TLS of the log.
#[derive(Clone, Debug, Args)]
pub struct LogAccess {
    /// User at the brokers (SASL); AGON_LOG_PASSWORD is the password.
    #[arg(long, env = "AGON_LOG_USER", value_name = "NAME")]
    log_user: Option<String>,
    /// The password of --log-user.
    #[arg(long, env = "AGON_LOG_PASSWORD", hide = true, hide_env_values = true)]
    log_password: Option<Secret>,
    /// File that holds the password of --log-user.
    #[arg(long, env = "AGON_LOG_PASSWORD_FILE", value_name = "FILE", value_parser = secret_file)]
    log_password_file: Option<Secret>,
    /// How the password is proved: plain, scram-sha-256 or scram-sha-512.
    #[arg(long, env = "AGON_LOG_SASL", default_value = "plain", value_name = "MECHANISM")]
    log_sasl: Mechanism,
    /// Speak TLS to the brokers.
    #[arg(long, env = "AGON_LOG_TLS")]
    log_tls: bool,
    /// Authorities that may sign the brokers' certificates, in PEM; the system's unless given.
    #[arg(long, env = "AGON_LOG_CA", value_name = "FILE")]
    log_ca: Option<PathBuf>,
    /// Our own certificate, in PEM, where brokers ask for one.
    #[arg(long, env = "AGON_LOG_CERTIFICATE", value_name = "FILE")]
    log_certificate: Option<PathBuf>,
    /// The private key of our certificate, in PEM.
    #[arg(long, env = "AGON_LOG_KEY", value_name = "FILE")]
    log_key: Option<PathBuf>,
}

/// User and password of the store.
#[derive(Clone, Debug, Args)]
pub struct StoreAccess {
    /// User of the store; AGON_STORE_PASSWORD is the password.
    #[arg(long, env = "AGON_STORE_USER", value_name = "NAME")]
    store_user: Option<String>,
    /// The password of --store-user.
    #[arg(long, env = "AGON_STORE_PASSWORD", hide = true, hide_env_values = true)]
    store_password: Option<Secret>,
    /// File that holds the password of --store-user.
    #[arg(long, env = "AGON_STORE_PASSWORD_FILE", value_name = "FILE", value_parser = secret_file)]
    store_password_file: Option<Secret>,
}

impl LogAccess {
    /// These settings with user and TLS.
    ///
    /// # Errors
    /// One option without another that it needs; TLS in a build without it.
    pub fn apply(&self, settings: KafkaSettings) -> Result<KafkaSettings, Exit> {
        let password = (&self.log_password, &self.log_password_file);
        let login = login("log", self.log_user.as_deref(), password)?;
        let mechanism = self.log_sasl;
        let login = login.map(|(user, password)| Login { user, password, mechanism });
        Ok(KafkaSettings { login, tls: self.tls()?, ..settings })
    }

    /// The way to the brokers, for who judges its safety.
    pub fn link(&self, address: &KafkaAddress) -> Link {
        let secret = self.log_password.as_ref().or(self.log_password_file.as_ref());
        let is_sent = self.log_sasl == Mechanism::Plain;
        Link {
            address: address.to_string(),
            has_tls: self.log_tls,
            password: password("--log-user", self.log_user.as_deref(), secret, is_sent),
            secret_files: self.log_key.iter().map(|key| SecretFile::look(key)).collect(),
        }
    }

    fn tls(&self) -> Result<Option<TlsSettings>, Exit> {
        let LogAccess { log_tls, log_ca, log_certificate, log_key, .. } = self;
        let has_files = [log_ca, log_certificate, log_key].iter().any(|file| file.is_some());
        if !log_tls && !has_files {
            return Ok(None);
        }
        if !HAS_TLS {
            return Err(Exit::Usage(
                "--log-tls: this agon was built without TLS to the brokers, which needs OpenSSL; \
                 build it with --features kafka-tls"
                    .into(),
            ));
        }
        if !log_tls {
            return Err(Exit::Usage(
                "--log-ca, --log-certificate and --log-key need --log-tls beside them".into(),
            ));
        }
        if log_certificate.is_some() != log_key.is_some() {
            return Err(Exit::Usage("--log-certificate and --log-key need each other".into()));
        }
        Ok(Some(TlsSettings {
            ca_file: log_ca.clone(),
            certificate_file: log_certificate.clone(),
            key_file: log_key.clone(),
        }))
    }
}

impl StoreAccess {
    /// This address with the user.
    ///
    /// # Errors
    /// A user without a password, or the other way round.
    pub fn apply(&self, address: &CqlAddress) -> Result<CqlAddress, Exit> {
        let password = (&self.store_password, &self.store_password_file);
        let login = login("store", self.store_user.as_deref(), password)?;
        let address = address.clone();
        Ok(match login {
            Some((user, password)) => address.with_login(&user, &password),
            None => address,
        })
    }

    /// The way to the store, for who judges its safety.
    pub fn link(&self, address: &CqlAddress) -> Link {
        let secret = self.store_password.as_ref().or(self.store_password_file.as_ref());
        Link {
            address: address.to_string(),
            password: password("--store-user", self.store_user.as_deref(), secret, true),
            ..Link::default()
        }
    }
}

/// What may be known of a password.
fn password(
    of: &'static str,
    user: Option<&str>,
    secret: Option<&Secret>,
    is_sent: bool,
) -> Option<Password> {
    let Secret { text, file } = secret?;
    let is_weak = text.chars().count() < PASSWORD_CHARS_MIN || user == Some(text);
    Some(Password { of, is_sent, is_weak, file: file.as_deref().map(SecretFile::look) })
}

/// User and password, both or neither.
fn login(
    of: &str,
    user: Option<&str>,
    password: (&Option<Secret>, &Option<Secret>),
) -> Result<Option<(String, String)>, Exit> {
    let variable = format!("AGON_{}_PASSWORD", of.to_uppercase());
    let wrong = |what: String| Err(Exit::Usage(what));
    match (user, password) {
        (_, (Some(_), Some(_))) => {
            wrong(format!("{variable} and {variable}_FILE are both set; keep one"))
        }
        (None, (None, None)) => Ok(None),
        (None, _) => wrong(format!("{variable} is set without a user; name it with --{of}-user")),
        (Some(user), (None, None)) => wrong(format!(
            "--{of}-user {user} has no password; set {variable}, or {variable}_FILE to a file \
             that holds it"
        )),
        (Some(user), (Some(secret), None) | (None, Some(secret))) => {
            Ok(Some((user.to_owned(), secret.text.clone())))
        }
    }
}

/// The secret that a file holds, without the end of its line.
fn secret_file(path: &str) -> Result<Secret, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let text = text.trim_end_matches(['\n', '\r']).to_owned();
    Ok(Secret { text, file: Some(path.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_come_together() {
        let secret = Some(Secret::from("hidden".to_owned()));
        let both = login("store", Some("ann"), (&secret, &None)).unwrap();
        assert_eq!(both, Some(("ann".into(), "hidden".into())));
        assert_eq!(login("store", Some("ann"), (&None, &secret)).unwrap(), both);
        assert_eq!(login("store", None, (&None, &None)).unwrap(), None);
        for (user, password, named) in [
            (Some("ann"), (&None, &None), "AGON_STORE_PASSWORD"),
            (None, (&secret, &None), "--store-user"),
            (Some("ann"), (&secret, &secret), "AGON_STORE_PASSWORD_FILE"),
        ] {
            let refused = login("store", user, password).unwrap_err().to_string();
            assert!(refused.contains(named) && !refused.contains("hidden"), "{refused}");
        }
        assert_eq!(format!("{secret:?}"), "Some((secret))");
    }

    #[test]
    fn a_password_of_a_file_ends_with_its_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), " two words \r\n").unwrap();
        let path = file.path().to_str().unwrap();
        let read = secret_file(path).unwrap();
        assert_eq!((read.text.as_str(), read.file.as_deref()), (" two words ", Some(file.path())));
        assert!(secret_file("/nowhere").unwrap_err().contains("No such file"));
    }
}
