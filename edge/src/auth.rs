//! Who a request comes from: tokens that are made here, shown by callers, and checked here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agon_ports::{Clock, ControlStore, PortError, Retry};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use thiserror::Error;

use crate::code::Code;
use crate::password::HashError;
use crate::policy::Role;
use crate::problem::Problem;
use crate::request::Caller;
use crate::signing_key;
use crate::throttle::{Rate, Throttle};
use crate::token::Tokens;
use crate::users::{LoggedIn, UserError, Users};

/// Subjects of this program's own parts; no user's name holds a colon.
const SERVICE: &str = "service:";
/// Users whose session version is remembered; when it is full it is emptied.
const SESSIONS_MAX: usize = 4096;
/// How long a write waits for the store to say whether a session still stands.
const SESSION_CHECK_WAIT: Duration = Duration::from_millis(500);

/// How tokens live and how often one may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthSettings {
    /// Seconds that an access token lives, at most a day; 900.
    pub access_token_ttl_s: u64,
    /// Milliseconds for which a user's session version is believed before a write looks it up
    /// again; 1000. So long a write may go on after the user's rights ended.
    pub session_check_ms: u32,
    /// Failed logins of one account from one address; 10 at once, then one each 10 s.
    pub login_from_address: Rate,
    /// Failed logins of one account from anywhere; 60 at once, then one each second.
    pub login_of_account: Rate,
    /// Logins of all accounts; 100 at once, then 20 a second, which is what two cores can hash.
    pub login_global: Rate,
}

impl Default for AuthSettings {
    fn default() -> AuthSettings {
        AuthSettings {
            access_token_ttl_s: 900,
            session_check_ms: 1000,
            login_from_address: Rate { burst: 10, refill_ms: 10_000 },
            login_of_account: Rate { burst: 60, refill_ms: 1000 },
            login_global: Rate { burst: 100, refill_ms: 50 },
        }
    }
}

/// Why tokens cannot be made.
#[derive(Debug, Error)]
pub enum AuthError {
    /// The signing key could not be read or made.
    #[error(transparent)]
    Store(#[from] PortError),
    /// A token could not be signed.
    #[error("sign a token for {subject}: {reason}")]
    Sign {
        /// Whom it was for.
        subject: String,
        /// What the library said.
        reason: String,
    },
}

/// A token that was just made.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// What goes after `Authorization: Bearer`.
    pub token: String,
    /// Seconds that it is good for.
    pub expires_in_s: u64,
}

/// Makes and checks tokens; one for a process.
pub struct Auth {
    clock: Arc<dyn Clock>,
    users: Users,
    tokens: Tokens,
    settings: AuthSettings,
    sessions: Mutex<HashMap<String, Session>>,
    pub(crate) from_address: Throttle,
    pub(crate) of_account: Throttle,
    pub(crate) global: Throttle,
}

#[derive(Clone, Copy)]
struct Session {
    /// `None`: there is no such user any more.
    version: Option<u64>,
    checked_at_us: i64,
}

impl Auth {
    /// Reads the signing keys, or makes the first one.
    ///
    /// # Errors
    /// When the store is away, or holds keys of another version.
    pub async fn open(
        store: Arc<dyn ControlStore>,
        clock: Arc<dyn Clock>,
        settings: AuthSettings,
    ) -> Result<Arc<Auth>, AuthError> {
        let keys = signing_key::load_or_make(store.as_ref(), clock.as_ref()).await?;
        let no_key = || PortError::later("read signing keys", "the key just made is not there yet");
        let tokens = Tokens::new(&keys, settings.access_token_ttl_s).ok_or_else(no_key)?;
        Ok(Arc::new(Auth {
            users: Users::new(store, Arc::clone(&clock)),
            clock,
            tokens,
            settings,
            sessions: Mutex::default(),
            from_address: Throttle::new("login", settings.login_from_address),
            of_account: Throttle::new("login-account", settings.login_of_account),
            global: Throttle::new("login-all", settings.login_global),
        }))
    }

