// Qualifiers, vector types with the device's alignment, min and max.
#pragma once

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
// Blocks run one after the other, so one copy serves all; shared.ld gathers the sections, which the engine poisons between blocks.
// One section each: g++ refuses to put a template's variable beside another.
#define SIMT_TEXT(number) #number
#define SIMT_SECTION(number) __attribute__((section("simt_shared_" SIMT_TEXT(number))))
#define __shared__ static SIMT_SECTION(__COUNTER__)
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(simt::dynamic_shared)

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 { unsigned x, y, z; };

#define SIMT_VECTOR2(type, name, bytes) \
  struct alignas(bytes) name { type x, y; }; \
  inline name make_##name(type x, type y) { return name{x, y}; }
#define SIMT_VECTOR3(type, name) \
  struct name { type x, y, z; }; \
  inline name make_##name(type x, type y, type z) { return name{x, y, z}; }
#define SIMT_VECTOR4(type, name, bytes) \
  struct alignas(bytes) name { type x, y, z, w; }; \
  inline name make_##name(type x, type y, type z, type w) { return name{x, y, z, w}; }
SIMT_VECTOR2(float, float2, 8)
SIMT_VECTOR3(float, float3)
SIMT_VECTOR4(float, float4, 16)
SIMT_VECTOR2(int, int2, 8)
SIMT_VECTOR3(int, int3)
SIMT_VECTOR4(int, int4, 16)
SIMT_VECTOR2(unsigned, uint2, 8)
SIMT_VECTOR4(unsigned, uint4, 16)
SIMT_VECTOR2(unsigned short, ushort2, 4)
SIMT_VECTOR4(unsigned short, ushort4, 8)
SIMT_VECTOR2(double, double2, 16)
SIMT_VECTOR2(u64, ulonglong2, 16)
SIMT_VECTOR2(long long, longlong2, 16)
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return uint3{x, y, z}; }

// The mixed forms convert as C++ does with a < b ? a : b.
#define SIMT_MIN_MAX(result, a_type, b_type) \
  inline result min(a_type a, b_type b) { result c = a, d = b; return c < d ? c : d; } \
  inline result max(a_type a, b_type b) { result c = a, d = b; return c > d ? c : d; }
SIMT_MIN_MAX(int, int, int)
SIMT_MIN_MAX(unsigned, unsigned, unsigned)
SIMT_MIN_MAX(unsigned, int, unsigned)
SIMT_MIN_MAX(unsigned, unsigned, int)
SIMT_MIN_MAX(long long, long long, long long)
SIMT_MIN_MAX(u64, u64, u64)
SIMT_MIN_MAX(long, long, long)
SIMT_MIN_MAX(unsigned long, unsigned long, unsigned long)
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin(a, b); }
inline double max(float a, double b) { return fmax(a, b); }
inline double min(double a, float b) { return fmin(a, b); }
inline double max(double a, float b) { return fmax(a, b); }
