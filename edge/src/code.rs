//! The codes of all problems, each with its status and title. No other file knows a status.

use axum::http::StatusCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:ident, $title:literal;)*) => {
        /// What went wrong, as `code` says it on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code, in the order of the statuses.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The word on the wire, in snake case.
            pub const fn text(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// The HTTP status that goes with it.
            pub const fn status(self) -> StatusCode {
                match self { $(Code::$name => StatusCode::$status,)* }
            }

            /// What it means, in one short sentence, the same at every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The request as such: no host, no readable body, bad percent-encoding.
    MalformedRequest = "malformed_request", BAD_REQUEST, "The request cannot be read";
    /// The body is not JSON, or not UTF-8, or nested too deeply.
    MalformedJson = "malformed_json", BAD_REQUEST, "The body is not JSON";
    /// A field that nothing is known of.
    UnknownField = "unknown_field", BAD_REQUEST, "A field is unknown";
    /// A query parameter that the route does not have.
    UnknownParameter = "unknown_parameter", BAD_REQUEST, "A query parameter is unknown";
    /// A query parameter with a value out of its kind or range.
    InvalidParameter = "invalid_parameter", BAD_REQUEST, "A query parameter is not valid";
    /// Nothing of a batch could be accepted.
    NoneAccepted = "none_accepted", BAD_REQUEST, "No item of the batch was accepted";
    /// A position that was given out by another log.
    PositionOfAnotherLog = "position_of_another_log", BAD_REQUEST,
        "The position belongs to another log";
    /// No token, or one that is not accepted.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "A valid bearer token is needed";
    /// The caller is known, and may not.
    Forbidden = "forbidden", FORBIDDEN, "The caller may not do this";
    /// No such route, or no such thing.
    NotFound = "not_found", NOT_FOUND, "Nothing is here";
    /// An environment that the log does not define.
    UnknownEnvironment = "unknown_environment", NOT_FOUND, "The environment is not defined";
    /// A benchmark that the log does not define.
    UnknownBenchmark = "unknown_benchmark", NOT_FOUND, "The benchmark is not defined";
    /// An agent without any event.
    UnknownAgent = "unknown_agent", NOT_FOUND, "The agent is not known";
    /// A match that the log does not hold.
    UnknownMatch = "unknown_match", NOT_FOUND, "The match is not known";
    /// A submission that the log does not hold.
    UnknownSubmission = "unknown_submission", NOT_FOUND, "The submission is not known";
    /// The route exists under other methods.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The method is not allowed here";
    /// The client was too slow in sending its body.
    BodyTooSlow = "body_too_slow", REQUEST_TIMEOUT, "The body did not arrive in time";
    /// Equal identity, other content.
    ConflictingDuplicate = "conflicting_duplicate", CONFLICT,
        "The same id was used with other content";
    /// The state of things does not allow it.
    Conflict = "conflict", CONFLICT, "This conflicts with what is there";
    /// The body is over the route's limit.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// Path or query are over their limit.
    UriTooLong = "uri_too_long", URI_TOO_LONG, "The path or query is too long";
    /// A content type or encoding that is not read here.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE,
        "The body's type or encoding is not supported";
    /// A field of a known name with a value that it cannot have.
    InvalidField = "invalid_field", UNPROCESSABLE_ENTITY, "A field is not valid";
    /// More requests than the caller may make.
    TooManyRequests = "too_many_requests", TOO_MANY_REQUESTS, "Too many requests";
    /// A mistake of ours.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something failed on our side";
    /// A queue is full.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "Too much at once; try again soon";
    /// The log cannot take or give records at the moment.
    LogUnavailable = "log_unavailable", SERVICE_UNAVAILABLE, "The log is not available";
    /// The store cannot be read at the moment.
    StoreUnavailable = "store_unavailable", SERVICE_UNAVAILABLE, "The store is not available";
    /// The answer was not ready within the route's time limit.
    RequestTimeout = "request_timeout", SERVICE_UNAVAILABLE, "The answer took too long";
    /// The server is on its way down, or not yet up.
    NotReady = "not_ready", SERVICE_UNAVAILABLE, "The server is not ready";
    /// The position was not reached while the caller waited.
    PositionNotReached = "position_not_reached", GATEWAY_TIMEOUT,
        "The position was not reached in time";
}

impl Code {
    /// The code for a status that came from elsewhere, such as the router's own refusals.
    pub(crate) fn of_status(status: StatusCode) -> Code {
        match status {
            StatusCode::BAD_REQUEST => Code::MalformedRequest,
            StatusCode::NOT_FOUND => Code::NotFound,
            StatusCode::CONFLICT => Code::Conflict,
            StatusCode::SERVICE_UNAVAILABLE => Code::Overloaded,
            _ => Code::first_of(status),
        }
    }

    fn first_of(status: StatusCode) -> Code {
        let other = if status.is_client_error() { Code::MalformedRequest } else { Code::Internal };
        Code::ALL.iter().copied().find(|code| code.status() == status).unwrap_or(other)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn words_are_snake_case_and_used_once() {
        let mut seen = BTreeSet::new();
        for code in Code::ALL {
            let text = code.text();
            assert!(seen.insert(text), "{text} twice");
            assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{text}");
            assert!(!code.title().ends_with('.'), "{text}");
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{text}");
        }
    }

    #[test]
    fn a_foreign_status_keeps_its_number_where_a_code_has_it() {
        for code in Code::ALL {
            assert_eq!(Code::of_status(code.status()).status(), code.status());
        }
        assert_eq!(Code::of_status(StatusCode::IM_A_TEAPOT), Code::MalformedRequest);
        assert_eq!(Code::of_status(StatusCode::BAD_GATEWAY), Code::Internal);
    }
}
