// From the gradients of samples to those of the networks and of the features. Eight warps share a block; the gradient of a weight
// matrix is inputs^T gradients over all 256 rows, of which every warp sums a part that stays in its registers over all tiles.

#define PULL_WARPS 8
#define ROWS (32 * PULL_WARPS)
#define EXTRA 64          // first of 16 more columns of a row: harmonics of the direction, or gradients of density and colour
#define STRIDE 88         // halves per row: rows start in different banks
#define IN_TILES (2 * IN_STEPS)
#define ONE 0.2821044921875f  // the first harmonic as a half: what stands in for a column of ones

// Transposed weights in fragment order.
struct BackWeights {
  uint4 first[4 * 16 * IN_TILES];
  uint4 second[4 * 128];
  uint4 joint[4 * 128];
  uint4 rgb[128], sigma[128];  // inputs 0 to 2: colour sums, 3: density exponent
#if AMBIENT
  uint4 ambient_first[4 * 32 * POS_STEPS];
  uint4 ambient_second[4 * 128];
  uint4 ambient_out[128];
#endif
};

// Sums over the samples of a frame, [input slot][output].
struct Gradients {
  float first[64 * 64], second[64 * 64], joint[64 * 64];
  float direction[16 * 64];
  float first_bias[64], second_bias[64];
  float rgb[64 * 4];  // third column: blue; fourth: density exponent from the second hidden layer
#if AMBIENT
  float ambient_first[64 * 64], ambient_second[64 * 64];
  float ambient_bias[64];
  float ambient_out[64 * 2];
#endif
};

// One block a frame: forward and backward weights of this step, and empty slots and gradients.
extern "C" __global__ void fold_step(
    HeadWeights* forward, BackWeights* back, const HeadMatrices* matrices, const Clip* clips, const int* steps, const float* code,
    const float* eye, const float* individual, Slot* slots, Gradients* gradients) {
  int slot = blockIdx.x, frame = frame_of(*clips, *steps, slot);
  LevelWindow window = {clips->coarse_levels, clips->unlock_steps, *steps};
  const HeadMatrices m = *matrices;
  const float* heard = code + slot * CODE;
  if (threadIdx.x == 0) {
    Slot empty = {0, 0, 0, 0, 0, 0, 0.f, 0.f};
    slots[slot] = empty;
  }
  float* sums = reinterpret_cast<float*>(gradients + slot);
  for (int i = threadIdx.x; i < (int)(sizeof(Gradients) / 4); i += blockDim.x) sums[i] = 0.f;
  fold_head(forward + slot, m, heard, eye[slot], individual + frame * INDIVIDUAL, window);
  BackWeights& b = back[slot];
  pack_wide<IN_TILES>(b.first, 4, [&](int n, int k) {
    int column = slot_column(n);
    float factor = FILM ? 1.f + heard[HIDDEN + k] : 1.f;
    return column < 0 ? 0.f : m.first[k * IN_WIDTH + column] * factor * window(n);
  });
  pack_wide<8>(b.second, 4, [&](int n, int k) { return m.second[k * HIDDEN + n] * (FILM ? 1.f + heard[3 * HIDDEN + k] : 1.f); });
  pack_wide<8>(b.joint, 4, [&](int n, int k) { return m.joint[k * HIDDEN + n]; });
  pack_wide<8>(b.rgb, 1, [&](int n, int k) { return k < 3 ? m.rgb[k * HIDDEN + n] : 0.f; });
  pack_wide<8>(b.sigma, 1, [&](int n, int k) { return k == 3 ? m.third[n] : 0.f; });
#if AMBIENT
  pack_wide<2 * POS_STEPS>(b.ambient_first, 4, [&](int n, int k) {
    int column = slot_column(n);
    return column < 0 ? 0.f : m.ambient_first[k * (POS_FEATURES + CODE) + column] * window(n);
  });
  pack_wide<8>(b.ambient_second, 4, [&](int n, int k) { return m.ambient_second[k * HIDDEN + n]; });
  pack_wide<8>(b.ambient_out, 1, [&](int n, int k) { return k < 2 ? m.ambient_out[k * HIDDEN + n] : 0.f; });
#endif
}

