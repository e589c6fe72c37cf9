//! Who recorded the spans: the attributes that all spans of a process share.

use crate::Value;

/// Attributes of the process, by OpenTelemetry's resource conventions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// Keys and values, each key once.
    pub attributes: Vec<(String, Value)>,
}

impl Resource {
    /// Sets an attribute; one of the same key is replaced.
    pub fn set(&mut self, key: impl Into<String>, value: Value) {
        let key = key.into();
        // In place: the order must not tell two equal resources apart.
        match self.attributes.iter_mut().find(|(k, _)| *k == key) {
            Some((_, current)) => *current = value,
            None => self.attributes.push((key, value)),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.attributes
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value)
    }
}
