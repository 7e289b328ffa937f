// Host forms of the kernels' own wrappers around PTX: halves, matrix fragments, wide reductions and copies.
#pragma once

namespace simt {

#if defined(__F16C__)
typedef short Short8 __attribute__((vector_size(16)));
typedef float Float4 __attribute__((vector_size(16)));
static inline float half_to_float(u32 half) { return __builtin_ia32_vcvtph2ps(Short8{short(half)})[0]; }
#else
static inline float half_to_float(u32 half) {
  u32 sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ffu;
  if (exponent == 0) {
    float value = float(fraction) * 0x1p-24f;
    return sign ? -value : value;
  }
  u32 shifted = exponent == 31 ? 255 : exponent + 112;
  return bits<float>(sign | shifted << 23 | fraction << 13);
}
#endif

// To nearest, ties to even; subnormals are kept, what is too large becomes infinite, not-a-number is 0x7fff as on the device.
static inline u32 float_to_half(float value) {
  if (value != value) return 0x7fff;
#if defined(__F16C__)
  return u16(__builtin_ia32_vcvtps2ph(Float4{value}, 0)[0]);
#else
  u32 word = bits<u32>(value), sign = word >> 16 & 0x8000u, magnitude = word & 0x7fffffffu;
  if (magnitude >= 0x477ff000u) return sign | 0x7c00u;
  if (magnitude < 0x38800000u) {
    // Adding 2^-1 leaves the multiple of 2^-24 that the hardware's own rounding chose in the low bits.
    return sign | (bits<u32>(bits<float>(magnitude) + 0.5f) - 0x3f000000u);
  }
  u32 rounded = magnitude + 0xfffu + (magnitude >> 13 & 1);
  return sign | ((rounded - 0x38000000u) >> 13);
#endif
}

// Rounds to odd, so that rounding once more, to half, is as if it had been done at once.
static inline float to_odd(double value) {
  float nearest = float(value);
  if (value != value || double(nearest) == value) return nearest;
  u32 word = bits<u32>(nearest);
  if (fabs(double(nearest)) > fabs(value)) word -= 1;
  return bits<float>(word | 1);
}

static inline u32 fma_half(u32 a, u32 b, u32 c) {
  // Exact in double wherever the rounding to half depends on it: 22 bits of product, 40 bits of span.
  return float_to_half(to_odd(double(half_to_float(a)) * double(half_to_float(b)) + double(half_to_float(c))));
}

static inline u32 relu_half(u32 half) { return (half & 0x8000u) || (half & 0x7fffu) > 0x7c00u ? 0u : half; }

static inline bool in_shared(const void* address, u64 bytes) {
  const char* place = static_cast<const char*>(address);
  if (place >= dynamic_shared && place + bytes <= dynamic_shared + dynamic_bytes) return true;
  return place >= __start_simt_shared && place + bytes <= __stop_simt_shared;
}

static inline void want_shared(const char* name, const void* address, u64 bytes) {
  if (!in_shared(address, bytes)) fail("%s: address %p is not in shared memory", name, address);
}

typedef float Row4 __attribute__((vector_size(16)));

struct Mma {
  float* c;
  u32 a[4], b[2];
};

SIMT_PLAIN static void finish_mma(u32, void** operands) {
  float a[16][16];
  Row4 b[16][2];
  for (int lane = 0; lane < 32; lane++) {
    const Mma& mine = *static_cast<Mma*>(operands[lane]);
    int g = lane / 4, q = lane % 4;
    for (int part = 0; part < 4; part++) {
      float* place = &a[g + part % 2 * 8][2 * q + part / 2 * 8];
      place[0] = half_to_float(mine.a[part] & 0xffffu);
      place[1] = half_to_float(mine.a[part] >> 16);
    }
    for (int part = 0; part < 2; part++) {
      b[2 * q + part * 8][g / 4][g % 4] = half_to_float(mine.b[part] & 0xffffu);
      b[2 * q + 1 + part * 8][g / 4][g % 4] = half_to_float(mine.b[part] >> 16);
    }
  }
  for (int row = 0; row < 16; row++) {
    float* owners[4];
    Row4 sum[2];
    for (int q = 0; q < 4; q++) {
      owners[q] = static_cast<Mma*>(operands[row % 8 * 4 + q])->c + row / 8 * 2;
      sum[q / 2][q % 2 * 2] = owners[q][0];
      sum[q / 2][q % 2 * 2 + 1] = owners[q][1];
    }
    for (int k = 0; k < 16; k++) {
      Row4 scale = {a[row][k], a[row][k], a[row][k], a[row][k]};
      sum[0] += scale * b[k][0];
      sum[1] += scale * b[k][1];
    }
    for (int q = 0; q < 4; q++) {
      owners[q][0] = sum[q / 2][q % 2 * 2];
      owners[q][1] = sum[q / 2][q % 2 * 2 + 1];
    }
  }
}

struct Matrices {
  u32* result;
  const void* row;
};

template <int COUNT, bool TRANSPOSED>
SIMT_PLAIN static void finish_ldmatrix(u32, void** operands) {
  for (int matrix = 0; matrix < COUNT; matrix++) {
    u16 values[8][8];
    for (int row = 0; row < 8; row++) memcpy(values[row], static_cast<Matrices*>(operands[matrix * 8 + row])->row, 16);
    for (int lane = 0; lane < 32; lane++) {
      int g = lane / 4, q = lane % 4;
      for (int half = 0; half < 2; half++) {
        auto* row = static_cast<const u16*>(static_cast<Matrices*>(operands[matrix * 8 + (TRANSPOSED ? 2 * q + half : g)])->row);
        check_access_of(fibers[current->warp * LANES + lane], row + (TRANSPOSED ? g : 2 * q + half), 2, READ);
      }
      u32 low = TRANSPOSED ? values[2 * q][g] : values[g][2 * q];
      u32 high = TRANSPOSED ? values[2 * q + 1][g] : values[g][2 * q + 1];
      static_cast<Matrices*>(operands[lane])->result[matrix] = low | high << 16;
    }
  }
}

template <int COUNT, bool TRANSPOSED>
static inline void ldmatrix(const char* name, u32* result, const void* row) {
  Matrices mine{result, row};
  if (current->lane < 8 * COUNT) {
    want_aligned(name, row, 16);
    want_shared(name, row, 16);
  }
  collective(name, FULL_MASK, finish_ldmatrix<COUNT, TRANSPOSED>, &mine);
}

// The oldest copies of this thread arrive.
SIMT_PLAIN static void finish_copies(u32 count) {
  Fiber& fiber = *current;
  for (u32 i = 0; i < count; i++) {
    check_access_of(fiber, fiber.copies[i].shared, 16, WRITE);
    memcpy(fiber.copies[i].shared, fiber.copies[i].global, 16);
  }
  fiber.copy_count -= count;
  memmove(fiber.copies, fiber.copies + count, fiber.copy_count * sizeof(Copy));
}

}  // namespace simt

