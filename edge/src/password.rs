//! Password hashing with argon2id: slow on purpose, so never more than a few at once.
//!
//! A hash takes 19 MiB and tens of milliseconds. Without a bound, logins would be the cheapest
//! way to take the server down, so a few run, some wait, and the rest are told to come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use thiserror::Error;
use tokio::sync::Semaphore;

/// KiB of memory, passes and lanes of a new hash.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Hashes that run at once: 38 MiB.
const RUNNING_MAX: usize = 2;
/// Hashes that wait for their turn; one more is refused.
const WAITING_MAX: usize = 32;
/// Bytes of a password, at least when it is chosen and at most always.
pub const PASSWORD_BYTES_MIN: usize = 8;
/// Bytes of a password at most.
pub const PASSWORD_BYTES_MAX: usize = 128;

/// Why no hash was made.
#[derive(Debug, Error)]
pub enum HashError {
    /// Too many are waiting already.
    #[error("too many passwords are being checked; try again in a second")]
    Busy,
    /// The library or the system refused, which no caller can help.
    #[error("hash a password: {0}")]
    Failed(String),
}

/// Hashes and checks passwords, a bounded number at once.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    running: Arc<Semaphore>,
    inside: Arc<AtomicUsize>,
}

impl Passwords {
    pub fn new() -> Passwords {
        Passwords {
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            inside: Arc::new(AtomicUsize::new(0)),
        }
    }

    /// The hash of a new password, as a PHC string with a salt of its own.
    pub async fn hash(&self, password: String) -> Result<String, HashError> {
        self.run(move || {
            let hash = argon2()?.hash_password(password.as_bytes());
            hash.map(|hash| hash.to_string()).map_err(|error| HashError::Failed(error.to_string()))
        })
        .await
    }

    /// Whether the password is the one that was hashed. Without a hash (there is no such user)
    /// the same work is done and the answer is no.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, HashError> {
        self.run(move || {
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(nobodys_hash);
            let hash = PasswordHash::new(&hash).map_err(|error| {
                HashError::Failed(format!("a stored hash is unreadable: {error}"))
            })?;
            let right = argon2()?.verify_password(password.as_bytes(), &hash).is_ok();
            Ok(known && right)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let inside = Inside(Arc::clone(&self.inside));
        if inside.0.fetch_add(1, Ordering::Relaxed) >= RUNNING_MAX + WAITING_MAX {
            return Err(HashError::Busy);
        }
        let permit = Arc::clone(&self.running).acquire_owned().await;
        let permit = permit.map_err(|error| HashError::Failed(error.to_string()))?;
        // Permit and count go with the work: a caller that leaves does not stop it.
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop((permit, inside));
            result
        });
        task.await.map_err(|error| HashError::Failed(error.to_string()))?
    }
}

/// One hash that runs or waits.
struct Inside(Arc<AtomicUsize>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a stored hash was made with less than what is asked of a new one.
pub(crate) fn is_outdated(hash: &str) -> bool {
    !hash.starts_with(&phc_start())
}

/// A password of 120 random bits: 24 letters and digits that are not easily confused.
///
/// # Errors
/// When the system gives no random bytes.
pub fn generate() -> Result<String, HashError> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = [0; 24];
    getrandom::fill(&mut random).map_err(|error| HashError::Failed(error.to_string()))?;
    Ok(random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

fn argon2() -> Result<Argon2<'static>, HashError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None);
    let params = params.map_err(|error| HashError::Failed(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn phc_start() -> String {
    format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$")
}

/// A well-formed hash of no known password, so that an unknown user costs what a known one does.
fn nobodys_hash() -> String {
    format!("{}bm9ib2R5bm9ib2R5bm9ib2Q${}", phc_start(), "A".repeat(43))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_right_password_and_no_other() {
        let passwords = Passwords::new();
        let hash = passwords.hash("seven-quiet-otters".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(!is_outdated(&hash));
        let again = passwords.hash("seven-quiet-otters".to_owned()).await.unwrap();
        assert_ne!(hash, again, "each hash has its own salt");
        let verify = |password: &str| passwords.verify(password.to_owned(), Some(hash.clone()));
        assert!(verify("seven-quiet-otters").await.unwrap());
        assert!(!verify("seven-quiet-otterz").await.unwrap());
        assert!(!verify("").await.unwrap());
        assert!(!passwords.verify("seven-quiet-otters".to_owned(), None).await.unwrap());
        assert!(matches!(
            passwords.verify("x".to_owned(), Some("plain".to_owned())).await,
            Err(HashError::Failed(_))
        ));
    }

    #[test]
    fn nobodys_hash_asks_for_the_same_work() {
        let hash = nobodys_hash();
        assert!(!is_outdated(&hash));
        let parsed = PasswordHash::new(&hash).unwrap();
        assert_eq!(parsed.hash.map(|hash| hash.len()), Some(32));
        assert!(is_outdated("$argon2id$v=19$m=4096,t=1,p=1$c2FsdHNhbHQ$AAAA"));
    }

    #[tokio::test]
    async fn beyond_the_queue_logins_are_refused_and_it_empties_again() {
        let passwords = Passwords::new();
        let all_running = RUNNING_MAX.try_into().unwrap();
        let held = passwords.running.acquire_many(all_running).await.unwrap();
        let waiting: Vec<_> = (0..RUNNING_MAX + WAITING_MAX)
            .map(|_| {
                let passwords = passwords.clone();
                tokio::spawn(async move { passwords.run(|| Ok(())).await })
            })
            .collect();
        while passwords.inside.load(Ordering::Relaxed) < RUNNING_MAX + WAITING_MAX {
            tokio::task::yield_now().await;
        }
        assert!(matches!(passwords.run(|| Ok(())).await, Err(HashError::Busy)));
        drop(held);
        for task in waiting {
            task.await.unwrap().unwrap();
        }
        assert!(passwords.run(|| Ok(())).await.is_ok());
        assert_eq!(passwords.inside.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_generated_password_is_long_and_new() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_eq!(one.len(), 24);
        assert_ne!(one, two);
    }
}
