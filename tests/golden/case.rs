//! Reading cases, running graphs on them, comparing.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use sarcomere::Result;
use sarcomere::device::Device;
use sarcomere::graph::{Executor, Graph, Value};
use sarcomere::tensor::{Tensor, TensorFile};
use serde_json::Value as Json;

/// What everything is run on: `SARCOMERE_GOLDEN_DEVICE` names it as `--device` does; by default the processor.
pub fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let open = || {
        let name = std::env::var("SARCOMERE_GOLDEN_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
        Device::from_name(&name).unwrap_or_else(|error| panic!("SARCOMERE_GOLDEN_DEVICE={name}: {error}"))
    };
    DEVICE.get_or_init(open).clone()
}

/// One case of a file: its attributes and tensors.
pub struct Case {
    /// File and case, for messages.
    pub name: String,
    attributes: Json,
    tensors: Arc<TensorFile>,
    prefix: String,
}

impl Case {
    /// An attribute.
    pub fn get(&self, key: &str) -> &Json {
        self.attributes.get(key).unwrap_or_else(|| panic!("{}: no attribute '{key}'", self.name))
    }

    pub fn usize(&self, key: &str) -> usize {
        self.get(key).as_u64().unwrap_or_else(|| panic!("{}: '{key}' is no whole number", self.name)) as usize
    }

    pub fn f32(&self, key: &str) -> f32 {
        self.get(key).as_f64().unwrap_or_else(|| panic!("{}: '{key}' is no number", self.name)) as f32
    }

    pub fn bool(&self, key: &str) -> bool {
        self.get(key).as_bool().unwrap_or_else(|| panic!("{}: '{key}' is not true or false", self.name))
    }

    pub fn str(&self, key: &str) -> &str {
        self.get(key).as_str().unwrap_or_else(|| panic!("{}: '{key}' is no text", self.name))
    }

    pub fn list(&self, key: &str) -> Vec<f32> {
        let list = self.get(key).as_array().unwrap_or_else(|| panic!("{}: '{key}' is no list", self.name));
        list.iter().map(|v| v.as_f64().unwrap_or_else(|| panic!("{}: '{key}' holds {v}", self.name)) as f32).collect()
    }

    pub fn usizes<const N: usize>(&self, key: &str) -> [usize; N] {
        let list: Vec<usize> = self.list(key).iter().map(|v| *v as usize).collect();
        list.try_into().unwrap_or_else(|list| panic!("{}: '{key}' is {list:?}, expected {N} numbers", self.name))
    }

    pub fn std_dev(&self) -> [f32; 4] {
        self.list("std_dev").try_into().unwrap_or_else(|list| panic!("{}: std_dev is {list:?}", self.name))
    }

    /// Whether the case has that tensor.
    #[allow(dead_code, reason = "not every set needs it")]
    pub fn has(&self, tensor: &str) -> bool {
        self.tensors.tensors.contains_key(&format!("{}.{tensor}", self.prefix))
    }

    /// A tensor.
    pub fn tensor(&self, name: &str) -> Tensor {
        let full = format!("{}.{name}", self.prefix);
        self.tensors.tensor(&full).unwrap_or_else(|error| panic!("{}: {error}", self.name)).clone()
    }

    /// A tensor's values as `f32`.
    pub fn values(&self, name: &str) -> Vec<f32> {
        self.tensor(name).to_f32().values::<f32>().unwrap().to_vec()
    }

    /// A tensor of integers.
    pub fn ints(&self, name: &str) -> Vec<i32> {
        self.tensor(name).values::<i32>().unwrap_or_else(|error| panic!("{}: {error}", self.name)).to_vec()
    }

    /// Fails unless `found` has the shape (up to ones) of the tensor and its values within 1e-5 of its largest.
    pub fn expect(&self, name: &str, found: &Tensor) {
        let expected = self.values(name);
        let found = found.to_f32();
        expect_close(&format!("{} {name}", self.name), found.values().unwrap(), &expected, 1e-5);
    }

