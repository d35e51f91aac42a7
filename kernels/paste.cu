// Pasting: each detection's small mask onto the image, in the box rounded to whole pixels (resized, see resize.cuh) or exactly
// (every pixel centre in the real-valued box takes the mask's value there).
//
// Layouts: detections [N D,6], mask probabilities [N D,h,w,C], output [N D,H,W]; zero beyond the counts, for class 0 and outside
// the box.
// Cut: one block a detection; its threads run along the pixels, so that writes are coalesced. Bytes: 100 detections of 28 x 28
// on 64 x 64: 0.4 MB written (1.6 MB as floats), 0.6 MB read. About 20 operations in double for each pixel inside a box:
// on GPUs with few double units (1/64 of the rate) these limit it, elsewhere memory.
// Needs: any architecture; 128 bytes of shared memory. Determinism: run_to_run.
#include "device/prelude.cuh"
#include "boxes.cuh"
#include "resize.cuh"

struct Paste {
    // Of a normalised coordinate in pixels: y, x; shift of the lower right corner.
    double scale[2], shift;
};
static_assert(sizeof(Paste) == 24, "as in src/ops/detections/paste_cuda.rs");

struct PasteShape {
    int rows, images, height, width, mask_height, mask_width, classes;
};
static_assert(sizeof(PasteShape) == 28, "as in src/ops/detections/paste_cuda.rs");

// One class of a mask.
struct Mask {
    const float* probs;
    int width, classes;

    __device__ __forceinline__ double at(int y, int x) const { return probs[(y * width + x) * classes]; }
};

// A coordinate in whole pixels, within the range of an int.
__device__ __forceinline__ int64_t whole(double pixels) {
    const double rounded = pixels == pixels ? round_half_even(pixels) : 0.0;
    return static_cast<int64_t>(fmin(fmax(rounded, -2147483648.0), 2147483647.0));
}

// Pixels of the image to samples of a mask along one axis.
struct ExactAxis {
    double low, high;  // the box in pixels
    double first;      // pixel index of the mask's first sample
    double scale;      // samples per pixel
    double last;       // index of the mask's last sample

    __device__ __forceinline__ ExactAxis(double low, double high, float norm_low, float norm_high, int pixels, int samples)
        : low(low), high(high), last(samples - 1.0) {
        // crop_and_resize samples index norm * (pixels - 1), whatever normalised boxes mean elsewhere.
        first = norm_low * (pixels - 1.0);
        const double end = norm_high * (pixels - 1.0);
        scale = end > first ? last / (end - first) : 0.0;
    }

    // Samples next to a pixel; low is -1 outside of the box.
    __device__ __forceinline__ ResizeSample at(int pixel) const {
        const double centre = pixel + 0.5;
        if (centre < low || centre > high) return {-1, -1, 0.0};
        const double position = fmin(fmax(__dmul_rn(pixel - first, scale), 0.0), last);
        return {static_cast<int>(floor(position)), static_cast<int>(ceil(position)), position - floor(position)};
    }
};

// Calls write(pixel, probability) for every pixel of the block's image.
template <class Write>
__device__ __forceinline__ void paste_whole(Box norm, Mask mask, Paste map, PasteShape shape, Write write) {
    const int64_t y1 = whole(to_pixels(norm.y1, map.scale[0], 0.0)), x1 = whole(to_pixels(norm.x1, map.scale[1], 0.0));
    const int64_t y2 = whole(to_pixels(norm.y2, map.scale[0], map.shift)), x2 = whole(to_pixels(norm.x2, map.scale[1], map.shift));
    const float2 range = block_range(shape.mask_height * shape.mask_width, [=](int i) { return mask.probs[i * mask.classes]; });
    for (int pixel = threadIdx.x; pixel < shape.height * shape.width; pixel += blockDim.x) {
        const int y = pixel / shape.width, x = pixel % shape.width;
        double value = 0.0;
        const bool inside = y >= y1 && y < y2 && x >= x1 && x < x2;
        if (inside) {
            const ResizeSample row = resize_sample(shape.mask_height, static_cast<double>(y2 - y1), static_cast<double>(y - y1));
            const ResizeSample column = resize_sample(shape.mask_width, static_cast<double>(x2 - x1), static_cast<double>(x - x1));
            value = resized(row, column, range.x, range.y, [=](int i, int j) { return mask.at(i, j); });
        }
        write(pixel, inside, value);
    }
}

