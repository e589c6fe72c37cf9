//! The level of a span: how much it matters, and the least level that is recorded.

use crate::Error;
use std::fmt;
use std::str::FromStr;

/// How much a span matters. Ordered: `Trace < Debug < Info < Warn < Error < Off`.
///
/// ```
/// use rvh_trace::Level;
/// assert!("warning".parse::<Level>().unwrap() > Level::Info);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// The finest detail.
    Trace = 0,
    /// For a person who looks for a fault.
    Debug = 1,
    /// The default of a span.
    #[default]
    Info = 2,
    /// Something that should be looked at.
    Warn = 3,
    /// Something failed.
    Error = 4,
    /// As a filter: nothing is recorded.
    Off = 5,
}

impl Level {
    /// The level with this number, 0 to 5.
    pub fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Trace,
            1 => Self::Debug,
            2 => Self::Info,
            3 => Self::Warn,
            4 => Self::Error,
            5 => Self::Off,
            _ => return None,
        })
    }

    /// The level's name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(match text.trim().to_ascii_lowercase().as_str() {
            "trace" => Self::Trace,
            "debug" => Self::Debug,
            "info" => Self::Info,
            "warn" | "warning" => Self::Warn,
            "error" | "critical" | "fatal" => Self::Error,
            "off" => Self::Off,
            _ => {
                return Err(Error::setting(
                    "level",
                    text,
                    "use one of trace, debug, info, warn, error, off",
                ));
            }
        })
    }
}
