// RoiAlign: bilinear crops of boxes from the levels of a feature pyramid, and the gradient to the levels.
//
// y[r,i,j,c] = (1-fy)(1-fx) x[y0,x0,c] + (1-fy) fx x[y0,x1,c] + fy (1-fx) x[y1,x0,c] + fy fx x[y1,x1,c], where (y, x) is sample
// (i, j) of box r on its level (see sample.cuh), y0 = floor y, y1 = ceil y, fy = y - y0; 0 outside of the map.
// Layouts: boxes [N R,4], levels [N,H,W,C], crops [N R,I,J,C].
//
// Forward: one block for each row of cells of a crop (r, i); threads run along (j, c), so that reads and writes of a cell are
// coalesced. Paper's shapes (1000 boxes, 7 x 7 x 256): 50 MB written, up to 200 MB read, mostly from the L2 cache: the maps of
// an image are 1.4 MB; 6 operations an element. Memory limits it.
// Backward: one block for each pixel of a level; it gathers, box by box in order, what the samples next to the pixel give it;
// threads run along c. Boxes are sieved 256 at a time: each thread asks of one box whether it has a sample there, and the
// block goes on with those that do, in order, and with their samples next to the pixel. Reads each element of the crops' gradient four times, writes each level once; for
// 200 boxes on 340 pixels the sieve costs 70,000 tests.
// Needs: any architecture; 5 KiB of shared memory. Determinism: run_to_run; sums go in the order of boxes, then samples.
#include "device/prelude.cuh"
#include "device/element.cuh"
#include "device/reduce.cuh"
#include "boxes.cuh"
#include "sample.cuh"

// A level: its index among those given, and its extents.
struct Level {
    int index, height, width, channels;
};
static_assert(sizeof(Level) == 16, "as in src/ops/roi/cuda.rs");

// Attributes of the op; `images` groups of `boxes` boxes.
struct Roi {
    int images, boxes, pool_h, pool_w, clamp_edge, levels;
};
static_assert(sizeof(Roi) == 24, "as in src/ops/roi/cuda.rs");

// Which level a box is cropped from: always `fixed` if that is not negative, else by size; `base` is the level of a box of the
// canonical size.
struct Rule {
    int fixed, base;
};
static_assert(sizeof(Rule) == 8, "as in src/ops/roi/cuda.rs");

// Index of the level that a box is cropped from. `octave` is the side of a normalised box that belongs to the base level.
__device__ __forceinline__ int level_of(Box b, const Roi& roi, Rule rule, float octave) {
    if (rule.fixed >= 0) return rule.fixed;
    const float size = area(b);
    if (!(size > 0.0f)) return 0;
    const float octaves = __fdiv_rn(logf(__fdiv_rn(__fsqrt_rn(size), octave)), 0.693147182f);
    // Limited, so that infinity neither overflows here nor in the sum.
    const int rounded = static_cast<int>(rintf(fminf(fmaxf(octaves, -1e9f), 1e9f)));
    return min(max(rule.base + rounded, 0), roi.levels - 1);
}

// Writes the cells of the boxes that belong to this level; launched for each level in turn. Boxes that do not count belong to
// level 0, which writes zeros.
KERNEL(256) STORED(roi_align)(const float* boxes, const Stored* map, const int* counts, Stored* crops, Roi roi, Rule rule, Level level, float octave) {
    const int64_t row = blockIdx.x;
    const int64_t rows = static_cast<int64_t>(roi.images) * roi.boxes;
    const bool valid = valid_row(row, rows, counts, roi.images);
    const Box b = load_box(boxes, row);
    if ((valid ? level_of(b, roi, rule, octave) : 0) != level.index) return;

    const int i = blockIdx.y, cells = roi.pool_w * level.channels;
    Stored* out = crops + (row * roi.pool_h + i) * cells;
    const Axis vertical = axis(b.y1, b.y2, level.height, roi.pool_h, roi.clamp_edge);
    const Axis horizontal = axis(b.x1, b.x2, level.width, roi.pool_w, roi.clamp_edge);
    const Sample y = sample(vertical, i);
    const int64_t image = row / roi.boxes;
    const Stored* top = map + (image * level.height + y.low) * level.width * level.channels;
    const Stored* bottom = map + (image * level.height + y.high) * level.width * level.channels;
    for (int cell = threadIdx.x; cell < cells; cell += blockDim.x) {
        const int j = cell / level.channels, c = cell % level.channels;
        const Sample x = sample(horizontal, j);
        float value = 0.0f;
        if (valid && y.inside && x.inside) {
            const int left = x.low * level.channels + c, right = x.high * level.channels + c;
            value = mix(mix(top[left], top[right], x.f), mix(bottom[left], bottom[right], x.f), y.f);
        }
        out[cell] = value;
    }
}

