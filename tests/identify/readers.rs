use std::path::{Path, PathBuf};

use super::{FROM_FILE, velocity};

use sarcomere::Recording;
use sarcomere::identify::{ReadOptions, npy};

/// A folder of its own for every test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sarcomere-readers-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An array of NumPy's, written by hand: the tests must not rely on the writer under test.
fn npy_bytes(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let mut header = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

const SHAPE: [usize; 3] = [3, 8, 9];

fn value(i: usize) -> i32 {
    (i as i32 * 7) % 100
}

fn all(f: impl Fn(i32) -> Vec<u8>) -> Vec<u8> {
    (0..SHAPE.iter().product()).flat_map(|i| f(value(i))).collect()
}

fn expected() -> Vec<f32> {
    (0..SHAPE.iter().product()).map(|i| value(i) as f32).collect()
}

/// Reads a recording into memory and, frame by frame, from its file: both are the same.
fn read(path: &Path) -> Recording {
    let held = Recording::read(path, &ReadOptions::default()).unwrap();
    let stays = Recording::read(path, &FROM_FILE).unwrap();
    assert_eq!(held.shape(), stays.shape());
    for t in 0..held.frames() {
        assert_eq!(held.velocity(t..t + 1).unwrap(), stays.velocity(t..t + 1).unwrap(), "frame {t}");
    }
    assert_eq!(velocity(&held), velocity(&stays));
    assert_eq!(held.rms_map(), stays.rms_map());
    held
}

/// What is said of a file; the same if its values would stay there.
fn complaint(path: &Path) -> String {
    let error = Recording::read(path, &ReadOptions::default()).unwrap_err().to_string();
    assert_eq!(Recording::read(path, &FROM_FILE).unwrap_err().to_string(), error);
    assert!(error.contains(path.file_name().unwrap().to_str().unwrap()), "names the file: {error}");
    assert!(!error.contains('\n'), "one line: {error}");
    error
}

#[test]
fn every_element_type_is_converted() {
    let folder = Folder::new("types");
    let cases: [(&str, Vec<u8>); 9] = [
        ("'<f4'", all(|v| (v as f32).to_le_bytes().to_vec())),
        ("'>f4'", all(|v| (v as f32).to_be_bytes().to_vec())),
        ("'<f8'", all(|v| f64::from(v).to_le_bytes().to_vec())),
        ("'<f2'", all(|v| half::f16::from_f32(v as f32).to_le_bytes().to_vec())),
        ("'|u1'", all(|v| vec![v as u8])),
        ("'<i2'", all(|v| (v as i16).to_le_bytes().to_vec())),
        ("'>i2'", all(|v| (v as i16).to_be_bytes().to_vec())),
        ("'<i4'", all(|v| v.to_le_bytes().to_vec())),
        ("'<i8'", all(|v| i64::from(v).to_le_bytes().to_vec())),
    ];
    for (descr, data) in cases {
        let recording = read(&folder.write("a.npy", &npy_bytes(descr, false, "(3, 8, 9)", &data)));
        assert_eq!(velocity(&recording), expected(), "{descr}");
        assert_eq!(recording.shape(), SHAPE);
        assert_eq!(recording.name(), "a");
        assert_eq!(recording.fs_hz(), 400.0);
    }
}

#[test]
fn fortran_order_is_put_right() {
    let folder = Folder::new("fortran");
    // First axis fastest.
    let mut data = Vec::new();
    for x in 0..9 {
        for y in 0..8 {
            for t in 0..3 {
                data.extend((value((t * 8 + y) * 9 + x) as f32).to_le_bytes());
            }
        }
    }
    let recording = read(&folder.write("f.npy", &npy_bytes("'<f4'", true, "(3, 8, 9)", &data)));
    assert_eq!(velocity(&recording), expected());
}

/// More values than are turned at once.
#[test]
fn large_arrays_in_fortran_order_are_put_right_part_by_part() {
    let folder = Folder::new("slabs");
    let [frames, height, width] = [600, 96, 80];
    let value = |t: usize, y: usize, x: usize| ((t * 31 + y * 7 + x * 3) % 251) as u8;
    let mut data = Vec::new();
    for x in 0..width {
        for y in 0..height {
            data.extend((0..frames).map(|t| value(t, y, x)));
        }
    }
    let recording = read(&folder.write("f.npy", &npy_bytes("'|u1'", true, "(600, 96, 80)", &data)));
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| f32::from(value(599, y, x))));
    assert_eq!(recording.velocity(599..600).unwrap(), pixels.collect::<Vec<f32>>());
}

