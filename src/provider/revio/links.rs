//! The addresses that Revio gives out, read before anybody is sent there or the key is.

use reqwest::Url;

/// Where a file is fetched, and whether the key goes along.
pub(super) struct Download {
    pub(super) url: Url,
    pub(super) with_key: bool,
}

/// Whether a payer may be sent there: a page of the web, over https (http only where Revio itself is called so, on this host), that
/// carries nobody's password. The host is Revio's to choose.
pub(super) fn checkout(base: &Url, link: &str) -> bool {
    // Written out: a payer's browser would read anything less from the page that it stands on.
    let whole = |url: Url| {
        let start = format!("{}://", url.scheme());
        link.get(..start.len()).is_some_and(|given| given.eq_ignore_ascii_case(&start))
    };
    read(base, link).is_some_and(whole)
}

/// Where a payout is executed. The path is Revio's to choose, the host is ours: the key can do anything on the account and goes
/// nowhere else. So it may not lead to another call of the API either: of its paths only to payouts.
pub(super) fn execution(base: &Url, link: &str) -> Option<Url> {
    let reported = read(base, link)?;
    let path = reported.path();
    // As Revio writes paths: plain words, each with a slash behind it. What is escaped, or goes up, might be read otherwise there.
    let written = link.split('?').next().unwrap_or_default();
    let words: Vec<&str> = path.strip_prefix('/')?.strip_suffix('/')?.split('/').collect();
    let plain = |word: &&str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let of_api = base.path().split('/').nth(1).is_some_and(|api| words[0].eq_ignore_ascii_case(api));
    let of_payouts = path.strip_prefix(base.path()).is_some_and(|call| call.starts_with("payouts/"));
    if written.contains("..")
        || written.contains('%')
        || !words.iter().all(plain)
        || of_api && !of_payouts
        || reported.fragment().is_some()
    {
        return None;
    }
    let mut url = base.clone();
    url.set_path(path);
    url.set_query(reported.query());
    Some(url)
}

/// Where a statement is. At Revio's own host, port and scheme the key goes along; anywhere else it does not, and then it must be a
/// public name over https at its usual port: an answer of Revio's sends nobody into our own network.
pub(super) fn download(base: &Url, link: &str) -> Option<Download> {
    let url = read(base, link)?;
    let with_key = url.origin() == base.origin();
    let public = url.scheme() == "https"
        && url.port().is_none()
        && url.domain().is_some_and(|name| name.contains('.') && !name.ends_with(".localhost"));
    ((with_key || public) && url.fragment().is_none()).then_some(Download { url, with_key })
}