template <class Write>
__device__ __forceinline__ void paste_exact(Box norm, Mask mask, Paste map, PasteShape shape, Write write) {
    const double y1 = to_pixels(norm.y1, map.scale[0], 0.0), x1 = to_pixels(norm.x1, map.scale[1], 0.0);
    const double y2 = to_pixels(norm.y2, map.scale[0], map.shift), x2 = to_pixels(norm.x2, map.scale[1], map.shift);
    const bool has_area = y2 > y1 && x2 > x1;
    const ExactAxis vertical(y1, y2, norm.y1, norm.y2, shape.height, shape.mask_height);
    const ExactAxis horizontal(x1, x2, norm.x1, norm.x2, shape.width, shape.mask_width);
    for (int pixel = threadIdx.x; pixel < shape.height * shape.width; pixel += blockDim.x) {
        const ResizeSample y = vertical.at(pixel / shape.width), x = horizontal.at(pixel % shape.width);
        const bool inside = has_area && y.low >= 0 && x.low >= 0;
        double value = 0.0;
        if (inside) {
            const double top = between(mask.at(y.low, x.low), mask.at(y.low, x.high), x.f);
            const double bottom = between(mask.at(y.high, x.low), mask.at(y.high, x.high), x.f);
            value = between(top, bottom, y.f);
        }
        write(pixel, inside, value);
    }
}

enum class PasteMode { whole, exact };

// The block's detection; write(pixel, inside the box, probability).
template <PasteMode MODE, class Write>
__device__ __forceinline__ void paste(const float* detections, const float* probs, const int* counts, Paste map,
                                      PasteShape shape, Write write) {
    const int64_t row = blockIdx.x;
    const float* detection = detections + 6 * row;
    const float label = detection[4];
    const int of_class = label >= 1.0f && label < shape.classes ? static_cast<int>(label) : 0;
    if (of_class == 0 || !valid_row(row, shape.rows, counts, shape.images)) {
        for (int pixel = threadIdx.x; pixel < shape.height * shape.width; pixel += blockDim.x) write(pixel, false, 0.0);
        return;
    }
    const int64_t size = static_cast<int64_t>(shape.mask_height) * shape.mask_width * shape.classes;
    const Mask mask = {probs + row * size + of_class, shape.mask_width, shape.classes};
    const Box norm = {detection[0], detection[1], detection[2], detection[3]};
    if (MODE == PasteMode::whole) paste_whole(norm, mask, map, shape, write);
    else paste_exact(norm, mask, map, shape, write);
}

// Binary masks: 1 where the probability reaches the threshold.
template <PasteMode MODE>
__device__ __forceinline__ void paste_binary(const float* detections, const float* probs, const int* counts, uint8_t* out,
                                             Paste map, PasteShape shape, float threshold) {
    out += static_cast<int64_t>(blockIdx.x) * shape.height * shape.width;
    const double least = threshold;
    paste<MODE>(detections, probs, counts, map, shape,
                [=](int pixel, bool inside, double value) { out[pixel] = inside && value >= least ? 1 : 0; });
}

template <PasteMode MODE>
__device__ __forceinline__ void paste_probability(const float* detections, const float* probs, const int* counts, float* out,
                                                  Paste map, PasteShape shape) {
    out += static_cast<int64_t>(blockIdx.x) * shape.height * shape.width;
    paste<MODE>(detections, probs, counts, map, shape,
                [=](int pixel, bool, double value) { out[pixel] = static_cast<float>(value); });
}

KERNEL(256) mask_paste_u8_whole(const float* detections, const float* probs, const int* counts, uint8_t* out, Paste map,
                                PasteShape shape, float threshold) {
    paste_binary<PasteMode::whole>(detections, probs, counts, out, map, shape, threshold);
}

KERNEL(256) mask_paste_u8_exact(const float* detections, const float* probs, const int* counts, uint8_t* out, Paste map,
                                PasteShape shape, float threshold) {
    paste_binary<PasteMode::exact>(detections, probs, counts, out, map, shape, threshold);
}

KERNEL(256) mask_paste_f32_whole(const float* detections, const float* probs, const int* counts, float* out, Paste map,
                                 PasteShape shape) {
    paste_probability<PasteMode::whole>(detections, probs, counts, out, map, shape);
}

KERNEL(256) mask_paste_f32_exact(const float* detections, const float* probs, const int* counts, float* out, Paste map,
                                 PasteShape shape) {
    paste_probability<PasteMode::exact>(detections, probs, counts, out, map, shape);
}
