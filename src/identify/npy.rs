//! NumPy's `.npy` format, versions 1 to 3: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
//!
//! Read into `f32` as a stream, so that a file is never in memory twice; written by [`write()`]. Small enough to keep here: the
//! crate without its command line reads recordings with no dependency for it.

use std::io::{Read, Write};

use super::recording::{MAX_VALUES, show};

/// What precedes the values.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Element type.
    pub kind: Kind,
    /// Whether the values are stored most significant byte first.
    pub big_endian: bool,
    /// Whether the first axis varies fastest.
    pub fortran: bool,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// Bytes of the header itself: where the values begin.
    pub length: usize,
}

/// Values that are converted at a time.
pub(super) const BLOCK: usize = 1 << 16;

/// Element types that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    I64,
    F16,
    F32,
    F64,
}

impl Kind {
    const ALL: [(&'static str, Kind, usize); 11] = [
        ("b1", Kind::Bool, 1),
        ("u1", Kind::U8, 1),
        ("i1", Kind::I8, 1),
        ("u2", Kind::U16, 2),
        ("i2", Kind::I16, 2),
        ("u4", Kind::U32, 4),
        ("i4", Kind::I32, 4),
        ("i8", Kind::I64, 8),
        ("f2", Kind::F16, 2),
        ("f4", Kind::F32, 4),
        ("f8", Kind::F64, 8),
    ];

    /// Bytes of one element.
    pub fn size(self) -> usize {
        Self::ALL.iter().find(|(_, kind, _)| *kind == self).map_or(1, |(.., size)| *size)
    }

    fn parse(code: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, ..)| *name == code).map(|(_, kind, _)| *kind)
    }

    fn decode(self, b: &[u8]) -> f32 {
        match self {
            Kind::Bool | Kind::U8 => f32::from(b[0]),
            Kind::I8 => f32::from(b[0] as i8),
            Kind::U16 => f32::from(u16::from_le_bytes([b[0], b[1]])),
            Kind::I16 => f32::from(i16::from_le_bytes([b[0], b[1]])),
            Kind::U32 => u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32,
            Kind::I32 => i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32,
            Kind::I64 => i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32,
            Kind::F16 => half::f16::from_le_bytes([b[0], b[1]]).to_f32(),
            Kind::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            Kind::F64 => f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32,
        }
    }

    /// Converts as many elements as `out` has; their bytes are turned round if they come most significant first.
    pub(super) fn decode_all(self, bytes: &mut [u8], big_endian: bool, out: &mut [f32]) {
        let size = self.size();
        if big_endian {
            bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        out.iter_mut().zip(bytes.chunks_exact(size)).for_each(|(out, bytes)| *out = self.decode(bytes));
    }
}

const MAGIC: &[u8; 6] = b"\x93NUMPY";
const TYPES: &str = "expected float16/32/64, an integer type up to 64 bits or bool";

/// Reads the header and leaves the reader at the first value. The error says what was expected and what to do.
pub fn read_header(reader: &mut impl Read) -> Result<Header, String> {
    let cut = |_| "header: the file ends inside it: it is truncated, copy or export it again".to_string();
    let mut start = [0u8; 8];
    reader.read_exact(&mut start).map_err(cut)?;
    if &start[..6] != MAGIC {
        return Err("header: expected NumPy's magic bytes \\x93NUMPY, found others: save it with numpy.save".into());
    }
    let (before, length) = match start[6] {
        1 => {
            let mut n = [0u8; 2];
            reader.read_exact(&mut n).map_err(cut)?;
            (10, u16::from_le_bytes(n) as usize)
        }
        2 | 3 => {
            let mut n = [0u8; 4];
            reader.read_exact(&mut n).map_err(cut)?;
            (12, u32::from_le_bytes(n) as usize)
        }
        v => return Err(format!("header: expected format version 1, 2 or 3, found {v}: save it with numpy.save")),
    };
    if length > 1 << 20 {
        return Err(format!("header: expected less than 1 MiB, found {length} bytes: save it with numpy.save"));
    }
    let mut text = vec![0u8; length];
    reader.read_exact(&mut text).map_err(cut)?;
    match String::from_utf8(text) {
        Ok(text) if !text.trim_end().contains(char::is_control) => parse_header(&text, before + length),
        _ => Err("header: expected text, found other bytes: it is damaged, copy or export it again".into()),
    }
}

/// The dictionary of a header of `length` bytes: `{'descr': '<f4', 'fortran_order': False, 'shape': (400, 64, 64), }`.
fn parse_header(text: &str, length: usize) -> Result<Header, String> {
    let bad = |field: &str| format!("header: field {field} is missing or unreadable: save it with numpy.save");
    let after = |field: &str| {
        let key = text.find(&format!("'{field}'")).or_else(|| text.find(&format!("\"{field}\"")))?;
        let rest = &text[key + field.len() + 2..];
        Some(rest[rest.find(':')? + 1..].trim_start())
    };
    let descr = after("descr").ok_or_else(|| bad("descr"))?;
    if descr.starts_with('[') {
        return Err(format!("dtype: {TYPES}, found a structured type: save one field as a plain array"));
    }
    let quote = descr.chars().next().filter(|c| "'\"".contains(*c)).ok_or_else(|| bad("descr"))?;
    let code = descr[1..].split(quote).next().ok_or_else(|| bad("descr"))?;
    let (order, name) = match code.chars().next() {
        Some(c) if "<>|=".contains(c) => code.split_at(1),
        _ => ("<", code),
    };
    if name.starts_with('O') {
        return Err(format!("dtype: {TYPES}, found pickled Python objects: save it with array.astype('float32')"));
    }
    let kind = Kind::parse(name)
        .ok_or_else(|| format!("dtype: {TYPES}, found '{code}': save it with array.astype('float32')"))?;
    let fortran = match after("fortran_order").ok_or_else(|| bad("fortran_order"))? {
        s if s.starts_with("True") => true,
        s if s.starts_with("False") => false,
        _ => return Err(bad("fortran_order")),
    };
    let list = after("shape").and_then(|s| s.strip_prefix('(')?.split(')').next()).ok_or_else(|| bad("shape"))?;
    let mut shape = Vec::new();
    for item in list.split(',').map(str::trim).filter(|s| !s.is_empty()) {
        shape.push(item.trim_end_matches('L').parse::<usize>().map_err(|_| {
            format!("shape: expected sizes below 2^64, found ({list}): save it with numpy.save as [T, H, W]")
        })?);
    }
    Ok(Header { kind, big_endian: order == ">", fortran, shape, length })
}

