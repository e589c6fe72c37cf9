//! A file of OTLP JSON, one message a line (OpenTelemetry's "file exporter"), with rotation.

use super::otlp::messages;
use super::{Exporter, Run};
use crate::settings::FileSettings;
use crate::{Error, SpanRecord};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Proto;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message as _;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// The file exporter.
pub struct FileExporter {
    settings: FileSettings,
    open: Option<Open>,
}

/// The file while it is open.
struct Open {
    file: File,
    size: u64,
    /// Whether its last line has no end.
    is_amid_line: bool,
}

impl Open {
    fn at(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let metadata = file.metadata()?;
        // A process that was killed may have left half a line. Where this user may not read the
        // file that can't be seen.
        let is_amid_line = metadata.is_file()
            && metadata.len() > 0
            && last_byte(path).is_ok_and(|last| last != b'\n');
        Ok(Self {
            file,
            size: metadata.len(),
            is_amid_line,
        })
    }

    /// Writes a line, or nothing of it where that can be had: half a line would spoil the next one.
    fn write(&mut self, mut line: String) -> std::io::Result<()> {
        if self.is_amid_line {
            line.insert(0, '\n');
        }
        // Asked for anew, because other processes may write there, too.
        let before = self.file.metadata()?.len();
        let mut left = line.as_bytes();
        // One write a batch: a process that is killed leaves at most one line incomplete.
        while !left.is_empty() {
            let error = match self.file.write(left) {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(written) => {
                    left = &left[written..];
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.take_back(before, (line.len() - left.len()) as u64);
            return Err(error);
        }
        self.size += line.len() as u64;
        self.is_amid_line = false;
        Ok(())
    }

    /// Takes away what was written, unless another process has written since. What stays is found
    /// when the file is opened again.
    fn take_back(&self, before: u64, written: u64) {
        let is_last = |metadata: &Metadata| metadata.len() == before + written;
        if written > 0 && self.file.metadata().is_ok_and(|found| is_last(&found)) {
            let _ = self.file.set_len(before);
        }
    }
}

fn last_byte(path: &Path) -> std::io::Result<u8> {
    let mut file = File::open(path)?;
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last[0])
}

impl FileExporter {
    /// Opens the file, so that a path that cannot be written is told at once.
    pub fn new(settings: &FileSettings) -> Result<Self, Error> {
        let mut exporter = Self {
            settings: settings.clone(),
            open: None,
        };
        exporter.open()?;
        Ok(exporter)
    }

    fn failure(&self, error: &std::io::Error) -> Error {
        let path = self.settings.path.display();
        Error::Export(format!(
            "cannot write spans to {path}: {error}; is there room, and may this user write there?"
        ))
    }

    fn open(&mut self) -> Result<&mut Open, Error> {
        let open = match self.open.take() {
            Some(open) => open,
            None => Open::at(&self.settings.path).map_err(|error| self.failure(&error))?,
        };
        Ok(self.open.insert(open))
    }

    /// `spans.jsonl` becomes `spans.jsonl.1`, that becomes `.2`, and so on; the last is removed.
    fn rotate(&mut self) {
        self.open = None;
        let numbered = |number: usize| -> PathBuf {
            let mut name = self.settings.path.clone().into_os_string();
            name.push(format!(".{number}"));
            name.into()
        };
        // What cannot be moved stays where it is, and the file goes on growing.
        let moved = |from: &Path, to: &Path| from.exists().then(|| std::fs::rename(from, to));
        for number in (1..self.settings.keep).rev() {
            let _ = moved(&numbered(number), &numbered(number + 1));
        }
        if self.settings.keep > 0 {
            let _ = moved(&self.settings.path, &numbered(1));
        } else {
            let _ = std::fs::remove_file(&self.settings.path);
        }
    }
}

/// OTLP JSON, in which a float that is no number is a text, as the protocol's mapping of JSON says.
/// The protocol's crate writes null for it.
fn json(mut request: ExportTraceServiceRequest) -> serde_json::Result<String> {
    // In the place of each such float stands a number of a kind that no span has, and whose key no
    // text can hold, since the quotes in a text are escaped.
    const TEXTS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];
    let mut replaced = false;
    let mut replace = |value: &mut Option<Proto>| {
        if let Some(Proto::DoubleValue(float)) = value
            && !float.is_finite()
        {
            let text = if float.is_nan() {
                0
            } else {
                1 + i32::from(*float < 0.0)
            };
            *value = Some(Proto::StringValueStrindex(text));
            replaced = true;
        }
    };
    for spans in &mut request.resource_spans {
        if let Some(resource) = &mut spans.resource {
            each_value(&mut resource.attributes, &mut replace);
        }
        for span in spans.scope_spans.iter_mut().flat_map(|s| &mut s.spans) {
            each_value(&mut span.attributes, &mut replace);
            for event in &mut span.events {
                each_value(&mut event.attributes, &mut replace);
            }
            for link in &mut span.links {
                each_value(&mut link.attributes, &mut replace);
            }
        }
    }
    let mut text = serde_json::to_string(&request)?;
    if replaced {
        for (number, float) in TEXTS.iter().enumerate() {
            let from = format!("\"stringValueStrindex\":{number}");
            text = text.replace(&from, &format!("\"doubleValue\":\"{float}\""));
        }
    }
    Ok(text)
}

fn each_value(attributes: &mut [KeyValue], change: &mut dyn FnMut(&mut Option<Proto>)) {
    let values = attributes.iter_mut().filter_map(|pair| pair.value.as_mut());
    let mut waiting: Vec<&mut AnyValue> = values.collect();
    while let Some(value) = waiting.pop() {
        change(&mut value.value);
        if let Some(Proto::ArrayValue(list)) = &mut value.value {
            waiting.extend(&mut list.values);
        }
    }
}

