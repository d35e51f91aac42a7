// Asynchronous copies from global to shared memory, and accesses of 16 bytes.
#pragma once
#include "device/prelude.cuh"

// An address in shared memory as PTX takes it.
#ifndef EMULATED
__device__ __forceinline__ unsigned shared_address(const void* pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}
#endif

// Begins the copy of BYTES (4, 8 or 16) from `global` to `shared`, both multiples of BYTES; with `valid` false it
// writes zeros and reads nothing. The bytes are there for this thread after copy_wait, for others after a barrier
// behind it.
//
// PTX: cp.async.ca.shared.global (4, 8), cp.async.cg.shared.global (16; past the first-level cache), with src-size for
// the zeros. Before sm_80 it is a plain copy.
template <int BYTES>
__device__ __forceinline__ void copy_async(void* shared, const void* global, bool valid = true) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
#ifdef EMULATED
    emulator_copy_async(shared, global, BYTES, valid ? BYTES : 0, EMULATED_HERE);
#elif __CUDA_ARCH__ >= 800
    const int bytes = valid ? BYTES : 0;
    if (BYTES == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(shared)),
                     "l"(__cvta_generic_to_global(global)), "n"(BYTES), "r"(bytes)
                     : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(shared)),
                     "l"(__cvta_generic_to_global(global)), "n"(BYTES), "r"(bytes)
                     : "memory");
    }
#else
    if (BYTES == 16) {
        *static_cast<uint4*>(shared) = valid ? *static_cast<const uint4*>(global) : make_uint4(0, 0, 0, 0);
    } else if (BYTES == 8) {
        *static_cast<uint2*>(shared) = valid ? *static_cast<const uint2*>(global) : make_uint2(0, 0);
    } else {
        *static_cast<unsigned*>(shared) = valid ? *static_cast<const unsigned*>(global) : 0;
    }
#endif
}

// Closes a group: the copies that this thread began since the last one. PTX: cp.async.commit_group.
__device__ __forceinline__ void copy_commit() {
#ifdef EMULATED
    emulator_copy_commit();
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most PENDING of this thread's latest groups are still on their way. PTX: cp.async.wait_group.
template <int PENDING>
__device__ __forceinline__ void copy_wait() {
#ifdef EMULATED
    emulator_copy_wait(PENDING);
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}

// Any 16 bytes at a multiple of 16, in one access. PTX: ld.v4.b32, st.v4.b32.
template <class T>
__device__ __forceinline__ T load_vector(const void* address) {
    static_assert(sizeof(T) == 16, "one access has 16 bytes");
#ifdef EMULATED
    return emulated::load_vector<T>(address);
#else
    return *static_cast<const T*>(address);
#endif
}
template <class T>
__device__ __forceinline__ void store_vector(void* address, T value) {
    static_assert(sizeof(T) == 16, "one access has 16 bytes");
#ifdef EMULATED
    emulated::store_vector(address, value);
#else
    *static_cast<T*>(address) = value;
#endif
}

// Four floats.
__device__ __forceinline__ float4 load4(const float* address) { return load_vector<float4>(address); }
__device__ __forceinline__ void store4(float* address, float4 value) { store_vector(address, value); }

// Eight bf16, or whatever 16 bytes hold.
__device__ __forceinline__ uint4 load16(const void* address) { return load_vector<uint4>(address); }
__device__ __forceinline__ void store16(void* address, uint4 value) { store_vector(address, value); }
