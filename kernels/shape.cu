// Ops that move words (f32, i32; some of them bf16) without computing, and the gradients of those that pick or repeat.
//
//   slice       y[b,i,a] = x[b, start + i step, a]               slice_b32, slice_b16  its gradient: slice_grad_f32
//   concat      y[b, start + i, a] = x[b,i,a]                     concat_b32           one launch an input
//   pad         y[..] = x[.. - before] inside, else a constant    pad_b32
//   transpose   y[i0,i1,..] = x[sum i_k step_k]                   transpose_b32 (runs stay runs), transpose_b32_tile32
//   upsample    y[n,i,j,c] = x[n,i/2,j/2,c]                       upsample_nearest_2x_f32, upsample_nearest_2x_grad_f32
//   gather      y[i,:] = x[indices[i],:], 0 outside               gather_rows_b32, gather_rows_grad_f32
//   crop        y[n,t,i,j] = x[n,t, centre of box n + (i,j) - half a window], 0 outside   crop_windows_f32
//
// Layouts: row-major; b, a = all axes before and after the one in question. Axes of extent 1 are dropped and axes that stay
// neighbours joined by the host.
// Cut: 256 threads a block, a thread for every word written (concat: read), so that writes are coalesced; the grid steps over the
// rest. transpose_b32_tile32: a block for every 32 x 32 square, read along x's last axis and written along y's, through shared
// memory padded to 33 words a row. gather_rows_grad_f32: a block for every row of dx and 256 columns; it goes through the indices
// 256 at a time, keeps those that name the row in order, and adds their rows one after the other.
// Cost: the detector's concat of 4092 x 4 box deltas moves 0.3 MB, upsampling to 2x32x32x256 2.6 MB: memory (or the launch) limits.
// Needs: nothing; 4.2 KB of static shared memory at most. Determinism: run_to_run.
#include "device/prelude.cuh"
#include "device/element.cuh"
#include "device/reduce.cuh"

constexpr int BLOCK = 256;
constexpr int TILE = 32;

// x [before, extent, after] and the entries start, start + step, ..., len of them, of its middle axis.
struct Slice {
    int extent, after, start, len, step;
};
static_assert(sizeof(Slice) == 5 * 4, "the host's twin has the same fields");

template <class Word>
__device__ __forceinline__ void take_slice(const Word* x, Word* y, int n, const Slice& slice) {
    for (unsigned i = global_thread(); i < n; i += global_threads()) {
        const unsigned entry = i / slice.after, a = i - entry * slice.after;
        const unsigned b = entry / slice.len, taken = entry - b * slice.len;
        const int64_t from = static_cast<int64_t>(b) * slice.extent + slice.start + taken * slice.step;
        y[i] = x[from * slice.after + a];
    }
}

KERNEL(BLOCK) slice_b32(const unsigned* x, unsigned* y, int n, Slice slice) { take_slice(x, y, n, slice); }
KERNEL(BLOCK) slice_b16(const uint16_t* x, uint16_t* y, int n, Slice slice) { take_slice(x, y, n, slice); }

KERNEL(BLOCK) STORED(slice_grad)(const Stored* dy, Stored* dx, int n, Slice slice) {
    for (unsigned i = global_thread(); i < n; i += global_threads()) {
        const unsigned entry = i / slice.after, a = i - entry * slice.after;
        const unsigned b = entry / slice.extent;
        const int offset = static_cast<int>(entry - b * slice.extent) - slice.start;
        const bool taken = offset >= 0 && offset % slice.step == 0 && offset / slice.step < slice.len;
        const int64_t from = (static_cast<int64_t>(b) * slice.len + offset / slice.step) * slice.after + a;
        dx[i] = taken ? static_cast<float>(dy[from]) : 0.0f;
    }
}

// x is `run` words for every b; they go to the `whole` words of the same b in y, from `start` on.
KERNEL(BLOCK) concat_b32(const unsigned* x, unsigned* y, int n, int run, int whole, int start) {
    for (unsigned i = global_thread(); i < n; i += global_threads()) {
        const unsigned b = i / run;
        y[static_cast<int64_t>(b) * whole + start + (i - b * run)] = x[i];
    }
}

// Axes of y and x, innermost first.
constexpr int MAX_AXES = 8;
struct Padding {
    int axes;
    int y[MAX_AXES], x[MAX_AXES], before[MAX_AXES];
};
static_assert(sizeof(Padding) == (1 + 3 * MAX_AXES) * 4, "the host's twin has the same fields");

KERNEL(BLOCK) pad_b32(const unsigned* x, unsigned* y, int n, unsigned value, const __grid_constant__ Padding padding) {
    for (unsigned i = global_thread(); i < n; i += global_threads()) {
        unsigned rest = i;
        int64_t from = 0, step = 1;
        bool inside = true;
        for (int axis = 0; axis < padding.axes; ++axis) {
            const int place = static_cast<int>(rest % padding.y[axis]) - padding.before[axis];
            rest /= padding.y[axis];
            inside = inside && place >= 0 && place < padding.x[axis];
            from += place * step;
            step *= padding.x[axis];
        }
        y[i] = inside ? x[from] : value;
    }
}

// Axes of y, innermost first, with the steps that x takes along them.
struct Walk {
    int axes;
    int extent[MAX_AXES], step[MAX_AXES];
};
static_assert(sizeof(Walk) == (1 + 2 * MAX_AXES) * 4, "the host's twin has the same fields");

__device__ __forceinline__ int64_t walk_to(unsigned index, const Walk& walk) {
    int64_t at = 0;
    for (int axis = 0; axis < walk.axes; ++axis) {
        at += static_cast<int64_t>(index % walk.extent[axis]) * walk.step[axis];
        index /= walk.extent[axis];
    }
    return at;
}

