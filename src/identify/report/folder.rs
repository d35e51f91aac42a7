//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A folder that results are written to.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Folders that did not exist before, innermost first.
    made: Vec<PathBuf>,
    used: bool,
}

impl Folder {
    /// Creates the folder if it is not there and checks that it can be written to, before anything is computed.
    ///
    /// # Errors
    /// [`Error::Io`] naming the folder. Dropped without a [`Folder::write`], what was created is removed again.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let made =
            path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).map(Path::to_path_buf).collect();
        let folder = Self { path, made, used: false };
        fs::create_dir_all(&folder.path).map_err(|e| Error::io(&folder.path, "create", e))?;
        let probe = folder.beside("probe");
        let result = File::create(&probe).and_then(|mut f| f.write_all(b"sarcomere"));
        let _ = fs::remove_file(&probe);
        result.map_err(|e| Error::io(&folder.path, "write", e))?;
        Ok(folder)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.path.join(format!(".{name}.{}.tmp", std::process::id()))
    }

    /// Writes all files beside their names and moves them there once every one is complete; returns their paths.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file. Files of these names that were there before are then unchanged.
    pub fn write(&mut self, files: &[(&str, Vec<u8>)]) -> Result<Vec<PathBuf>> {
        let mut waiting = Waiting(Vec::new());
        for (name, bytes) in files {
            let (to, beside) = (self.path.join(name), self.beside(name));
            let put = || {
                let mut file = File::create(&beside)?;
                file.write_all(bytes)?;
                // A disk may only now find that it is full.
                file.sync_all()
            };
            let result = put();
            waiting.0.push((beside.clone(), to.clone()));
            result.map_err(|e| Error::io(&to, "write", e))?;
        }
        // A folder in the way of any file would leave the others half replaced.
        if let Some((_, to)) = waiting.0.iter().find(|(_, to)| to.is_dir()) {
            return Err(Error::io(to, "write", std::io::ErrorKind::IsADirectory.into()));
        }
        let mut done = Vec::new();
        for (beside, to) in &waiting.0 {
            fs::rename(beside, to).map_err(|e| Error::io(to, "write", e))?;
            done.push(to.clone());
        }
        self.used = true;
        Ok(done)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.used {
            for path in &self.made {
                // Fails where something else has come to lie in it, and should.
                let _ = fs::remove_dir(path);
            }
        }
    }
}

/// Files written beside; whatever has not been moved is removed.
struct Waiting(Vec<(PathBuf, PathBuf)>);

impl Drop for Waiting {
    fn drop(&mut self) {
        for (beside, _) in &self.0 {
            let _ = fs::remove_file(beside);
        }
    }
}
