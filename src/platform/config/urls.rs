//! Settings that are URLs. What is said of a wrong one never repeats a part that may be a secret. Called by `config`.

use std::net::IpAddr;

use sqlx::postgres::PgConnectOptions;

use super::Config;

impl Config {
    /// The path at which the world finds us, without a slash at its end; mostly none.
    pub fn public_path(&self) -> &str {
        let (_, place) = self.public_url.split_once("://").unwrap_or_default();
        place.find('/').and_then(|at| place.get(at..)).unwrap_or_default()
    }
}

/// Of the web, and without a password: these URLs are told to others.
fn web_url(value: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(value).map_err(|_| "is not a URL".to_owned())?;
    if !["http", "https"].contains(&url.scheme()) || url.host().is_none() {
        return Err("is not an http or https URL".to_owned());
    }
    let nobody = url.username().is_empty() && url.password().is_none();
    if nobody { Ok(url) } else { Err("must not hold a user or password".to_owned()) }
}

/// As a browser writes it, without a slash at its end.
pub(super) fn parse_public_url(value: &str) -> Result<String, String> {
    let url = web_url(value)?;
    if url.query().is_none() && url.fragment().is_none() {
        Ok(url.as_str().trim_end_matches('/').to_owned())
    } else {
        Err("must be scheme, host and path".to_owned())
    }
}

/// Scheme, host and port, as a browser writes them. Of the web only: the origin of any other scheme is written `null`, which is
/// also what every sandboxed page calls itself.
pub(super) fn origin_of(url: &str) -> Result<String, String> {
    Ok(web_url(url)?.origin().ascii_serialization())
}

/// What the driver takes for a parameter. Anything else is most likely a part of a password whose `?` is not escaped, and the
/// driver would log it.
const DATABASE_PARAMETERS: &str = "application_name dbname host hostaddr options password port ssl-ca ssl-cert ssl-key ssl-mode \
    ssl-root-cert sslcert sslkey sslmode sslrootcert user";

pub(super) fn check_database_url(value: &str) -> Result<(), String> {
    let url = reqwest::Url::parse(value).map_err(|_| "is not a URL".to_owned())?;
    let scheme = ["postgres", "postgresql"].contains(&url.scheme());
    let known = url.query_pairs().all(|(name, _)| DATABASE_PARAMETERS.split(' ').any(|parameter| parameter == name));
    match (scheme, known && url.fragment().is_none()) {
        (false, _) => Err("is not a postgres URL".to_owned()),
        (true, false) => Err("holds an unknown parameter, or an unescaped ? or # in its password".to_owned()),
        // Whatever else is wrong with it, the driver may quote.
        (true, true) => {
            value.parse::<PgConnectOptions>().map(drop).map_err(|_| "cannot be used by the driver".to_owned())
        }
    }
}

pub(super) fn check_redis_url(value: &str) -> Result<(), String> {
    redis::Client::open(value).map(drop).map_err(|_| "is not a redis URL".to_owned())
}

pub(super) fn parse_origins(value: &str) -> Result<Vec<String>, String> {
    value.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(origin_of).collect()
}

/// The key travels with each call, so in the clear only within this host, or where it is a test key.
pub(super) fn parse_revio_url(value: &str, test_mode: bool) -> Result<reqwest::Url, String> {
    let url = web_url(value)?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    match (url.path().ends_with("/api/v1/"), url.scheme() == "https" || here || test_mode) {
        (false, _) => Err("must end in /api/v1/".to_owned()),
        (true, false) => Err("must be https: the key would travel in the clear".to_owned()),
        (true, true) => Ok(url),
    }
}

/// As a mail and a redirect can carry it: in ASCII, and with nothing behind the path.
pub(super) fn parse_frontend_url(value: &str) -> Result<String, String> {
    // Revio takes no quote in a redirect, and the library leaves this one as it is.
    parse_public_url(value).map(|url| url.replace('\'', "%27"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_at_revio_does_not_travel_in_the_clear() {
        for (url, test_mode, taken) in [
            ("https://revio.example/api/v1/", false, true),
            ("http://revio.example/api/v1/", false, false),
            ("http://127.0.0.1.revio.example/api/v1/", false, false),
            ("http://localhost.example/api/v1/", false, false),
            ("http://revio-sim:9000/api/v1/", true, true),
            ("http://127.0.0.1:9000/api/v1/", false, true),
            ("http://[::1]:9000/api/v1/", false, true),
            ("http://localhost/api/v1/", false, true),
            ("https://revio.example/api/v2/", false, false),
        ] {
            assert_eq!(parse_revio_url(url, test_mode).is_ok(), taken, "{url}");
        }
    }

    #[test]
    fn links_in_mails_lead_to_the_web_and_hold_no_password() {
        assert_eq!(
            parse_frontend_url("https://app.example.com/money/"),
            Ok("https://app.example.com/money".to_owned())
        );
        for wrong in
            ["https://user:secret@app.example.com", "javascript://app.example.com", "ftp://a.b", "https://a.b/?q"]
        {
            assert!(parse_frontend_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_origin_is_of_the_web_and_nothing_else() {
        let origins = parse_origins("https://app.example.com, http://localhost:3000/page").expect("two origins");
        assert_eq!(origins, ["https://app.example.com", "http://localhost:3000"]);
        // Each of these would be written `null`, which is what any sandboxed page is called.
        for wrong in ["null", "*", "capacitor://localhost", "chrome-extension://abc", "data:text/html,x", "file:///x"] {
            assert!(parse_origins(wrong).is_err(), "{wrong}");
        }
        assert!(parse_origins("https://user:password@app.example.com").is_err());
    }

    #[test]
    fn a_database_url_with_a_broken_password_never_reaches_the_driver() {
        assert_eq!(check_database_url("postgres://u:p@h:5432/d?sslmode=require"), Ok(()));
        for wrong in [
            "postgres://u:1234?secret@h/d", "postgres://u:1#secret@h/d", "postgres://h/d?pasword=secret",
            "postgres://h/d?sslmode=secret", "mysql://h/d", "secret",
        ] {
            let reason = check_database_url(wrong).expect_err("it is refused");
            assert!(!reason.contains("secret"), "{reason}");
        }
    }
}
