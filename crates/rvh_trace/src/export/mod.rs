//! Where finished spans go.

pub mod console;
#[cfg(feature = "otlp")]
pub mod file;
pub mod memory;
#[cfg(feature = "otlp")]
pub mod otlp;

use crate::{Error, ExporterSettings, Resource, SpanRecord};
use std::time::{Duration, Instant};

/// Delivers batches of finished spans. Lives on the pipeline's own thread.
pub trait Exporter: Send {
    /// Delivers a batch; returns how many spans were accepted.
    fn export(&mut self, batch: &[SpanRecord], run: &Run<'_>) -> Result<usize, Error>;

    /// Called once, after the last batch.
    fn shutdown(&mut self) {}
}

/// What an exporter may know and ask while it exports.
pub struct Run<'a> {
    /// Who recorded the spans.
    pub resource: &'a Resource,
    /// When it must be done, retries included.
    pub deadline: Instant,
    pub(crate) noted: &'a dyn Fn(&Error),
    pub(crate) interrupted: &'a dyn Fn(Duration) -> Option<Instant>,
}

impl Run<'_> {
    /// Tells of a fault that may pass, so that who asks for the last error sees it at once.
    pub fn note(&self, error: &Error) {
        (self.noted)(error);
    }

    /// Waits before a retry. False when the time would not suffice: give up then.
    pub fn wait(&self, pause: Duration) -> bool {
        // A pause so long that its end has no `Instant` is longer than any deadline.
        let Some(until) = Instant::now().checked_add(pause) else {
            return false;
        };
        let mut deadline = self.deadline;
        while until < deadline {
            let now = Instant::now();
            if now >= until {
                return true;
            }
            if let Some(earlier) = (self.interrupted)(until - now) {
                deadline = deadline.min(earlier);
            }
        }
        false
    }
}

/// Discards everything, as if delivered.
struct Discard;

impl Exporter for Discard {
    fn export(&mut self, batch: &[SpanRecord], _run: &Run<'_>) -> Result<usize, Error> {
        Ok(batch.len())
    }
}

/// The exporter of these settings; `store` is where the memory exporter keeps spans.
pub(crate) fn make(
    settings: &ExporterSettings,
    store: &memory::Store,
) -> Result<Box<dyn Exporter>, Error> {
    Ok(match settings {
        #[cfg(feature = "otlp")]
        ExporterSettings::Otlp(otlp) => Box::new(otlp::OtlpExporter::new(otlp)?),
        #[cfg(feature = "otlp")]
        ExporterSettings::File(file) => Box::new(file::FileExporter::new(file)?),
        #[cfg(not(feature = "otlp"))]
        ExporterSettings::Otlp(_) | ExporterSettings::File(_) => {
            return Err(Error::Export(
                "this build has no OTLP exporter: enable the cargo feature `otlp`".to_owned(),
            ));
        }
        ExporterSettings::Console => Box::new(console::Console),
        ExporterSettings::Memory => Box::new(store.clone()),
        ExporterSettings::None => Box::new(Discard),
        ExporterSettings::Custom(custom) => custom.make(),
    })
}
