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
    /// What an exception group is made of.
    pub group: Vec<Exception>,
    /// Members of the group beyond those that were captured.
    pub group_left_out: usize,
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
            group: Vec::new(),
            group_left_out: 0,
        }
    }

    /// The text that Python would print, without its `^^^^` markers.
    pub fn render(&self, sources: &mut Sources) -> String {
        let mut page = Page::default();
        self.render_chain(&mut page, sources);
        page.text
    }

    fn render_chain(&self, page: &mut Page, sources: &mut Sources) {
        // From the earliest to the latest; a chain is followed without recursion.
        let mut chain = vec![(None, self)];
        while let Some((relation, earlier)) = chain
            .last()
            .and_then(|(_, exception)| exception.earlier.as_ref())
        {
            chain.push((Some(*relation), earlier));
        }
        for (followed_by, exception) in chain.into_iter().rev() {
            exception.render_one(page, sources);
            page.write(match followed_by {
                None => "",
                Some(Relation::Cause) => {
                    "\nThe above exception was the direct cause of the following exception:\n\n"
                }
                Some(Relation::Context) => {
                    "\nDuring handling of the above exception, another exception occurred:\n\n"
                }
            });
        }
    }

    fn render_one(&self, page: &mut Page, sources: &mut Sources) {
        let is_group = !self.group.is_empty() || self.group_left_out > 0;
        let is_outermost = is_group && page.depth == 0;
        if is_outermost {
            page.depth = 1;
        }
        if is_group && !self.frames.is_empty() {
            let margin = if is_outermost { '+' } else { '|' };
            page.write_line(margin, "Exception Group Traceback (most recent call last):");
        }
        let mut text = String::new();
        if !is_group && !self.frames.is_empty() {
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
                write_repeated(&mut text, &mut repeated);
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
        write_repeated(&mut text, &mut repeated);
        if self.frames_left_out > 0 {
            let _ = writeln!(text, "  [{} more frames]", self.frames_left_out);
        }
        text.push_str(&self.kind);
        if !self.message.is_empty() {
            text.push_str(": ");
            text.push_str(&self.message);
        }
        text.push('\n');
        page.write(&text);
        if is_group {
            self.render_group(page, sources);
        }
        if is_outermost {
            page.depth = 0;
        }
    }

    fn render_group(&self, page: &mut Page, sources: &mut Sources) {
        let count = self.group.len() + usize::from(self.group_left_out > 0);
        page.needs_end = false;
        for at in 0..count {
            let is_last = at + 1 == count;
            if is_last {
                page.needs_end = true;
            }
            let title = match self.group.get(at) {
                Some(_) => (at + 1).to_string(),
                None => "...".to_owned(),
            };
            let corner = if at == 0 { "+-" } else { "  " };
            let indent = 2 * page.depth;
            // Writing to a String cannot fail.
            let _ = writeln!(
                page.text,
                "{:indent$}{corner}+---------------- {title} ----------------",
                ""
            );
            page.depth += 1;
            match self.group.get(at) {
                Some(member) => member.render_chain(page, sources),
                None => {
                    let plural = if self.group_left_out == 1 { "" } else { "s" };
                    page.write(&format!(
                        "and {} more exception{plural}\n",
                        self.group_left_out
                    ));
                }
            }
            if is_last && std::mem::take(&mut page.needs_end) {
                let indent = 2 * page.depth;
                let _ = writeln!(
                    page.text,
                    "{:indent$}+------------------------------------",
                    ""
                );
            }
            page.depth -= 1;
        }
    }
}

/// The text so far, and the margin that the members of groups stand behind, as Python draws it.
#[derive(Default)]
struct Page {
    text: String,
    depth: usize,
    /// Whether the innermost member closes the margins of those around it, too.
    needs_end: bool,
}

impl Page {
    fn write(&mut self, lines: &str) {
        if self.depth == 0 {
            return self.text.push_str(lines);
        }
        for line in lines.lines() {
            self.write_line('|', line);
        }
    }

    fn write_line(&mut self, margin: char, line: &str) {
        let indent = 2 * self.depth;
        let _ = writeln!(self.text, "{:indent$}{margin} {line}", "");
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
            group: Vec::new(),
            group_left_out: 0,
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
    fn a_group_reads_as_python_prints_it() {
        let mut inner = raised("Inner", &[]);
        inner.group = vec![raised("A", &[]), raised("B", &[5])];
        let mut outer = raised("Outer", &[1]);
        outer.group = vec![raised("C", &[]), inner];
        let mut shortened = outer.clone();
        assert_eq!(
            outer.render(&mut Sources::default()),
            "  + Exception Group Traceback (most recent call last):\n\
             \x20 |   File \"<f>\", line 1, in g\n\
             \x20 | Outer: m\n\
             \x20 +-+---------------- 1 ----------------\n\
             \x20   | C: m\n\
             \x20   +---------------- 2 ----------------\n\
             \x20   | Inner: m\n\
             \x20   +-+---------------- 1 ----------------\n\
             \x20     | A: m\n\
             \x20     +---------------- 2 ----------------\n\
             \x20     | Traceback (most recent call last):\n\
             \x20     |   File \"<f>\", line 5, in g\n\
             \x20     | B: m\n\
             \x20     +------------------------------------\n"
        );
        shortened.group.truncate(1);
        shortened.group_left_out = 2;
        let text = shortened.render(&mut Sources::default());
        let end = "    +---------------- ... ----------------\n    | and 2 more exceptions\n\
                   \x20   +------------------------------------\n";
        assert!(text.ends_with(end), "{text}");
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