/// A link of the web, written without anything that a browser would leave out, and without a user or password.
fn read(base: &Url, link: &str) -> Option<Url> {
    let plain = link.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let url = base.join(link).ok().filter(|_| plain)?;
    let scheme = url.scheme() == "https" || url.scheme() == "http" && base.scheme() == "http";
    (scheme && url.username().is_empty() && url.password().is_none()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revio() -> Url {
        Url::parse("https://revio.example/api/v1/").expect("a URL")
    }

    #[test]
    fn a_payer_is_sent_to_pages_of_the_web_over_https_and_nowhere_else() {
        for link in [
            "https://pay.example/p/1/",
            "https://revio.example/p/1/?a=b#c",
            "HTTPS://pay.example",
            "https://pay.example:8443/",
        ] {
            assert!(checkout(&revio(), link), "{link}");
        }
        for link in [
            "http://pay.example/p/1/",
            "javascript:alert(1)",
            "javascript://pay.example/%0aalert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "https://user:password@pay.example/",
            "https://revio.example@pay.example/",
            "//pay.example/p/1/",
            "/p/1/",
            "p/1/",
            "https:pay.example",
            "https://",
            "https:\\\\pay.example",
            "https://pay.example/\n",
            " https://pay.example/",
            "java\tscript:alert(1)",
            "https://pay.example/ü",
            "",
        ] {
            assert!(!checkout(&revio(), link), "{link}");
        }
        let here = Url::parse("http://127.0.0.1:9000/api/v1/").expect("a URL");
        assert!(checkout(&here, "http://127.0.0.1:9000/p/1/") && checkout(&here, "https://pay.example/"));
    }

    #[test]
    fn a_payout_is_executed_at_revio_and_by_no_other_call_of_its_api() {
        let at = |link: &str| execution(&revio(), link).map(String::from);
        for (link, url) in [
            ("https://revio.example/po/1a-b_c/", "https://revio.example/po/1a-b_c/"),
            (
                "https://revio.example/api/v1/payouts/1/execute/?s2s=true",
                "https://revio.example/api/v1/payouts/1/execute/?s2s=true",
            ),
            ("payouts/1/execute/", "https://revio.example/api/v1/payouts/1/execute/"),
            ("/po/1/", "https://revio.example/po/1/"),
            // The key goes to no other host.
            ("https://evil.example:8443/po/1/", "https://revio.example/po/1/"),
        ] {
            assert_eq!(at(link).as_deref(), Some(url), "{link}");
        }
        for link in [
            "http://revio.example/po/1/",
            "ftp://revio.example/po/1/",
            "javascript:alert(1)",
            "https://user:password@revio.example/po/1/",
            "https://revio.example/api/v1/purchases/1/refund/",
            "https://revio.example/po/../api/v1/purchases/1/refund/",
            "https://revio.example/po/%2e%2e/api/v1/purchases/1/refund/",
            "https://revio.example/api/v1/payouts/../purchases/1/refund/",
            "https://revio.example/api/v1/payouts/%2e%2e%2fpurchases/",
            "https://revio.example/api/v1/",
            "https://revio.example/api/v2/purchases/1/refund/",
            "https://revio.example/API/v1/purchases/1/refund/",
            "https://revio.example/api//v1/purchases/1/refund/",
            "https://revio.example/po/1",
            "https://revio.example/po//1/",
            "https://revio.example/po/1;a/",
            "https://revio.example/po/1/#x",
            "https://revio.example/po\\1/",
            "https://revio.example/",
            "../../purchases/1/refund/",
            "",
        ] {
            assert_eq!(at(link), None, "{link}");
        }
    }

    #[test]
    fn the_key_goes_along_for_a_statement_to_revio_itself_and_to_no_other_host() {
        let at = |link: &str| download(&revio(), link).map(|link| (link.url.to_string(), link.with_key));
        let own = "https://revio.example/statements/1.csv?signed=1";
        assert_eq!(at(own), Some((own.to_owned(), true)));
        assert_eq!(at("/statements/1.csv"), Some(("https://revio.example/statements/1.csv".to_owned(), true)));
        for link in ["https://files.example/1.csv?signed=1", "https://revio.example.evil.example/1.csv"] {
            assert_eq!(at(link), Some((link.to_owned(), false)), "{link}");
        }
        for link in [
            "http://revio.example/1.csv",
            "http://files.example/1.csv",
            "https://revio.example:8443/1.csv",
            "https://files.example:8443/1.csv",
            "https://10.0.0.1/1.csv",
            "https://[::1]/1.csv",
            "https://localhost/1.csv",
            "https://metadata/1.csv",
            "https://files.localhost/1.csv",
            "https://user:password@revio.example/1.csv",
            "ftp://files.example/1.csv",
            "file:///etc/passwd",
            "https://files.example/1.csv#x",
            "https://files.example/a b.csv",
            "javascript:alert(1)",
        ] {
            assert_eq!(at(link), None, "{link}");
        }
        let here = Url::parse("http://127.0.0.1:9000/api/v1/").expect("a URL");
        assert!(download(&here, "http://127.0.0.1:9000/statements/1/").is_some_and(|link| link.with_key));
        assert!(download(&here, "http://127.0.0.1:9001/statements/1/").is_none());
        assert!(download(&here, "https://files.example/1.csv").is_some_and(|link| !link.with_key));
    }
}
