#include "device/prelude.cuh"
// The sequential part of a GRU, one step of up to two directions a launch. With the projection a = x W + b0 (made
// before, for all steps at once) and the state h, gates z, r, h in this order:
//   reset after:  q = h U + b1;  z = s(a_z + q_z);  r = s(a_r + q_r);  g = tanh(a_h + r q_h)
//   reset before: z = s(a_z + h U_z);  r = s(a_r + h U_r);  g = tanh(a_h + (r h) U_h)
//   and h' = z h + (1 - z) g
//
// Layouts: a [N, T, 3u] and U [u, 3u], b1 [3u] for each direction; states y [N, T, D u]; last and initial states [N,
//   D u]; saved gates [D, N, T, 4u] (z, r, g, q_h) or, with reset before, [D, N, T, 3u] (z, r, g).
// Cut: device/gru.cuh: a block takes 8 sequences and 16 units with all gates, so that the gates are finished where
//   the product ends.
//   Reset after: one launch a step. Reset before: two, as the candidate's product needs r h of all units.
// Counts: sequences that are not valid are skipped and come out as zeros.
// Work at the paper's shapes (8 sequences, 400 steps, 512 units, 2 directions): a step reads 6.3 MB of weights, from
//   the second-level cache, for 25 MFLOP; bound by that and by the latency of a launch.
// Needs: any architecture. Determinism: run_to_run.
#include "device/gru.cuh"

GRU_KERNEL gru_step_after_f32(const float* a0, const float* a1, const float* w0, const float* w1, const float* b0,
                              const float* b1, const float* initial, const int* counts, float* y, float* last,
                              float* saved, Step step) {
    const Rows valid{counts, step.group};
    const Cell cell(step, valid);
    const int u = step.units, unit = cell.unit, line = cell.line();
    float q[3] = {};
    if (cell.any) {
        const auto state = [&](int line, int k) { return cell.earlier(step, y, initial, line, k); };
        recurrent_product(q, cell, step, valid, state, cell.side == 0 ? w0 : w1, u, 3 * u, u);
    }
    if (!cell.owns(step)) return;
    float z = 0.0f, r = 0.0f, g = 0.0f, h = 0.0f, q_h = 0.0f;
    if (valid.valid(line)) {
        const float* a = (cell.side == 0 ? a0 : a1) + Cell::at(step, line, cell.now, 3 * u) + unit;
        const float* bias = (cell.side == 0 ? b0 : b1) + unit;
        q_h = q[2] + bias[2 * u];
        z = squash(a[0] + (q[0] + bias[0]), step.hard);
        r = squash(a[u] + (q[1] + bias[u]), step.hard);
        g = tanhf(a[2 * u] + r * q_h);
        h = z * cell.earlier(step, y, initial, line, unit) + (1.0f - z) * g;
    }
    y[cell.state(step, line, cell.now) + unit] = h;
    if (last != nullptr) last[cell.end_state(step, line) + unit] = h;
    if (saved != nullptr) {
        float* to = saved + cell.gates(step, line, cell.now, 4 * u) + unit;
        to[0] = z;
        to[u] = r;
        to[2 * u] = g;
        to[3 * u] = q_h;
    }
}

// Reset before, first half: z to scratch `gate` [D, N, u], r h to scratch `reset` [D, N, u].
GRU_KERNEL gru_step_gates_f32(const float* a0, const float* a1, const float* w0, const float* w1, const float* initial,
                              const int* counts, const float* y, float* saved, float* gate, float* reset, Step step) {
    const Rows valid{counts, step.group};
    const Cell cell(step, valid);
    const int u = step.units, unit = cell.unit, line = cell.line();
    float q[2] = {};
    if (cell.any) {
        const auto state = [&](int line, int k) { return cell.earlier(step, y, initial, line, k); };
        recurrent_product(q, cell, step, valid, state, cell.side == 0 ? w0 : w1, u, 3 * u, u);
    }
    if (!cell.owns(step)) return;
    float z = 0.0f, r = 0.0f;
    if (valid.valid(line)) {
        const float* a = (cell.side == 0 ? a0 : a1) + Cell::at(step, line, cell.now, 3 * u) + unit;
        z = squash(a[0] + q[0], step.hard);
        r = squash(a[u] + q[1], step.hard);
        gate[cell.scratch(step, line) + unit] = z;
        reset[cell.scratch(step, line) + unit] = r * cell.earlier(step, y, initial, line, unit);
    }
    if (saved != nullptr) {
        float* to = saved + cell.gates(step, line, cell.now, 3 * u) + unit;
        to[0] = z;
        to[u] = r;
    }
}

// Reset before, second half.
GRU_KERNEL gru_step_candidate_f32(const float* a0, const float* a1, const float* w0, const float* w1,
                                  const float* initial, const int* counts, const float* gate, const float* reset,
                                  float* y, float* last, float* saved, Step step) {
    const Rows valid{counts, step.group};
    const Cell cell(step, valid);
    const int u = step.units, unit = cell.unit, line = cell.line();
    float q[1] = {};
    if (cell.any) {
        const auto reset_state = [&](int line, int k) { return reset[cell.scratch(step, line) + k]; };
        recurrent_product(q, cell, step, valid, reset_state, (cell.side == 0 ? w0 : w1) + 2 * u, u, 3 * u, 0);
    }
    if (!cell.owns(step)) return;
    float g = 0.0f, h = 0.0f;
    if (valid.valid(line)) {
        const float* a = (cell.side == 0 ? a0 : a1) + Cell::at(step, line, cell.now, 3 * u) + unit;
        const float z = gate[cell.scratch(step, line) + unit];
        g = tanhf(a[2 * u] + q[0]);
        h = z * cell.earlier(step, y, initial, line, unit) + (1.0f - z) * g;
    }
    y[cell.state(step, line, cell.now) + unit] = h;
    if (last != nullptr) last[cell.end_state(step, line) + unit] = h;
    if (saved != nullptr) saved[cell.gates(step, line, cell.now, 3 * u) + 2 * u + unit] = g;
}
