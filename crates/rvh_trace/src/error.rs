//! What can go wrong, each with its cause and its mend in one sentence.

/// An error of set-up or export. Recording a span never returns one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting has a value that cannot be used.
    #[error("{name} = {value:?} cannot be used: {mend}")]
    Setting {
        /// The setting or environment variable.
        name: String,
        /// What it was set to.
        value: String,
        /// What to write in its place.
        mend: String,
    },
    /// `init` was called a second time, with other settings.
    #[error(
        "tracing is already initialised with other settings ({differing}): \
         call it once, or ask for reconfigure"
    )]
    AlreadyInitialised {
        /// The names of the settings that differ.
        differing: String,
    },
    /// This module records into the pipeline of another one, which sets it up.
    #[error(
        "this module shares the pipeline of the Python package rvh_trace: \
         set it up there, by rvh_trace.init_tracing()"
    )]
    Shared,
    /// The pipeline of another module cannot be shared.
    #[error(
        "the pipeline of the Python package rvh_trace cannot be shared: {0}; build both from one \
         version of rvh_trace. This module's spans do not go there"
    )]
    NotShared(String),
    /// The exporter could not be made, or could not deliver.
    #[error("{0}")]
    Export(String),
}

impl Error {
    /// A setting that cannot be used.
    pub fn setting(
        name: impl Into<String>,
        value: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self::Setting {
            name: name.into(),
            value: value.into(),
            mend: mend.into(),
        }
    }
}
