// Tensors of random numbers: number i is number i % 4 of the block that Philox 4x32-10 makes of the seed as key and
// [i / 4, step, stream, 0] as counter.
//
//   random_uniform_f32   in [0, 1), multiples of 2^-24
//   random_normal_f32    standard normal, by Box and Muller
//
// Cut: a thread a block of four numbers, 256 threads a block; the grid steps over the rest.
// Cost: 4 bytes written and some 40 (uniform) or 90 (normal) operations a number: arithmetic limits.
// Needs: nothing; no shared memory. Determinism: gpu_to_gpu; the same bits as on the CPU.
#include "device/prelude.cuh"
#include "device/copy.cuh"
#include "device/philox.cuh"

constexpr int BLOCK = 256;

// `step` is on the device: int [1]. `numbers(counter)` makes four.
template <class Numbers>
__device__ __forceinline__ void fill(const int* step, float* y, int64_t n, unsigned stream, Numbers numbers) {
    const int64_t blocks = ceil_div(n, 4);
    for (int64_t block = global_thread(); block < blocks; block += global_threads()) {
        const float4 four = numbers(make_uint4(static_cast<unsigned>(block), static_cast<unsigned>(*step), stream, 0));
        const int64_t at = 4 * block;
        if (at + 4 <= n) {
            store4(y + at, four);
        } else {
            y[at] = four.x;
            if (at + 1 < n) y[at + 1] = four.y;
            if (at + 2 < n) y[at + 2] = four.z;
        }
    }
}

KERNEL(BLOCK) random_uniform_f32(const int* step, float* y, int64_t n, unsigned key0, unsigned key1, unsigned stream) {
    fill(step, y, n, stream, [=](uint4 counter) -> float4 {
        const uint4 words = philox(make_uint2(key0, key1), counter);
        return make_float4(uniform(words.x), uniform(words.y), uniform(words.z), uniform(words.w));
    });
}

KERNEL(BLOCK) random_normal_f32(const int* step, float* y, int64_t n, unsigned key0, unsigned key1, unsigned stream) {
    fill(step, y, n, stream, [=](uint4 counter) -> float4 { return normals(make_uint2(key0, key1), counter); });
}
