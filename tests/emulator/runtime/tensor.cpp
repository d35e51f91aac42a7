// Matrix operations of a warp, in the lane layouts of the PTX manual (section "Warp-level matrix instructions"). With
// g = lane / 4 and t = lane % 4, and two 16-bit elements in each register, lower half first:
//
// m16n8k16, bf16: A (16 x 16, row major): a0 = (g, 2t..), a1 = (g + 8, 2t..), a2 = (g, 2t + 8..),
//                                         a3 = (g + 8, 2t + 8..)
//                 B (16 x 8):             b0 = (2t.., g), b1 = (2t + 8.., g)
// m16n8k8, tf32:  A (16 x 8, row major):  a0 = (g, t), a1 = (g + 8, t), a2 = (g, t + 4), a3 = (g + 8, t + 4)
//                 B (8 x 8):              b0 = (t, g), b1 = (t + 4, g)
// both:           C, D (16 x 8):          d0, d1 = (g, 2t..), d2, d3 = (g + 8, 2t..)
#include <cstring>

#include "machine.h"
#include "shadow.h"

using namespace emulated;

namespace {

float as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}

// tf32 has 10 bits of fraction; the hardware ignores the others.
float as_tf32(unsigned bits) { return as_float(bits & 0xffffe000u); }

struct Tile {
    float a[16][16], b[16][8], d[16][8];

    template <unsigned K>
    __attribute__((always_inline)) void multiply() {
        for (unsigned row = 0; row < 16; ++row) {
            for (unsigned k = 0; k < K; ++k) {
                for (unsigned column = 0; column < 8; ++column) d[row][column] += a[row][k] * b[k][column];
            }
        }
    }
};

template <unsigned K>
__attribute__((always_inline)) inline void exchange(Tile& tile, void* const* operands, bool store) {
    for (unsigned lane = 0; lane < WARP; ++lane) {
        const MatrixProduct& mine = *static_cast<const MatrixProduct*>(operands[lane]);
        unsigned g = lane / 4, t = lane % 4;
        for (unsigned i = 0; i < 4; ++i) {
            float& element = tile.d[g + 8 * (i / 2)][2 * t + i % 2];
            if (store) {
                mine.d[i] = element;
                continue;
            }
            element = mine.d[i];
            unsigned row = g + 8 * (i % 2);
            if (K == 16) {
                unsigned k = 2 * t + 8 * (i / 2);
                tile.a[row][k] = as_float(mine.a[i] << 16);
                tile.a[row][k + 1] = as_float(mine.a[i] & 0xffff0000u);
            } else {
                tile.a[row][t + 4 * (i / 2)] = as_tf32(mine.a[i]);
            }
        }
        for (unsigned i = 0; i < 2 && !store; ++i) {
            if (K == 16) {
                unsigned k = 2 * t + 8 * i;
                tile.b[k][g] = as_float(mine.b[i] << 16);
                tile.b[k + 1][g] = as_float(mine.b[i] & 0xffff0000u);
            } else {
                tile.b[t + 4 * i][g] = as_tf32(mine.b[i]);
            }
        }
    }
}

template <unsigned K>
__attribute__((always_inline)) inline void product(void* const* operands) {
    Tile tile;
    exchange<K>(tile, operands, false);
    tile.multiply<K>();
    exchange<K>(tile, operands, true);
}

// Matrix q of 8 x 8 halves has its row r where lane 8 q + r points; lane l gets elements 2 (l % 4) and the next of row
// l / 4, or of column l / 4 if transposed.
template <unsigned MATRICES, bool TRANSPOSED>
void load(void* const* operands) {
    unsigned result[WARP][MATRICES];
    for (unsigned matrix = 0; matrix < MATRICES; ++matrix) {
        uint16_t element[8][8];
        for (unsigned row = 0; row < 8; ++row) {
            std::memcpy(element[row], static_cast<const MatrixLoad*>(operands[matrix * 8 + row])->row, 16);
        }
        for (unsigned lane = 0; lane < WARP; ++lane) {
            unsigned g = lane / 4, t = lane % 4 * 2;
            unsigned low = TRANSPOSED ? element[t][g] : element[g][t];
            unsigned high = TRANSPOSED ? element[t + 1][g] : element[g][t + 1];
            result[lane][matrix] = low | high << 16;
        }
    }
    for (unsigned lane = 0; lane < WARP; ++lane) {
        std::memcpy(static_cast<const MatrixLoad*>(operands[lane])->result, result[lane], sizeof(result[lane]));
    }
}

}  // namespace

// The products are most of what a kernel with tensor cores does here: compiled for several processors, chosen at load.
#define FOR_PROCESSORS __attribute__((target_clones("avx2", "default")))

extern "C" {
FOR_PROCESSORS void emulator_mma_m16n8k16_bf16(void* const* operands, unsigned) { product<16>(operands); }
FOR_PROCESSORS void emulator_mma_m16n8k8_tf32(void* const* operands, unsigned) { product<8>(operands); }
void emulator_ldmatrix_x1(void* const* operands, unsigned) { load<1, false>(operands); }
void emulator_ldmatrix_x2(void* const* operands, unsigned) { load<2, false>(operands); }
void emulator_ldmatrix_x4(void* const* operands, unsigned) { load<4, false>(operands); }
void emulator_ldmatrix_x1_trans(void* const* operands, unsigned) { load<1, true>(operands); }
void emulator_ldmatrix_x2_trans(void* const* operands, unsigned) { load<2, true>(operands); }
void emulator_ldmatrix_x4_trans(void* const* operands, unsigned) { load<4, true>(operands); }
}
