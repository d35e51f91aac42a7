#include "device/prelude.cuh"
// Gradient of the sequential part of a GRU, from the last step to the first, up to two directions a launch. With the
// state's gradient dh and the saved gates (see gru.cu), s' the activation's derivative:
//   da_z = dh (h - g) s'(z);  da_h = dh (1 - z) (1 - g^2);  and what reaches the earlier state h:
//   reset after:  da_r = da_h q_h s'(r);  dh' = z dh + (da_z, da_r, r da_h) U^T
//   reset before: v = da_h U_h^T;  da_r = v h s'(r);  dh' = z dh + r v + (da_z, da_r) U_zr^T
//
// Layouts: as in gru.cu; for each direction da [N, T, 3u] and a third of its own [N, T, u]: r da_h or, with
//   reset before, r h. Scratch: U^T [D, 3u, u], made first, and the part of dh' without a product, [D, N, u].
// Cut: device/gru.cuh. A launch begins with the product that finishes dh, of the gradients that the launch before it
//   wrote, and goes on to this step's gates. Reset before needs a second product, and launch, in each step. One more
//   launch, with `now` = -1, makes the initial state's gradient.
// Counts: sequences that are not valid are skipped and come out as zeros.
// Work at the paper's shapes: as gru.cu.
// Needs: any architecture. Determinism: run_to_run.
#include "device/gru.cuh"

// to[c, r] = from[r, c] for U of up to two directions (block z): tiles of 32 x 32 through shared memory, padded
// against bank conflicts.
KERNEL(256) gru_transpose_f32(const float* w0, const float* w1, float* to, int rows, int columns) {
    SHARED(float, tile, [32][33]);
    const float* from = blockIdx.z == 0 ? w0 : w1;
    const int x = threadIdx.x % 32, y = threadIdx.x / 32;
    const int row = blockIdx.y * 32, column = blockIdx.x * 32;
    to += static_cast<long long>(blockIdx.z) * rows * columns;
    for (int i = y; i < 32; i += 8) {
        if (row + i < rows && column + x < columns)
            tile[i][x] = from[static_cast<long long>(row + i) * columns + column + x];
    }
    __syncthreads();
    for (int i = y; i < 32; i += 8) {
        if (column + i < columns && row + x < rows)
            to[static_cast<long long>(column + i) * rows + row + x] = tile[x][i];
    }
}

// Pointers of a direction.
struct Gradients {
    float* da;
    float* third;
};

template <bool RESET_AFTER>
__device__ __forceinline__ void step_back(Gradients out, const float* transposed, const float* states,
                                          const float* saved, const float* dstates, const float* dlast,
                                          const float* initial, const int* counts, float* direct, float* dinitial,
                                          const Step& step) {
    const Rows valid{counts, step.group};
    const Cell cell(step, valid);
    const int u = step.units, unit = cell.unit, line = cell.line(), width = RESET_AFTER ? 4 * u : 3 * u;
    float product[1] = {};
    if (cell.any && cell.after >= 0) {
        const auto gradients = [&](int line, int k) {
            const float da = out.da[Cell::at(step, line, cell.after, 3 * u) + k];
            // The gradient of q_h is r da_h.
            if (!RESET_AFTER || k < 2 * u) return da;
            return da * saved[cell.gates(step, line, cell.after, width) + u + (k - 2 * u)];
        };
        const float* weights = transposed + static_cast<long long>(cell.side) * 3 * u * u;
        recurrent_product(product, cell, step, valid, gradients, weights, RESET_AFTER ? 3 * u : 2 * u, u, 0);
    }
    if (!cell.owns(step)) return;
    const bool is_valid = valid.valid(line);
    float dh = 0.0f;
    if (is_valid && cell.after >= 0) dh = direct[cell.scratch(step, line) + unit] + product[0];
    if (is_valid && cell.after < 0 && dlast != nullptr) dh = dlast[cell.end_state(step, line) + unit];
    if (cell.now < 0) {
        if (dinitial != nullptr) dinitial[cell.end_state(step, line) + unit] = dh;
        return;
    }
    float z = 0.0f, r = 0.0f, g = 0.0f, h = 0.0f, da_z = 0.0f, da_r = 0.0f, da_h = 0.0f;
    if (is_valid) {
        const float* gates = saved + cell.gates(step, line, cell.now, width) + unit;
        z = gates[0], r = gates[u], g = gates[2 * u];
        h = cell.earlier(step, states, initial, line, unit);
        dh += dstates[cell.state(step, line, cell.now) + unit];
        da_z = dh * (h - g) * slope(z, step.hard);
        da_h = dh * (1.0f - z) * (1.0f - g * g);
        if (RESET_AFTER) da_r = da_h * gates[3 * u] * slope(r, step.hard);
        direct[cell.scratch(step, line) + unit] = dh * z;
    }
    float* da = out.da + Cell::at(step, line, cell.now, 3 * u) + unit;
    da[0] = da_z;
    da[2 * u] = da_h;
    // Reset before: gru_grad_reset puts da_r there.
    if (RESET_AFTER) da[u] = da_r;
    if (out.third != nullptr) out.third[Cell::at(step, line, cell.now, u) + unit] = RESET_AFTER ? da_h * r : r * h;
}

#define GRU_GRAD_STEP(kernel, reset_after)                                                                           \
    GRU_KERNEL kernel(const float* transposed, const float* states, const float* saved, const float* dstates,        \
                      const float* dlast, const float* initial, const int* counts, float* da0, float* da1,           \
                      float* third0, float* third1, float* direct, float* dinitial, Step step) {                     \
        const Gradients out = blockIdx.z == 0 ? Gradients{da0, third0} : Gradients{da1, third1};                     \
        step_back<reset_after>(out, transposed, states, saved, dstates, dlast, initial, counts, direct, dinitial,    \
                               step);                                                                                \
    }

GRU_GRAD_STEP(gru_grad_step_after_f32, true)
GRU_GRAD_STEP(gru_grad_step_before_f32, false)

// Reset before, second half of a step: v = da_h U_h^T, da_r, and r v on top of the part of dh' without a product.
GRU_KERNEL gru_grad_reset_f32(const float* transposed, const float* states, const float* saved, const float* initial,
                              const int* counts, float* da0, float* da1, float* direct, Step step) {
    const Rows valid{counts, step.group};
    const Cell cell(step, valid);
    const int u = step.units, unit = cell.unit, line = cell.line();
    float* da = cell.side == 0 ? da0 : da1;
    float v[1] = {};
    if (cell.any) {
        const auto candidates = [&](int line, int k) { return da[Cell::at(step, line, cell.now, 3 * u) + 2 * u + k]; };
        const float* weights = transposed + (static_cast<long long>(cell.side) * 3 + 2) * u * u;
        recurrent_product(v, cell, step, valid, candidates, weights, u, u, 0);
    }
    if (!cell.owns(step)) return;
    float da_r = 0.0f;
    if (valid.valid(line)) {
        const float r = saved[cell.gates(step, line, cell.now, 3 * u) + u + unit];
        da_r = v[0] * cell.earlier(step, states, initial, line, unit) * slope(r, step.hard);
        direct[cell.scratch(step, line) + unit] += v[0] * r;
    }
    da[Cell::at(step, line, cell.now, 3 * u) + u + unit] = da_r;
}
