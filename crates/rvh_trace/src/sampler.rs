//! Which traces are recorded.

use crate::{Error, SpanContext, TraceId};

/// Decides, when a span starts, whether it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub enum Sampler {
    /// Every span.
    AlwaysOn,
    /// No span.
    AlwaysOff,
    /// This part of the traces, 0.0 to 1.0, chosen by trace id so that all services agree.
    Ratio(f64),
    /// As the parent was; for a root, as the inner sampler says.
    ParentBased(Box<Sampler>),
}

impl Default for Sampler {
    /// OpenTelemetry's default, `parentbased_always_on`.
    fn default() -> Self {
        Self::ParentBased(Box::new(Self::AlwaysOn))
    }
}

impl Sampler {
    /// Whether a span of this trace and parent is recorded.
    #[inline]
    pub fn samples(&self, parent: Option<&SpanContext>, trace_id: TraceId) -> bool {
        match self {
            Self::AlwaysOn => true,
            Self::AlwaysOff => false,
            Self::Ratio(ratio) => {
                // The low 64 bits against ratio x 2^64, as OpenTelemetry's SDKs do.
                let bound = (ratio * 18_446_744_073_709_551_616.0) as u128;
                (trace_id.0 & u128::from(u64::MAX)) < bound
            }
            Self::ParentBased(root) => match parent.filter(|context| context.is_valid()) {
                Some(parent) => parent.is_sampled(),
                None => root.samples(None, trace_id),
            },
        }
    }

    /// The sampler of a name of `OTEL_TRACES_SAMPLER`, with `OTEL_TRACES_SAMPLER_ARG`.
    ///
    /// ```
    /// use rvh_trace::Sampler;
    /// let sampler = Sampler::from_name("parentbased_traceidratio", Some("0.25")).unwrap();
    /// assert_eq!(sampler, Sampler::ParentBased(Box::new(Sampler::Ratio(0.25))));
    /// ```
    pub fn from_name(name: &str, argument: Option<&str>) -> Result<Self, Error> {
        let ratio = || -> Result<Self, Error> {
            let text = argument.unwrap_or("1.0").trim();
            match text.parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(Self::Ratio(ratio)),
                _ => Err(Error::setting(
                    "OTEL_TRACES_SAMPLER_ARG",
                    text,
                    "give a number from 0.0 to 1.0",
                )),
            }
        };
        Ok(match name.trim() {
            "always_on" => Self::AlwaysOn,
            "always_off" => Self::AlwaysOff,
            "traceidratio" => ratio()?,
            "parentbased_always_on" => Self::ParentBased(Box::new(Self::AlwaysOn)),
            "parentbased_always_off" => Self::ParentBased(Box::new(Self::AlwaysOff)),
            "parentbased_traceidratio" => Self::ParentBased(Box::new(ratio()?)),
            other => {
                return Err(Error::setting(
                    "OTEL_TRACES_SAMPLER",
                    other,
                    "use always_on, always_off, traceidratio, parentbased_always_on, \
                     parentbased_always_off or parentbased_traceidratio",
                ));
            }
        })
    }
}
