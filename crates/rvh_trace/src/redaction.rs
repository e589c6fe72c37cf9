//! Keeps secrets in the process: attributes are cleaned before any exporter sees them.

use crate::{Error, Fields, SpanRecord, Value};
use regex_lite::Regex;
use std::collections::HashMap;

/// What stands in place of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// Parts of keys whose values are secrets, compared without case, `-`, `_` and `.`.
const SECRET_KEYS: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "authorization",
    "cookie",
    "credential",
    "sessionid",
];

/// Attributes that are URLs or their queries, whose parameters have names of their own.
const URL_KEYS: [&str; 4] = ["url.full", "url.query", "http.url", "http.target"];

/// Which attributes are cleaned.
#[derive(Clone, Debug)]
pub struct Redaction {
    /// Whether the default list of keys counts.
    pub defaults: bool,
    keys: Vec<Regex>,
    values: Vec<Regex>,
}

impl Default for Redaction {
    fn default() -> Self {
        Self {
            defaults: true,
            keys: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl PartialEq for Redaction {
    fn eq(&self, other: &Self) -> bool {
        let texts = |list: &[Regex]| {
            list.iter()
                .map(|r| r.as_str().to_owned())
                .collect::<Vec<_>>()
        };
        self.defaults == other.defaults
            && texts(&self.keys) == texts(&other.keys)
            && texts(&self.values) == texts(&other.values)
    }
}

impl Redaction {
    /// Rules beside the default list, or in place of it: patterns of keys whose values are
    /// replaced, and patterns of what is replaced inside of text values.
    pub fn new(defaults: bool, keys: &[String], values: &[String]) -> Result<Self, Error> {
        let compiled = |patterns: &[String]| {
            let compile = |pattern: &String| {
                Regex::new(pattern)
                    .map_err(|error| Error::setting("redaction", pattern, error.to_string()))
            };
            patterns.iter().map(compile).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            defaults,
            keys: compiled(keys)?,
            values: compiled(values)?,
        })
    }

    fn is_secret(&self, key: &str) -> bool {
        let by_default = self.defaults && {
            let plain: String = key
                .chars()
                .filter(|c| !matches!(c, '-' | '_' | '.'))
                .flat_map(char::to_lowercase)
                .collect();
            SECRET_KEYS.iter().any(|secret| plain.contains(secret))
        };
        by_default || self.keys.iter().any(|pattern| pattern.is_match(key))
    }

    fn cleaned(&self, text: &str) -> Option<String> {
        let mut cleaned: Option<String> = None;
        for pattern in &self.values {
            let now = cleaned.as_deref().unwrap_or(text);
            if pattern.is_match(now) {
                cleaned = Some(pattern.replace_all(now, REDACTED).into_owned());
            }
        }
        cleaned
    }

    fn clean_fields(&self, fields: &mut Fields, known: &mut KnownKeys) {
        let secret = fields
            .keys()
            .any(|key| URL_KEYS.contains(&key) || known.is_secret(key, self));
        if !secret && self.values.is_empty() {
            return;
        }
        let mut changes: Vec<(String, Value)> = Vec::new();
        for (key, value) in fields.iter() {
            if known.is_secret(key, self) {
                changes.push((key.to_owned(), Value::Str(REDACTED.to_owned())));
            } else {
                let changed = match value {
                    Value::Str(text) => {
                        let query = match key {
                            "url.query" => Some(0),
                            _ if URL_KEYS.contains(&key) => text.find('?').map(|at| at + 1),
                            _ => None,
                        };
                        let url = query.and_then(|at| self.cleaned_query(&text, at, known));
                        let cleaned = self.cleaned(url.as_deref().unwrap_or(&text));
                        cleaned.or(url).map(Value::Str)
                    }
                    Value::List(items) => self.clean_list(&items),
                    _ => None,
                };
                changes.extend(changed.map(|value| (key.to_owned(), value)));
            }
        }
        for (key, value) in changes {
            fields.set(&key, (&value).into(), usize::MAX);
        }
    }

    /// A text whose query begins at a place: its parameters with secret names have no values.
    fn cleaned_query(&self, text: &str, at: usize, known: &mut KnownKeys) -> Option<String> {
        let (before, query) = text.split_at(at);
        let (query, fragment) = query
            .find('#')
            .map_or((query, ""), |end| query.split_at(end));
        let mut changed = false;
        let parameters: Vec<String> = query
            .split('&')
            .map(|parameter| match parameter.split_once('=') {
                Some((name, value)) if !value.is_empty() && known.is_secret(name, self) => {
                    changed = true;
                    format!("{name}={REDACTED}")
                }
                _ => parameter.to_owned(),
            })
            .collect();
        changed.then(|| format!("{before}{}{fragment}", parameters.join("&")))
    }

    fn clean_list(&self, items: &[Value]) -> Option<Value> {
        let mut changed = false;
        let items = items
            .iter()
            .map(|item| match item {
                Value::Str(text) => match self.cleaned(text) {
                    Some(text) => {
                        changed = true;
                        Value::Str(text)
                    }
                    None => item.clone(),
                },
                other => other.clone(),
            })
            .collect();
        changed.then_some(Value::List(items))
    }

    /// Cleans a span, its events and links, and the message of its status.
    pub(crate) fn clean(&self, record: &mut SpanRecord, known: &mut KnownKeys) {
        self.clean_fields(&mut record.fields, known);
        let Some(extra) = &mut record.extra else {
            return;
        };
        for event in &mut extra.events {
            self.clean_fields(&mut event.fields, known);
        }
        for link in &mut extra.links {
            self.clean_fields(&mut link.fields, known);
        }
        if let Some(cleaned) = self.cleaned(&extra.status_message) {
            extra.status_message = cleaned;
        }
    }
}

/// What was found out about keys: programs use the same ones again and again.
#[derive(Default)]
pub(crate) struct KnownKeys(HashMap<String, bool>);

/// Keys that are remembered; a program that makes more makes them up as it goes.
const MOST_KNOWN: usize = 4096;

impl KnownKeys {
    fn is_secret(&mut self, key: &str, redaction: &Redaction) -> bool {
        if let Some(known) = self.0.get(key) {
            return *known;
        }
        let secret = redaction.is_secret(key);
        if self.0.len() < MOST_KNOWN && key.len() <= 256 {
            self.0.insert(key.to_owned(), secret);
        }
        secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(redaction: &Redaction, pairs: &[(&str, &str)]) -> Vec<(String, Value)> {
        let mut fields = Fields::new("s", Vec::new());
        for (key, value) in pairs {
            fields.set(key, (*value).into(), usize::MAX);
        }
        redaction.clean_fields(&mut fields, &mut KnownKeys::default());
        let mut pairs: Vec<_> = fields.iter().map(|(k, v)| (k.to_owned(), v)).collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs
    }

    #[test]
    fn secrets_in_urls_are_known_by_their_parameters() {
        let default = Redaction::default();
        for (key, url, expected) in [
            (
                "url.full",
                "https://h/a?x=1&access_token=t&y=#token=f",
                "https://h/a?x=1&access_token=[redacted]&y=#token=f",
            ),
            ("url.query", "password=p&q", "password=[redacted]&q"),
            ("http.url", "https://h/token=a", "https://h/token=a"),
            ("note", "token=a", "token=a"),
        ] {
            let cleaned = cleaned(&default, &[(key, url)]);
            assert_eq!(cleaned[0].1, Value::Str(expected.to_owned()), "{url}");
        }
    }

    #[test]
    fn secrets_are_known_by_their_keys() {
        let default = Redaction::default();
        for key in [
            "password",
            "db.PassWord",
            "api-key",
            "X-API-Key",
            "access_token",
            "Cookie",
        ] {
            assert_eq!(
                cleaned(&default, &[(key, "x")]),
                [(key.to_owned(), Value::Str(REDACTED.to_owned()))]
            );
        }
        assert_eq!(
            cleaned(&default, &[("key", "x")]),
            [("key".to_owned(), Value::Str("x".to_owned()))]
        );
    }

    #[test]
    fn patterns_of_ones_own() {
        let own =
            Redaction::new(false, &["^iban$".into()], &[r"\b\d{16}\b".into()]).expect("rules");
        assert_eq!(
            cleaned(
                &own,
                &[
                    ("iban", "DE"),
                    ("note", "card 1234567812345678."),
                    ("password", "p")
                ]
            ),
            [
                ("iban".to_owned(), Value::Str(REDACTED.to_owned())),
                ("note".to_owned(), Value::Str("card [redacted].".to_owned())),
                ("password".to_owned(), Value::Str("p".to_owned())),
            ]
        );
        assert!(Redaction::new(true, &["(".into()], &[]).is_err());
    }
}
