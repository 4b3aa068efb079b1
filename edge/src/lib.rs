//! What every HTTP route shares: who may use it, what it may cost, how it fails, how it is seen.
//!
//! A service builds [`Routes`], each with its [`Route`] and [`Who`]; the binary merges them, makes
//! one router with [`Routes::into_router`] and gives it to [`serve()`]. Handlers return a
//! [`Problem`] for whatever goes wrong and need to know neither request ids nor headers.
//!
//! Reading order: [`policy`] and [`routes`] are the table, `gate` is what a request passes on its
//! way in and out, [`auth`] says who a caller is, [`problem`] is how things fail, [`json`],
//! [`query`] and [`body`] read what callers send, [`mod@serve`] is the socket.

pub mod auth;
pub mod body;
pub mod code;
mod connection;
mod crowd;
pub mod edge;
pub mod etag;
mod gate;
mod hs256;
pub mod http_metrics;
pub mod json;
pub mod login;
mod panic;
pub mod password;
pub mod policy;
pub mod problem;
pub mod query;
pub mod request;
pub mod routes;
mod rows;
pub mod serve;
mod signing_key;
pub mod throttle;
mod token;
mod traced;
pub mod users;

pub use auth::{AccessToken, Auth, AuthError, AuthSettings};
pub use body::{Media, Payload};
pub use code::Code;
pub use edge::{Edge, Limits};
pub use etag::ETag;
pub use http_metrics::HttpMetrics;
pub use json::{JsonBody, JsonError};
pub use policy::{PolicyRow, Role, Who};
pub use problem::{FieldError, Problem, RateLimit};
pub use query::{Parameters, PathParameters, QueryString};
pub use request::{Caller, Peer, RequestId};
pub use routes::{BASE, Route, RouteError, Routes};
pub use serve::{BindError, Drained, ServeSettings, bind, serve};
pub use users::{Ensured, User, UserError, Users, generate_password};
