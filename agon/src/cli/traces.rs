//! Where a role's traces go and how many are kept.

use clap::Args;
use reqwest::Url;

use super::Command;

/// Traces of a role.
#[derive(Clone, Debug, Args)]
pub struct Traces {
    /// Collector that is sent spans of requests, appends and flushes, by OTLP over HTTP; nothing is
    /// traced without.
    #[arg(long, env = "AGON_OTLP_ENDPOINT", value_parser = endpoint, value_name = "URL")]
    pub otlp_endpoint: Option<Url>,
    /// Share of the traces begun here that are kept, from 0 to 1; a caller's own decision comes
    /// first.
    #[arg(
        long,
        env = "AGON_TRACE_RATIO",
        default_value = "1",
        value_parser = ratio,
        value_name = "SHARE"
    )]
    pub trace_ratio: f64,
}

impl Command {
    /// The role that a command is, and how it is traced; other commands are not.
    pub fn traces(&self) -> Option<(&'static str, &Traces)> {
        let (role, listen) = match self {
            Command::Serve(options) => ("serve", &options.listen),
            Command::Producer(options) => ("producer", &options.listen),
            Command::Consumer(options) => ("consumer", &options.listen),
            Command::Api(options) => ("api", &options.listen),
            _ => return None,
        };
        Some((role, &listen.traces))
    }
}

/// Reads the address of a collector; `/v1/traces` is added to it, as every exporter does.
fn endpoint(text: &str) -> Result<Url, String> {
    const REMEDY: &str = "write http://HOST:4318; for https put a collector beside this process";
    let mut url = Url::parse(text).map_err(|error| format!("{error}; {REMEDY}"))?;
    if url.scheme() != "http" {
        return Err(format!("{} is not spoken here; {REMEDY}", url.scheme()));
    }
    let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

fn ratio(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "write a number from 0 to 1, such as 0.01 for every hundredth".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_base() {
        let read = |text| endpoint(text).map(|url| url.to_string());
        assert_eq!(read("http://a:4318").unwrap(), "http://a:4318/v1/traces");
        assert_eq!(read("http://a:4318/otlp/").unwrap(), "http://a:4318/otlp/v1/traces");
        for bad in ["a:4318", "https://a", "", "http://", "grpc://a:4317"] {
            assert!(read(bad).unwrap_err().contains("http://HOST:4318"), "{bad}");
        }
    }

    #[test]
    fn a_share_is_no_more_than_the_whole() {
        for (text, expected) in [("0", Some(0.0)), ("1", Some(1.0)), ("0.01", Some(0.01))] {
            assert_eq!(ratio(text).ok(), expected);
        }
        for bad in ["", "-0.1", "1.01", "2", "NaN", "inf", "1%"] {
            assert!(ratio(bad).is_err(), "{bad}");
        }
    }
}
