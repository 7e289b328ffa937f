// The head's networks as one block of memory per frame, ready for the matrix units (upstream.md 4.3, 4.4).
//
// What is constant over a frame is folded in: the FiLM scale into weight rows, its shift, the eye value, the individual code
// and the condition's code into biases. The geometry features meet no activation between density and colour network, so those
// two matrices are one product, `joint` = colour[:, 16:80] geometry.
//
// Defined by the host: POS_LEVELS, POS_CHANNELS, POS_GROUPS, POS_DEEP (groups that use all coordinates), POS_HASHED (0 or 1),
// AMB_LEVELS (0 without an ambient coordinate), AMB_GROUPS, EYE (0 or 1), FILM (0 or 1), CODE (width of the condition's code), INDIVIDUAL (width).

#define HIDDEN 64
#define GEOMETRY 64
#define DIRECTION 16
#define POS_STEPS (POS_GROUPS * POS_CHANNELS / 4)
#define AMB_STEPS (AMB_GROUPS / 2)
#define IN_STEPS (POS_STEPS + AMB_STEPS)
#define POS_FEATURES (POS_LEVELS * POS_CHANNELS)
#define AMB_FEATURES (AMB_LEVELS * 2)
#define IN_WIDTH (POS_FEATURES + AMB_FEATURES + EYE)
#define COLOR_WIDTH (DIRECTION + GEOMETRY + INDIVIDUAL)
#define AMBIENT (AMB_LEVELS > 0)

// A k-step of a 64-wide layer takes 128 entries of 16 bytes, one of an 8-wide layer 32 of 8 bytes.
struct HeadWeights {
  uint4 first[IN_STEPS * 128];
  uint4 second[4 * 128];
  uint4 joint[4 * 128];
  uint4 direction[1 * 128];
  uint2 sigma[4 * 32];
  uint2 rgb[4 * 32];
  float first_bias[HIDDEN], second_bias[HIDDEN], joint_bias[HIDDEN];
#if AMBIENT
  uint4 ambient_first[POS_STEPS * 128];
  uint4 ambient_second[4 * 128];
  uint2 ambient_out[4 * 32];
  float ambient_bias[HIDDEN];
#endif
};

struct HeadMatrices {
  const float *first, *second, *third, *color, *rgb, *joint;          // [64, IN_WIDTH] [64, 64] [65, 64] [64, COLOR_WIDTH] [3, 64] [64, 64]
  const float *ambient_first, *ambient_second, *ambient_out;          // [64, POS_FEATURES + CODE] [64, 64] [2, 64], or null
};

// Level of the position grid that slot k < 16 POS_STEPS of the fragments belongs to; it may lie past the last one.
__device__ __forceinline__ int slot_level(int k) {
  int step = k / 16, upper = k / 8 % 2, q = k / 2 % 4;
  return POS_CHANNELS == 4 ? step * 4 + q : (2 * step + upper) * 4 + q;
}

// Column of the first layer that slot k of the fragments holds, or -1.
__device__ __forceinline__ int slot_column(int k) {
  int step = k / 16, upper = k / 8 % 2, q = k / 2 % 4, j = k % 2;
  if (step >= POS_STEPS) {
    int level = (2 * (step - POS_STEPS) + upper) * 4 + q;
    return level < AMB_LEVELS ? POS_FEATURES + 2 * level + j : -1;
  }
  int level = slot_level(k);
  return level < POS_LEVELS ? level * POS_CHANNELS + (POS_CHANNELS == 4 ? 2 * upper + j : j) : -1;
}

// Every level as it is.
struct AllLevels {
  __device__ __forceinline__ float operator()(int) const { return 1.f; }
};