/// Reads the values that `header` announces, converted to `f32`, in row-major order.
pub fn read_values(reader: &mut impl Read, header: &Header) -> Result<Vec<f32>, String> {
    // Grown as bytes arrive: a header that lies about its shape costs nothing.
    let mut values = Vec::with_capacity(count(header)?.min(1 << 22));
    each_block(reader, header, &mut |block| {
        values.extend_from_slice(block);
        Ok(())
    })?;
    Ok(if header.fortran { to_row_major(&values, &header.shape) } else { values })
}

/// Reads the values that `header` announces, converted to `f32`, block after block in the order in which they are stored.
pub(super) fn each_block(
    reader: &mut impl Read,
    header: &Header,
    visit: &mut dyn FnMut(&[f32]) -> Result<(), String>,
) -> Result<(), String> {
    let (count, size) = (count(header)?, header.kind.size());
    let (mut bytes, mut values) = (vec![0u8; BLOCK * size], vec![0f32; BLOCK]);
    for first in (0..count).step_by(BLOCK) {
        let want = (count - first).min(BLOCK);
        let got = fill(reader, &mut bytes[..want * size]).map_err(|e| format!("values: cannot read: {e}"))?;
        let there = got / size;
        if there < want {
            return Err(truncated(header, first + there));
        }
        header.kind.decode_all(&mut bytes[..got], header.big_endian, &mut values[..want]);
        visit(&values[..want])?;
    }
    Ok(())
}

/// How many values `header` announces.
pub(super) fn count(header: &Header) -> Result<usize, String> {
    let count = header.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n <= MAX_VALUES);
    count.ok_or_else(|| {
        format!("shape: expected at most {MAX_VALUES} values, found {}: cut it into parts", show(&header.shape))
    })
}

/// The complaint about a file that has fewer values than `header` announces.
pub(super) fn truncated(header: &Header, found: usize) -> String {
    format!(
        "values: expected {} of them for the shape {}, found {found}: the file is truncated, copy or export it again",
        header.shape.iter().product::<usize>(),
        show(&header.shape)
    )
}

/// Reads until the buffer is full or the input ends; returns the bytes read.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match reader.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// Values stored first axis fastest, reordered last axis fastest.
fn to_row_major(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let mut stride = vec![1usize; shape.len()];
    for axis in 1..shape.len() {
        stride[axis] = stride[axis - 1] * shape[axis - 1];
    }
    let mut index = vec![0usize; shape.len()];
    let mut from = 0;
    let mut out = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        out.push(values[from]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            from += stride[axis];
            if index[axis] < shape[axis] {
                break;
            }
            from -= stride[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    out
}

/// A Rust type that can be written as `.npy`.
pub trait Element: bytemuck::Pod {
    /// NumPy's type string.
    const DESCR: &'static str;
}
impl Element for f32 {
    const DESCR: &'static str = "<f4";
}
impl Element for f64 {
    const DESCR: &'static str = "<f8";
}
impl Element for u8 {
    const DESCR: &'static str = "|u1";
}
impl Element for i32 {
    const DESCR: &'static str = "<i4";
}

/// Writes values in row-major order as format version 1.
///
/// # Errors
/// What the writer reports; `InvalidInput` if the number of values is not the product of `shape`.
pub fn write<T: Element>(writer: &mut impl Write, shape: &[usize], values: &[T]) -> std::io::Result<()> {
    write_parts(writer, shape, &[values])
}

/// As [`write()`], the values in parts, one after the other.
pub(super) fn write_parts<T: Element>(writer: &mut impl Write, shape: &[usize], parts: &[&[T]]) -> std::io::Result<()> {
    let count = parts.iter().map(|part| part.len()).sum::<usize>();
    if shape.iter().product::<usize>() != count {
        let message = format!("shape {shape:?} does not fit {count} values");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, message));
    }
    let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
    // A tuple of one needs its comma.
    let dims = dims.join(", ") + if shape.len() == 1 { "," } else { "" };
    let mut header = format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({dims}), }}", T::DESCR);
    // The values start on a multiple of 64 bytes.
    header.extend(std::iter::repeat_n(' ', 63 - (10 + header.len()) % 64));
    header.push('\n');
    writer.write_all(MAGIC)?;
    writer.write_all(&[1, 0])?;
    writer.write_all(&(header.len() as u16).to_le_bytes())?;
    writer.write_all(header.as_bytes())?;
    for part in parts {
        if cfg!(target_endian = "little") {
            writer.write_all(bytemuck::cast_slice(part))?;
            continue;
        }
        for value in *part {
            let mut bytes = bytemuck::bytes_of(value).to_vec();
            bytes.reverse();
            writer.write_all(&bytes)?;
        }
    }
    Ok(())
}
