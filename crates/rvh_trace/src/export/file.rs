//! A file of OTLP JSON, one message a line (OpenTelemetry's "file exporter"), with rotation.

use super::otlp::messages;
use super::{Exporter, Run};
use crate::settings::FileSettings;
use crate::{Error, SpanRecord};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The file exporter.
pub struct FileExporter {
    settings: FileSettings,
    open: Option<(File, u64)>,
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

    fn open(&mut self) -> Result<(&mut File, u64), Error> {
        if self.open.is_none() {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.settings.path);
            let sized = file.and_then(|file| file.metadata().map(|m| (file, m.len())));
            self.open = Some(sized.map_err(|error| self.failure(&error))?);
        }
        match &mut self.open {
            Some((file, size)) => Ok((file, *size)),
            None => Err(Error::Export("the file is not open".to_owned())),
        }
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

impl Exporter for FileExporter {
    fn export(&mut self, batch: &[SpanRecord], run: &Run<'_>) -> Result<usize, Error> {
        let as_json = |error: String| Error::Export(format!("cannot write spans as JSON: {error}"));
        let request = messages::request(batch, run.resource);
        let request = ExportTraceServiceRequest::decode(request.as_slice())
            .map_err(|error| as_json(error.to_string()))?;
        let mut line = serde_json::to_vec(&request).map_err(|error| as_json(error.to_string()))?;
        line.push(b'\n');
        let (_, size) = self.open()?;
        if size > 0 && size + line.len() as u64 > self.settings.max_bytes {
            self.rotate();
        }
        let (file, _) = self.open()?;
        // One write a batch: an interrupted one leaves at most one line incomplete.
        let written = file.write_all(&line);
        if let Err(error) = written {
            self.open = None;
            return Err(self.failure(&error));
        }
        if let Some((_, size)) = &mut self.open {
            *size += line.len() as u64;
        }
        Ok(batch.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fields, Level, Resource};
    use std::time::{Duration, Instant};

    fn write(exporter: &mut FileExporter, name: &str) -> Result<usize, Error> {
        let run = Run {
            resource: &Resource::default(),
            deadline: Instant::now() + Duration::from_secs(60),
            noted: &|_| (),
            interrupted: &|_| None,
        };
        let span = SpanRecord::unstarted(Fields::new(name, Vec::new()), Level::Info);
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