#[test]
fn a_file_that_changes_while_it_is_searched_is_told() {
    let folder = Folder::new("changes");
    let floats = all(|v| (v as f32).to_le_bytes().to_vec());
    let bytes = npy_bytes("'<f4'", false, "(3, 8, 9)", &floats);
    let write = || folder.write("a.npy", &bytes);
    let cut = |path: &Path| std::fs::write(path, &bytes[..bytes.len() / 2]);
    let grow = |path: &Path| std::fs::write(path, [&bytes[..], &[0]].concat());
    // Another time than that of a moment ago, whatever the file system's clock.
    let rewrite = |path: &Path| {
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        std::fs::File::options().write(true).open(path)?.set_modified(time)
    };
    for change in [&cut as &dyn Fn(&Path) -> std::io::Result<()>, &grow, &rewrite] {
        let path = write();
        let (stays, held) = (Recording::read(&path, &FROM_FILE).unwrap(), read(&path));
        assert_eq!(stays.velocity(2..3).unwrap(), &expected()[144..]);
        change(&path).unwrap();
        let error = stays.velocity(2..3).unwrap_err().to_string();
        assert!(error.contains("a.npy: values: expected a file that stays as it is"), "{error}");
        assert!(error.contains("search it again") && !error.contains('\n'), "{error}");
        assert_eq!(velocity(&held), expected(), "what is in memory stays");
    }
    let error = read(&write()).velocity(2..4).unwrap_err().to_string();
    assert!(error.contains("frames: expected frames within 0 to 3, got 2 to 4"), "{error}");
}

/// An open file is there until it is closed, whatever becomes of its name.
#[cfg(unix)]
#[test]
fn a_file_that_is_removed_or_replaced_is_still_read() {
    let folder = Folder::new("vanishes");
    let bytes = npy_bytes("'<i2'", false, "(3, 8, 9)", &all(|v| (v as i16).to_le_bytes().to_vec()));
    let path = folder.write("a.npy", &bytes);
    let recording = Recording::read(&path, &FROM_FILE).unwrap();
    std::fs::rename(folder.write("b.npy", b"something else"), &path).unwrap();
    assert_eq!(velocity(&recording), expected());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(velocity(&recording), expected());
}

#[test]
fn what_is_written_is_read_back() {
    let folder = Folder::new("round");
    let mut bytes = Vec::new();
    npy::write(&mut bytes, &SHAPE, &expected()).unwrap();
    assert_eq!(bytes.len() % 64, (expected().len() * 4) % 64, "values begin on a multiple of 64 bytes");
    assert_eq!(velocity(&read(&folder.write("w.npy", &bytes))), expected());
}

#[test]
fn bad_npy_files_are_told_apart() {
    let folder = Folder::new("bad");
    let floats = all(|v| (v as f32).to_le_bytes().to_vec());
    let constant = vec![0u8; floats.len()];
    let mut nan = floats.clone();
    nan[4 * 77..4 * 78].copy_from_slice(&f32::NAN.to_le_bytes());
    let good = npy_bytes("'<f4'", false, "(3, 8, 9)", &floats);
    let cases: [(Vec<u8>, &str); 14] = [
        (good[..good.len() - 5].to_vec(), "values: expected 216 of them"),
        (good[..40].to_vec(), "header: the file ends inside it"),
        (good[..4].to_vec(), "header: the file ends inside it"),
        (vec![], "empty file"),
        (b"this is no array at all".to_vec(), "magic bytes"),
        (npy_bytes("'|O'", false, "(3, 8, 9)", &floats), "dtype: expected float16/32/64"),
        (npy_bytes("'<c8'", false, "(3, 8, 9)", &floats), "found '<c8'"),
        (npy_bytes("[('a', '<f4')]", false, "(3, 8, 9)", &floats), "structured"),
        (npy_bytes("'<f4'", false, "(24, 9)", &floats), "expected 3 axes [time, height, width], found 2"),
        (npy_bytes("'<f4'", false, "(0, 8, 9)", &[]), "empty shape [0, 8, 9]"),
        (npy_bytes("'<f4'", false, "(3, 8, 99999999)", &floats), "pixels a side"),
        (npy_bytes("'<f4'", false, "(9999999999999999, 4096, 4096)", &floats), "at most 1073741824 values"),
        (npy_bytes("'<f4'", false, "(3, 8, 9)", &constant), "found 0 everywhere"),
        (npy_bytes("'<f4'", false, "(3, 8, 9)", &nan), "the first is NaN at frame 1, row 0, column 5"),
    ];
    for (bytes, words) in cases {
        let error = complaint(&folder.write("bad.npy", &bytes));
        assert!(error.contains(words), "expected '{words}' in: {error}");
    }
}

