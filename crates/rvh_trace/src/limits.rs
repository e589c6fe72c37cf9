//! How much one span may hold (OpenTelemetry's span limits).

/// How much one span may hold; what goes beyond is left out and counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attributes of a span.
    pub attributes: usize,
    /// Characters of a text value; `None` for any number.
    pub value_length: Option<usize>,
    /// Events of a span.
    pub events: usize,
    /// Links of a span.
    pub links: usize,
    /// Attributes of an event.
    pub event_attributes: usize,
    /// Attributes of a link.
    pub link_attributes: usize,
}

impl Default for Limits {
    /// The specification's defaults: 128 of each.
    fn default() -> Self {
        Self {
            attributes: 128,
            value_length: None,
            events: 128,
            links: 128,
            event_attributes: 128,
            link_attributes: 128,
        }
    }
}
