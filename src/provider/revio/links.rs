//! Checks the addresses that Revio gives out: before a payer is sent to one, and before our key is.

use reqwest::Url;

use crate::platform::outbound::is_local_name;

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

/// Where a payout is executed. Path and query are Revio's to choose, and nobody says how they look; the host is ours: the key can do anything on
/// the account and goes nowhere else. An empty call is all that is made there, and of Revio's calls only those about a purchase do something
/// with one (refund it, cancel it, mark it as paid), so it may not lead there. Nor anywhere that somebody on the way, or Revio, might read otherwise
/// than we do.
pub(super) fn execution(base: &Url, link: &str) -> Option<Url> {
    let reported = read(base, link)?;
    let (written, path) = (link.split(['?', '#']).next().unwrap_or_default(), reported.path());
    let words: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let (last, before) = words.split_last()?;
    // Only behind the last slash there may be nothing.
    let whole = before.iter().all(|word| !word.is_empty()) && !(before.is_empty() && last.is_empty());
    let of_purchases = words.iter().any(|word| word.eq_ignore_ascii_case("purchases"));
    let leads_astray = written.contains("..") || !is_plain(written) || !is_plain(path) || !whole || of_purchases;
    if leads_astray || path == base.path() {
        return None;
    }
    let mut url = base.clone();
    url.set_path(path);
    url.set_query(reported.query());
    Some(url)
}

/// Whether a path means the same to everybody: escaped is only what must be (never a dot, slash or letter), and nothing is cut off by `;`.
fn is_plain(path: &str) -> bool {
    let escaped = |after: &str| {
        let code = after.get(..2).filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        u8::from_str_radix(code, 16).ok()
    };
    let must_be =
        |byte: u8| (b' '..b'\x7f').contains(&byte) && !byte.is_ascii_alphanumeric() && !b"-._~/\\%;".contains(&byte);
    !path.contains(';') && path.split('%').skip(1).all(|after| escaped(after).is_some_and(must_be))
}

/// Where a statement is. At Revio's own host, port and scheme the key goes along; anywhere else it does not, and then it must be a
/// public name over https at its usual port: an answer of Revio's sends nobody into our own network.
pub(super) fn download(base: &Url, link: &str) -> Option<Download> {
    let url = read(base, link)?;
    let with_key = url.origin() == base.origin();
    let public =
        url.scheme() == "https" && url.port().is_none() && url.domain().is_some_and(|name| !is_local_name(name));
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
            "https://pay.example/p/1/", "https://revio.example/p/1/?a=b#c", "HTTPS://pay.example",
            "https://pay.example:8443/",
        ] {
            assert!(checkout(&revio(), link), "{link}");
        }
        for link in [
            "http://pay.example/p/1/", "javascript:alert(1)", "javascript://pay.example/%0aalert(1)",
            "data:text/html,x", "file:///etc/passwd", "https://user:password@pay.example/",
            "https://revio.example@pay.example/", "//pay.example/p/1/", "/p/1/", "p/1/", "https:pay.example",
            "https://", "https:\\\\pay.example", "https://pay.example/\n", " https://pay.example/",
            "java\tscript:alert(1)", "https://pay.example/ü", "",
        ] {
            assert!(!checkout(&revio(), link), "{link}");
        }
        let here = Url::parse("http://127.0.0.1:9000/api/v1/").expect("a URL");
        assert!(checkout(&here, "http://127.0.0.1:9000/p/1/") && checkout(&here, "https://pay.example/"));
    }

    #[test]
    fn a_payout_is_executed_at_revio_and_by_no_call_about_a_purchase() {
        let at = |link: &str| execution(&revio(), link).map(String::from);
        for path in [
            "po/1a-b_c/",
            "po/1",
            "po",
            "po/1a:b.c=d~e,f!g/",
            "po/a%3Ab%20c/",
            "api/v1/payouts/1/execute/?s2s=true",
            "api/v1/payout_executions/1/?token=a/b.c%2Fd",
            "api/v2/execute/1",
        ] {
            let link = format!("https://revio.example/{path}");
            assert_eq!(at(&link), Some(link));
        }
        for (link, url) in [
            ("payouts/1/execute/", "https://revio.example/api/v1/payouts/1/execute/"),
            ("/po/1/", "https://revio.example/po/1/"),
            ("https://revio.example/po/1/#x", "https://revio.example/po/1/"),
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
            "https://revio.example/api/v2/purchases/1/refund/",
            "https://revio.example/API/v1/Purchases/1/refund/",
            "https://revio.example/api/v1/%70urchases/1/refund/",
            "https://revio.example/po/../api/v1/purchases/1/refund/",
            "https://revio.example/po/../1/",
            "https://revio.example/po/%2e%2e/1/",
            "https://revio.example/po/.%2E/1/",
            "https://revio.example/po/%2e/1/",
            "https://revio.example/api/v1/payouts/%2e%2e%2fpurchases/",
            "https://revio.example/po/a%2Fb/",
            "https://revio.example/po/a%5cb/",
            "https://revio.example/po/a%252e/",
            "https://revio.example/po/a%00/",
            "https://revio.example/po/a%c0%ae/",
            "https://revio.example/po/a%+1/",
            "https://revio.example/po/a%",
            "https://revio.example/po/a%zz/",
            "https://revio.example/po//1/",
            "https://revio.example//po/1/",
            "https://revio.example/po/1//",
            "https://revio.example/po/1;a/",
            "https://revio.example/po\\1/",
            "https://revio.example/po/1 /",
            "https://revio.example/",
            "https://revio.example/api/v1/",
            "?token=1",
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
            "https://files.localhost./1.csv",
            "https://metadata.google.internal/1.csv",
            "https://printer.local/1.csv",
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