// FiLM code: shift and scale of layer 1, then of layer 2; the factor is 1 + scale. window(slot): factor of an input feature.
template <typename Window>
__device__ void fold_head(
    HeadWeights* out, const HeadMatrices& m, const float* code, float eye, const float* individual, Window window) {
  DYNAMIC_SHARED(float, factor);  // [2, HIDDEN]
  for (int i = threadIdx.x; i < 2 * HIDDEN; i += blockDim.x) factor[i] = FILM ? 1.f + code[(i / HIDDEN) * 2 * HIDDEN + HIDDEN + i % HIDDEN] : 1.f;
  __syncthreads();
  pack_wide<8>(out->first, IN_STEPS, [&](int n, int k) {
    int column = slot_column(k);
    return column < 0 ? 0.f : m.first[n * IN_WIDTH + column] * factor[n] * window(k);
  });
  pack_wide<8>(out->second, 4, [&](int n, int k) { return m.second[n * HIDDEN + k] * factor[HIDDEN + n]; });
  pack_wide<8>(out->joint, 4, [&](int n, int k) { return m.joint[n * HIDDEN + k]; });
  pack_wide<8>(out->direction, 1, [&](int n, int k) { return m.color[n * COLOR_WIDTH + k]; });
  pack_narrow(out->sigma, 4, 1, [&](int n, int k) { return m.third[n * HIDDEN + k]; });
  pack_narrow(out->rgb, 4, 3, [&](int n, int k) { return m.rgb[n * HIDDEN + k]; });
  for (int i = threadIdx.x; i < HIDDEN; i += blockDim.x) {
    float seen = EYE ? m.first[i * IN_WIDTH + IN_WIDTH - 1] * eye : 0.f;
    out->first_bias[i] = factor[i] * seen + (FILM ? code[i] : 0.f);
    out->second_bias[i] = FILM ? code[2 * HIDDEN + i] : 0.f;
    float sum = 0.f;
    for (int j = 0; j < INDIVIDUAL; ++j) sum += m.color[i * COLOR_WIDTH + DIRECTION + GEOMETRY + j] * individual[j];
    out->joint_bias[i] = sum;
#if AMBIENT
    float heard = 0.f;
    for (int j = 0; j < CODE; ++j) heard += m.ambient_first[i * (POS_FEATURES + CODE) + POS_FEATURES + j] * code[j];
    out->ambient_bias[i] = heard;
#endif
  }
#if AMBIENT
  pack_wide<8>(out->ambient_first, POS_STEPS, [&](int n, int k) {
    int column = slot_column(k);
    return column < 0 ? 0.f : m.ambient_first[n * (POS_FEATURES + CODE) + column] * window(k);
  });
  pack_wide<8>(out->ambient_second, 4, [&](int n, int k) { return m.ambient_second[n * HIDDEN + k]; });
  pack_narrow(out->ambient_out, 4, 2, [&](int n, int k) { return m.ambient_out[n * HIDDEN + k]; });
#endif
}

#if AMBIENT
// tanh of two sums, without overflow.
__device__ __forceinline__ float squash(float v) {
  float e = __expf(-2.f * fabsf(v));
  return copysignf(__fdividef(1.f - e, 1.f + e), v);
}

// The ambient coordinate of the warp's rows: lane r returns row r's. features: POS_STEPS steps of position features in a.
template <int STEPS>
__device__ __forceinline__ void ambient_coordinate(
    const HeadWeights& w, const u32 (&a)[2][STEPS][4], float& u, float& v, int lane) {
  int q = lane & 3;
  u32 position[2][POS_STEPS][4], hidden[2][4][4];
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int k = 0; k < POS_STEPS; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i) position[m][k][i] = a[m][k][i];
  float c[2][8][4], out[2][4] = {};
  start_with(c, w.ambient_bias, q);
  multiply(c, position, w.ambient_first, lane);
  activate(hidden, c);
  clear(c);
  multiply(c, hidden, w.ambient_second, lane);
  activate(hidden, c);
  multiply_narrow(out, hidden, w.ambient_out, lane);
  // Lane 4 g has the sums of rows g, g + 8 (m = 0) and g + 16, g + 24 (m = 1).
  u = v = 0.f;
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    float first = __shfl_sync(~0u, out[r / 2][2 * (r % 2)], 4 * (lane & 7));
    float other = __shfl_sync(~0u, out[r / 2][2 * (r % 2) + 1], 4 * (lane & 7));
    if (r == lane / 8) u = first, v = other;
  }
  u = squash(u);
  v = squash(v);
}
#endif
