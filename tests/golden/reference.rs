//! One file of a network's golden set, and the account of what was compared with it: in the end every tensor of the file must
//! have been compared, used as an input, or left out for a reason that its README gives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sarcomere::tensor::{Tensor, TensorFile};

/// Gradients of the same kind, all together.
#[derive(Default)]
struct Gradients {
    tensors: usize,
    squared_error: f64,
    squared_norm: f64,
    worst: (f64, String),
}

/// A file of tensors and what has been done with each.
pub struct Reference {
    file: TensorFile,
    label: String,
    compared: BTreeSet<String>,
    inputs: BTreeSet<String>,
    left_out: BTreeMap<String, &'static str>,
    gradients: BTreeMap<&'static str, Gradients>,
    /// Largest error relative to the largest value, of all that [`Reference::close`] compared.
    worst: (f64, String),
    comparisons: usize,
    failures: Vec<String>,
}

impl Reference {
    pub fn read(path: &Path) -> Self {
        let file = TensorFile::read(path).unwrap_or_else(|error| panic!("{error}"));
        let parts: Vec<_> = path.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy()).collect();
        Self::new(file, parts.into_iter().rev().collect::<Vec<_>>().join("/"))
    }

    fn new(file: TensorFile, label: String) -> Self {
        Self {
            file,
            label,
            compared: BTreeSet::new(),
            inputs: BTreeSet::new(),
            left_out: BTreeMap::new(),
            gradients: BTreeMap::new(),
            worst: (0.0, "-".to_owned()),
            comparisons: 0,
            failures: Vec::new(),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.file.tensors.contains_key(name)
    }

    /// Names of all tensors that begin with `prefix`, without it.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.file.tensors.keys().filter_map(|name| name.strip_prefix(prefix)).map(str::to_owned).collect()
    }

    /// A tensor that the network gets as an input, or that belongs to another comparison.
    pub fn input(&mut self, name: &str) -> Tensor {
        self.inputs.insert(name.to_owned());
        self.peek(name)
    }

    /// A tensor, without noting that it was used.
    pub fn peek(&self, name: &str) -> Tensor {
        self.file.tensor(name).unwrap_or_else(|error| panic!("{error}")).clone()
    }

    /// The tensor, if there is one, is not compared, for that reason; does nothing if it has been.
    pub fn leave_out(&mut self, name: &str, reason: &'static str) {
        if self.has(name) && !self.compared.contains(name) {
            self.left_out.insert(name.to_owned(), reason);
        }
    }

    fn fail(&mut self, message: String) {
        self.failures.push(message);
    }

    /// The expected tensor for a comparison; `None` (and a failure) if the file lacks it or the shape is another. Shapes agree
    /// up to ones, and the found one may have the two leading axes merged.
    fn expected(&mut self, name: &str, found: &Tensor) -> Option<Tensor> {
        let Ok(expected) = self.file.tensor(name).cloned() else {
            self.fail(format!("{name}: the file has no such tensor"));
            return None;
        };
        self.compared.insert(name.to_owned());
        self.comparisons += 1;
        let dims =
            |tensor: &Tensor| -> Vec<usize> { tensor.shape().dims().iter().copied().filter(|n| *n != 1).collect() };
        let (want, have) = (dims(&expected), dims(found));
        let merged = match want[..] {
            [n, r, ref rest @ ..] => [&[n * r], rest].concat(),
            _ => want.clone(),
        };
        if have != want && have != merged {
            self.fail(format!("{name}: is {}, expected {}", found.shape(), expected.shape()));
            return None;
        }
        Some(expected)
    }

    /// Compares within `tolerance` of the largest magnitude of the reference.
    pub fn close(&mut self, name: &str, found: &Tensor, tolerance: f64) {
        self.close_where(name, found, tolerance, |_| true);
    }

    /// As [`Reference::close`], only rows of the (merged) leading two axes for which `row` holds.
    pub fn close_where(&mut self, name: &str, found: &Tensor, tolerance: f64, row: impl Fn(usize) -> bool) {
        let Some(expected) = self.expected(name, found) else { return };
        let dims = expected.shape().dims();
        let length = dims.get(2..).map_or(1, |rest| rest.iter().product::<usize>()).max(1);
        let (found, expected) = (found.to_f32(), expected.to_f32());
        let (found, expected) = (found.values::<f32>().unwrap(), expected.values::<f32>().unwrap());
        let largest = expected.iter().fold(0.0f64, |m, v| m.max(f64::from(v.abs())));
        let mut worst = (0.0, 0);
        for (index, (f, e)) in found.iter().zip(expected).enumerate() {
            if !row(index / length) {
                continue;
            }
            let error = (f64::from(*f) - f64::from(*e)).abs();
            let error = if error.is_nan() { f64::INFINITY } else { error };
            if error > worst.0 {
                worst = (error, index);
            }
        }
        let relative = if worst.0 == 0.0 { 0.0 } else { worst.0 / largest };
        self.tell(name, relative);
        if relative > self.worst.0 {
            self.worst = (relative, name.to_owned());
        }
        if beyond(relative, tolerance) {
            let (f, e) = (found[worst.1], expected[worst.1]);
            self.fail(format!(
                "{name}[{}]: {f:e}, expected {e:e}: off by {relative:.1e} of the largest value, tolerance {tolerance:.0e}",
                worst.1
            ));
        }
    }

    /// Compares integers (or bytes): all equal.
    pub fn equal(&mut self, name: &str, found: &Tensor) {
        let Some(expected) = self.expected(name, found) else { return };
        if expected.dtype() != found.dtype() {
            self.fail(format!("{name}: is {}, expected {}", found.ty(), expected.ty()));
            return;
        }
        let differ = expected.bytes().iter().zip(found.bytes()).filter(|(a, b)| a != b).count();
        if differ > 0 {
            self.fail(format!("{name}: {differ} bytes of {} differ", expected.bytes().len()));
        }
    }

    /// Notes a comparison that the caller made: `problem` says what was wrong.
    pub fn compared(&mut self, name: &str, problem: Option<String>) {
        if !self.has(name) {
            self.fail(format!("{name}: the file has no such tensor"));
            return;
        }
        self.compared.insert(name.to_owned());
        self.comparisons += 1;
        if let Some(problem) = problem {
            self.fail(format!("{name}: {problem}"));
        }
    }

    /// Compares a gradient: its own relative L2 error against `tolerance`; it also counts among all gradients of its `kind`.
    /// `scale` multiplies the reference, element by element.
    pub fn gradient(
        &mut self,
        kind: &'static str,
        name: &str,
        found: &Tensor,
        tolerance: f64,
        scale: impl Fn(usize) -> f64,
    ) {
        let Some(expected) = self.expected(name, found) else { return };
        let (found, expected) = (found.to_f32(), expected.to_f32());
        let (mut squared_error, mut squared_norm) = (0.0, 0.0);
        let pairs = found.values::<f32>().unwrap().iter().zip(expected.values::<f32>().unwrap());
        for (index, (f, e)) in pairs.enumerate() {
            let e = f64::from(*e) * scale(index);
            squared_error += (f64::from(*f) - e).powi(2);
            squared_norm += e * e;
        }
        // Nothing may reach a tensor whose gradient is zero.
        let relative = if squared_error == 0.0 { 0.0 } else { (squared_error / squared_norm).sqrt() };
        self.tell(name, relative);
        let gradients = self.gradients.entry(kind).or_default();
        gradients.tensors += 1;
        gradients.squared_error += squared_error;
        gradients.squared_norm += squared_norm;
        if beyond(relative, gradients.worst.0) {
            gradients.worst = (relative, name.to_owned());
        }
        if beyond(relative, tolerance) {
            self.fail(format!("{name}: relative L2 error {relative:.1e}, tolerance {tolerance:.0e}"));
        }
    }

    /// Compares all gradients of each kind together, by relative L2 error.
    pub fn gradients_together(&mut self, tolerance: f64) {
        let kinds: Vec<(&str, f64)> =
            self.gradients.iter().map(|(kind, g)| (*kind, (g.squared_error / g.squared_norm).sqrt())).collect();
        for (kind, relative) in kinds {
            if beyond(relative, tolerance) {
                self.fail(format!("gradients of {kind}: relative L2 error {relative:.1e}, tolerance {tolerance:.0e}"));
            }
        }
    }

    /// Prints a single error if `SARCOMERE_GOLDEN_VERBOSE` is set.
    fn tell(&self, name: &str, error: f64) {
        if std::env::var_os("SARCOMERE_GOLDEN_VERBOSE").is_some() {
            println!("{} {name}: {error:.1e}", self.label);
        }
    }

    /// Any other demand.
    pub fn check(&mut self, holds: bool, message: impl FnOnce() -> String) {
        if !holds {
            self.fail(message());
        }
    }

    /// What is wrong so far, tensors of the file that nobody looked at included.
    fn problems(&self) -> Vec<String> {
        let mut problems = self.failures.clone();
        for name in self.file.tensors.keys() {
            let seen = self.compared.contains(name) || self.inputs.contains(name) || self.left_out.contains_key(name);
            if !seen {
                problems.push(format!("{name}: in the file, but nothing was compared with it"));
            }
        }
        if self.comparisons == 0 {
            problems.push("nothing was compared".to_owned());
        }
        problems
    }

    /// Prints what was done; returns what was wrong.
    pub fn finish(&self) -> Vec<String> {
        let tensors = self.file.tensors.len();
        let inputs = self.inputs.difference(&self.compared).count();
        let compared = self.compared.len();
        let is_used = |name: &String| self.compared.contains(name) || self.inputs.contains(name);
        let left_out = self.left_out.keys().filter(|name| !is_used(name)).count();
        println!("{}: {compared} of {tensors} tensors compared, {inputs} inputs, {left_out} left out", self.label);
        println!("  values: largest error {:.1e} of the largest ({})", self.worst.0, self.worst.1);
        for (kind, g) in &self.gradients {
            let all = (g.squared_error / g.squared_norm).sqrt();
            let (worst, name) = &g.worst;
            println!("  gradients of {} {kind}: relative L2 error {all:.1e}, worst {worst:.1e} ({name})", g.tensors);
        }
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        self.left_out.values().for_each(|reason| *reasons.entry(reason).or_default() += 1);
        reasons.iter().for_each(|(reason, count)| println!("  left out, {count}: {reason}"));
        let mut problems = self.problems();
        if compared + inputs + left_out != tensors && problems.is_empty() {
            problems.push(format!("{compared} compared, {inputs} inputs and {left_out} left out are not {tensors}"));
        }
        problems.into_iter().map(|problem| format!("{}: {problem}", self.label)).collect()
    }
}