inline u32 pack_half2(float lo, float hi) { return simt::float_to_half(lo) | simt::float_to_half(hi) << 16; }
inline u32 half2_relu(u32 h) { return simt::relu_half(h & 0xffffu) | simt::relu_half(h >> 16) << 16; }
inline u32 pack_half2_relu(float lo, float hi) { return half2_relu(pack_half2(lo, hi)); }
inline float half_low(u32 h) { return simt::half_to_float(h & 0xffffu); }
inline float half_high(u32 h) { return simt::half_to_float(h >> 16); }
inline u32 half2_broadcast(float v) { return pack_half2(v, v); }
inline u32 half2_fma(u32 a, u32 b, u32 c) {
  return simt::fma_half(a & 0xffffu, b & 0xffffu, c & 0xffffu) | simt::fma_half(a >> 16, b >> 16, c >> 16) << 16;
}
// Sum and product of halves, rounded to float and then to half, come out as if rounded once: 24 bits >= 2 * 11 + 2.
inline u32 half2_add(u32 a, u32 b) { return pack_half2(half_low(a) + half_low(b), half_high(a) + half_high(b)); }
inline u32 half2_mul(u32 a, u32 b) { return pack_half2(half_low(a) * half_low(b), half_high(a) * half_high(b)); }

inline void mma_16x8x16(float c[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  simt::Mma mine{c, {a0, a1, a2, a3}, {b0, b1}};
  simt::collective("mma_16x8x16", simt::FULL_MASK, simt::finish_mma, &mine);
}
inline void ldmatrix_x4(u32 r[4], const void* shared_row) { simt::ldmatrix<4, false>("ldmatrix_x4", r, shared_row); }
inline void ldmatrix_x4_trans(u32 r[4], const void* shared_row) { simt::ldmatrix<4, true>("ldmatrix_x4_trans", r, shared_row); }
inline void ldmatrix_x2(u32 r[2], const void* shared_row) { simt::ldmatrix<2, false>("ldmatrix_x2", r, shared_row); }
inline void ldmatrix_x2_trans(u32 r[2], const void* shared_row) { simt::ldmatrix<2, true>("ldmatrix_x2_trans", r, shared_row); }

inline void red_add_f32x4(float* p, float a, float b, float c, float d) {
  simt::want_aligned("red_add_f32x4", p, 16);
  atomicAdd(p, a), atomicAdd(p + 1, b), atomicAdd(p + 2, c), atomicAdd(p + 3, d);
}
inline void red_add_f32x2(float* p, float a, float b) {
  simt::want_aligned("red_add_f32x2", p, 8);
  atomicAdd(p, a), atomicAdd(p + 1, b);
}
SIMT_PLAIN inline void red_add_half2(u32* p, u32 v) {
  simt::want_aligned("red_add_half2", p, 4);
  simt::check_access_of(*simt::current, p, 4, simt::ATOMIC);
  *p = half2_add(*p, v);
}
inline u32 load_u32(const u32* p) { return *p; }
inline uint2 load_u64(const uint2* p) { return *p; }
inline uint4 load_u128(const uint4* p) { return *p; }

// The bytes come as late as they may, at the wait; until then there is poison.
SIMT_PLAIN inline void copy_async_16(void* shared, const void* global) {
  simt::Fiber& fiber = *simt::current;
  simt::want_aligned("copy_async_16", shared, 16);
  simt::want_aligned("copy_async_16", global, 16);
  simt::want_shared("copy_async_16", shared, 16);
  simt::check_access_of(fiber, global, 16, simt::READ);
  simt::check_access_of(fiber, shared, 16, simt::WRITE);
  if (fiber.copy_count == simt::MAX_COPIES) simt::finish_copies(1);
  memset(shared, 0xff, 16);
  fiber.copies[fiber.copy_count++] = simt::Copy{shared, global, fiber.committed};
}
inline void copy_async_commit() { simt::current->committed++; }
template <int N> SIMT_PLAIN inline void copy_async_wait() {
  simt::Fiber& fiber = *simt::current;
  u32 done = 0;
  while (done < fiber.copy_count && fiber.copies[done].group + N < fiber.committed) done++;
  simt::finish_copies(done);
}

inline float fast_exp2(float v) { return exp2f(v); }
inline float fast_rcp(float v) { return 1.0f / v; }
