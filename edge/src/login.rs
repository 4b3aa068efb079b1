//! `POST /login`: a name and a password for a token.
//!
//! A user that there is not and a wrong password get the same answer after the same work. Trying
//! is throttled and never locks anyone out for good: what runs dry fills again by itself.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::auth::{Auth, problem_of_user};
use crate::code::Code;
use crate::json::JsonBody;
use crate::password::PASSWORD_BYTES_MAX;
use crate::policy::Who;
use crate::problem::{FieldError, Problem};
use crate::request::Peer;
use crate::routes::{Route, Routes};

/// A name and a password fit in this many times over.
const BODY_BYTES_MAX: u64 = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    username: String,
    password: String,
}

#[derive(Serialize)]
struct Answer {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
}

/// The routes of identity: `POST /login`, also under the base.
pub fn routes(auth: Arc<Auth>) -> Routes {
    let login_route = Route::new(Method::POST, "/login", Who::Anyone);
    Routes::new()
        .add(login_route.also_at_root().body_bytes_max(BODY_BYTES_MAX), login)
        .with_state(auth)
}

async fn login(
    State(auth): State<Arc<Auth>>,
    peer: Option<Extension<Peer>>,
    JsonBody(credentials): JsonBody<Credentials>,
) -> Result<Response, Problem> {
    let Credentials { username, password } = credentials;
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        let detail = format!("a password has 1 to {PASSWORD_BYTES_MAX} bytes");
        let error = FieldError::new("/password", Code::InvalidField.text(), detail.clone());
        return Err(Problem::new(Code::InvalidField, detail).error(error));
    }
    let tried = Tried { name: &username, from: peer.map(|peer| peer.0.0.ip()) };
    tried.count(&auth)?;
    let user = auth.users().verify(&username, &password).await.map_err(problem_of_user)?;
    let Some(user) = user else {
        return Err(Problem::new(Code::Unauthenticated, "username or password is wrong"));
    };
    tried.succeeded(&auth);
    let made = auth.user_token(&user).map_err(Problem::internal)?;
    let answer =
        Answer { access_token: made.token, token_type: "Bearer", expires_in: made.expires_in_s };
    let body = serde_json::to_vec(&answer).map_err(Problem::internal)?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, body).into_response())
}

/// One try, as the throttles see it.
struct Tried<'a> {
    name: &'a str,
    from: Option<IpAddr>,
}

impl Tried<'_> {
    /// Takes from each throttle, or from none: the narrowest first, so that one address which
    /// hammers one account does not use up what the others need.
    fn count(&self, auth: &Auth) -> Result<(), Problem> {
        let now = auth.clock().now();
        auth.from_address.take((self.name, self.from), now).map_err(Problem::too_many)?;
        let rest = auth.of_account.take(self.name, now).and_then(|()| {
            auth.global.take((), now).inspect_err(|_| auth.of_account.give_back(self.name))
        });
        rest.map_err(|limit| {
            auth.from_address.give_back((self.name, self.from));
            Problem::too_many(limit)
        })
    }

    /// A right password does not count against its account.
    fn succeeded(&self, auth: &Auth) {
        auth.from_address.give_back((self.name, self.from));
        auth.of_account.give_back(self.name);
    }
}
