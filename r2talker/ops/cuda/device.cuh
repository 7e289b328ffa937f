// Machine instructions under plain names. Nothing is included, so NVRTC needs no header files.
// tests/simt/simt.h offers the same names to a C++ compiler, so that kernels also run without a GPU.

#ifndef SIMT_EMULATOR

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;

#define DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) type name[]

// Two floats to a pair of halves, `lo` in the low 16 bits.
__device__ __forceinline__ u32 pack_half2(float lo, float hi) {
  u32 r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  return r;
}

// The same after max(0, x).
__device__ __forceinline__ u32 pack_half2_relu(float lo, float hi) {
  u32 r;
  asm("cvt.rn.relu.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  return r;
}

__device__ __forceinline__ float half_low(u32 h) {
  float r;
  asm("{.reg .b16 l, u; mov.b32 {l, u}, %1; cvt.f32.f16 %0, l;}" : "=f"(r) : "r"(h));
  return r;
}

__device__ __forceinline__ float half_high(u32 h) {
  float r;
  asm("{.reg .b16 l, u; mov.b32 {l, u}, %1; cvt.f32.f16 %0, u;}" : "=f"(r) : "r"(h));
  return r;
}

__device__ __forceinline__ u32 half2_fma(u32 a, u32 b, u32 c) {
  u32 r;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
  return r;
}

__device__ __forceinline__ u32 half2_add(u32 a, u32 b) {
  u32 r;
  asm("add.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  return r;
}

__device__ __forceinline__ u32 half2_mul(u32 a, u32 b) {
  u32 r;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  return r;
}

__device__ __forceinline__ u32 half2_broadcast(float v) { return pack_half2(v, v); }

// c += A (16x16, row-major) B (16x8, column-major), halves with float sums. With lane = 4 g + q:
// a0 = A[g][2q..], a1 = A[g+8][2q..], a2 = A[g][2q+8..], a3 = A[g+8][2q+8..], b0 = B[2q..][g], b1 = B[2q+8..][g],
// c[0..1] = C[g][2q..], c[2..3] = C[g+8][2q..] (PTX ISA, mma.m16n8k16).
__device__ __forceinline__ void mma_16x8x16(float* c, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Four 8x8 matrices of halves from shared memory; lanes 8i ... 8i+7 give the addresses of the rows (16 bytes) of matrix i.
__device__ __forceinline__ void ldmatrix_x4(u32* r, const void* row) {
  u32 address = (u32)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

__device__ __forceinline__ void ldmatrix_x4_trans(u32* r, const void* row) {
  u32 address = (u32)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

__device__ __forceinline__ u32 load_u32(const u32* p) { return __ldg(p); }
__device__ __forceinline__ uint2 load_u64(const uint2* p) { return __ldg(p); }
__device__ __forceinline__ uint4 load_u128(const uint4* p) { return __ldg(p); }

// Sums into global memory whose result nobody waits for; the address is aligned to what is added.
__device__ __forceinline__ void red_add_f32x2(float* p, float a, float b) {
#if __CUDA_ARCH__ >= 900
  asm volatile("red.global.add.v2.f32 [%0], {%1,%2};" ::"l"(p), "f"(a), "f"(b) : "memory");
#else
  atomicAdd(p, a);
  atomicAdd(p + 1, b);
#endif
}

__device__ __forceinline__ void red_add_f32x4(float* p, float a, float b, float c, float d) {
#if __CUDA_ARCH__ >= 900
  asm volatile("red.global.add.v4.f32 [%0], {%1,%2,%3,%4};" ::"l"(p), "f"(a), "f"(b), "f"(c), "f"(d) : "memory");
#else
  atomicAdd(p, a);
  atomicAdd(p + 1, b);
  atomicAdd(p + 2, c);
  atomicAdd(p + 3, d);
#endif
}

#endif  // SIMT_EMULATOR