// A lane's part of the first STEPS k-steps of a tile. from: its first entry.
template <int STEPS>
__device__ __forceinline__ void load_fragments(u32 (&a)[2][STEPS][4], const uint4* from) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int k = 0; k < STEPS; ++k) {
      uint4 v = from[32 * (m * IN_STEPS + k)];
      a[m][k][0] = v.x, a[m][k][1] = v.y, a[m][k][2] = v.z, a[m][k][3] = v.w;
    }
}

// A warp's rows into a block's table of rows.
template <int STEPS>
__device__ __forceinline__ void write_rows(u16* table, const u32 (&a)[2][STEPS][4], int warp, int lane) {
  int g = lane >> 2, q = lane & 3;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int k = 0; k < STEPS; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        *reinterpret_cast<u32*>(table + (32 * warp + 16 * m + 8 * (i % 2) + g) * STRIDE + 16 * k + 8 * (i / 2) + 2 * q) = a[m][k][i];
}

template <int STEPS>
__device__ __forceinline__ void read_rows(u32 (&a)[2][STEPS][4], const u16* table, int warp, int lane) {
  int g = lane >> 2, q = lane & 3;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int k = 0; k < STEPS; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        a[m][k][i] = *reinterpret_cast<const u32*>(table + (32 * warp + 16 * m + 8 * (i % 2) + g) * STRIDE + 16 * k + 8 * (i / 2) + 2 * q);
}

// sum += inputs^T gradients: the warp's 16 inputs and 32 outputs over all rows.
__device__ __forceinline__ void add_products(float (&sum)[4][4], const u16* inputs, const u16* gradients, int warp, int lane) {
  const u16* left = inputs + (8 * (lane / 16) + lane % 8) * STRIDE + 16 * (warp % 4) + 8 * (lane / 8 % 2);
  const u16* right = gradients + (8 * (lane / 8 % 2) + lane % 8) * STRIDE + 32 * (warp / 4) + 8 * (lane / 16);
#pragma unroll 4
  for (int row = 0; row < ROWS; row += 16) {
    u32 a[4], b[4];
    ldmatrix_x4_trans(a, left + row * STRIDE);
#pragma unroll
    for (int p = 0; p < 2; ++p) {
      ldmatrix_x4_trans(b, right + row * STRIDE + 16 * p);
      mma_16x8x16(sum[2 * p], a[0], a[1], a[2], a[3], b[0], b[1]);
      mma_16x8x16(sum[2 * p + 1], a[0], a[1], a[2], a[3], b[2], b[3]);
    }
  }
}

// The same for 16 inputs from column `from` and 8 outputs from column `to`, over rows [begin, end).
__device__ __forceinline__ void add_narrow(float (&sum)[4], const u16* inputs, int from, const u16* gradients, int to, int begin, int end, int lane) {
  const u16* left = inputs + (8 * (lane / 16) + lane % 8) * STRIDE + from + 8 * (lane / 8 % 2);
  const u16* right = gradients + lane * STRIDE + to;
#pragma unroll 2
  for (int row = begin; row < end; row += 32) {
    u32 a[4], b[4];
    ldmatrix_x4_trans(b, right + row * STRIDE);
    ldmatrix_x4_trans(a, left + row * STRIDE);
    mma_16x8x16(sum, a[0], a[1], a[2], a[3], b[0], b[1]);
    ldmatrix_x4_trans(a, left + (row + 16) * STRIDE);
    mma_16x8x16(sum, a[0], a[1], a[2], a[3], b[2], b[3]);
  }
}

// Gradients pass where the activation did.
template <int STEPS>
__device__ __forceinline__ void pull_back(u32 (&d)[2][STEPS][4], const float (&c)[2][2 * STEPS][4], const u32 (&h)[2][STEPS][4]) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int k = 0; k < STEPS; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* v = c[m][2 * k + i / 2] + 2 * (i % 2);
        u32 active = h[m][k][i];
        d[m][k][i] = pack_half2(active & 0x7fffu ? v[0] : 0.f, active & 0x7fff0000u ? v[1] : 0.f);
      }
}

template <int STEPS>
__device__ __forceinline__ void pack_rows(u32 (&d)[2][STEPS][4], const float (&c)[2][2 * STEPS][4]) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int k = 0; k < STEPS; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i) d[m][k][i] = pack_half2(c[m][2 * k + i / 2][2 * (i % 2)], c[m][2 * k + i / 2][2 * (i % 2) + 1]);
}