/// Fails if anything was wrong in any file.
pub fn demand_none(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n  {}", problems.len(), problems.join("\n  "));
}

/// The files of a folder whose names are `<prefix>...<suffix>`, sorted, each with what stands between.
pub fn files(folder: &Path, prefix: &str, suffix: &str) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display())).path();
            let name = path.file_name()?.to_string_lossy().into_owned();
            Some((name.strip_prefix(prefix)?.strip_suffix(suffix)?.to_owned(), path))
        })
        .collect();
    files.sort();
    files
}

fn beyond(error: f64, tolerance: f64) -> bool {
    error.is_nan() || error > tolerance
}

/// A gradient by element, for [`Reference::gradient`].
pub fn plain(_: usize) -> f64 {
    1.0
}

#[test]
fn the_account_finds_faults() {
    let tensor = |values: &[f32]| Tensor::new([values.len()], values).unwrap();
    let reference = || {
        let tensors = [("a".to_owned(), tensor(&[1.0, -2.0])), ("b".to_owned(), tensor(&[3.0, 4.0]))].into();
        Reference::new(TensorFile { tensors, ..TensorFile::default() }, "example".to_owned())
    };
    let problems = |act: &dyn Fn(&mut Reference)| {
        let mut example = reference();
        act(&mut example);
        example.problems().len()
    };
    let good = |r: &mut Reference| {
        r.close("a", &tensor(&[1.0001, -2.0]), 1e-4);
        r.gradient("weights", "b", &tensor(&[3.0, 4.001]), 1e-3, plain);
    };
    assert_eq!(problems(&good), 0);
    // Tensors nobody compared, and nothing compared at all.
    assert_eq!(problems(&|_| ()), 3);
    let with = |act: &dyn Fn(&mut Reference)| {
        problems(&|r: &mut Reference| {
            good(r);
            act(r);
        })
    };
    assert_eq!(with(&|r| r.close("a", &tensor(&[1.001, -2.0]), 1e-4)), 1);
    assert_eq!(with(&|r| r.close("a", &tensor(&[1.0, f32::NAN]), 1e-4)), 1);
    assert_eq!(with(&|r| r.close("a", &tensor(&[1.0]), 1e-4)), 1);
    assert_eq!(with(&|r| r.close("c", &tensor(&[1.0]), 1e-4)), 1);
    assert_eq!(with(&|r| r.equal("a", &tensor(&[1.0, -1.0]))), 1);
    assert_eq!(with(&|r| r.gradient("weights", "b", &tensor(&[3.0, 4.1]), 1e-3, plain)), 1);
    assert_eq!(with(&|r| r.gradient("weights", "b", &tensor(&[3.0, f32::NAN]), 1e-3, plain)), 1);
    assert_eq!(with(&|r| r.gradients_together(1e-5)), 1);
    assert_eq!(with(&|r| r.gradients_together(1e-3)), 0);
}
