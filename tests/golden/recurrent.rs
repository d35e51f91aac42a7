//! GRU: both variants, both directions.

use sarcomere::graph::Value;
use sarcomere::ops::recurrent::{GruAttrs, GruWeights, RecurrentActivation};

use crate::case::{each_case, run};

#[test]
fn gru() {
    each_case("gru", |case| {
        let bidirectional = case.bool("bidirectional");
        let recurrent_activation = match case.str("recurrent_activation") {
            "sigmoid" => RecurrentActivation::Sigmoid,
            "hard_sigmoid" => RecurrentActivation::HardSigmoid,
            other => panic!("{}: unknown activation '{other}'", case.name),
        };
        assert_eq!(case.str("activation"), "tanh", "{}", case.name);
        let attrs = GruAttrs { reset_after: case.bool("reset_after"), reverse: false, recurrent_activation };
        let names: &[&str] = if bidirectional { &["w_f", "u_f", "b_f", "w_b", "u_b", "b_b"] } else { &["w", "u", "b"] };
        let mut inputs = vec![case.tensor("x"), case.tensor("dy")];
        inputs.extend(names.iter().map(|name| case.tensor(name)));
        let out = run(&inputs, |g, v| {
            let weights = |v: &[Value]| GruWeights { weight: v[0], recurrent_weight: v[1], bias: v[2] };
            let (y, _) = if bidirectional {
                g.bigru(v[0], weights(&v[2..5]), weights(&v[5..8]), attrs, None, None)?
            } else {
                g.gru(v[0], weights(&v[2..5]), attrs, None, None)?
            };
            let wrt = [&v[..1], &v[2..]].concat();
            let gradients = g.gradients_from(&[(y, v[1])], &wrt)?;
            Ok([vec![y], gradients].concat())
        });
        case.expect("y", &out[0]);
        case.expect("dx", &out[1]);
        for (name, found) in names.iter().zip(&out[2..]) {
            case.expect(&format!("d{name}"), found);
        }
    });
}