__device__ __forceinline__ void flush_products(float* to, const float (&sum)[4][4], int warp, int lane) {
  int i = 16 * (warp % 4) + lane / 4, o = 32 * (warp / 4) + 2 * (lane % 4);
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    red_add_f32x2(to + i * 64 + o + 8 * n, sum[n][0], sum[n][1]);
    red_add_f32x2(to + (i + 8) * 64 + o + 8 * n, sum[n][2], sum[n][3]);
  }
}

// Sums of gradients, which the constant harmonic collected.
__device__ __forceinline__ void flush_bias(float* to, const float (&sum)[4], int warp, int lane) {
  if (lane < 4) red_add_f32x2(to + 8 * warp + 2 * lane, sum[0] / ONE, sum[1] / ONE);
}

struct PullShared {
  HeadWeights forward;
  BackWeights back;
  u16 inputs[ROWS * STRIDE], gradients[ROWS * STRIDE], saved[ROWS * STRIDE];
};

// What a lane's row belongs to.
struct Row {
  u32 place;
  Ray ray;
};

__device__ __forceinline__ Row row_of(const Clip& clip, const View& view, const Target* targets, const u32* sample_ray, size_t at) {
  Row row;
  row.place = sample_ray[at];
  u32 pixel = row.place == ROW_NONE ? 0 : targets[row.place].pixel;
  row.ray = pixel_ray(view, pixel / clip.width, pixel % clip.width);
  return row;
}

