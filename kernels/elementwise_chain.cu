// Several elementwise functions in one pass over memory.
//
//   elementwise_chain_f32, elementwise_chain_vec4_f32    y[i] = f3(f2(f1(x0[i], x1[i])), x2[i]), or any such expression
//
// The expression comes as a program for a machine with two registers, a value at hand and one put aside: it loads inputs, applies
// functions of the value, and functions of the value and an input or what was put aside. All threads are at the same instruction at
// the same time, so its branches cost no divergence. Functions stay apart: none is contracted with the next one to a fused
// multiply-add, and the bits are those of the kernels in elementwise.cu one by one. One module serves every expression: nothing is
// compiled for a new one.
//
// Layout: y is a plain run of n values; an input has y's shape (its bit in `plain` is set), or is stretched to it. For stretched ones
// the host drops axes of extent 1 and joins neighbours along which all inputs step alike; what is left is an inner axis, along which
// each input has step 1 or 0, and at most 7 outer ones.
// Cut: 256 threads a block, four neighbouring values a thread (16 bytes an access), the grid steps over the rest; one value a thread
// where the inner extent is no multiple of 4.
// Cost: the sum of two gradients masked by a ReLU, 2x32x32x256 values of the paper's detector: 8.4 MB moved instead of 12.6 MB in
// two launches; some 20 instructions a function for four values: memory limits.
// Needs: nothing; no shared memory. Determinism: run_to_run (each value is computed by one thread alone).
#include "device/prelude.cuh"
#include "device/divide.cuh"
#include "device/element.cuh"
#include "elementwise.cuh"

constexpr int BLOCK = 256;
constexpr int INPUTS = 8;
constexpr int INSTRUCTIONS = 16;
constexpr int OUTER = 7;

// What an instruction does, in the order that `code` in src/ops/elementwise/chain/cuda.rs counts.
#define UNARY_CODE(name, expression) UNARY_##name,
#define BINARY_CODE(name, expression) BINARY_##name,
#define GRADIENT_CODE(name, expression) GRADIENT_##name,
enum Code { LOAD, UNARY_FUNCTIONS(UNARY_CODE) UNARY_affine, BINARY_FUNCTIONS(BINARY_CODE) GRADIENT_FUNCTIONS(GRADIENT_CODE) };

// Twins of the structs of the same names in src/ops/elementwise/chain/cuda.rs.
struct Instruction {
    int code;
    int operand;  // an input, or -1: what was put aside
    int flipped;  // the operand comes first
    float scale, offset;
};
struct Program {
    int length;
    int plain;  // a bit for each input
    Instruction instructions[INSTRUCTIONS];
};
// Outer axes come innermost first.
struct Axes {
    int outer;
    Divisor inner;  // the inner extent in groups of values that a thread takes
    Divisor extent[OUTER];
    int inner_step[INPUTS];
    int step[INPUTS][OUTER];
};
static_assert(sizeof(Program) == (2 + 5 * INSTRUCTIONS) * 4, "the host's twin has the same fields");
static_assert(sizeof(Axes) == (1 + 3 + 3 * OUTER + INPUTS + INPUTS * OUTER) * 4, "the host's twin has the same fields");
struct Inputs { const Stored* at[INPUTS]; };

// A thread's values: one or four.
template <class F> __device__ __forceinline__ float each(float x, F f) { return f(x); }
template <class F> __device__ __forceinline__ float each(float a, float b, F f) { return f(a, b); }
template <class F> __device__ __forceinline__ float4 each(float4 x, F f) {
    return make_float4(f(x.x), f(x.y), f(x.z), f(x.w));
}
template <class F> __device__ __forceinline__ float4 each(float4 a, float4 b, F f) {
    return make_float4(f(a.x, b.x), f(a.y, b.y), f(a.z, b.z), f(a.w, b.w));
}
template <class V> __device__ __forceinline__ V load(const Stored* from, int step);
template <> __device__ __forceinline__ float load(const Stored* from, int) { return *from; }
template <> __device__ __forceinline__ float4 load(const Stored* from, int step) {
    return step ? floats_of(load_quad(from)) : make_float4(*from, *from, *from, *from);
}
__device__ __forceinline__ void store(Stored* to, float value) { *to = value; }
__device__ __forceinline__ void store(Stored* to, float4 value) { store_quad(to, value); }

// The values of an input that belong to a group of y.
template <class V>
__device__ __forceinline__ V operand(const Inputs& inputs, const Program& program, const Axes& axes, int input, int group) {
    constexpr int VALUES = sizeof(V) / sizeof(float);
    const Stored* x = inputs.at[input];
    if (program.plain >> input & 1) return load<V>(x + static_cast<int64_t>(group) * VALUES, 1);
    int row = axes.inner.divide(group);  // group becomes the column
    int64_t at = static_cast<int64_t>(group) * VALUES * axes.inner_step[input];
    for (int axis = 0; axis < axes.outer; ++axis) {
        int index = row;
        row = axes.extent[axis].divide(index);
        at += static_cast<int64_t>(index) * axes.step[input][axis];
    }
    return load<V>(x + at, axes.inner_step[input]);
}

template <class V> __device__ __forceinline__ V unary(const Instruction& instruction, V value) {
#define UNARY_CASE(name, expression) \
    case UNARY_##name: return each(value, [](float x) -> float { return expression; });
    switch (instruction.code) {
        UNARY_FUNCTIONS(UNARY_CASE)
        default: {
            const float scale = instruction.scale, offset = instruction.offset;
            return each(value, [=](float x) -> float { return affine(x, scale, offset); });
        }
    }
}

template <class V> __device__ __forceinline__ V pair(int code, V first, V second) {
#define BINARY_CASE(name, expression) \
    case BINARY_##name: return each(first, second, [](float a, float b) -> float { return expression; });
#define GRADIENT_CASE(name, expression) \
    case GRADIENT_##name: return each(first, second, [](float dy, float s) -> float { return expression; });
    switch (code) {
        BINARY_FUNCTIONS(BINARY_CASE)
        GRADIENT_FUNCTIONS(GRADIENT_CASE)
        default: return first;
    }
}

template <class V>
__device__ __forceinline__ void chain(const Inputs& inputs, const Program& program, const Axes& axes, Stored* y, int groups) {
    constexpr int VALUES = sizeof(V) / sizeof(float);
    for (int64_t group = global_thread(); group < groups; group += global_threads()) {
        V value = {}, aside = {};
#pragma unroll 1
        for (int i = 0; i < program.length; ++i) {
            const Instruction& instruction = program.instructions[i];
            const int source = instruction.operand;
            if (instruction.code == LOAD) {
                aside = value;
                value = operand<V>(inputs, program, axes, source, group);
            } else if (instruction.code <= UNARY_affine) {
                value = unary(instruction, value);
            } else {
                const V other = source < 0 ? aside : operand<V>(inputs, program, axes, source, group);
                value = instruction.flipped ? pair(instruction.code, other, value) : pair(instruction.code, value, other);
            }
        }
        store(y + group * VALUES, value);
    }
}

#define CHAIN(name, values)                                                                                   \
    KERNEL(BLOCK) name(const __grid_constant__ Inputs inputs, const __grid_constant__ Program program,        \
                       const __grid_constant__ Axes axes, Stored* y, int groups) {                            \
        chain<values>(inputs, program, axes, y, groups);                                                      \
    }
CHAIN(STORED(elementwise_chain), float)
CHAIN(STORED(elementwise_chain_vec4), float4)
