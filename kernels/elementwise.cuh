// The functions of elementwise kernels, each written once: X(name, expression) for every one. Their order is that of
// UnaryKind::ALL and BinaryKind::ALL in src/ops/elementwise.
#pragma once
#include "device/prelude.cuh"

__device__ __forceinline__ float hard_sigmoid(float x) {
    const float line = 0.2f * x + 0.5f;
    return line < 0.0f ? 0.0f : line > 1.0f ? 1.0f : line;
}

__device__ __forceinline__ float affine(float x, float scale, float offset) {
    return scale * x + offset;
}

// Of one value, x; NaN passes through. The last one of UnaryKind, affine, has constants and is not here.
#define UNARY_FUNCTIONS(X)            \
    X(relu, x < 0.0f ? 0.0f : x)      \
    X(sigmoid, 1.0f / (1.0f + expf(-x))) \
    X(hard_sigmoid, hard_sigmoid(x))  \
    X(tanh, tanhf(x))                 \
    X(exp, expf(x))                   \
    X(log, logf(x))                   \
    X(sqrt, sqrtf(x))                 \
    X(abs, fabsf(x))                  \
    X(neg, -x)                        \
    X(square, x * x)

// Their gradients: of dy and s, the input of abs, log and square, the output of the others. neg and affine have none.
#define GRADIENT_FUNCTIONS(X)                                   \
    X(relu, s > 0.0f ? dy : 0.0f)                               \
    X(sigmoid, dy * s * (1.0f - s))                             \
    X(hard_sigmoid, s > 0.0f && s < 1.0f ? 0.2f * dy : 0.0f)    \
    X(tanh, dy * (1.0f - s * s))                                \
    X(exp, dy * s)                                              \
    X(log, dy / s)                                              \
    X(sqrt, 0.5f * dy / s)                                      \
    X(abs, s == 0.0f ? 0.0f : s > 0.0f ? dy : s < 0.0f ? -dy : s) \
    X(square, 2.0f * s * dy)

// Of two values, a and b; NaN passes through max and min from either side.
#define BINARY_FUNCTIONS(X)                    \
    X(add, a + b)                              \
    X(sub, a - b)                              \
    X(mul, a * b)                              \
    X(div, a / b)                              \
    X(max, a >= b || a != a ? a : b)           \
    X(min, a <= b || a != a ? a : b)           \
    X(greater_equal, a >= b ? 1.0f : 0.0f)     \
    X(greater, a > b ? 1.0f : 0.0f)
