//! Access tokens: short-lived JWTs of one shape, checked strictly.
//!
//! RFC 8725's rules: one algorithm, an explicit type, every claim required and of its type, the
//! key's id looked up in a map and used for nothing else. The library verifies the signature;
//! times are checked here, against the clock port.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hs256;
use crate::policy::Role;
use crate::request::Caller;
use crate::signing_key::Keys;

const ISSUER: &str = "agon";
const AUDIENCE: &str = "agon-api";
const TYPE: &str = "at+jwt";
/// Bytes of a token that is looked at.
const TOKEN_BYTES_MAX: usize = 4096;
/// Seconds by which clocks of two machines may differ.
const LEEWAY_S: u64 = 5;
/// Seconds that a token may live at most: a day, since a read believes it so long.
const TTL_S_MAX: u64 = 86_400;
/// Verified tokens that are remembered; when it is full it is emptied.
const REMEMBERED_MAX: usize = 1024;

/// Why a token was not taken. There is one reason on purpose: callers learn no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the token is not accepted")]
pub(crate) struct Refused;

/// What a token says, once its signature is known to be ours.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub caller: Caller,
    /// The session's version that the user had when the token was made.
    pub session_version: u64,
    expires_s: u64,
    begins_s: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
    roles: Vec<Role>,
    session_version: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictHeader {
    alg: String,
    typ: String,
    kid: String,
}

/// Makes and checks tokens.
pub(crate) struct Tokens {
    verifying: HashMap<String, DecodingKey>,
    signing: EncodingKey,
    header: Header,
    validation: Validation,
    ttl_s: u64,
    remembered: RwLock<HashMap<Box<str>, Verified>>,
}

impl Tokens {
    /// Tokens under these keys; the last one signs. They live `ttl_s` seconds.
    pub fn new(keys: &Keys, ttl_s: u64) -> Option<Tokens> {
        hs256::install();
        let (kid, secret) = keys.last_key_value()?;
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(kid.clone());
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
        // Both are checked here, by the clock port.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let key =
            |(kid, secret): (&String, &[u8; 32])| (kid.clone(), DecodingKey::from_secret(secret));
        Some(Tokens {
            verifying: keys.iter().map(key).collect(),
            signing: EncodingKey::from_secret(secret),
            header,
            validation,
            ttl_s: ttl_s.clamp(1, TTL_S_MAX),
            remembered: RwLock::default(),
        })
    }

    /// Seconds that a new token lives.
    pub fn ttl_s(&self) -> u64 {
        self.ttl_s
    }

    /// A token for this subject.
    ///
    /// # Errors
    /// When the system gives no random bytes, or the library does not sign.
    pub fn make(
        &self,
        subject: &str,
        roles: &[Role],
        session_version: u64,
        now_s: u64,
    ) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| error.to_string())?;
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: subject.to_owned(),
            exp: now_s + self.ttl_s,
            nbf: now_s,
            iat: now_s,
            jti: URL_SAFE_NO_PAD.encode(id),
            roles: roles.to_vec(),
            session_version,
        };
        Ok(jsonwebtoken::encode(&self.header, &claims, &self.signing)?)
    }

    /// Who made the request that carries this token, if it is ours and in its time.
    pub fn verify(&self, token: &str, now_s: u64) -> Result<Verified, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refused);
        }
        let remembered = self.remembered.read().unwrap_or_else(PoisonError::into_inner);
        let known = remembered.get(token).cloned();
        drop(remembered);
        let verified = match known {
            Some(verified) => verified,
            None => self.check(token)?,
        };
        let in_time =
            verified.begins_s <= now_s + LEEWAY_S && now_s < verified.expires_s + LEEWAY_S;
        if in_time { Ok(verified) } else { Err(Refused) }
    }

    /// Everything but the times. What passes is remembered: only tokens of ours get there, so
    /// nobody else can fill it.
    fn check(&self, token: &str) -> Result<Verified, Refused> {
        let (header, _) = token.split_once('.').ok_or(Refused)?;
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| Refused)?;
        let header: StrictHeader = serde_json::from_slice(&header).map_err(|_| Refused)?;
        if header.alg != "HS256" || header.typ != TYPE {
            return Err(Refused);
        }
        let key = self.verifying.get(&header.kid).ok_or(Refused)?;
        let token_data = jsonwebtoken::decode::<Claims>(token, key, &self.validation);
        let claims = token_data.map_err(|_| Refused)?.claims;
        let sane_times = claims.exp <= u64::from(u32::MAX) * 4 && claims.nbf <= claims.exp;
        if !sane_times || claims.sub.is_empty() || claims.jti.is_empty() {
            return Err(Refused);
        }
        let verified = Verified {
            caller: Caller::new(claims.sub, claims.roles),
            session_version: claims.session_version,
            expires_s: claims.exp,
            begins_s: claims.nbf.max(claims.iat),
        };
        let mut remembered = self.remembered.write().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(token.into(), verified.clone());
        Ok(verified)
    }
}
