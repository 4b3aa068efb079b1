//! Who this client is and whether it speaks TLS, and what to do where the brokers refuse it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode as Code;
use thiserror::Error;

use crate::client::Cluster;

/// Whether this build can speak TLS and prove a password by SCRAM: the feature `tls`.
pub const HAS_TLS: bool = cfg!(feature = "tls");

/// How the library tells of a broker that hung up: by who noticed it first.
const HUNG_UP: [&str; 3] = ["Disconnected", "Broken pipe", "Connection reset"];

/// A user whom the brokers know.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password; never shown.
    pub password: String,
    /// How the password is proved.
    pub mechanism: Mechanism,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Login { user, mechanism, .. } = self;
        f.debug_struct("Login").field("user", user).field("mechanism", mechanism).finish()
    }
}

/// How a password is proved to the brokers (SASL).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mechanism {
    /// It is sent.
    #[default]
    Plain,
    /// It is not sent; needs the feature `tls`.
    ScramSha256,
    /// The same with a longer hash.
    ScramSha512,
}

impl Mechanism {
    const ALL: [Mechanism; 3] = [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512];
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mechanism::Plain => "plain",
            Mechanism::ScramSha256 => "scram-sha-256",
            Mechanism::ScramSha512 => "scram-sha-512",
        })
    }
}

/// A text that names no mechanism, or one that this build cannot do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadMechanism {
    /// No mechanism.
    #[error("`{0}` is no mechanism; write plain, scram-sha-256 or scram-sha-512")]
    Unknown(String),
    /// One that needs the feature `tls`.
    #[error("`{0}` needs a build with TLS to the brokers, and this one has none")]
    NeedsTls(String),
}

impl FromStr for Mechanism {
    type Err = BadMechanism;

    fn from_str(text: &str) -> Result<Mechanism, BadMechanism> {
        let named = Mechanism::ALL.into_iter().find(|mechanism| mechanism.to_string() == text);
        match named {
            Some(mechanism) if mechanism == Mechanism::Plain || HAS_TLS => Ok(mechanism),
            Some(_) => Err(BadMechanism::NeedsTls(text.to_owned())),
            None => Err(BadMechanism::Unknown(text.to_owned())),
        }
    }
}

/// Files in PEM; those of the system are trusted when no authority is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The authorities that may sign a broker's certificate.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, where brokers ask for one.
    pub certificate_file: Option<PathBuf>,
    /// The private key of our certificate.
    pub key_file: Option<PathBuf>,
}

impl Cluster {
    /// Sets how brokers are spoken to, and as whom. A build without TLS refuses it with the first
    /// client.
    pub(crate) fn set_access(&self, config: &mut ClientConfig) {
        let (login, tls) = (&self.settings.login, &self.settings.tls);
        config.set(
            "security.protocol",
            match (login, tls) {
                (None, None) => "plaintext",
                (Some(_), None) => "sasl_plaintext",
                (None, Some(_)) => "ssl",
                (Some(_), Some(_)) => "sasl_ssl",
            },
        );
        if let Some(Login { user, password, mechanism }) = login {
            config
                .set("sasl.mechanism", mechanism.to_string().to_uppercase())
                .set("sasl.username", user)
                .set("sasl.password", password);
        }
        let Some(tls) = tls else { return };
        // Else the end of the process takes OpenSSL down beneath the client's threads, which may
        // still speak it then: this, alone of all ways to start it, leaves it up.
        #[cfg(feature = "tls")]
        openssl_sys::init();
        let files = [
            ("ssl.ca.location", &tls.ca_file),
            ("ssl.certificate.location", &tls.certificate_file),
            ("ssl.key.location", &tls.key_file),
        ];
        for (key, file) in files {
            if let Some(file) = file {
                config.set(key, file.to_string_lossy());
            }
        }
    }

    /// What to do about a refusal that does not pass by itself; none for what is no refusal.
    pub(crate) fn remedy(&self, code: Code) -> Option<String> {
        let user = match &self.settings.login {
            Some(login) => format!("user {}", login.user),
            None => "clients without --log-user".to_owned(),
        };
        Some(match code {
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => format!(
                "grant {user} the rights on these topics (Describe and DescribeConfigs, with Read \
                 to fold and follow, Write to append and publish, Create to `agon init`), or \
                 name another with --log-user"
            ),
            Code::GroupAuthorizationFailed => {
                format!("grant {user} Read on this group, or name another with --log-user")
            }
            Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState => {
                "check --log-user, AGON_LOG_PASSWORD and --log-sasl".to_owned()
            }
            Code::SSL => "check --log-ca, --log-certificate and --log-key".to_owned(),
            _ => return None,
        })
    }

