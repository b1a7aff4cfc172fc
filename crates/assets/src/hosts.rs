//! Which hosts a connection may lead to: a list that the database's administrator keeps.

use std::ffi::CStr;

/// Atlassian's own domains.
pub const DEFAULT: &CStr = c"*.atlassian.net, *.atlassian.com, *.jira.com";

/// Whether `list` names `host`. The list holds, separated by commas, host names, addresses, `*.domain`
/// for whatever is below a domain, and `*` for everything. An entry of any other form names nothing.
///
/// `host` is as in a URL, an IPv6 address with or without its brackets.
pub fn allows(list: &str, host: &str) -> bool {
    let host = bare(host).to_ascii_lowercase();
    if host.is_empty() {
        return false;
    }
    list.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| match entry.as_str() {
        "*" => true,
        below => match below.strip_prefix("*.") {
            Some(domain) => {
                // A domain that itself has a star or nothing in it would name too much.
                !domain.is_empty()
                    && !domain.contains('*')
                    && host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            None => !entry.is_empty() && bare(&entry) == host,
        },
    })
}

fn bare(host: &str) -> &str {
    let host = host.trim();
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_names_atlassians_domains_and_nothing_else() {
        let default = DEFAULT.to_str().expect("ASCII");
        for host in ["acme.atlassian.net", "API.atlassian.com", "auth.atlassian.com", "acme.jira.com"] {
            assert!(allows(default, host), "{host}");
        }
        for host in [
            "atlassian.net.evil.example",
            "evilatlassian.net",
            "evil-atlassian.com",
            "atlassian.net",
            ".atlassian.net",
            "acme.atlassian.net.",
            "acme.atlassian.net:443",
            "localhost",
            "127.0.0.1",
            "[::1]",
            "169.254.169.254",
            "",
        ] {
            assert!(!allows(default, host), "{host}");
        }
    }

    #[test]
    fn a_list_names_hosts_addresses_and_domains() {
        let list = " jira.acme.example ,*.Internal.example,10.0.0.7, [::1]";
        for host in
            ["jira.acme.example", "JIRA.acme.example", "a.b.internal.example", "10.0.0.7", "[::1]", "::1"]
        {
            assert!(allows(list, host), "{host}");
        }
        for host in ["acme.example", "x.jira.acme.example", "internal.example", "10.0.0.70", "1"] {
            assert!(!allows(list, host), "{host}");
        }
        assert!(allows("*", "anything.example"));
    }

    #[test]
    fn an_entry_that_is_no_host_names_nothing() {
        for list in ["", ",", " , ", "*.", "*.*", "**", "*.*.com", "a*", "https://a.example", "."] {
            for host in ["a.example", "acme.com", "a", "x.y"] {
                assert!(!allows(list, host), "{list:?} {host:?}");
            }
        }
    }
}
