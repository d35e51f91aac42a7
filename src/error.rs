//! The one error type of the crate.

use std::fmt;
use std::path::{Path, PathBuf};

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong. Messages name the op, field or file, what was expected, and what to do.
#[derive(Debug)]
pub enum Error {
    /// An op was given shapes, types or attributes that it cannot work with.
    Op {
        /// Name of the op, as in the graph dump.
        op: String,
        /// What was expected and what was found.
        message: String,
    },
    /// A graph, plan or executor was used against its contract.
    Graph {
        /// What was expected and what was found.
        message: String,
    },
    /// A field of a configuration or an argument has an unusable value.
    Value {
        /// Name of the field or argument.
        field: String,
        /// What was expected and what was found.
        message: String,
    },
    /// A file's content is not what it should be.
    File {
        /// The file.
        path: PathBuf,
        /// What was expected, what was found, what to do.
        message: String,
    },
    /// The operating system refused to read or write.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done: "read", "write", "create".
        action: &'static str,
        /// The system's own error.
        source: std::io::Error,
    },
    /// A device is not there or failed.
    Device {
        /// What kind of failure.
        fault: DeviceFault,
        /// What was found and what to do.
        message: String,
    },
}

/// Why a device cannot be used, for programs; the message says it to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceFault {
    /// This build or machine has no such device.
    Absent,
    /// The driver is too old for what is asked of it.
    DriverTooOld,
    /// The kernel compiler is not there and is needed.
    NoCompiler,
    /// The GPU is older than the kernels, or a kernel was compiled for another one.
    WrongArchitecture,
    /// A kernel does not compile.
    KernelText,
    /// The plan does not fit into the device's memory.
    OutOfMemory,
    /// A launch or a call was refused; the device is still usable.
    Refused,
    /// The device failed and cannot be used any more in this process.
    Lost,
}

impl DeviceFault {
    /// Whether nothing will run on this device, whatever is tried next.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Absent | Self::DriverTooOld | Self::NoCompiler | Self::Lost)
    }
}

impl Error {
    /// An op was given what it cannot work with.
    pub fn op(op: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Op { op: op.into(), message: message.into() }
    }

    /// The same, an op's error with the name of the node in front.
    pub(crate) fn inside(self, node: &str) -> Self {
        match self {
            Error::Op { op, message } => Error::Op { op: format!("{node} ({op})"), message },
            other => other,
        }
    }

    /// A graph, plan or executor was used against its contract.
    pub fn graph(message: impl Into<String>) -> Self {
        Error::Graph { message: message.into() }
    }

    /// A field or argument has an unusable value.
    pub fn value(field: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Value { field: field.into(), message: message.into() }
    }

    /// A file's content is not what it should be.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Error::File { path: path.as_ref().to_path_buf(), message: message.into() }
    }

    /// The operating system refused; `action` is "read", "write" or "create".
    pub fn io(path: impl AsRef<Path>, action: &'static str, source: std::io::Error) -> Self {
        Error::Io { path: path.as_ref().to_path_buf(), action, source }
    }

    /// A device is not there or failed.
    pub fn device(fault: DeviceFault, message: impl Into<String>) -> Self {
        Error::Device { fault, message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Op { op, message } => write!(f, "{op}: {message}"),
            Error::Graph { message } => write!(f, "graph: {message}"),
            Error::Value { field, message } => write!(f, "{field}: {message}"),
            Error::File { path, message } => write!(f, "{}: {message}", path.display()),
            Error::Io { path, action, source } => {
                write!(f, "{}: cannot {action}: {source}{}", path.display(), advice(source.kind()))
            }
            Error::Device { message, .. } => write!(f, "device: {message}"),
        }
    }
}

/// What to do about a refusal of the operating system.
fn advice(kind: std::io::ErrorKind) -> &'static str {
    use std::io::ErrorKind as Kind;
    match kind {
        Kind::NotFound => ": check the path",
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => ": change its permissions or choose another place",
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
            ": free some space or choose another place; what was there before is unchanged"
        }
        Kind::NotADirectory | Kind::IsADirectory | Kind::AlreadyExists => {
            ": move what is in the way or choose another place"
        }
        _ => "",
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
