//! Query strings and path parameters in: strict, decoded as UTF-8, every parameter known.

use std::ops::RangeInclusive;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::code::Code;
use crate::problem::{FieldError, Problem};

/// Parameters that one query may hold.
const PARAMETERS_MAX: usize = 256;

/// The query of a request. It can be read only by saying which parameters there are.
#[derive(Clone, Debug)]
pub struct QueryString(String);

impl QueryString {
    /// Reads the query, in which only these names may stand.
    ///
    /// # Errors
    /// `unknown_parameter` naming the first other one; `malformed_request` for percent-encoding
    /// that is broken or not UTF-8; `invalid_parameter` for more than 256.
    pub fn only(&self, names: &[&'static str]) -> Result<Parameters, Problem> {
        let mut pairs = Vec::new();
        for pair in self.0.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            let Some(known) = names.iter().find(|known| **known == name) else {
                return Err(unknown(&name, names));
            };
            if pairs.len() == PARAMETERS_MAX {
                return Err(invalid(known, &format!("at most {PARAMETERS_MAX} parameters")));
            }
            pairs.push((*known, decode(value)?));
        }
        Ok(Parameters { pairs })
    }
}

impl<S: Sync> FromRequestParts<S> for QueryString {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<QueryString, Problem> {
        Ok(QueryString(parts.uri.query().unwrap_or_default().to_owned()))
    }
}

/// The parameters of a query, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    pairs: Vec<(&'static str, String)>,
}

impl Parameters {
    /// The value of a parameter that may stand once.
    ///
    /// # Errors
    /// `invalid_parameter` when it stands more than once.
    pub fn one(&self, name: &'static str) -> Result<Option<&str>, Problem> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(invalid(name, "may stand only once"));
        }
        Ok(first)
    }

    /// All values of a parameter that may be repeated, in their order.
    pub fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that may stand once, read by `read`.
    ///
    /// # Errors
    /// `invalid_parameter`, with the words of `read`'s error.
    pub fn read<T, E: ToString>(
        &self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.one(name)? else { return Ok(None) };
        read(value).map(Some).map_err(|error| invalid(name, &error.to_string()))
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// `invalid_parameter` for anything else, also for one beyond the bounds: a limit that was
    /// quietly lowered would look like the end of the list.
    pub fn number(
        &self,
        name: &'static str,
        bounds: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Problem> {
        self.read(name, |text| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse().ok().filter(|number| digits && bounds.contains(number));
            let expected =
                || format!("must be a whole number from {} to {}", bounds.start(), bounds.end());
            number.ok_or_else(expected)
        })
    }
}

/// The problem of one parameter; `what` goes on from its name: `must be …`.
pub fn invalid(name: &str, what: &str) -> Problem {
    let problem = Problem::new(Code::InvalidParameter, format!("`{name}` {what}"));
    problem.error(FieldError::new(format!("?{name}"), Code::InvalidParameter.text(), what))
}

fn unknown(name: &str, names: &[&str]) -> Problem {
    let remedy = match names {
        [] => "this route has no parameters".to_owned(),
        names => format!("this route has {}", names.join(", ")),
    };
    let detail = format!("no parameter `{name}`; {remedy}");
    Problem::new(Code::UnknownParameter, detail.clone()).error(FieldError::new(
        format!("?{name}"),
        Code::UnknownParameter.text(),
        detail,
    ))
}

/// Decodes `+` and percent-encoding.
fn decode(text: &str) -> Result<String, Problem> {
    let malformed = |what: &str| {
        Problem::new(Code::MalformedRequest, format!("the query's percent-encoding {what}"))
    };
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => break,
            [b'+', rest @ ..] => {
                decoded.push(b' ');
                rest
            }
            [b'%', high, low, rest @ ..] => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
                    return Err(malformed("is broken: write two hex digits after %"));
                };
                // Two hex digits are at most 255.
                decoded.push((high * 16 + low) as u8);
                rest
            }
            [b'%', ..] => return Err(malformed("is broken: write two hex digits after %")),
            [byte, rest @ ..] => {
                decoded.push(*byte);
                rest
            }
        };
    }
    String::from_utf8(decoded).map_err(|_| malformed("does not give UTF-8"))
}

/// The parameters of a path template, decoded; `malformed_request` where they are not UTF-8.
#[derive(Clone, Debug)]
pub struct PathParameters<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathParameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(parameters)) => Ok(PathParameters(parameters)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => {
                Err(Problem::new(Code::MalformedRequest, error.body_text()))
            }
            Err(error) => Err(Problem::internal(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["limit", "agent", "environment"];

    fn parse(query: &str) -> Result<Parameters, Problem> {
        QueryString(query.to_owned()).only(&NAMES)
    }

    #[test]
    fn parameters_are_decoded_and_may_repeat() {
        let parameters =
            parse("agent=C%C3%B4te+d%27Ivoire&agent=b%26c&&limit=7&environment").unwrap();
        assert_eq!(parameters.all("agent").collect::<Vec<_>>(), ["Côte d'Ivoire", "b&c"]);
        assert_eq!(parameters.number("limit", 1..=1000), Ok(Some(7)));
        assert_eq!(parameters.one("environment"), Ok(Some("")));
        assert_eq!(parameters.one("agent").unwrap_err().code(), Code::InvalidParameter);
        assert_eq!(parse("").unwrap().number("limit", 1..=2), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |query: &str, code: Code, pointer: &str| {
            let problem = parse(query).and_then(|all| all.number("limit", 1..=1000)).unwrap_err();
            assert_eq!(problem.code(), code, "{query}");
            let named = problem.errors().first().map_or("", |error| error.pointer.as_str());
            assert_eq!(named, pointer, "{query}");
        };
        check("offset=3", Code::UnknownParameter, "?offset");
        check("Limit=3", Code::UnknownParameter, "?Limit");
        for value in ["0", "1001", "-1", "1e9", "+1", "", "18446744073709551616", "٣"] {
            check(&format!("limit={value}"), Code::InvalidParameter, "?limit");
        }
        check("limit=1&limit=2", Code::InvalidParameter, "?limit");
        check("agent=%zz", Code::MalformedRequest, "");
        check("agent=%4", Code::MalformedRequest, "");
        check("agent=%ff", Code::MalformedRequest, "");
        check(&"agent=a&".repeat(257), Code::InvalidParameter, "?agent");
    }
}