impl Exporter for FileExporter {
    fn export(&mut self, batch: &[SpanRecord], run: &Run<'_>) -> Result<usize, Error> {
        let as_json = |error: String| Error::Export(format!("cannot write spans as JSON: {error}"));
        let request = messages::request(batch, run.resource);
        let request = ExportTraceServiceRequest::decode(request.as_slice())
            .map_err(|error| as_json(error.to_string()))?;
        let mut line = json(request).map_err(|error| as_json(error.to_string()))?;
        line.push('\n');
        let size = self.open()?.size;
        if size > 0 && size + line.len() as u64 > self.settings.max_bytes {
            self.rotate();
        }
        let written = self.open()?.write(line);
        if let Err(error) = written {
            self.open = None;
            return Err(self.failure(&error));
        }
        Ok(batch.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fields, Level, Limits, Resource, Value};
    use std::time::{Duration, Instant};

    fn write(exporter: &mut FileExporter, name: &str) -> Result<usize, Error> {
        let span = SpanRecord::unstarted(Fields::new(name, Vec::new()), Level::Info);
        export(exporter, span, &Resource::default())
    }

    fn export(
        exporter: &mut FileExporter,
        span: SpanRecord,
        resource: &Resource,
    ) -> Result<usize, Error> {
        let run = Run {
            resource,
            deadline: Instant::now() + Duration::from_secs(60),
            noted: &|_| (),
            interrupted: &|_| None,
        };
        exporter.export(&[span], &run)
    }

    #[test]
    fn a_full_file_is_moved_and_the_oldest_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spans.jsonl");
        let mut settings = FileSettings::new(&path);
        (settings.max_bytes, settings.keep) = (100, 2);
        for round in 0..2 {
            // A file that is there already is gone on with, or moved when it is full.
            let mut exporter = FileExporter::new(&settings).expect("it can be written");
            for number in 0..3 {
                let name = format!("span {round} {number}");
                assert_eq!(write(&mut exporter, &name), Ok(1));
            }
        }
        for (suffix, name) in [("", "span 1 2"), (".1", "span 1 1"), (".2", "span 1 0")] {
            let text = std::fs::read_to_string(folder.path().join(format!("spans.jsonl{suffix}")));
            let text = text.expect("it is there");
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.contains(name), "{text}");
        }
        assert_eq!(
            std::fs::read_dir(folder.path()).map(Iterator::count).ok(),
            Some(3)
        );
    }

    #[test]
    fn what_a_killed_process_left_does_not_spoil_the_next_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = FileSettings::new(folder.path().join("spans.jsonl"));
        std::fs::write(&settings.path, r#"{"resourceSpans": [{"sco"#).expect("it is written");
        let mut exporter = FileExporter::new(&settings).expect("it can be written");
        for name in ["first", "second"] {
            assert_eq!(write(&mut exporter, name), Ok(1));
        }
        let text = std::fs::read_to_string(&settings.path).expect("it is there");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        for line in &lines[1..] {
            let read = serde_json::from_str::<ExportTraceServiceRequest>(line);
            assert!(read.is_ok(), "{line}");
        }
    }

    #[test]
    fn floats_that_are_no_numbers_are_written_as_texts() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = FileSettings::new(folder.path().join("spans.jsonl"));
        let mut exporter = FileExporter::new(&settings).expect("it can be written");
        let limits = Limits::default();
        let floats = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5];
        let list = Value::List(floats.map(Value::Float).to_vec());
        let mut span = SpanRecord::unstarted(Fields::new("span", Vec::new()), Level::Info);
        span.set("list", (&list).into(), &limits);
        span.add_event("event", 1, &[("list".to_owned(), list)], &limits);
        let resource = Resource {
            attributes: vec![("float".to_owned(), Value::Float(f64::NAN))],
        };
        assert_eq!(export(&mut exporter, span, &resource), Ok(1));
        let text = std::fs::read_to_string(&settings.path).expect("it is there");
        let message: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let resource = &message["resourceSpans"][0];
        let span = &resource["scopeSpans"][0]["spans"][0];
        let value = |attributes: &serde_json::Value| attributes[0]["value"].clone();
        let expected = serde_json::json!({"arrayValue": {"values": [
            {"doubleValue": "NaN"},
            {"doubleValue": "Infinity"},
            {"doubleValue": "-Infinity"},
            {"doubleValue": 0.5},
        ]}});
        assert_eq!(value(&span["attributes"]), expected);
        assert_eq!(value(&span["events"][0]["attributes"]), expected);
        let expected = serde_json::json!({"doubleValue": "NaN"});
        assert_eq!(value(&resource["resource"]["attributes"]), expected);
    }

    #[test]
    fn none_is_kept_where_none_is_wanted() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = FileSettings::new(folder.path().join("spans.jsonl"));
        (settings.max_bytes, settings.keep) = (1, 0);
        let mut exporter = FileExporter::new(&settings).expect("it can be written");
        for name in ["first", "second"] {
            assert_eq!(write(&mut exporter, name), Ok(1));
        }
        let text = std::fs::read_to_string(&settings.path).expect("it is there");
        assert!(text.contains("second") && !text.contains("first"), "{text}");
        assert_eq!(
            std::fs::read_dir(folder.path()).map(Iterator::count).ok(),
            Some(1)
        );
    }

    #[test]
    fn a_path_that_cannot_be_written_is_told_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = FileSettings::new(folder.path());
        let refused = FileExporter::new(&settings).map(drop);
        let refused = refused.expect_err("a folder is no file").to_string();
        assert!(refused.contains("may this user write there"), "{refused}");
    }
}
