//! Running the program in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder that is empty at first and removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Runs the program here.
    pub fn run(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sarcomere"));
        Run(command.args(arguments).current_dir(&self.0).output().unwrap())
    }

    /// Runs the program here from a shell line, as `$0`.
    pub fn shell(&self, line: &str) -> Run {
        let mut command = Command::new("sh");
        command.args(["-c", line, env!("CARGO_BIN_EXE_sarcomere")]).current_dir(&self.0);
        Run(command.output().unwrap())
    }

    /// Names of what lies in a folder below this one, sorted.
    pub fn list(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join(name)).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the program said, and how it ended.
pub struct Run(pub Output);

impl Run {
    pub fn out(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    pub fn err(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    pub fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    /// The program ended well.
    #[track_caller]
    pub fn good(self) -> Self {
        assert_eq!(self.code(), Some(0), "{}{}", self.out(), self.err());
        self
    }

    /// The program refused, in one line that holds all these words, with exit code 2.
    #[track_caller]
    pub fn refused(&self, words: &[&str]) {
        assert_eq!(self.code(), Some(2), "{}{}", self.out(), self.err());
        let err = self.err();
        let lines: Vec<&str> = err.lines().filter(|l| l.starts_with("error")).collect();
        assert_eq!(lines.len(), 1, "one line says what is wrong: {err}");
        let known = ["error", "device: ", "memory: "];
        let others: Vec<&str> = err.lines().filter(|l| !known.iter().any(|k| l.starts_with(k))).collect();
        assert!(others.is_empty(), "and nothing else is said: {err}");
        for word in words {
            assert!(lines[0].contains(word), "expected '{word}' in: {}", lines[0]);
        }
    }
}

/// An array in NumPy's format, made by hand.
pub fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// A recording of `frames` x 16 x 16 in which something moves.
pub fn recording(frames: usize) -> Vec<u8> {
    let values = (0..frames * 256).map(|i| ((i * i) % 97) as f32 / 97.0 - 0.5);
    npy("'<f4'", &format!("({frames}, 16, 16)"), &values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>())
}
