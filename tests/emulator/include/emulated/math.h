// Arithmetic by its CUDA names. The `_rn` family rounds once per operation, which plain C++ does too as long as the
// compiler may not fuse (-ffp-contract=off).
#pragma once

extern "C" {
float expf(float);
float exp2f(float);
float expm1f(float);
float logf(float);
float log2f(float);
float log10f(float);
float log1pf(float);
float sqrtf(float);
float cbrtf(float);
float sinf(float);
float cosf(float);
float tanf(float);
float asinf(float);
float acosf(float);
float atanf(float);
float atan2f(float, float);
float sinhf(float);
float coshf(float);
float tanhf(float);
float erff(float);
float erfcf(float);
float powf(float, float);
float fabsf(float);
float floorf(float);
float ceilf(float);
float truncf(float);
float roundf(float);
float rintf(float);
float nearbyintf(float);
float fmodf(float, float);
float fminf(float, float);
float fmaxf(float, float);
float fmaf(float, float, float);
float copysignf(float, float);
float hypotf(float, float);
float ldexpf(float, int);
float frexpf(float, int*);
long lrintf(float);
double exp(double);
double log(double);
double sqrt(double);
double fabs(double);
double floor(double);
double ceil(double);
double fma(double, double, double);
double fmin(double, double);
double fmax(double, double);
double pow(double, double);
double sin(double);
double cos(double);
double tanh(double);
int abs(int) noexcept;
void* memcpy(void*, const void*, size_t) noexcept;
void* memset(void*, int, size_t) noexcept;
int printf(const char*, ...);
}

#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")

namespace emulated {

template <class To, class From>
inline __attribute__((always_inline)) To bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "the same bits as another type of the same size");
    To to;
    __builtin_memcpy(&to, &from, sizeof(to));
    return to;
}

}  // namespace emulated

// In C++ the short names take floats too, and stay in single precision.
#define EMULATED_OVERLOAD(name) \
    static inline float name(float x) { return name##f(x); }
EMULATED_OVERLOAD(exp)
EMULATED_OVERLOAD(log)
EMULATED_OVERLOAD(sqrt)
EMULATED_OVERLOAD(fabs)
EMULATED_OVERLOAD(floor)
EMULATED_OVERLOAD(ceil)
EMULATED_OVERLOAD(sin)
EMULATED_OVERLOAD(cos)
EMULATED_OVERLOAD(tanh)
static inline float abs(float x) { return fabsf(x); }
static inline float pow(float x, float y) { return powf(x, y); }

static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline void sincosf(float x, float* sine, float* cosine) {
    *sine = sinf(x);
    *cosine = cosf(x);
}
static inline float __expf(float x) { return expf(x); }
static inline float __exp2f(float x) { return exp2f(x); }
static inline float __logf(float x) { return logf(x); }
static inline float __log2f(float x) { return log2f(x); }
static inline float __sinf(float x) { return sinf(x); }
static inline float __cosf(float x) { return cosf(x); }
static inline float __powf(float x, float y) { return powf(x, y); }
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __saturatef(float x) { return x >= 1.0f ? 1.0f : x > 0.0f ? x : 0.0f; }
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fsub_rn(float x, float y) { return x - y; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline float __fdiv_rn(float x, float y) { return x / y; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
static inline double __dadd_rn(double x, double y) { return x + y; }
static inline double __dmul_rn(double x, double y) { return x * y; }
static inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }

#undef isnan
#undef isinf
#undef isfinite
static inline bool isnan(float x) { return __builtin_isnan(x); }
static inline bool isinf(float x) { return __builtin_isinf(x); }
static inline bool isfinite(float x) { return __builtin_isfinite(x); }
static inline bool signbit(float x) { return __builtin_signbit(x); }

static inline unsigned __float_as_uint(float x) { return emulated::bits<unsigned>(x); }
static inline int __float_as_int(float x) { return emulated::bits<int>(x); }
static inline float __uint_as_float(unsigned x) { return emulated::bits<float>(x); }
static inline float __int_as_float(int x) { return emulated::bits<float>(x); }
static inline long long __double_as_longlong(double x) { return emulated::bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return emulated::bits<double>(x); }

// Conversions saturate on the device and make 0 of NaN; in C++ they would be undefined out of range.
namespace emulated {
static inline int to_int(float x) {
    return isnan(x) ? 0 : x >= 2147483648.0f ? 2147483647 : x < -2147483648.0f ? -2147483647 - 1 : static_cast<int>(x);
}
static inline unsigned to_uint(float x) {
    return isnan(x) || x < 0.0f ? 0u : x >= 4294967296.0f ? 4294967295u : static_cast<unsigned>(x);
}
}  // namespace emulated
static inline int __float2int_rn(float x) { return emulated::to_int(rintf(x)); }
static inline int __float2int_rz(float x) { return emulated::to_int(truncf(x)); }
static inline int __float2int_rd(float x) { return emulated::to_int(floorf(x)); }
static inline int __float2int_ru(float x) { return emulated::to_int(ceilf(x)); }
static inline unsigned __float2uint_rn(float x) { return emulated::to_uint(rintf(x)); }
static inline unsigned __float2uint_rz(float x) { return emulated::to_uint(truncf(x)); }
static inline float __int2float_rn(int x) { return static_cast<float>(x); }
static inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
static inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x)); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline unsigned __brev(unsigned x) {
    unsigned y = 0;
    for (int bit = 0; bit < 32; ++bit) y |= (x >> bit & 1u) << (31 - bit);
    return y;
}
static inline unsigned __umulhi(unsigned x, unsigned y) { return static_cast<unsigned long long>(x) * y >> 32; }
static inline int __mulhi(int x, int y) { return static_cast<int>(static_cast<long long>(x) * y >> 32); }
static inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return static_cast<unsigned long long>(static_cast<unsigned __int128>(x) * y >> 64);
}
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    return static_cast<unsigned>(((static_cast<unsigned long long>(high) << 32 | low) << (shift & 31)) >> 32);
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return static_cast<unsigned>((static_cast<unsigned long long>(high) << 32 | low) >> (shift & 31));
}
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    unsigned long long both = static_cast<unsigned long long>(y) << 32 | x;
    unsigned result = 0;
    for (int byte = 0; byte < 4; ++byte) {
        unsigned select = selector >> (4 * byte) & 0xf;
        unsigned value = both >> (8 * (select & 7)) & 0xff;
        if (select & 8) value = value & 0x80 ? 0xff : 0;
        result |= value << (8 * byte);
    }
    return result;
}

#define EMULATED_MIN_MAX(type)                                       \
    static inline type min(type a, type b) { return b < a ? b : a; } \
    static inline type max(type a, type b) { return a < b ? b : a; }
EMULATED_MIN_MAX(int)
EMULATED_MIN_MAX(unsigned)
EMULATED_MIN_MAX(long)
EMULATED_MIN_MAX(unsigned long)
EMULATED_MIN_MAX(long long)
EMULATED_MIN_MAX(unsigned long long)
// Signed and unsigned mixed: compared as unsigned, as CUDA's own are.
static inline unsigned min(unsigned a, int b) { return min(a, static_cast<unsigned>(b)); }
static inline unsigned min(int a, unsigned b) { return min(static_cast<unsigned>(a), b); }
static inline unsigned max(unsigned a, int b) { return max(a, static_cast<unsigned>(b)); }
static inline unsigned max(int a, unsigned b) { return max(static_cast<unsigned>(a), b); }
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

template <class T>
static inline T __ldg(const T* address) {
    return *address;
}