    /// The users, for those who manage them.
    pub fn users(&self) -> &Users {
        &self.users
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// A token for a part of this program, which has no password: its name is `service:NAME`.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn service_token(&self, service: &str, roles: &[Role]) -> Result<AccessToken, AuthError> {
        self.sign(&format!("{SERVICE}{service}"), roles, 0)
    }

    /// A token for a user whose password was right.
    pub(crate) fn user_token(&self, user: &LoggedIn) -> Result<AccessToken, AuthError> {
        self.sign(&user.name, &user.roles, user.session_version)
    }

    fn sign(&self, subject: &str, roles: &[Role], version: u64) -> Result<AccessToken, AuthError> {
        let made = self.tokens.make(subject, roles, version, self.now_s());
        let failed = |reason: Box<dyn std::error::Error + Send + Sync>| AuthError::Sign {
            subject: subject.to_owned(),
            reason: reason.to_string(),
        };
        Ok(AccessToken { token: made.map_err(failed)?, expires_in_s: self.tokens.ttl_s() })
    }

    /// Who shows this token. Reads trust it until it expires; writes ask the store whether the
    /// user's session still stands.
    ///
    /// # Errors
    /// `unauthenticated`, with the same body whatever was wrong.
    pub(crate) async fn caller(
        &self,
        headers: &HeaderMap,
        is_write: bool,
    ) -> Result<Caller, Problem> {
        let verified = bearer(headers)
            .and_then(|token| self.tokens.verify(token, self.now_s()).ok())
            .ok_or_else(unauthenticated)?;
        if is_write && !verified.caller.name().starts_with(SERVICE) {
            let claimed = verified.session_version;
            if self.session_version(verified.caller.name(), claimed).await? != Some(claimed) {
                return Err(unauthenticated());
            }
        }
        Ok(verified.caller)
    }

    /// The version that the store has, or had up to `session_check_ms` ago. While the store is away
    /// it is the one last seen, else the one that the signed token claims: writes go on without the
    /// store, and a token ends by itself.
    async fn session_version(&self, name: &str, claimed: u64) -> Result<Option<u64>, Problem> {
        let now_us = self.clock.now().micros();
        let known = self.lock_sessions().get(name).copied();
        if let Some(session) = known {
            let age_us = now_us.saturating_sub(session.checked_at_us);
            if (0..i64::from(self.settings.session_check_ms) * 1000).contains(&age_us) {
                return Ok(session.version);
            }
        }
        let as_last_seen = || known.map_or(Some(claimed), |session| session.version);
        let asked = self.users.session_version(name);
        let version = match tokio::time::timeout(SESSION_CHECK_WAIT, asked).await {
            Ok(Ok(version)) => version,
            Ok(Err(UserError::Store(error))) if error.retry == Retry::Later => {
                tracing::debug!(%error, "a session is not checked");
                as_last_seen()
            }
            Ok(Err(error)) => return Err(problem_of_user(error)),
            Err(_) => {
                tracing::debug!("a session is not checked: the store is silent");
                as_last_seen()
            }
        };
        // After the wait: whoever comes next is not to wait again at once.
        let now_us = self.clock.now().micros();
        let mut sessions = self.lock_sessions();
        if sessions.len() >= SESSIONS_MAX {
            sessions.clear();
        }
        sessions.insert(name.to_owned(), Session { version, checked_at_us: now_us });
        Ok(version)
    }

    fn lock_sessions(&self) -> std::sync::MutexGuard<'_, HashMap<String, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_s(&self) -> u64 {
        u64::try_from(self.clock.now().micros() / 1_000_000).unwrap_or_default()
    }
}

/// The token of the one `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

fn unauthenticated() -> Problem {
    let detail = "send `Authorization: Bearer` with a token from POST /login that has not expired";
    Problem::new(Code::Unauthenticated, detail)
}

/// What a caller is told when users cannot be read.
pub(crate) fn problem_of_user(error: UserError) -> Problem {
    match error {
        UserError::Hash(busy @ HashError::Busy) => Problem::new(Code::Overloaded, busy.to_string()),
        UserError::Store(error) => Problem::of_port(&error, Code::StoreUnavailable),
        error => Problem::internal(error),
    }
}