#[test]
fn safetensors_carry_rate_and_pixel_size() {
    let folder = Folder::new("safetensors");
    let values = expected();
    let bytes: &[u8] = bytemuck::cast_slice(&values);
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, SHAPE.to_vec(), bytes).unwrap();
    let other = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![8, 27], bytes).unwrap();
    let metadata = [("fs_hz", "500"), ("mm_per_pixel", "0.3")].map(|(k, v)| (k.to_string(), v.to_string()));
    let file =
        safetensors::serialize([("mine", view), ("other", other)], Some(metadata.into_iter().collect())).unwrap();
    let path = folder.write("s.safetensors", &file);
    let recording = read(&path);
    assert_eq!(velocity(&recording), values);
    assert_eq!((recording.fs_hz(), recording.mm_per_pixel()), (500.0, Some(0.3)));
    // What the caller says counts more.
    let options = ReadOptions { fs_hz: Some(1000.0), mm_per_pixel: Some(0.5), ..ReadOptions::default() };
    let recording = Recording::read(&path, &options).unwrap();
    assert_eq!((recording.fs_hz(), recording.mm_per_pixel()), (1000.0, Some(0.5)));

    let error = complaint(&folder.write("cut.safetensors", &file[..file.len() - 100]));
    assert!(error.contains("truncated"), "{error}");
    let options = ReadOptions { array: Some("nothing".into()), ..ReadOptions::default() };
    let error = Recording::read(&path, &options).unwrap_err().to_string();
    assert!(error.contains("mine [3, 8, 9]") && error.contains("other [8, 27]"), "lists what there is: {error}");
    let options = ReadOptions { array: Some("other".into()), ..ReadOptions::default() };
    let error = Recording::read(&path, &options).unwrap_err().to_string();
    assert!(error.contains("found 2"), "{error}");
}

#[cfg(feature = "cli")]
#[test]
fn npz_archives() {
    use sarcomere::identify::npz::NpzWriter;
    let folder = Folder::new("npz");
    let values = expected();
    let mut writer = NpzWriter::new(std::io::Cursor::new(Vec::new()));
    writer.add("table", &[24, 9], &values).unwrap();
    writer.add("velocity", &SHAPE, &values).unwrap();
    writer.add("earlier", &SHAPE, &values).unwrap();
    writer.add("fs_hz", &[], &[1000.0f32]).unwrap();
    writer.add("mm_per_pixel", &[], &[0.1f64]).unwrap();
    let file = writer.finish().unwrap().into_inner();
    let recording = read(&folder.write("z.npz", &file));
    assert_eq!(velocity(&recording), values);
    assert_eq!((recording.fs_hz(), recording.mm_per_pixel()), (1000.0, Some(0.1)));

    let mut writer = NpzWriter::new(std::io::Cursor::new(Vec::new()));
    writer.add("one", &SHAPE, &values).unwrap();
    writer.add("two", &SHAPE, &values).unwrap();
    let error = complaint(&folder.write("two.npz", &writer.finish().unwrap().into_inner()));
    assert!(error.contains("one [3, 8, 9], two [3, 8, 9]") && error.contains("--array"), "{error}");

    let error = complaint(&folder.write("cut.npz", &file[..file.len() / 2]));
    assert!(error.contains("archive"), "{error}");
    // Damage anywhere in the array is noticed, never read as numbers.
    let start = file.windows(12).position(|w| w == b"velocity.npy").unwrap() + 12;
    for at in (start..start + 200).step_by(7) {
        let mut hurt = file.clone();
        hurt[at] ^= 0xff;
        let path = folder.write("hurt.npz", &hurt);
        for options in [ReadOptions::default(), FROM_FILE] {
            match Recording::read(&path, &options) {
                Ok(recording) => assert_eq!(velocity(&recording), values, "byte {at}"),
                Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
            }
        }
    }
}

#[test]
fn unusable_values_and_arguments_are_refused() {
    let good = expected();
    let new = |shape, fs| Recording::new("r", good.clone(), shape, fs);
    assert!(new(SHAPE, 400.0).is_ok());
    for (result, field) in [
        (new([3, 8, 8], 400.0), "velocity"),
        (new([27, 8, 1], 400.0), "velocity"),
        (new(SHAPE, 0.0), "fs_hz"),
        (new(SHAPE, f64::NAN), "fs_hz"),
        (new(SHAPE, 400.0).and_then(|r| r.with_mm_per_pixel(-0.1)), "mm_per_pixel"),
        (new(SHAPE, 400.0).and_then(|r| r.with_mm_per_pixel(f64::INFINITY)), "mm_per_pixel"),
    ] {
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field}: expected")), "{error}");
    }
}

#[test]
fn other_files_and_folders_are_refused() {
    let folder = Folder::new("other");
    let error = complaint(&folder.write("a.mat", b"MATLAB 5.0"));
    assert!(error.contains("expected .npy, .npz or .safetensors"), "{error}");
    let error = complaint(&folder.0.join("missing.npy"));
    assert!(error.contains("cannot read"), "{error}");
    let path = folder.0.join("folder.npy");
    std::fs::create_dir_all(&path).unwrap();
    assert!(complaint(&path).contains("found a folder"));
}
