// The intrinsics of CUDA C++, by their documented meaning (CUDA C++ Programming Guide; PTX ISA for the shuffles' bounds).
#pragma once

namespace simt {

template <class To, class From>
static inline To bits(From value) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To result;
  memcpy(&result, &value, sizeof result);
  return result;
}

template <class T>
struct Shuffle {
  T value, result;
  int operand, width;
};

enum ShuffleKind { INDEX, XOR, UP, DOWN };

// Lane that is read; the own lane where the segment ends.
SIMT_PLAIN static inline int source_lane(ShuffleKind kind, int lane, int operand, int width) {
  int first = lane & ~(width - 1), last = first + width - 1;
  if (kind == INDEX) return first + (operand & (width - 1));
  int source = kind == XOR ? (lane ^ operand) : kind == UP ? lane - operand : lane + operand;
  bool inside = kind == UP ? source >= first : source <= last;
  return inside ? source : lane;
}

template <ShuffleKind KIND, class T>
SIMT_PLAIN static void finish_shuffle(u32 mask, void** operands) {
  for (u32 left = mask; left; left &= left - 1) {
    int lane = __builtin_ctz(left);
    auto* mine = static_cast<Shuffle<T>*>(operands[lane]);
    int source = source_lane(KIND, lane, mine->operand, mine->width) & 31;
    // What a lane outside the mask would give is undefined: poison it.
    if (mask >> source & 1) mine->result = static_cast<Shuffle<T>*>(operands[source])->value;
    else memset(&mine->result, 0xff, sizeof(T));
  }
}

template <ShuffleKind KIND, class T>
static inline T shuffle(const char* name, u32 mask, T value, int operand, int width) {
  Shuffle<T> mine{value, value, operand, width};
  if (width < 1 || width > 32 || (width & (width - 1))) fail("%s: width %d is not a power of two up to 32", name, width);
  collective(name, mask, finish_shuffle<KIND, T>, &mine);
  return mine.result;
}

struct Vote { u32 value, result; };

SIMT_PLAIN static void finish_ballot(u32 mask, void** operands) {
  u32 votes = 0;
  for (u32 left = mask; left; left &= left - 1) {
    int lane = __builtin_ctz(left);
    votes |= u32(static_cast<Vote*>(operands[lane])->value != 0) << lane;
  }
  for (u32 left = mask; left; left &= left - 1) static_cast<Vote*>(operands[__builtin_ctz(left)])->result = votes;
}

// The three votes are different collectives, as on the device: KIND keeps them apart.
template <int KIND>
SIMT_PLAIN static void finish_vote(u32 mask, void** operands) { finish_ballot(mask, operands); }

template <int KIND>
static inline u32 vote(const char* name, u32 mask, u32 value) {
  Vote mine{value, 0};
  collective(name, mask, finish_vote<KIND>, &mine);
  return mine.result;
}

template <class T>
struct Match { T value; u32 result; };

template <class T>
SIMT_PLAIN static void finish_match(u32 mask, void** operands) {
  for (u32 left = mask; left; left &= left - 1) {
    auto* mine = static_cast<Match<T>*>(operands[__builtin_ctz(left)]);
    mine->result = 0;
    for (u32 other = mask; other; other &= other - 1) {
      int lane = __builtin_ctz(other);
      mine->result |= u32(memcmp(&static_cast<Match<T>*>(operands[lane])->value, &mine->value, sizeof(T)) == 0) << lane;
    }
  }
}

enum ReduceKind { ADD, MIN, MAX, AND, OR, EXOR };

template <ReduceKind KIND, class T>
SIMT_PLAIN static inline T combine(T a, T b) {
  if (KIND == ADD) return T(u32(a) + u32(b));
  if (KIND == MIN) return a < b ? a : b;
  if (KIND == MAX) return a > b ? a : b;
  return KIND == AND ? a & b : KIND == OR ? a | b : a ^ b;
}

template <ReduceKind KIND, class T>
SIMT_PLAIN static void finish_reduce(u32 mask, void** operands) {
  T result = static_cast<T*>(operands[__builtin_ctz(mask)])[0];
  for (u32 left = mask & (mask - 1); left; left &= left - 1)
    result = combine<KIND, T>(result, static_cast<T*>(operands[__builtin_ctz(left)])[0]);
  for (u32 left = mask; left; left &= left - 1) static_cast<T*>(operands[__builtin_ctz(left)])[1] = result;
}