extern "C" __global__ void __launch_bounds__(32 * PULL_WARPS, 1) pull_back_networks(
    const Clip* clips, const int* steps, const HeadWeights* forward, const BackWeights* back, int rays, const Target* targets,
    const Slot* slots, const uint4* fragments, const float4* answers, const u32* sample_ray, uint4* pulls, Gradients* gradients) {
  DYNAMIC_SHARED(PullShared, pull_shared);
  PullShared& s = pull_shared[0];
  const Clip& clip = *clips;
  int slot = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x & 31, g = lane >> 2, q = lane & 3;
  const View& view = clip.views[frame_of(clip, *steps, slot)];
  u32 tiles = min(slots[slot].tiles, (u32)MOST_TILES);
  fetch_block(&s.forward, forward + slot);
  fetch_block(&s.back, back + slot);
  float first[4][4] = {}, second[4][4] = {}, joint[4][4] = {};
  float first_bias[4] = {}, second_bias[4] = {}, direction[4] = {}, rgb[4] = {}, sigma[4] = {};
  __syncthreads();
  for (u32 group = blockIdx.x; group * PULL_WARPS < tiles; group += gridDim.x) {
    u32 tile = group * PULL_WARPS + warp;
    bool valid = tile < tiles;
    size_t at = ((size_t)slot * MOST_TILES + (valid ? tile : 0)) * 32;
    const uint4* mine = fragments + at * (2 * IN_STEPS) + lane;
    float c[2][8][4];
    u32 h1[2][4][4], h2[2][4][4], hc[2][4][4], narrow[2][1][4] = {};
    {
      u32 x[2][IN_STEPS][4];
      load_fragments(x, mine);
      start_with(c, s.forward.first_bias, q);
      multiply(c, x, s.forward.first, lane);
    }
    activate(h1, c);
    write_rows(s.saved, h1, warp, lane);
    start_with(c, s.forward.second_bias, q);
    multiply(c, h1, s.forward.second, lane);
    activate(h2, c);
    {
      Row row = row_of(clip, view, targets + (size_t)slot * rays, sample_ray, at + lane);
      u32 harmonics[8];
      spherical_harmonics(row.ray.d, harmonics);
#pragma unroll
      for (int i = 0; i < 8; ++i) *reinterpret_cast<u32*>(s.inputs + (32 * warp + lane) * STRIDE + EXTRA + 2 * i) = harmonics[i];
      __syncwarp();
      u32 a[2][1][4];
#pragma unroll
      for (int i = 0; i < 8; ++i)
        a[i / 4][0][i % 4] = *reinterpret_cast<u32*>(
            s.inputs + (32 * warp + 16 * (i / 4) + 8 * (i % 2) + g) * STRIDE + EXTRA + 8 * (i / 2 % 2) + 2 * q);
      start_with(c, s.forward.joint_bias, q);
      multiply(c, a, s.forward.direction, lane);
      multiply(c, h2, s.forward.joint, lane);
      activate(hc, c);
    }
    // Gradients of a row's sums: lane 4 g red and green, 4 g + 1 blue and density.
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      float4 d = valid ? answers[at + 8 * r + g] : make_float4(0.f, 0.f, 0.f, 0.f);
      bool lives = valid && sample_ray[at + 8 * r + g] != ROW_NONE;
      u32 v = !lives || q > 1 ? 0u : q == 0 ? pack_half2(d.y, d.z) : pack_half2(d.w, d.x);
      narrow[r / 2][0][r % 2] = v;
      *reinterpret_cast<u32*>(s.gradients + (32 * warp + 8 * r + g) * STRIDE + EXTRA + 2 * q) = v;
    }
    // Last layer of the colour network.
    write_rows(s.inputs, hc, warp, lane);
    __syncthreads();
    add_narrow(rgb, s.inputs, 16 * (warp % 4), s.gradients, EXTRA, ROWS / 2 * (warp / 4), ROWS / 2 * (warp / 4 + 1), lane);
    u32 d[2][4][4];
    clear(c);
    multiply(c, narrow, s.back.rgb, lane);
    pull_back(d, c, hc);
    __syncthreads();
    // First layer of the colour network, joined with the density network's last.
    write_rows(s.inputs, h2, warp, lane);
    write_rows(s.gradients, d, warp, lane);
    __syncthreads();
    add_products(joint, s.inputs, s.gradients, warp, lane);
    add_narrow(direction, s.inputs, EXTRA, s.gradients, 8 * warp, 0, ROWS, lane);
    add_narrow(sigma, s.inputs, 16 * (warp % 4), s.gradients, EXTRA, ROWS / 2 * (warp / 4), ROWS / 2 * (warp / 4 + 1), lane);
    clear(c);
    multiply(c, d, s.back.joint, lane);
    multiply(c, narrow, s.back.sigma, lane);
    pull_back(d, c, h2);
    __syncthreads();
    // Second layer of the density network.
    write_rows(s.gradients, d, warp, lane);
    __syncthreads();
    add_products(second, s.saved, s.gradients, warp, lane);
    add_narrow(second_bias, s.inputs, EXTRA, s.gradients, 8 * warp, 0, ROWS, lane);
    clear(c);
    multiply(c, d, s.back.second, lane);
    read_rows(h1, s.saved, warp, lane);
    pull_back(d, c, h1);
    __syncthreads();
    // First layer.
    {
      u32 x[2][IN_STEPS][4];
      load_fragments(x, mine);
      write_rows(s.inputs, x, warp, lane);
    }
    write_rows(s.gradients, d, warp, lane);
    __syncthreads();
    add_products(first, s.inputs, s.gradients, warp, lane);
    add_narrow(first_bias, s.inputs, EXTRA, s.gradients, 8 * warp, 0, ROWS, lane);
    float e[2][IN_TILES][4];
    clear(e);
    multiply(e, d, s.back.first, lane);
    u32 pull[2][IN_STEPS][4];
    pack_rows(pull, e);
    if (valid)
#pragma unroll
      for (int i = 0; i < 2 * IN_STEPS; ++i) {
        const u32* v = pull[i / IN_STEPS][i % IN_STEPS];
        pulls[at * (2 * IN_STEPS) + 32 * i + lane] = make_uint4(v[0], v[1], v[2], v[3]);
      }
    __syncthreads();
  }
  Gradients& sums = gradients[slot];
  flush_products(sums.first, first, warp, lane);
  flush_products(sums.second, second, warp, lane);
  flush_products(sums.joint, joint, warp, lane);
  flush_bias(sums.first_bias, first_bias, warp, lane);
  flush_bias(sums.second_bias, second_bias, warp, lane);
  int o = 8 * warp + 2 * q, i = 16 * (warp % 4) + g;
  red_add_f32x2(sums.direction + g * 64 + o, direction[0], direction[1]);
  red_add_f32x2(sums.direction + (g + 8) * 64 + o, direction[2], direction[3]);
  if (q == 0) {
    red_add_f32x2(sums.rgb + 4 * i, rgb[0], rgb[1]);
    red_add_f32x2(sums.rgb + 4 * (i + 8), rgb[2], rgb[3]);
  }
  if (q == 1) {
    red_add_f32x2(sums.rgb + 4 * i + 2, rgb[0], sigma[1]);
    red_add_f32x2(sums.rgb + 4 * (i + 8) + 2, rgb[2], sigma[3]);
  }
}
