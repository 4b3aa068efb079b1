//! Users: control data under `user/<name>`, with a hash of the password and never the password.

use std::sync::Arc;

use agon_ports::{Clock, ControlStore, PortError, Put};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::password::{
    self, HashError, PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN, Passwords, is_outdated,
};
use crate::policy::Role;

const PREFIX: &str = "user/";
const NAME_BYTES_MAX: usize = 64;

/// Why a user was not added, read or checked.
#[derive(Debug, Error)]
pub enum UserError {
    /// The name cannot be a user's.
    #[error(
        "`{0}` cannot be a user's name; use 1 to 64 of A-Z a-z 0-9 . _ - with a letter or digit \
         first"
    )]
    BadName(String),
    /// The password is too short or too long to be chosen.
    #[error("a password has {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes")]
    BadPassword,
    /// There is such a user.
    #[error("there is a user `{0}` already; choose another name")]
    Exists(String),
    /// What is stored is not a user of this version.
    #[error("the stored user `{0}` cannot be read; it was written by another version")]
    Unreadable(String),
    /// The password was not hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store is away or refused.
    #[error(transparent)]
    Store(#[from] PortError),
}

/// A user as others may see one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// The name, compared by bytes.
    pub name: String,
    /// The roles.
    pub roles: Vec<Role>,
    /// RFC 3339, UTC.
    pub created_at: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    name: String,
    roles: Vec<Role>,
    password_hash: String,
    session_version: u64,
    created_at: String,
}

/// What came of [`Users::ensure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// There was no such user.
    Added,
    /// There was one with this password.
    AsItWas,
    /// There was one with another password.
    GivenPassword,
}

/// A user whose password was right, with what a token needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoggedIn {
    pub name: String,
    pub roles: Vec<Role>,
    pub session_version: u64,
}

/// The users of one deployment.
#[derive(Clone)]
pub struct Users {
    store: Arc<dyn ControlStore>,
    clock: Arc<dyn Clock>,
    passwords: Passwords,
}

impl Users {
    /// Users in this store.
    pub fn new(store: Arc<dyn ControlStore>, clock: Arc<dyn Clock>) -> Users {
        Users { store, clock, passwords: Passwords::new() }
    }

    /// Adds a user who is not there yet.
    ///
    /// # Errors
    /// A name or password out of bounds, a name that is taken, a store that is away.
    pub async fn add(&self, name: &str, password: &str, roles: &[Role]) -> Result<User, UserError> {
        if !is_name(name) {
            return Err(UserError::BadName(name.to_owned()));
        }
        let stored = Stored {
            name: name.to_owned(),
            roles: roles.to_vec(),
            password_hash: self.hash(password).await?,
            session_version: 1,
            created_at: self.clock.now().to_string(),
        };
        match self.store.put(&key(name), &encode(&stored)?, 0).await? {
            Put::Stored(_) => Ok(seen(stored)),
            Put::Conflict(_) => Err(UserError::Exists(name.to_owned())),
        }
    }

    /// Sees to it that there is such a user with this password: adds one, or gives the one who is
    /// there this password, which ends the sessions of the old one. Repeated, it changes nothing.
    ///
    /// # Errors
    /// As [`Users::add`]; a user of this name with other roles is left alone.
    pub async fn ensure(
        &self,
        name: &str,
        password: &str,
        roles: &[Role],
    ) -> Result<Ensured, UserError> {
        // Who changes the user in between has been here: then once more, with what it left.
        loop {
            let Some((mut user, version)) = self.get(name).await? else {
                match self.add(name, password, roles).await {
                    Err(UserError::Exists(_)) => continue,
                    added => return added.map(|_| Ensured::Added),
                }
            };
            if user.roles != roles {
                return Err(UserError::Exists(name.to_owned()));
            }
            let hash = Some(user.password_hash.clone());
            if self.passwords.verify(password.to_owned(), hash).await? {
                return Ok(Ensured::AsItWas);
            }
            user.password_hash = self.hash(password).await?;
            user.session_version += 1;
            if let Put::Stored(_) = self.store.put(&key(name), &encode(&user)?, version).await? {
                return Ok(Ensured::GivenPassword);
            }
        }
    }

    /// The hash of a password that may be chosen.
    async fn hash(&self, password: &str) -> Result<String, UserError> {
        if !(PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&password.len()) {
            return Err(UserError::BadPassword);
        }
        Ok(self.passwords.hash(password.to_owned()).await?)
    }

    /// All users, by the bytes of their names.
    ///
    /// # Errors
    /// A store that is away, a user written by another version.
    pub async fn list(&self) -> Result<Vec<User>, UserError> {
        let stored = self.store.list(PREFIX).await?;
        stored.into_iter().map(|(key, value)| Ok(seen(decode(&key, &value.value)?))).collect()
    }

    /// The user, if the password is right. Takes as long for a user that there is not. A right
    /// password whose hash was made with less work than today's is hashed again.
    pub(crate) async fn verify(
        &self,
        name: &str,
        password: &str,
    ) -> Result<Option<LoggedIn>, UserError> {
        let stored = self.get(name).await?;
        let hash = stored.as_ref().map(|(user, _)| user.password_hash.clone());
        let right = self.passwords.verify(password.to_owned(), hash).await?;
        let Some((user, version)) = stored.filter(|_| right) else { return Ok(None) };
        if is_outdated(&user.password_hash) {
            self.rehash(user.clone(), password, version).await;
        }
        let Stored { name, roles, session_version, .. } = user;
        Ok(Some(LoggedIn { name, roles, session_version }))
    }

    /// The version of the user's session; a token made under another one is no longer good.
    pub(crate) async fn session_version(&self, name: &str) -> Result<Option<u64>, UserError> {
        Ok(self.get(name).await?.map(|(user, _)| user.session_version))
    }

    /// A name that cannot be one is looked up nowhere.
    async fn get(&self, name: &str) -> Result<Option<(Stored, u64)>, UserError> {
        if !is_name(name) {
            return Ok(None);
        }
        let key = key(name);
        let Some(stored) = self.store.get(&key).await? else { return Ok(None) };
        Ok(Some((decode(&key, &stored.value)?, stored.version)))
    }

    /// Best effort: the login was right, whatever becomes of this.
    async fn rehash(&self, mut user: Stored, password: &str, version: u64) {
        let outcome = async {
            user.password_hash = self.passwords.hash(password.to_owned()).await?;
            self.store.put(&key(&user.name), &encode(&user)?, version).await?;
            Ok::<(), UserError>(())
        };
        if let Err(error) = outcome.await {
            tracing::warn!(user = user.name, %error, "a password's older hash was kept");
        }
    }
}

/// A new password for [`Users::add`], for a user who did not choose one.
///
/// # Errors
/// When the system gives no random bytes.
pub fn generate_password() -> Result<String, UserError> {
    Ok(password::generate()?)
}

fn is_name(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.len() <= NAME_BYTES_MAX
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.bytes().all(rest)
}

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn encode(user: &Stored) -> Result<Vec<u8>, UserError> {
    let failed = |error| PortError::never(format!("write the user `{}`", user.name), error);
    Ok(serde_json::to_vec(user).map_err(failed)?)
}

fn decode(key: &str, value: &[u8]) -> Result<Stored, UserError> {
    let name = key.strip_prefix(PREFIX).unwrap_or(key);
    serde_json::from_slice(value).map_err(|_| UserError::Unreadable(name.to_owned()))
}

fn seen(user: Stored) -> User {
    User { name: user.name, roles: user.roles, created_at: user.created_at }
}