    /// Fails unless `found` holds exactly the tensor's integers.
    pub fn expect_ints(&self, name: &str, found: &Tensor) {
        assert_eq!(found.values::<i32>().unwrap(), self.ints(name), "{} {name}", self.name);
    }
}

/// Fails unless all values are within `relative` of the largest expected magnitude.
pub fn expect_close(what: &str, found: &[f32], expected: &[f32], relative: f32) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    let bound = relative * expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= bound || f == e, "{what}[{i}]: {f:e}, expected {e:e}, tolerance {bound:e}");
    }
}

/// Where the golden sets lie.
pub fn root() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::env::var_os("SARCOMERE_GOLDEN").map_or_else(default, PathBuf::from)
}

/// The folders below [`root`] whose name starts with `prefix`, sorted.
pub fn folders(prefix: &str) -> Vec<PathBuf> {
    let root = root();
    let entries = std::fs::read_dir(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap_or_else(|error| panic!("{}: {error}", root.display())).path())
        .filter(|path| path.is_dir() && path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix)))
        .collect();
    folders.sort();
    folders
}

/// Calls `check` for every case of `<op>` in every folder `ops*`; fails if there is none.
pub fn each_case(op: &str, mut check: impl FnMut(&Case)) {
    let mut cases = 0;
    for folder in folders("ops") {
        let (list, tensors) = (folder.join(format!("{op}.json")), folder.join(format!("{op}.safetensors")));
        if !list.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&list).unwrap_or_else(|error| panic!("{}: {error}", list.display()));
        let list: Json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", list.display()));
        let tensors = Arc::new(TensorFile::read(&tensors).unwrap_or_else(|error| panic!("{error}")));
        for case in list["cases"].as_array().expect("a list of cases") {
            let prefix = case["case"].as_str().expect("a case's name").to_owned();
            let name = format!("{op} {prefix}");
            check(&Case { name, attributes: case.clone(), tensors: tensors.clone(), prefix });
            cases += 1;
        }
    }
    report(&format!("cases of '{op}'"), cases);
}

/// Prints how much was found. None of what the project's own sets hold is a failure; other sets may hold less.
pub fn report(what: &str, found: usize) {
    let own = std::env::var_os("SARCOMERE_GOLDEN").is_none();
    assert!(found > 0 || !own, "no {what} in {}", root().display());
    let skipped = if found == 0 { ": skipped" } else { "" };
    println!("{found} {what} in {}{skipped}", root().display());
}

#[test]
fn the_directory_holds_golden_sets() {
    let found: usize = ["ops", "detector", "twitch"].iter().map(|prefix| folders(prefix).len()).sum();
    assert!(found > 0, "{} holds no folder ops*, detector*, twitch*", root().display());
}

/// Builds a graph on the given input tensors, runs it once, returns the outputs.
pub fn run(inputs: &[Tensor], build: impl FnOnce(&mut Graph, &[Value]) -> Result<Vec<Value>>) -> Vec<Tensor> {
    let attempt = || -> Result<Vec<Tensor>> {
        let mut graph = Graph::new();
        let values: Vec<Value> = inputs
            .iter()
            .enumerate()
            .map(|(i, tensor)| graph.input(&format!("input{i}"), tensor.ty().clone()))
            .collect::<Result<_>>()?;
        let outputs = build(&mut graph, &values)?;
        let mut executor = Executor::new(&device(), Arc::new(graph), &outputs)?;
        let feeds: Vec<(Value, &Tensor)> = values.into_iter().zip(inputs).collect();
        executor.run(&feeds)?;
        outputs.iter().map(|output| executor.output(*output)).collect()
    };
    attempt().unwrap_or_else(|error| panic!("{error}"))
}

/// A tensor with an axis of one put in front: a batch of one.
pub fn batched(tensor: Tensor) -> Tensor {
    let shape: Vec<usize> = std::iter::once(1).chain(tensor.shape().iter().copied()).collect();
    tensor.reshaped(shape).unwrap()
}

/// One `i32` value as `[1]`.
pub fn count(value: usize) -> Tensor {
    Tensor::new([1], &[value as i32]).unwrap()
}
