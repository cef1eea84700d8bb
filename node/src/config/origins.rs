//! A list of web origins, as browsers name them.
//!
//! **Invariants**:
//! - I1: [`Origins::parse`] accepts a text of `Display`, and yields the same list.

use std::fmt;

use super::bounds;

/// Origins of web pages: each `https://HOST[:PORT]` or `http://HOST[:PORT]`, or `*` for every one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Reads a list with commas; `None` where a part of it is no origin, or there are too many.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let origins: Vec<String> = text.split(',').map(str::trim).map(str::to_owned).collect();
        let good = origins.len() <= bounds::ORIGINS_MAX && origins.iter().all(|origin| is_origin(origin));
        good.then_some(Self(origins))
    }

    /// The origins.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True where pages of `origin` are among them.
    #[must_use]
    pub fn allow(&self, origin: &[u8]) -> bool {
        self.iter()
            .any(|one| one == "*" || one.as_bytes().eq_ignore_ascii_case(origin))
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

/// True for an origin. Browsers send no path, no user and no trailing slash: a text with one would never match.
fn is_origin(text: &str) -> bool {
    let authority = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let part_of_it = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    text == "*"
        || authority.is_some_and(|authority| {
            !authority.is_empty()
                && authority.bytes().all(part_of_it)
                && authority.parse::<http::uri::Authority>().is_ok_and(|it| {
                    !it.host().is_empty() && (it.as_str().len() == it.host().len() || it.port_u16().is_some())
                })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        for (text, good) in [
            ("*", true),
            ("https://app.example.com", true),
            ("http://localhost:3000", true),
            ("http://[::1]:8080", true),
            ("https://a.example,https://b.example", true),
            ("https://a.example, https://b.example", true),
            ("", false),
            ("app.example.com", false),
            ("https://", false),
            ("https://app.example.com/", false),
            ("https://app.example.com/path", false),
            ("https://user@app.example.com", false),
            ("https://*.example.com", false),
            ("ftp://app.example.com", false),
            ("https://a.example,,https://b.example", false),
            ("https://app.example.com:port", false),
        ] {
            let origins = Origins::parse(text);
            assert_eq!(origins.is_some(), good, "{text}");
            if let Some(origins) = origins {
                assert_eq!(Origins::parse(&origins.to_string()), Some(origins), "I1");
            }
        }
    }

    #[test]
    fn an_origin_is_allowed_where_it_is_in_the_list() {
        let some = Origins::parse("https://App.example.com,http://localhost:3000").unwrap();
        for (origin, allowed) in [
            (&b"https://app.example.com"[..], true),
            (b"http://localhost:3000", true),
            (b"http://app.example.com", false),
            (b"https://app.example.com.evil.example", false),
            (b"http://localhost", false),
            (b"null", false),
        ] {
            assert_eq!(some.allow(origin), allowed);
            assert!(Origins::parse("*").unwrap().allow(origin));
            assert!(!Origins::default().allow(origin));
        }
    }
}
