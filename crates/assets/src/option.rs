//! Values of options, from the text that a user writes.

/// Checks and normalises an origin: scheme, host and port, no path, no trailing slash, no user.
pub fn origin(value: &str) -> Result<String, String> {
    let expected = || "an origin such as https://acme.atlassian.net, without a path".to_owned();
    let (scheme, rest) = value.trim().split_once("://").ok_or_else(expected)?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let plain = authority.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c));
    if authority.is_empty() || !plain {
        return Err(expected());
    }
    let (host, port) = match authority.rfind(':') {
        Some(i) if !authority.ends_with(']') => (&authority[..i], Some(&authority[i + 1..])),
        _ => (authority, None),
    };
    if host.is_empty() || port.is_some_and(|p| p.parse::<u16>().is_err()) {
        return Err(expected());
    }
    match scheme.to_ascii_lowercase().as_str() {
        "https" => Ok(format!("https://{}", authority.to_ascii_lowercase())),
        "http" if is_loopback(host) => Ok(format!("http://{}", authority.to_ascii_lowercase())),
        "http" => Err("an https:// origin; http:// is for loopback addresses only".into()),
        _ => Err(expected()),
    }
}

/// Whether a host is this machine: `localhost`, 127.0.0.0/8, `[::1]`.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The host of an origin that [`origin`] has checked.
pub fn host(origin: &str) -> &str {
    let authority = origin.split_once("://").map_or(origin, |(_, rest)| rest);
    match authority.rfind(':') {
        Some(i) if !authority.ends_with(']') => &authority[..i],
        _ => authority,
    }
}

/// Whether a text is an id as Atlassian writes them: it goes into paths, which nothing else may bend.
pub fn is_plain_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 100 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// What PostgreSQL takes for a boolean.
pub fn boolean(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Sizes as PostgreSQL's settings take them: a number and B, kB, MB or GB.
pub fn bytes(value: &str) -> Option<u64> {
    let value = value.trim();
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = value[digits.len()..].trim();
    let factor = match unit {
        "" | "B" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        for (text, expected) in [
            ("https://acme.atlassian.net", "https://acme.atlassian.net"),
            (" HTTPS://Acme.Atlassian.net/ ", "https://acme.atlassian.net"),
            ("https://acme.atlassian.net:8443", "https://acme.atlassian.net:8443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:90/", "http://[::1]:90"),
            ("http://LOCALHOST", "http://localhost"),
        ] {
            assert_eq!(origin(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "acme",
            "https://",
            "https:///",
            "https://:80",
            "https://a/b",
            "https://a//",
            "https://a?b",
            "https://a#b",
            "https://u@a",
            "https://u:p@a",
            "https://a:port",
            "https://a:65536",
            "https://a b",
            "https://a\nb",
            "https://ä.example",
            "https://a%2eb",
            "http://acme.atlassian.net",
            "http://127.0.0.1.evil.example",
            "http://0.0.0.0",
            "ftp://a",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_is_what_stands_before_the_port() {
        for (text, expected) in [
            ("https://a.example", "a.example"),
            ("https://a.example:1", "a.example"),
            ("http://[::1]:9", "[::1]"),
            ("http://[::1]", "[::1]"),
        ] {
            assert_eq!(host(text), expected);
        }
    }

    #[test]
    fn sizes_have_the_units_of_postgresqls_settings() {
        for (text, expected) in
            [("10", 10), ("64MB", 64 << 20), (" 1 kB ", 1 << 10), ("2GB", 2 << 30), ("7B", 7)]
        {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for text in
            ["", "MB", "-1", "1.5MB", "1mb", "1 M B", "99999999999999999999", "18446744073709551615GB"]
        {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}
