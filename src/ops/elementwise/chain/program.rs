//! An expression as a program for a machine with two registers: the value at hand and one put aside.

use super::expression::{Expression, Pair};
use crate::ops::elementwise::UnaryKind;

/// Inputs that a chain may have.
pub const MAX_INPUTS: usize = 8;
/// Instructions that a chain may have: one for every function, and the loads.
pub const MAX_INSTRUCTIONS: usize = 16;

/// The second operand of a function of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// An input.
    Input(usize),
    /// What was put aside.
    Aside,
}

/// One step; all work on the value at hand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Instruction {
    /// Puts the value at hand aside and takes an input.
    Load(usize),
    /// Applies a function.
    Unary(UnaryKind),
    /// Applies a function of it and an operand, which comes first if `flipped`.
    Pair {
        /// The function.
        pair: Pair,
        /// The other value.
        with: Operand,
        /// Whether the other value comes first.
        flipped: bool,
    },
}

/// Instructions in order; the value at hand after the last one is the result. `None` if the expression needs a second value put
/// aside, or has more inputs or functions than a program may.
pub(super) fn compile(expression: &Expression) -> Option<Vec<Instruction>> {
    let mut inputs = 0;
    expression.for_each_input(&mut |index| inputs = inputs.max(index + 1));
    let mut program = Vec::new();
    if inputs > MAX_INPUTS || registers(expression) > 2 {
        return None;
    }
    emit(expression, &mut program);
    (program.len() <= MAX_INSTRUCTIONS).then_some(program)
}

/// Registers that an expression needs if the part that needs more is worked out first (Sethi and Ullman 1970). An input that is
/// the operand of a function needs none.
fn registers(expression: &Expression) -> usize {
    match expression {
        Expression::Input(_) => 1,
        Expression::Unary(_, x) => registers(x),
        Expression::Pair(_, a, b) => match (&**a, &**b) {
            (other, Expression::Input(_)) | (Expression::Input(_), other) => registers(other),
            (a, b) => {
                let (a, b) = (registers(a), registers(b));
                if a == b { a + 1 } else { a.max(b) }
            }
        },
    }
}

fn emit(expression: &Expression, program: &mut Vec<Instruction>) {
    match expression {
        Expression::Input(index) => program.push(Instruction::Load(*index)),
        Expression::Unary(kind, x) => {
            emit(x, program);
            program.push(Instruction::Unary(*kind));
        }
        Expression::Pair(pair, a, b) => {
            let (with, flipped) = match (&**a, &**b) {
                (a, Expression::Input(b)) => {
                    emit(a, program);
                    (Operand::Input(*b), false)
                }
                (Expression::Input(a), b) => {
                    emit(b, program);
                    (Operand::Input(*a), true)
                }
                (a, b) => {
                    // The first load of the second part puts the first part aside.
                    let b_first = registers(b) > registers(a);
                    let (first, second) = if b_first { (b, a) } else { (a, b) };
                    emit(first, program);
                    emit(second, program);
                    (Operand::Aside, !b_first)
                }
            };
            program.push(Instruction::Pair { pair: *pair, with, flipped });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::elementwise::BinaryKind;

    fn sub(a: Expression, b: Expression) -> Expression {
        Expression::pair(Pair::Binary(BinaryKind::Sub), a, b)
    }

    /// Runs a program on plain numbers, all functions being subtractions.
    fn run(program: &[Instruction], inputs: &[f32]) -> f32 {
        let (mut value, mut aside) = (f32::NAN, f32::NAN);
        for instruction in program {
            match *instruction {
                Instruction::Load(index) => (aside, value) = (value, inputs[index]),
                Instruction::Unary(_) => unreachable!("there are none in these tests"),
                Instruction::Pair { with, flipped, .. } => {
                    let other = match with {
                        Operand::Input(index) => inputs[index],
                        Operand::Aside => aside,
                    };
                    value = if flipped { other - value } else { value - other };
                }
            }
        }
        value
    }

    #[test]
    fn programs_compute_their_expressions() {
        let x = |index| Expression::Input(index);
        let inputs = [3.0, 5.0, 11.0, 23.0, 47.0];
        let simple = sub(x(0), x(1));
        let right = sub(x(0), sub(x(1), x(2)));
        let both = sub(sub(x(0), x(1)), sub(x(2), x(3)));
        let heavy_right = sub(sub(x(4), x(0)), both.clone());
        for (expression, expected) in [
            (x(2), 11.0),
            (simple, -2.0),
            (right, 3.0 - (5.0 - 11.0)),
            (both.clone(), -2.0 - (11.0 - 23.0)),
            (heavy_right, (47.0 - 3.0) - (-2.0 - (11.0 - 23.0))),
        ] {
            let program = compile(&expression).unwrap_or_else(|| panic!("{expression} fits into two registers"));
            assert_eq!(run(&program, &inputs), expected, "{expression}: {program:?}");
        }
        let three = sub(both.clone(), both.clone());
        assert_eq!(compile(&three), None, "{three} needs two values put aside");
        assert_eq!(compile(&sub(x(0), x(MAX_INPUTS))), None);
    }
}
