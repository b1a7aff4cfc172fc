//! Takes secrets out of texts that come from outside and go into messages: a service, or whatever
//! answers in its place, may repeat what it was sent.

use std::borrow::Cow;

use zeroize::Zeroizing;

/// So much of a secret's beginning, at a text's end, is taken for the secret cut short.
const CUT: usize = 8;

/// `text` with `***` wherever `secret` stands: as it is, in other letter case, as a URL or a form has
/// it, as JSON has it, and cut short at the end.
pub(crate) fn mask<'a>(text: &'a str, secret: &str) -> Cow<'a, str> {
    let mut text = Cow::Borrowed(text);
    for form in forms(secret) {
        if let Some(masked) = mask_form(&text, &form) {
            text = Cow::Owned(masked);
        }
    }
    text
}

/// The ways in which a secret may be written, in lower case.
fn forms(secret: &str) -> Vec<Zeroizing<String>> {
    let mut forms = vec![Zeroizing::new(secret.to_owned())];
    let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    forms.push(Zeroizing::new(form.replace('+', "%20")));
    forms.push(Zeroizing::new(form));
    let quoted = Zeroizing::new(serde_json::Value::from(secret).to_string());
    forms.push(Zeroizing::new(quoted.trim_matches('"').to_owned()));
    // Base64 without its padding.
    forms.push(Zeroizing::new(secret.trim_end_matches('=').to_owned()));
    for form in &mut forms {
        form.make_ascii_lowercase();
    }
    forms.retain(|form| !form.is_empty());
    forms.dedup();
    forms
}

fn mask_form(text: &str, form: &str) -> Option<String> {
    // ASCII only: positions stay those of the text.
    let lower = text.to_ascii_lowercase();
    let mut masked = String::new();
    let mut from = 0;
    while let Some(at) = lower[from..].find(form).map(|at| from + at) {
        masked.push_str(&text[from..at]);
        masked.push_str("***");
        from = at + form.len();
    }
    let rest = &lower[from..];
    let cut = (CUT..form.len())
        .rev()
        .find(|length| form.is_char_boundary(*length) && rest.ends_with(&form[..*length]));
    if from == 0 && cut.is_none() {
        return None;
    }
    masked.push_str(&text[from..text.len() - cut.unwrap_or(0)]);
    if cut.is_some() {
        masked.push_str("***");
    }
    Some(masked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_however_it_is_written() {
        let secret = "Canary/01+x=\"é";
        for (text, masked) in [
            ("nothing here", "nothing here"),
            ("it was Canary/01+x=\"é, twice: CANARY/01+X=\"é!", "it was ***, twice: ***!"),
            ("secret=Canary%2F01%2Bx%3D%22%C3%A9&x", "secret=***&x"),
            ("secret=canary%2f01%2bx%3d%22%c3%a9", "secret=***"),
            (r#"{"secret":"Canary/01+x=\"é"}"#, r#"{"secret":"***"}"#),
            ("the beginning: Canary/01+", "the beginning: ***"),
            ("the beginning: Canary", "the beginning: Canary"),
        ] {
            assert_eq!(mask(text, secret), masked, "{text}");
        }
        assert_eq!(mask("Basic YWJjZGVmZ2g", "YWJjZGVmZ2g="), "Basic ***");
        assert_eq!(mask("a b+c a%20b%2Bc a+b%2Bc", "a b+c"), "*** *** ***");
    }

    #[test]
    fn nothing_is_masked_for_no_secret() {
        assert_eq!(mask("text", ""), "text");
        assert_eq!(mask("", "secret"), "");
    }
}
