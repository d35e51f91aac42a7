//! Values that a file does not give from any place on, because they are packed, arrive through a pipe or come first axis fastest:
//! brought into an unnamed temporary file once.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use super::frames::{Layout, Stored};
use super::npy::{self, Header};

/// Most values that are held to be turned from first to last axis fastest: 16 MiB.
const SLAB: usize = 1 << 22;

/// The values that `header` announces (three axes) and `reader` yields, as `f32` in a file that no one else sees and that is gone
/// when it is closed. `path` is the recording's file, for later messages.
pub(super) fn spool(path: &Path, reader: &mut impl Read, header: &Header) -> Result<Stored, String> {
    let mut file = tempfile::tempfile().map_err(|e| refused(&e))?;
    if !header.fortran {
        npy::each_block(reader, header, &mut |block| write(&mut file, block))?;
        return Ok(Stored::unnamed(path, file, Layout::Rows));
    }
    let frames = header.shape[0];
    let slab = (SLAB / frames).max(1);
    let mut values = Vec::with_capacity(slab * frames);
    npy::each_block(reader, header, &mut |mut block| {
        while !block.is_empty() {
            let (now, later) = block.split_at(block.len().min(slab * frames - values.len()));
            values.extend_from_slice(now);
            block = later;
            if values.len() == slab * frames {
                write_turned(&mut file, &values, frames)?;
                values.clear();
            }
        }
        Ok(())
    })?;
    write_turned(&mut file, &values, frames)?;
    Ok(Stored::unnamed(path, file, Layout::Slabs(slab)))
}

/// Writes values `[pixels, frames]` as `[frames, pixels]`.
fn write_turned(file: &mut File, values: &[f32], frames: usize) -> Result<(), String> {
    let pixels = values.len() / frames;
    let mut turned = Vec::with_capacity(npy::BLOCK + pixels);
    for t in 0..frames {
        turned.extend((0..pixels).map(|pixel| values[pixel * frames + t]));
        if turned.len() >= npy::BLOCK || t + 1 == frames {
            write(file, &turned)?;
            turned.clear();
        }
    }
    Ok(())
}

fn write(file: &mut File, values: &[f32]) -> Result<(), String> {
    file.write_all(bytemuck::cast_slice(values)).map_err(|e| refused(&e))
}

fn refused(error: &std::io::Error) -> String {
    format!(
        "values: cannot bring them into a temporary file in {}: {error}: free some space there, name another folder in TMPDIR, or \
         save the recording unpacked and in C order (numpy.save of numpy.ascontiguousarray)",
        std::env::temp_dir().display()
    )
}
