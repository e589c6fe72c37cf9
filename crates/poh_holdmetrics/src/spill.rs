//! Holds in temporary files, in parts by holder, each small enough to be grouped in memory.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};

use ruint::aliases::U256;

use crate::error::HoldError;
use crate::groups::Source;
use crate::holds::{Chunk, Holds, Weights};
use crate::query::Stop;

/// Rows that were moved out of memory. The files have no name, so nothing is left behind, whatever
/// becomes of the process.
#[derive(Debug)]
pub(crate) struct Spill {
    files: Vec<File>,
    segments: Vec<Segment>,
}

/// Rows of all files that were written with the same weights.
#[derive(Debug)]
struct Segment {
    width: Width,
    digits: u8,
    /// Rows that each file has of it.
    rows: Vec<u64>,
}

/// How the weights of a segment are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    One,
    Narrow,
    Wide,
}

impl Width {
    fn of(chunk: &Chunk) -> Self {
        match chunk.weights {
            Weights::One => Width::One,
            Weights::Narrow(_) => Width::Narrow,
            Weights::Wide(_) => Width::Wide,
        }
    }
}

impl Spill {
    /// A holder's rows are all in the part of its code modulo this.
    pub(crate) const PARTS: usize = 64;

    pub(crate) fn new() -> Result<Self, HoldError> {
        let file = |_| tempfile::tempfile().map_err(|error| failed(&error));
        Ok(Spill {
            files: (0..Self::PARTS).map(file).collect::<Result<_, _>>()?,
            segments: Vec::new(),
        })
    }

    /// The code of a holder that has the code `own` within a part.
    pub(crate) fn holder(part: usize, own: u32) -> u32 {
        own * Self::PARTS as u32 + part as u32
    }

    /// What a part's rows are grouped as: holders have codes of their own there.
    pub(crate) fn source<'a>(&self, part: usize, chunks: &'a [Chunk], holds: &Holds) -> Source<'a> {
        Source {
            chunks,
            holders: holds
                .holders
                .len()
                .saturating_sub(part)
                .div_ceil(Self::PARTS),
            tokens: holds.tokens.len(),
            turned: false,
        }
    }

    /// Writes all rows of a table, which have been checked.
    pub(crate) fn take(&mut self, holds: &Holds, stop: &Stop) -> Result<(), HoldError> {
        const BUFFER: usize = 1 << 19;
        let mut buffers: Vec<Vec<u8>> = vec![Vec::new(); Self::PARTS];
        for chunk in &holds.chunks {
            stop.check()?;
            let width = Width::of(chunk);
            let like_last = self
                .segments
                .last()
                .is_some_and(|last| last.width == width && last.digits == holds.digits);
            if !like_last {
                self.segments.push(Segment {
                    width,
                    digits: holds.digits,
                    rows: vec![0; Self::PARTS],
                });
            }
            let Some(segment) = self.segments.last_mut() else {
                continue;
            };
            for row in 0..chunk.len() {
                let holder = chunk.holder[row] as usize;
                let part = holder % Self::PARTS;
                let buffer = &mut buffers[part];
                buffer.extend_from_slice(&((holder / Self::PARTS) as u32).to_le_bytes());
                buffer.extend_from_slice(&chunk.token[row].to_le_bytes());
                buffer.extend_from_slice(&chunk.start[row].to_le_bytes());
                buffer.extend_from_slice(&chunk.end[row].to_le_bytes());
                match &chunk.weights {
                    Weights::One => {}
                    Weights::Narrow(column) => {
                        buffer.extend_from_slice(&column[row].to_le_bytes());
                    }
                    Weights::Wide(column) => {
                        buffer.extend_from_slice(&column[row].to_le_bytes::<32>());
                    }
                }
                segment.rows[part] += 1;
                if buffer.len() >= BUFFER {
                    self.files[part]
                        .write_all(buffer)
                        .map_err(|error| failed(&error))?;
                    buffer.clear();
                }
            }
        }
        for (file, buffer) in self.files.iter_mut().zip(&buffers) {
            file.write_all(buffer).map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// The rows of one part, with weights of so many digits.
    pub(crate) fn chunks_of(
        &self,
        part: usize,
        digits: u8,
        like: &Holds,
        stop: &Stop,
    ) -> Result<Vec<Chunk>, HoldError> {
        let mut input = &self.files[part];
        input
            .seek(SeekFrom::Start(0))
            .map_err(|error| failed(&error))?;
        let mut input = BufReader::with_capacity(1 << 20, input);
        let mut first_row = 0;
        let mut chunks = Vec::new();
        for segment in &self.segments {
            let rows = segment.rows[part] as usize;
            let mut chunk = Chunk::empty(0);
            let mut weights = match segment.width {
                Width::One => Weights::One,
                Width::Narrow => Weights::Narrow(Vec::with_capacity(rows).into()),
                Width::Wide => Weights::Wide(Vec::with_capacity(rows)),
            };
            for row in 0..rows {
                if row % 65_536 == 0 {
                    stop.check()?;
                }
                chunk
                    .holder
                    .to_mut()
                    .push(u32::from_le_bytes(bytes(&mut input)?));
                chunk
                    .token
                    .to_mut()
                    .push(u32::from_le_bytes(bytes(&mut input)?));
                chunk
                    .start
                    .to_mut()
                    .push(i64::from_le_bytes(bytes(&mut input)?));
                chunk
                    .end
                    .to_mut()
                    .push(i64::from_le_bytes(bytes(&mut input)?));
                match &mut weights {
                    Weights::One => {}
                    Weights::Narrow(column) => {
                        column.to_mut().push(i64::from_le_bytes(bytes(&mut input)?));
                    }
                    Weights::Wide(column) => {
                        column.push(U256::from_le_bytes::<32>(bytes(&mut input)?));
                    }
                }
            }
            chunk.weights = weights;
            // A table of these rows alone knows how to count them in smaller units.
            let mut alone = Holds::new(like.scale)?;
            alone.digits = segment.digits;
            alone.chunks.push(chunk);
            alone.use_digits(digits)?;
            for mut chunk in alone.chunks {
                chunk.first_row = first_row;
                first_row += chunk.len();
                chunks.push(chunk);
            }
        }
        Ok(chunks)
    }
}

fn bytes<const N: usize>(input: &mut impl Read) -> Result<[u8; N], HoldError> {
    let mut bytes = [0; N];
    input
        .read_exact(&mut bytes)
        .map_err(|error| failed(&error))?;
    Ok(bytes)
}

fn failed(error: &std::io::Error) -> HoldError {
    HoldError::File(format!(
        "temporary files in {} do not hold the rows that do not fit in memory: {error}; free space \
         there, name another folder in the environment (TMPDIR, on Windows TEMP), or allow more memory",
        std::env::temp_dir().display()
    ))
}
