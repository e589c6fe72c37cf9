//! Exceptions: captured in the traced code, which must not wait, and rendered on the exporting
//! thread, which reads the source lines.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// A function and the file that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The source file, as the program names it.
    pub file: String,
    /// The function.
    pub function: String,
}

/// A line of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The function; shared, because the same ones fail again and again.
    pub place: Arc<Place>,
    /// The line, from 1.
    pub line: u32,
}

/// Why one exception comes with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The other is its stated cause (`raise ... from`).
    Cause,
    /// It was raised while the other was handled.
    Context,
}

/// An exception as it was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Its type, with the module unless that is `builtins`.
    pub kind: String,
    /// Its text.
    pub message: String,
    /// Outermost call first, as Python prints them.
    pub frames: Vec<Frame>,
    /// Inner frames beyond those that were captured.
    pub frames_left_out: usize,
    /// The exception before it.
    pub earlier: Option<(Relation, Box<Exception>)>,
}

impl Exception {
    /// A Rust error, with its sources as causes. Rust errors carry no stack.
    pub fn from_error(error: &dyn std::error::Error) -> Self {
        Self {
            kind: "error".to_owned(),
            message: error.to_string(),
            frames: Vec::new(),
            frames_left_out: 0,
            earlier: error
                .source()
                .map(|s| (Relation::Cause, Box::new(Self::from_error(s)))),
        }
    }

    /// The text that Python would print, without its `^^^^` markers.
    pub fn render(&self, sources: &mut Sources) -> String {
        let mut text = String::new();
        // From the earliest to the latest; a chain is followed without recursion.
        let mut chain = vec![(None, self)];
        while let Some((relation, earlier)) = chain
            .last()
            .and_then(|(_, exception)| exception.earlier.as_ref())
        {
            chain.push((Some(*relation), earlier));
        }
        for (followed_by, exception) in chain.into_iter().rev() {
            exception.render_one(&mut text, sources);
            text.push_str(match followed_by {
                None => "",
                Some(Relation::Cause) => {
                    "\nThe above exception was the direct cause of the following exception:\n\n"
                }
                Some(Relation::Context) => {
                    "\nDuring handling of the above exception, another exception occurred:\n\n"
                }
            });
        }
        text
    }

    fn render_one(&self, text: &mut String, sources: &mut Sources) {
        if !self.frames.is_empty() {
            text.push_str("Traceback (most recent call last):\n");
        }
        let mut repeated = 0;
        for (i, frame) in self.frames.iter().enumerate() {
            // Python prints a frame three times, then counts.
            let same = |back: usize| {
                i.checked_sub(back)
                    .is_some_and(|j| self.frames[j] == *frame)
            };
            if same(1) && same(2) && same(3) {
                repeated += 1;
            } else {
                write_repeated(text, &mut repeated);
                // Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "  File \"{}\", line {}, in {}",
                    frame.place.file, frame.line, frame.place.function
                );
                if let Some(line) = sources.line(&frame.place.file, frame.line) {
                    let _ = writeln!(text, "    {line}");
                }
            }
        }
        write_repeated(text, &mut repeated);
        if self.frames_left_out > 0 {
            let _ = writeln!(text, "  [{} more frames]", self.frames_left_out);
        }
        text.push_str(&self.kind);
        if !self.message.is_empty() {
            text.push_str(": ");
            text.push_str(&self.message);
        }
        text.push('\n');
    }
}

fn write_repeated(text: &mut String, repeated: &mut usize) {
    if *repeated > 0 {
        let times = if *repeated == 1 { "time" } else { "times" };
        let _ = writeln!(text, "  [Previous line repeated {repeated} more {times}]");
        *repeated = 0;
    }
}

/// Larger files are data, not something a person wrote.
const LARGEST_SOURCE: u64 = 4 << 20;

/// Source files that were read for one round of exports.
#[derive(Default)]
pub struct Sources(HashMap<String, Option<String>>);

impl Sources {
    /// The line without its indentation, if the file can be read.
    fn line(&mut self, file: &str, line: u32) -> Option<&str> {
        let read = || {
            let path = Path::new(file);
            // A relative name, `<string>` or `<frozen ...>` may be another file by now.
            let small = path.is_absolute()
                && path
                    .metadata()
                    .is_ok_and(|m| m.is_file() && m.len() <= LARGEST_SOURCE);
            small.then(|| std::fs::read_to_string(path).ok()).flatten()
        };
        let text = self
            .0
            .entry(file.to_owned())
            .or_insert_with(read)
            .as_ref()?;
        let line = text.lines().nth((line as usize).checked_sub(1)?)?.trim();
        (!line.is_empty()).then_some(line)
    }

    /// A file may change before the next round.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raised(kind: &str, lines: &[u32]) -> Exception {
        let place = Arc::new(Place {
            file: "<f>".into(),
            function: "g".into(),
        });
        let frame = |line: &u32| Frame {
            place: Arc::clone(&place),
            line: *line,
        };
        Exception {
            kind: kind.into(),
            message: "m".into(),
            frames: lines.iter().map(frame).collect(),
            frames_left_out: 0,
            earlier: None,
        }
    }

    #[test]
    fn it_reads_as_python_prints_it() {
        let mut last = raised("KeyError", &[1, 2, 2, 2, 2, 2, 3]);
        last.earlier = Some((Relation::Cause, Box::new(raised("OSError", &[9]))));
        assert_eq!(
            last.render(&mut Sources::default()),
            "Traceback (most recent call last):\n  File \"<f>\", line 9, in g\nOSError: m\n\n\
             The above exception was the direct cause of the following exception:\n\n\
             Traceback (most recent call last):\n  File \"<f>\", line 1, in g\n\
             \x20 File \"<f>\", line 2, in g\n  File \"<f>\", line 2, in g\n\
             \x20 File \"<f>\", line 2, in g\n  [Previous line repeated 2 more times]\n\
             \x20 File \"<f>\", line 3, in g\nKeyError: m\n"
        );
    }

    #[test]
    fn source_lines_are_shown() {
        let file =
            std::fs::canonicalize(file!()).or_else(|_| std::fs::canonicalize("src/exception.rs"));
        let file = file.expect("this file").to_string_lossy().into_owned();
        let place = Place {
            file,
            function: "f".into(),
        };
        let frame = Frame {
            place: Arc::new(place),
            line: 1,
        };
        let exception = Exception {
            frames: vec![frame],
            ..raised("E", &[])
        };
        let text = exception.render(&mut Sources::default());
        assert!(
            text.contains("    //! Exceptions: captured in the traced code"),
            "{text}"
        );
    }
}