    /// What may be wrong with the settings where brokers hang up without a reason. The same is
    /// seen of brokers that are about to start or stop, so it is no refusal.
    pub(crate) fn suspicion(&self, reason: &str) -> Option<&'static str> {
        if !HUNG_UP.iter().any(|words| reason.contains(words)) {
            return None;
        }
        // The library names the step at which that happened.
        let is_at = |step: &str| reason.contains(step);
        if self.settings.tls.is_some() {
            const REMEDY: &str = "if they do not speak TLS at this port, leave out --log-tls";
            return is_at("SSL handshake").then_some(REMEDY);
        }
        if is_at("state APIVERSION_QUERY") {
            return Some("if they speak TLS at this port, add --log-tls");
        }
        (is_at("state UP") && self.settings.login.is_none())
            .then_some("if they ask for a password, set --log-user and AGON_LOG_PASSWORD")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::KafkaSettings;

    fn cluster(login: Option<Login>, tls: Option<TlsSettings>) -> Cluster {
        let settings = KafkaSettings { login, tls, ..KafkaSettings::default() };
        Cluster { address: "kafka://a:1".parse().unwrap(), settings }
    }

    fn login() -> Login {
        Login { user: "ann".into(), password: "hidden".into(), mechanism: Mechanism::ScramSha512 }
    }

    #[test]
    fn the_protocol_follows_from_login_and_tls() {
        let tls = TlsSettings { ca_file: Some("ca.pem".into()), ..TlsSettings::default() };
        for (login, tls, expected) in [
            (None, None, "plaintext"),
            (Some(login()), None, "sasl_plaintext"),
            (None, Some(tls.clone()), "ssl"),
            (Some(login()), Some(tls), "sasl_ssl"),
        ] {
            let (has_login, has_tls) = (login.is_some(), tls.is_some());
            let config = cluster(login, tls).client_config();
            assert_eq!(config.get("security.protocol"), Some(expected));
            assert_eq!(config.get("sasl.mechanism"), has_login.then_some("SCRAM-SHA-512"));
            assert_eq!(config.get("ssl.ca.location"), has_tls.then_some("ca.pem"));
        }
    }

    #[test]
    fn a_password_is_not_shown_and_a_user_is_named() {
        let cluster = cluster(Some(login()), None);
        assert!(!format!("{cluster:?}").contains("hidden"));
        let remedy = cluster.remedy(Code::GroupAuthorizationFailed).unwrap();
        assert!(remedy.contains("ann") && remedy.contains("--log-user"), "{remedy}");
        assert_eq!(cluster.remedy(Code::BrokerTransportFailure), None);
    }

    #[test]
    fn who_hangs_up_is_suspected_whoever_noticed_it() {
        for words in ["Disconnected: verify that", "Send failed: Broken pipe"] {
            let reason = format!("a:1/bootstrap: {words} (after 1ms in state UP)");
            let suspicion = cluster(None, None).suspicion(&reason).unwrap();
            assert!(suspicion.contains("--log-user"), "{suspicion}");
            assert_eq!(cluster(Some(login()), None).suspicion(&reason), None);
        }
        let away = "a:1/bootstrap: Connect failed: Connection refused (after 0ms in state CONNECT)";
        assert_eq!(cluster(None, None).suspicion(away), None);
    }

    #[test]
    fn a_mechanism_survives_its_text_where_the_build_has_it() {
        assert_eq!("plain".parse(), Ok(Mechanism::Plain));
        for scram in [Mechanism::ScramSha256, Mechanism::ScramSha512] {
            let text = scram.to_string();
            let expected =
                if HAS_TLS { Ok(scram) } else { Err(BadMechanism::NeedsTls(text.clone())) };
            assert_eq!(text.parse(), expected);
        }
        assert_eq!("PLAIN".parse::<Mechanism>(), Err(BadMechanism::Unknown("PLAIN".into())));
    }
}
