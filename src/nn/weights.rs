//! A network's weights as a file: the tensors under their dotted names, the network's kind and configuration in the metadata.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::graph::Executor;
use crate::tensor::{DType, Tensor, TensorFile};
use crate::{Error, Result};

const KIND: &str = "sarcomere.network";
const CONFIG: &str = "sarcomere.config";
/// What to do about a file that is not what it should be.
const REMEDY: &str = "use one that `sarcomere train` or `convert` wrote";

/// Weights (moving statistics included) of one network.
#[derive(Clone, Debug)]
pub struct Weights {
    file: TensorFile,
}

impl Weights {
    /// Weights of a network of that kind and configuration.
    pub fn new(kind: &str, config: &impl Serialize, tensors: BTreeMap<String, Tensor>) -> Result<Self> {
        let config = serde_json::to_string(config).map_err(|e| Error::value("config", e.to_string()))?;
        let metadata = [(KIND.to_owned(), kind.to_owned()), (CONFIG.to_owned(), config)].into();
        Ok(Self { file: TensorFile { tensors, metadata, origin: "weights".into() } })
    }

    /// The variables that an executor holds under the given names.
    pub fn from_executor(kind: &str, config: &impl Serialize, executor: &Executor, names: &[String]) -> Result<Self> {
        let tensors = names.iter().map(|name| Ok((name.clone(), executor.get(name)?))).collect::<Result<_>>()?;
        Self::new(kind, config, tensors)
    }

    /// Reads a file and checks that it is of a network of kind `kind` and that all values are finite.
    pub fn read(path: impl AsRef<Path>, kind: &str) -> Result<Self> {
        Self::checked(TensorFile::read(path)?, kind)
    }

    /// As [`Weights::read`], from a file's content; `origin` is named in errors.
    pub fn from_bytes(bytes: &[u8], origin: &str, kind: &str) -> Result<Self> {
        Self::checked(TensorFile::from_bytes(bytes, origin)?, kind)
    }

    /// Reads a file of a network of any kind and checks that all values are finite.
    pub fn read_any(path: impl AsRef<Path>) -> Result<Self> {
        let file = TensorFile::read(path)?;
        let kind = file.text(KIND)?.to_owned();
        Self::checked(file, &kind)
    }

    fn checked(file: TensorFile, kind: &str) -> Result<Self> {
        let found = file.text(KIND)?;
        if found != kind {
            let message =
                format!("holds weights of a '{found}' network, expected '{kind}': give a file of such weights");
            return Err(Error::file(&file.origin, message));
        }
        for (name, tensor) in &file.tensors {
            if !matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::Bf16) {
                let dtype = tensor.dtype();
                return Err(Error::file(
                    &file.origin,
                    format!("tensor '{name}' is {dtype}; expected f32, f16 or bf16: {REMEDY}"),
                ));
            }
            if let Some(at) = tensor.to_f32().values::<f32>()?.iter().position(|v| !v.is_finite()) {
                return Err(Error::file(
                    &file.origin,
                    format!("tensor '{name}' is not finite at element {at}: {REMEDY}"),
                ));
            }
        }
        Ok(Self { file })
    }

    /// The network's configuration.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C> {
        let text = self.file.text(CONFIG)?;
        serde_json::from_str(text).map_err(|error| {
            Error::file(&self.file.origin, format!("configuration in the metadata: {error}: {REMEDY}"))
        })
    }

    /// The same complaint about the configuration, naming the file it is from.
    pub(crate) fn named(&self, error: Error) -> Error {
        match error {
            Error::Value { .. } | Error::Op { .. } | Error::Graph { .. } => {
                Error::file(&self.file.origin, format!("configuration in the metadata: {error}: {REMEDY}"))
            }
            other => other,
        }
    }

    /// The tensors, by name.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.file.tensors
    }

    /// A line of the metadata beside kind and configuration (how it was trained).
    pub fn set_note(&mut self, key: &str, text: &str) {
        self.file.metadata.insert(key.to_owned(), text.to_owned());
    }

    /// The same weights rounded to another float type.
    pub fn rounded(&self, dtype: DType) -> Result<Self> {
        let mut file = self.file.clone();
        for tensor in file.tensors.values_mut() {
            *tensor = tensor.to_f32().to_float(dtype)?;
        }
        // A value beyond the range of half precision becomes infinite: the check finds it.
        let kind = file.text(KIND)?.to_owned();
        Self::checked(file, &kind)
    }

    /// Writes the file (beside, then renamed).
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        self.file.write(path)
    }

    /// Sets every variable of the executor, after checking that the two hold exactly the same names and shapes.
    pub fn load_into(&self, executor: &mut Executor) -> Result<()> {
        let graph = executor.graph().clone();
        if let Some(extra) = self.file.tensors.keys().find(|name| graph.find(name).is_none()) {
            return Err(Error::file(
                &self.file.origin,
                format!("tensor '{extra}' belongs to no layer of the network: {REMEDY}"),
            ));
        }
        let names: Vec<String> = graph.variables().iter().map(|(name, _)| (*name).to_owned()).collect();
        self.set_into(executor, &names)
    }

    /// Sets the named variables of the executor, after checking that the weights have each of them in its shape.
    pub fn set_into(&self, executor: &mut Executor, names: &[String]) -> Result<()> {
        let graph = executor.graph().clone();
        for name in names {
            let tensor = self.file.tensor(name)?;
            let value = graph.find(name).ok_or_else(|| Error::graph(format!("there is no variable '{name}'")))?;
            let (found, expected) = (tensor.shape(), graph.shape(value));
            if found != expected {
                let message =
                    format!("tensor '{name}' is {found}, the network's configuration asks for {expected}: {REMEDY}");
                return Err(Error::file(&self.file.origin, message));
            }
        }
        names.iter().try_for_each(|name| executor.set(name, &self.file.tensor(name)?.to_f32()))
    }
}