// What sample `at` gives to the cell: its weight there.
__device__ __forceinline__ float weight(Sample at, int cell) {
    if (!at.inside) return 0.0f;
    return (at.low == cell ? 1.0f - at.f : 0.0f) + (at.high == cell ? at.f : 0.0f);
}

// The samples along an axis that lie next to a cell: as they go one way, they follow each other.
struct Span {
    int first, last;

    __device__ __forceinline__ bool empty() const { return last < first; }
};

__device__ __forceinline__ Span touching(Axis axis, int count, int cell) {
    Span span = {count, -1};
    for (int i = 0; i < count; ++i) {
        const Sample at = sample(axis, i);
        if (!at.inside || (at.low != cell && at.high != cell)) continue;
        span.first = min(span.first, i);
        span.last = i;
    }
    return span;
}

constexpr int SIEVE = 256;

KERNEL(SIEVE) STORED(roi_align_grad)(const float* boxes, const Stored* crops, const int* counts, Stored* map, Roi roi, Rule rule, Level level,
                                 float octave) {
    // A box that reaches the pixel, and its samples next to it.
    struct Hit {
        int box;
        Span y, x;
    };
    SHARED(Hit, hits, [SIEVE]);
    const int pixels = level.height * level.width;
    const int64_t image = blockIdx.x / pixels;
    const int pixel = blockIdx.x % pixels, y = pixel / level.width, x = pixel % level.width;
    const int64_t rows = static_cast<int64_t>(roi.images) * roi.boxes;
    const int c = blockIdx.y * SIEVE + threadIdx.x;

    float sum = 0.0f;
    for (int first = 0; first < roi.boxes; first += SIEVE) {
        // The sieve: boxes of this level that have a sample next to the pixel, kept in order.
        const int mine = first + threadIdx.x;
        Hit hit = {mine, {0, -1}, {0, -1}};
        if (mine < roi.boxes && valid_row(image * roi.boxes + mine, rows, counts, roi.images)) {
            const Box b = load_box(boxes, image * roi.boxes + mine);
            if (level_of(b, roi, rule, octave) == level.index) {
                hit.y = touching(axis(b.y1, b.y2, level.height, roi.pool_h, roi.clamp_edge), roi.pool_h, y);
                hit.x = touching(axis(b.x1, b.x2, level.width, roi.pool_w, roi.clamp_edge), roi.pool_w, x);
            }
        }
        const bool reaches = !hit.y.empty() && !hit.x.empty();
        int found;
        const int place = block_rank(reaches, found);
        if (reaches) hits[place] = hit;
        __syncthreads();

        for (int k = 0; k < found && c < level.channels; ++k) {
            const Hit near = hits[k];
            const int64_t row = image * roi.boxes + near.box;
            const Box b = load_box(boxes, row);
            const Axis vertical = axis(b.y1, b.y2, level.height, roi.pool_h, roi.clamp_edge);
            const Axis horizontal = axis(b.x1, b.x2, level.width, roi.pool_w, roi.clamp_edge);
            for (int i = near.y.first; i <= near.y.last; ++i) {
                const float weight_y = weight(sample(vertical, i), y);
                if (weight_y == 0.0f) continue;
                for (int j = near.x.first; j <= near.x.last; ++j) {
                    const float weight_x = weight(sample(horizontal, j), x);
                    if (weight_x == 0.0f) continue;
                    sum += crops[((row * roi.pool_h + i) * roi.pool_w + j) * level.channels + c] * (weight_y * weight_x);
                }
            }
        }
        __syncthreads();
    }
    if (c < level.channels) map[(image * pixels + pixel) * level.channels + c] = sum;
}