KERNEL(BLOCK) transpose_b32(const unsigned* x, unsigned* y, int n, const __grid_constant__ Walk walk) {
    for (unsigned i = global_thread(); i < n; i += global_threads()) y[i] = x[walk_to(i, walk)];
}

// Squares of `rows` (y's last axis, along which x steps by `row_step`) and `columns` (x's last axis, along which y steps by
// `column_step`). Every other axis is in the planes: where plane p begins is what the walks say.
KERNEL(BLOCK) transpose_b32_tile32(const unsigned* x, unsigned* y, int rows, int row_step, int columns, int column_step,
                                   const __grid_constant__ Walk x_planes, const __grid_constant__ Walk y_planes) {
    SHARED(unsigned, tile, [TILE][TILE + 1]);
    constexpr int LINES = BLOCK / TILE;
    const int column_tiles = ceil_div(columns, TILE);
    const int row_tiles = ceil_div(rows, TILE);
    const unsigned plane = blockIdx.x / (column_tiles * row_tiles);
    const int square = blockIdx.x % (column_tiles * row_tiles);
    const int row = square / column_tiles * TILE, column = square % column_tiles * TILE;
    const unsigned* from = x + walk_to(plane, x_planes);
    unsigned* to = y + walk_to(plane, y_planes);
    const int along = threadIdx.x % TILE, line = threadIdx.x / TILE;
    for (int r = line; r < TILE; r += LINES) {
        if (row + r < rows && column + along < columns) {
            tile[r][along] = from[static_cast<int64_t>(row + r) * row_step + column + along];
        }
    }
    __syncthreads();
    for (int c = line; c < TILE; c += LINES) {
        if (column + c < columns && row + along < rows) {
            to[static_cast<int64_t>(column + c) * column_step + row + along] = tile[along][c];
        }
    }
}

// `row` = W C words of x, [N H] rows; y has rows of 2 `row` words, two for each of x.
KERNEL(BLOCK) STORED(upsample_nearest_2x)(const Stored* x, Stored* y, int n, int row, int channels) {
    for (unsigned i = global_thread(); i < n; i += global_threads()) {
        const unsigned line = i / (2 * row), rest = i - line * 2 * row;
        const unsigned pixel = rest / channels, channel = rest - pixel * channels;
        y[i] = x[static_cast<int64_t>(line / 2) * row + pixel / 2 * channels + channel];
    }
}

KERNEL(BLOCK) STORED(upsample_nearest_2x_grad)(const Stored* dy, Stored* dx, int n, int row, int channels) {
    for (unsigned i = global_thread(); i < n; i += global_threads()) {
        const unsigned line = i / row, rest = i - line * row;
        const unsigned pixel = rest / channels, channel = rest - pixel * channels;
        const Stored* top = dy + static_cast<int64_t>(line) * 4 * row + 2 * pixel * channels + channel;
        const Stored* bottom = top + 2 * row;
        dx[i] = (top[0] + top[channels]) + (bottom[0] + bottom[channels]);
    }
}

// x [samples, frames, height, width], boxes [samples, 4] as (y1, x1, y2, x2), windows of crop_height x crop_width.
struct Windows {
    int frames, height, width, crop_height, crop_width;
};
static_assert(sizeof(Windows) == 5 * 4, "the host's twin has the same fields");

// First row or column of the window of a box that reaches from a to b.
__device__ __forceinline__ int window_start(float a, float b, int size) {
    return static_cast<int>(floorf((a + b) / 2.0f)) - size / 2;
}

KERNEL(BLOCK) crop_windows_f32(const float* x, const float* boxes, float* y, int n, Windows all) {
    for (unsigned i = global_thread(); i < n; i += global_threads()) {
        const unsigned line = i / all.crop_width, plane = line / all.crop_height;
        const float* box = boxes + plane / all.frames * 4;
        const float y1 = box[0], x1 = box[1], y2 = box[2], x2 = box[3];
        const int row = window_start(y1, y2, all.crop_height) + static_cast<int>(line - plane * all.crop_height);
        const int column = window_start(x1, x2, all.crop_width) + static_cast<int>(i - line * all.crop_width);
        const bool inside = y2 > y1 && x2 > x1 && row >= 0 && row < all.height && column >= 0 && column < all.width;
        y[i] = inside ? x[(static_cast<int64_t>(plane) * all.height + row) * all.width + column] : 0.0f;
    }
}

// x [rows, len]
KERNEL(BLOCK) gather_rows_b32(const unsigned* x, const int* indices, unsigned* y, int n, int rows, int len) {
    for (unsigned i = global_thread(); i < n; i += global_threads()) {
        const unsigned pick = i / len;
        const int row = indices[pick];
        y[i] = row >= 0 && row < rows ? x[static_cast<int64_t>(row) * len + (i - pick * len)] : 0;
    }
}

// dy [count, len] -> dx [rows, len]; block (row, columns).
KERNEL(BLOCK) gather_rows_grad_f32(const float* dy, const int* indices, float* dx, int count, int len) {
    SHARED(int, picks, [BLOCK]);
    const int row = blockIdx.x, column = blockIdx.y * BLOCK + threadIdx.x;
    float sum = 0.0f;
    for (int first = 0; first < count; first += BLOCK) {
        const int pick = first + threadIdx.x;
        const bool mine = pick < count && indices[pick] == row;
        int total;
        const int place = block_rank(mine, total);
        if (mine) picks[place] = pick;
        __syncthreads();
        if (column < len) {
            for (int i = 0; i < total; ++i) sum += dy[static_cast<int64_t>(picks[i]) * len + column];
        }
        __syncthreads();
    }
    if (column < len) dx[static_cast<int64_t>(row) * len + column] = sum;
}
