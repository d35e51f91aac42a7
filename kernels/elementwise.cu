// Elementwise ops.
//
//   unary        y[i] = f(x[i])                          relu_f32, exp_f32, affine_f32, ...
//   its gradient dx[i] = g(dy[i], saved[i])              relu_grad_f32, ... (saved: input or output of f, as the op says)
//   binary       y[i] = f(a[i], b[i])                    add_f32, mul_f32, ...
//   broadcast    y[i,j,..] = f(a[i|0,j|0,..], b[..])     add_broadcast_f32, add_broadcast_vec4_f32, ...
//   sum          y[i] = x0[i] + x1[i] + ..., in order    sum_of_f32
//
// Layout: anything; tensors of one shape are plain runs of n values that begin at multiples of 16 bytes. For a broadcast the host
// drops axes of extent 1 and joins neighbours along which both inputs step alike; what is left is an inner axis, along which each
// input has step 1 or 0, and at most 7 outer ones.
// Cut: 256 threads a block, four neighbouring values a thread (one access of 16 bytes), the grid steps over the rest. Broadcasts
// whose inner extent is no multiple of 4 take one value a thread.
// Cost: the paper's detector adds 2x32x32x256 values in res2: 6.3 MB moved, 0.5 MFLOP: memory limits all of these.
// Needs: nothing; no shared memory. Determinism: run_to_run (each value is computed by one thread alone).
#include "device/prelude.cuh"
#include "device/element.cuh"
#include "elementwise.cuh"

constexpr int BLOCK = 256;
constexpr int WIDTH = 4;

template <class F>
__device__ __forceinline__ void map1(const Stored* x, Stored* y, int64_t n, F f) {
    const int64_t quads = n / WIDTH;
    for (int64_t quad = global_thread(); quad < quads; quad += global_threads()) {
        const float4 v = floats_of(load_quad(x + WIDTH * quad));
        store_quad(y + WIDTH * quad, make_float4(f(v.x), f(v.y), f(v.z), f(v.w)));
    }
    const int64_t rest = WIDTH * quads + global_thread();
    if (rest < n) y[rest] = f(x[rest]);
}

template <class F>
__device__ __forceinline__ void map2(const Stored* a, const Stored* b, Stored* y, int64_t n, F f) {
    const int64_t quads = n / WIDTH;
    for (int64_t quad = global_thread(); quad < quads; quad += global_threads()) {
        const float4 u = floats_of(load_quad(a + WIDTH * quad)), v = floats_of(load_quad(b + WIDTH * quad));
        store_quad(y + WIDTH * quad, make_float4(f(u.x, v.x), f(u.y, v.y), f(u.z, v.z), f(u.w, v.w)));
    }
    const int64_t rest = WIDTH * quads + global_thread();
    if (rest < n) y[rest] = f(a[rest], b[rest]);
}

// ---- functions of one tensor ----

#define UNARY(name, expression)                                        \
    KERNEL(BLOCK) STORED(name)(const Stored* x, Stored* y, int64_t n) { \
        map1(x, y, n, [](float x) -> float { return expression; });    \
    }
UNARY_FUNCTIONS(UNARY)

KERNEL(BLOCK) STORED(affine)(const Stored* x, Stored* y, int64_t n, float scale, float offset) {
    map1(x, y, n, [=](float x) -> float { return affine(x, scale, offset); });
}

// ---- their gradients ----

#define GRADIENT(name, expression)                                                             \
    KERNEL(BLOCK) STORED(name##_grad)(const Stored* dy, const Stored* saved, Stored* dx, int64_t n) { \
        map2(dy, saved, dx, n, [](float dy, float s) -> float { return expression; });         \
    }
GRADIENT_FUNCTIONS(GRADIENT)

// ---- arithmetic of two tensors ----

// Twin of `Broadcast` in src/ops/elementwise/cuda.rs. Outer axes come innermost first.
constexpr int MAX_OUTER = 7;
struct Broadcast {
    int outer;
    int inner, inner_a, inner_b;
    int extent[MAX_OUTER], a[MAX_OUTER], b[MAX_OUTER];
};
static_assert(sizeof(Broadcast) == (4 + 3 * MAX_OUTER) * 4, "the host's twin has the same fields");

template <int VALUES, class F>
__device__ __forceinline__ void map_broadcast(const float* a, const float* b, float* y, int n, const Broadcast& axes, F f) {
    const unsigned groups = n / VALUES, groups_per_row = axes.inner / VALUES;
    for (unsigned group = global_thread(); group < groups; group += global_threads()) {
        unsigned row = group / groups_per_row;
        const int column = (group - row * groups_per_row) * VALUES;
        int at_a = column * axes.inner_a, at_b = column * axes.inner_b;
        for (int axis = 0; axis < axes.outer; ++axis) {
            const unsigned index = row % axes.extent[axis];
            row /= axes.extent[axis];
            at_a += index * axes.a[axis];
            at_b += index * axes.b[axis];
        }
        if constexpr (VALUES == 1) {
            y[group] = f(a[at_a], b[at_b]);
        } else {
            const float one_a = a[at_a], one_b = b[at_b];
            const float4 u = axes.inner_a ? load4(a + at_a) : make_float4(one_a, one_a, one_a, one_a);
            const float4 v = axes.inner_b ? load4(b + at_b) : make_float4(one_b, one_b, one_b, one_b);
            store4(y + VALUES * group, make_float4(f(u.x, v.x), f(u.y, v.y), f(u.z, v.z), f(u.w, v.w)));
        }
    }
}

#define BROADCAST(name, expression)                                                                      \
    KERNEL(BLOCK) name##_f32(const float* a, const float* b, float* y, int n, const __grid_constant__ Broadcast axes) { \
        map_broadcast<1>(a, b, y, n, axes, [](float a, float b) -> float { return expression; });            \
    }                                                                                                        \
    KERNEL(BLOCK) name##_vec4_f32(const float* a, const float* b, float* y, int n,                           \
                                  const __grid_constant__ Broadcast axes) {                                  \
        map_broadcast<WIDTH>(a, b, y, n, axes, [](float a, float b) -> float { return expression; });        \
    }

#define BINARY(name, expression)                                                                 \
    KERNEL(BLOCK) STORED(name)(const Stored* a, const Stored* b, Stored* y, int64_t n) {         \
        map2(a, b, y, n, [](float a, float b) -> float { return expression; });                  \
    }                                                                                            \
    BROADCAST(name##_broadcast, expression)

BINARY_FUNCTIONS(BINARY)
// x stretched to a larger shape: it comes as both inputs.
BROADCAST(broadcast_to, (static_cast<void>(b), a))

// ---- the sum of up to eight tensors, from first to last; `count` of the pointers are set ----

KERNEL(BLOCK) STORED(sum_of)(const Stored* x0, const Stored* x1, const Stored* x2, const Stored* x3, const Stored* x4, const Stored* x5,
                         const Stored* x6, const Stored* x7, int count, Stored* y, int64_t n) {
    for (int64_t i = global_thread(); i < n; i += global_threads()) {
        float sum = x0[i];
        if (count > 1) sum += x1[i];
        if (count > 2) sum += x2[i];
        if (count > 3) sum += x3[i];
        if (count > 4) sum += x4[i];
        if (count > 5) sum += x5[i];
        if (count > 6) sum += x6[i];
        if (count > 7) sum += x7[i];
        y[i] = sum;
    }
}
