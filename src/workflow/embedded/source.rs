//! The bytes of a file, read by place within limits.

use super::{Fault, MAX_PARTS, MAX_TEXT_BYTES};
use std::io::{Read, Seek, SeekFrom};

/// Bytes of the beginning of a file that tell what it is.
const HEAD_BYTES: u64 = 64;

trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// The bytes of a file. Every read is checked against the file's length and the limit of a text.
pub(super) struct Source<'a> {
    reader: &'a mut dyn ReadSeek,
    len: u64,
    parts_left: usize,
}

impl<'a> Source<'a> {
    pub fn new<R: Read + Seek>(reader: &'a mut R) -> std::io::Result<Self> {
        let len = reader.seek(SeekFrom::End(0))?;
        Ok(Self {
            reader,
            len,
            parts_left: MAX_PARTS,
        })
    }

    /// Length of the file in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The first bytes, fewer when the file is shorter.
    pub fn head(&mut self) -> std::io::Result<Vec<u8>> {
        let mut head = Vec::new();
        self.reader.seek(SeekFrom::Start(0))?;
        (&mut self.reader).take(HEAD_BYTES).read_to_end(&mut head)?;
        Ok(head)
    }

    /// The whole file.
    pub fn all(&mut self) -> Result<Vec<u8>, Fault> {
        self.bytes(0, self.len)
    }

    /// `length` bytes from `at`.
    pub fn bytes(&mut self, at: u64, length: u64) -> Result<Vec<u8>, Fault> {
        if at.checked_add(length).is_none_or(|end| end > self.len) {
            return Err(Fault::damaged(format!(
                "{length} bytes are promised at {at}, the file has {}",
                self.len
            )));
        }
        if length > MAX_TEXT_BYTES as u64 {
            return Err(Fault::TooLarge);
        }
        // At most the limit, and no more than the file has.
        let mut bytes = vec![0; length as usize];
        self.reader.seek(SeekFrom::Start(at))?;
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// `N` bytes from `at`.
    pub fn array<const N: usize>(&mut self, at: u64) -> Result<[u8; N], Fault> {
        let bytes = self.bytes(at, N as u64)?;
        bytes
            .try_into()
            .map_err(|_| Fault::damaged("a header is cut off"))
    }

    /// Counts one more part of the file, so that a walk over hostile ones ends.
    pub fn next_part(&mut self) -> Result<(), Fault> {
        match self.parts_left.checked_sub(1) {
            Some(left) => {
                self.parts_left = left;
                Ok(())
            }
            None => Err(Fault::damaged(format!(
                "it has more than {MAX_PARTS} parts"
            ))),
        }
    }
}

/// Reads numbers and parts off a slice.
pub(super) struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (head, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| Fault::damaged("a part is cut off"))?;
        self.0 = rest;
        Ok(head)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or_else(|| Fault::damaged("a part is cut off"))?;
        self.0 = rest;
        Ok(*head)
    }

    pub fn u8(&mut self) -> Result<u8, Fault> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u16_be(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32_be(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u32_le(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    /// Everything up to a zero byte, which is taken as well.
    pub fn until_zero(&mut self) -> Result<&'a [u8], Fault> {
        let end = self
            .0
            .iter()
            .position(|byte| *byte == 0)
            .ok_or_else(|| Fault::damaged("a name has no end"))?;
        let head = self.take(end)?;
        self.take(1)?;
        Ok(head)
    }
}