template <ReduceKind KIND, class T>
static inline T reduce(const char* name, u32 mask, T value) {
  T mine[2] = {value, value};
  collective(name, mask, finish_reduce<KIND, T>, mine);
  return mine[1];
}

static inline void want_aligned(const char* name, const void* address, u64 bytes) {
  if (reinterpret_cast<u64>(address) % bytes) fail("%s: address %p is not a multiple of %llu", name, address, bytes);
}

static inline int saturated(double value) {
  if (value != value) return 0;
  return value >= 2147483647.0 ? 2147483647 : value <= -2147483648.0 ? -2147483647 - 1 : int(value);
}

}  // namespace simt

inline void __syncthreads() { simt::barrier(0); }
inline int __syncthreads_count(int value) { return int(simt::barrier(value != 0)); }
inline int __syncthreads_or(int value) { return simt::barrier(value != 0) != 0; }
inline int __syncthreads_and(int value) { return simt::barrier(value == 0) == 0; }
inline void __syncwarp(u32 mask = simt::FULL_MASK) { simt::collective("__syncwarp", mask, simt::finish_syncwarp, nullptr); }

template <class T> inline T __shfl_sync(u32 mask, T value, int lane, int width = 32) {
  return simt::shuffle<simt::INDEX, T>("__shfl_sync", mask, value, lane, width);
}
template <class T> inline T __shfl_xor_sync(u32 mask, T value, int lanes, int width = 32) {
  return simt::shuffle<simt::XOR, T>("__shfl_xor_sync", mask, value, lanes, width);
}
template <class T> inline T __shfl_up_sync(u32 mask, T value, unsigned delta, int width = 32) {
  return simt::shuffle<simt::UP, T>("__shfl_up_sync", mask, value, int(delta), width);
}
template <class T> inline T __shfl_down_sync(u32 mask, T value, unsigned delta, int width = 32) {
  return simt::shuffle<simt::DOWN, T>("__shfl_down_sync", mask, value, int(delta), width);
}
inline u32 __ballot_sync(u32 mask, int value) { return simt::vote<0>("__ballot_sync", mask, value != 0); }
inline int __any_sync(u32 mask, int value) { return simt::vote<1>("__any_sync", mask, value != 0) != 0; }
inline int __all_sync(u32 mask, int value) { return simt::vote<2>("__all_sync", mask, value != 0) == mask; }
inline u32 __activemask() { return simt::warps[simt::current->warp].alive; }
template <class T> inline u32 __match_any_sync(u32 mask, T value) {
  simt::Match<T> mine{value, 0};
  simt::collective("__match_any_sync", mask, simt::finish_match<T>, &mine);
  return mine.result;
}
#define SIMT_REDUCE(name, kind, type) \
  inline type name(u32 mask, type value) { return simt::reduce<simt::kind, type>(#name, mask, value); }
SIMT_REDUCE(__reduce_add_sync, ADD, unsigned)
SIMT_REDUCE(__reduce_add_sync, ADD, int)
SIMT_REDUCE(__reduce_min_sync, MIN, unsigned)
SIMT_REDUCE(__reduce_min_sync, MIN, int)
SIMT_REDUCE(__reduce_max_sync, MAX, unsigned)
SIMT_REDUCE(__reduce_max_sync, MAX, int)
SIMT_REDUCE(__reduce_and_sync, AND, unsigned)
SIMT_REDUCE(__reduce_or_sync, OR, unsigned)
SIMT_REDUCE(__reduce_xor_sync, EXOR, unsigned)

#define SIMT_ATOMIC(name, type, value) \
  SIMT_PLAIN inline type name(type* address, type v) { \
    simt::want_aligned(#name, address, sizeof(type)); \
    simt::check_access_of(*simt::current, address, sizeof(type), simt::ATOMIC); \
    type old = *address; \
    *address = value; \
    return old; \
  }
SIMT_ATOMIC(atomicAdd, float, old + v)
SIMT_ATOMIC(atomicAdd, double, old + v)
SIMT_ATOMIC(atomicAdd, int, int(unsigned(old) + unsigned(v)))
SIMT_ATOMIC(atomicAdd, unsigned, old + v)
SIMT_ATOMIC(atomicAdd, u64, old + v)
SIMT_ATOMIC(atomicSub, int, int(unsigned(old) - unsigned(v)))
SIMT_ATOMIC(atomicSub, unsigned, old - v)
SIMT_ATOMIC(atomicMax, int, old > v ? old : v)
SIMT_ATOMIC(atomicMax, unsigned, old > v ? old : v)
SIMT_ATOMIC(atomicMax, u64, old > v ? old : v)
SIMT_ATOMIC(atomicMin, int, old < v ? old : v)
SIMT_ATOMIC(atomicMin, unsigned, old < v ? old : v)
SIMT_ATOMIC(atomicMin, u64, old < v ? old : v)
SIMT_ATOMIC(atomicExch, int, v)
SIMT_ATOMIC(atomicExch, unsigned, v)
SIMT_ATOMIC(atomicExch, u64, v)
SIMT_ATOMIC(atomicExch, float, v)
SIMT_ATOMIC(atomicOr, int, old | v)
SIMT_ATOMIC(atomicOr, unsigned, old | v)
SIMT_ATOMIC(atomicOr, u64, old | v)
SIMT_ATOMIC(atomicAnd, int, old & v)
SIMT_ATOMIC(atomicAnd, unsigned, old & v)
SIMT_ATOMIC(atomicAnd, u64, old & v)
SIMT_ATOMIC(atomicXor, int, old ^ v)
SIMT_ATOMIC(atomicXor, unsigned, old ^ v)
SIMT_ATOMIC(atomicXor, u64, old ^ v)

// A swap that fails may be a loop that waits for another thread: let it come.
#define SIMT_ATOMIC_SWAP(type) \
  SIMT_PLAIN inline type atomicCAS(type* address, type expected, type v) { \
    simt::want_aligned("atomicCAS", address, sizeof(type)); \
    simt::check_access_of(*simt::current, address, sizeof(type), simt::ATOMIC); \
    type old = *address; \
    if (old == expected) *address = v; \
    else simt::yield(); \
    return old; \
  }
SIMT_ATOMIC_SWAP(int)
SIMT_ATOMIC_SWAP(unsigned)
SIMT_ATOMIC_SWAP(u64)

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __popcll(u64 v) { return __builtin_popcountll(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }
inline int __clz(int v) { return v ? __builtin_clz(unsigned(v)) : 32; }
inline int __clzll(long long v) { return v ? __builtin_clzll(u64(v)) : 64; }
inline unsigned __brev(unsigned v) {
  v = (v >> 1 & 0x55555555u) | (v & 0x55555555u) << 1;
  v = (v >> 2 & 0x33333333u) | (v & 0x33333333u) << 2;
  v = (v >> 4 & 0x0f0f0f0fu) | (v & 0x0f0f0f0fu) << 4;
  return __builtin_bswap32(v);
}
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(u64(a) * b >> 32); }
template <class T> inline T __ldg(const T* address) { return *address; }

inline unsigned __float_as_uint(float v) { return simt::bits<unsigned>(v); }
inline int __float_as_int(float v) { return simt::bits<int>(v); }
inline float __uint_as_float(unsigned v) { return simt::bits<float>(v); }
inline float __int_as_float(int v) { return simt::bits<float>(v); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float v) { return sqrtf(v); }
inline float __frcp_rn(float v) { return 1.0f / v; }
inline float __frsqrt_rn(float v) { return float(1.0 / sqrt(double(v))); }
inline float rsqrtf(float v) { return float(1.0 / sqrt(double(v))); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float v) { return expf(v); }
inline float __logf(float v) { return logf(v); }
inline float __log2f(float v) { return log2f(v); }
inline float __powf(float a, float b) { return powf(a, b); }
inline float __sinf(float v) { return sinf(v); }
inline float __cosf(float v) { return cosf(v); }
inline void __sincosf(float v, float* s, float* c) { *s = sinf(v), *c = cosf(v); }
inline float __saturatef(float v) { return fminf(fmaxf(v, 0.0f), 1.0f); }
inline int __float2int_rd(float v) { return simt::saturated(floorf(v)); }
inline int __float2int_ru(float v) { return simt::saturated(ceilf(v)); }
inline int __float2int_rz(float v) { return simt::saturated(v); }
inline int __float2int_rn(float v) { return simt::saturated(nearbyintf(v)); }
inline unsigned __float2uint_rz(float v) { return v >= 4294967296.0f ? 0xffffffffu : v > 0.0f ? unsigned(v) : 0u; }
inline float __int2float_rn(int v) { return float(v); }
inline float __uint2float_rn(unsigned v) { return float(v); }

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __nanosleep(unsigned) { simt::yield(); }
inline long long clock64() { return (long long)(simt::clock_ticks += 1); }
[[noreturn]] inline void __trap() { simt::fail("__trap() was called"); }
