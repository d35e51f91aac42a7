// Ops on boxes (y1, x1, y2, x2): row-wise maps, overlaps of all pairs, boxes of masks.
//
// Formulas: see boxes.cuh. Layouts: boxes [R,4], overlaps [A,B], masks [M,P] with P = H W pixels.
// Cut: maps and overlaps one thread an element (a box, a coordinate, a pair); masks one block a mask, its threads along the pixels.
// Bytes and FLOPs: maps move 32 or 48 bytes a box and do at most 30 operations; overlaps write 4 bytes a pair (14 operations);
// masks read each pixel once (64 x 64 floats: 16 KiB a mask). Memory limits all of them.
// Needs: any architecture; 16 bytes of shared memory. Pixel coordinates are worked out in double, a few per box.
// Determinism: run_to_run; integer minima and maxima do not depend on their order.
#include "device/prelude.cuh"
#include "boxes.cuh"

// Coordinate k of (y, x): px = norm * scale + shift; shift is 0 for y1, x1.
struct PixelMap {
    double scale[2];
    double shift;
};
static_assert(sizeof(PixelMap) == 24, "as in src/ops/boxes/cuda.rs");

// Writes map(row) of every valid row and zeros elsewhere.
template <class Map>
__device__ __forceinline__ void map_rows(const int* counts, float* out, int64_t rows, int groups, Map map) {
    for (int64_t row = global_thread(); row < rows; row += global_threads()) {
        const bool valid = valid_row(row, rows, counts, groups);
        store_box(out, row, valid ? map(row) : Box{0.0f, 0.0f, 0.0f, 0.0f});
    }
}

KERNEL(256) box_encode_f32(const float* boxes, const float* targets, const int* counts, float* out, int64_t rows, int groups, float4 deviation) {
    map_rows(counts, out, rows, groups, [=](int64_t row) { return encode(load_box(boxes, row), load_box(targets, row), deviation); });
}

KERNEL(256) box_decode_f32(const float* boxes, const float* deltas, const int* counts, float* out, int64_t rows, int groups, float4 deviation) {
    map_rows(counts, out, rows, groups, [=](int64_t row) { return decode(load_box(boxes, row), load_box(deltas, row), deviation); });
}

KERNEL(256) box_decode_f32_clipped(const float* boxes, const float* deltas, const int* counts, float* out, int64_t rows, int groups,
                                   float4 deviation, float4 window) {
    map_rows(counts, out, rows, groups,
             [=](int64_t row) { return clip(decode(load_box(boxes, row), load_box(deltas, row), deviation), window); });
}

KERNEL(256) box_clip_f32(const float* boxes, const int* counts, float* out, int64_t rows, int groups, float4 window) {
    map_rows(counts, out, rows, groups, [=](int64_t row) { return clip(load_box(boxes, row), window); });
}

// Writes map(coordinate, scale, shift) of every coordinate of valid rows and zeros elsewhere.
template <class Map>
__device__ __forceinline__ void map_coordinates(const float* boxes, const int* counts, float* out, int64_t rows, int groups,
                                                PixelMap pixels, Map map) {
    for (int64_t i = global_thread(); i < 4 * rows; i += global_threads()) {
        const double scale = i % 2 == 0 ? pixels.scale[0] : pixels.scale[1];
        const double shift = i % 4 < 2 ? 0.0 : pixels.shift;
        const bool valid = valid_row(i / 4, rows, counts, groups);
        out[i] = valid ? static_cast<float>(map(boxes[i], scale, shift)) : 0.0f;
    }
}

KERNEL(256) box_normalise_f32(const float* boxes, const int* counts, float* out, int64_t rows, int groups, PixelMap pixels) {
    map_coordinates(boxes, counts, out, rows, groups, pixels,
                    [](float px, double scale, double shift) { return (px - shift) / scale; });
}

KERNEL(256) box_to_pixels_f32(const float* boxes, const int* counts, float* out, int64_t rows, int groups, PixelMap pixels) {
    map_coordinates(boxes, counts, out, rows, groups, pixels, to_pixels);
}

KERNEL(256) box_to_pixels_f32_rounded(const float* boxes, const int* counts, float* out, int64_t rows, int groups,
                                      PixelMap pixels) {
    map_coordinates(boxes, counts, out, rows, groups, pixels, [](float norm, double scale, double shift) {
        return round_half_even(to_pixels(norm, scale, shift));
    });
}

KERNEL(256) box_iou_f32(const float* a, const float* b, float* out, int64_t rows, int64_t columns) {
    for (int64_t pair = global_thread(); pair < rows * columns; pair += global_threads()) {
        out[pair] = iou(load_box(a, pair / columns), load_box(b, pair % columns));
    }
}

// The block's mask: first row and column of what is inside, last row and column + 1.
template <class Inside>
__device__ __forceinline__ void mask_box(float* out, int height, int width, Inside inside) {
    SHARED(int, bounds, [4]);
    if (threadIdx.x < 4) bounds[threadIdx.x] = threadIdx.x < 2 ? 0x7fffffff : 0;
    __syncthreads();
    int y1 = 0x7fffffff, x1 = 0x7fffffff, y2 = 0, x2 = 0;
    for (int pixel = threadIdx.x; pixel < height * width; pixel += blockDim.x) {
        if (!inside(pixel)) continue;
        const int y = pixel / width, x = pixel % width;
        y1 = min(y1, y), x1 = min(x1, x), y2 = max(y2, y + 1), x2 = max(x2, x + 1);
    }
    if (y2 > 0) {
        atomicMin(&bounds[0], y1);
        atomicMin(&bounds[1], x1);
        atomicMax(&bounds[2], y2);
        atomicMax(&bounds[3], x2);
    }
    __syncthreads();
    if (threadIdx.x < 4) {
        const bool empty = bounds[2] == 0;
        out[4 * static_cast<int64_t>(blockIdx.x) + threadIdx.x] = empty ? 0.0f : static_cast<float>(bounds[threadIdx.x]);
    }
}

KERNEL(256) mask_boxes_f32(const float* masks, float* out, int height, int width) {
    const float* mask = masks + static_cast<int64_t>(blockIdx.x) * height * width;
    mask_box(out, height, width, [=](int pixel) { return mask[pixel] > 0.5f; });
}

KERNEL(256) mask_boxes_u8(const uint8_t* masks, float* out, int height, int width) {
    const uint8_t* mask = masks + static_cast<int64_t>(blockIdx.x) * height * width;
    mask_box(out, height, width, [=](int pixel) { return mask[pixel] > 0; });
}
