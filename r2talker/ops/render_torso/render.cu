// The torso blended over the plate: a deformed 2D picture (upstream.md 4.5), 32 pixels to a warp.
//
// Parts of one translation unit, in this order: device.cuh mlp.cuh grid.cuh rays.cuh render.cu.
// Defined by the host: TORSO_LEVELS (of the torso grid, 2 channels), TORSO_GROUPS, PACK (rows per table entry), INDIVIDUAL (code width).

#define WARPS 4
#define POSITION_OCTAVES 10
#define POSE_OCTAVES 4
#define POSITION_WIDTH (2 + 4 * POSITION_OCTAVES)
#define POSE_WIDTH (6 + 12 * POSE_OCTAVES)
#define ENCODED (POSITION_WIDTH + POSE_WIDTH + INDIVIDUAL)
#define GRID_STEPS (TORSO_GROUPS / 2)
#define POSITION_STEPS 3
#define NECK_UP -0.24f

// Pose and individual code are constant over a picture and become biases.
struct TorsoWeights {
  uint4 deform_first[POSITION_STEPS * 128];
  uint4 deform_second[4 * 128];
  uint4 color_first[(GRID_STEPS + POSITION_STEPS) * 64];
  uint4 color_second[2 * 64];
  uint2 deform_out[4 * 32];
  uint2 color_out[2 * 32];
  float deform_bias[64], color_bias[32];
  float beside[4];  // cosine and sine of the body's angle, then what they are added to for rows and for columns
};

struct TorsoMatrices {
  const float *deform_first, *deform_second, *deform_out;  // [64, ENCODED] [64, 64] [2, 64]
  const float *color_first, *color_second, *color_out;     // [32, 2 TORSO_LEVELS + ENCODED] [32, 32] [4, 32]
};

// Slot (step, q) holds the sines (lower half) and cosines of octave 4 step + q; the last but one the coordinates themselves.
__device__ __forceinline__ int wave_column(int k) {
  int octave = k / 16 * 4 + k / 2 % 4, upper = k / 8 % 2, j = k % 2;
  if (octave < POSITION_OCTAVES) return 2 + 4 * octave + 2 * upper + j;
  return octave == POSITION_OCTAVES && !upper ? j : -1;
}

__device__ __forceinline__ int color_column(int k) {
  if (k >= 16 * GRID_STEPS) {
    int column = wave_column(k - 16 * GRID_STEPS);
    return column < 0 ? -1 : 2 * TORSO_LEVELS + column;
  }
  int level = (2 * (k / 16) + k / 8 % 2) * 4 + k / 2 % 4;
  return level < TORSO_LEVELS ? 2 * level + k % 2 : -1;
}

// Euler angles e with R = Rx(e0) Ry(e1) Rz(e2), then the position (upstream.md 2.4).
__device__ inline float pose_number(const View& view, int i) {
  if (i >= 3) return view.c2w[i - 3][3];
  if (i == 0) return atan2f(-view.c2w[1][2], view.c2w[2][2]);
  if (i == 1) return asinf(fminf(1.f, fmaxf(-1.f, view.c2w[0][2])));
  return atan2f(-view.c2w[0][1], view.c2w[0][0]);
}

// Down (0) and right (1) tangents at which the view sees the neck (follow.py, which has the same point).
__device__ inline float neck_tangent(const View& view, int axis) {
  float seen[3];
  for (int j = 0; j < 3; ++j) {
    seen[j] = 0.f;
    for (int i = 0; i < 3; ++i) seen[j] += view.c2w[i][j] * ((i == 0 ? NECK_UP : 0.f) - view.c2w[i][3]);
  }
  return seen[1 - axis] / fmaxf(seen[2], 1e-3f);
}

// scale ... lean_column: see `Follow`, whose gain is g.
extern "C" __global__ void fold_torso(TorsoWeights* out, const TorsoMatrices* matrices, const View* views, const float* individual,
                                      float scale, float row, float column, float g00, float g01, float g10, float g11, float lean_row,
                                      float lean_column) {
  __shared__ float constant[POSE_WIDTH + INDIVIDUAL];
  const TorsoMatrices m = *matrices;
  TorsoWeights& w = out[blockIdx.x];
  if (threadIdx.x == 0) {
    float down = scale * neck_tangent(views[blockIdx.x], 0) - row, right = scale * neck_tangent(views[blockIdx.x], 1) - column;
    float angle = lean_row * down + lean_column * right, c = cosf(angle), s = sinf(angle);
    float place_row = row + g00 * down + g01 * right, place_column = column + g10 * down + g11 * right;
    w.beside[0] = c, w.beside[1] = s;
    w.beside[2] = row - c * place_row - s * place_column, w.beside[3] = column - c * place_column + s * place_row;
  }
  for (int i = threadIdx.x; i < POSE_WIDTH + INDIVIDUAL; i += blockDim.x) {
    if (i >= POSE_WIDTH) {
      constant[i] = individual[i - POSE_WIDTH];
      continue;
    }
    float v = pose_number(views[blockIdx.x], i % 6);
    int wave = i / 6 - 1;  // sine, cosine, sine ... of growing octaves
    if (wave >= 0) v = wave % 2 ? cosf(v * (float)(1 << wave / 2)) : sinf(v * (float)(1 << wave / 2));
    constant[i] = v;
  }
  __syncthreads();
  auto of = [](const float* weights, int width, int n, int column) { return column < 0 ? 0.f : weights[n * width + column]; };
  pack_wide<8>(w.deform_first, POSITION_STEPS, [&](int n, int k) { return of(m.deform_first, ENCODED, n, wave_column(k)); });
  pack_wide<8>(w.deform_second, 4, [&](int n, int k) { return m.deform_second[n * 64 + k]; });
  pack_narrow(w.deform_out, 4, 2, [&](int n, int k) { return m.deform_out[n * 64 + k]; });
  pack_wide<4>(w.color_first, GRID_STEPS + POSITION_STEPS, [&](int n, int k) { return of(m.color_first, 2 * TORSO_LEVELS + ENCODED, n, color_column(k)); });
  pack_wide<4>(w.color_second, 2, [&](int n, int k) { return m.color_second[n * 32 + k]; });
  pack_narrow(w.color_out, 2, 4, [&](int n, int k) { return m.color_out[n * 32 + k]; });
  for (int i = threadIdx.x; i < 96; i += blockDim.x) {
    const float* row = i < 64 ? m.deform_first + i * ENCODED + POSITION_WIDTH
                              : m.color_first + (i - 64) * (2 * TORSO_LEVELS + ENCODED) + 2 * TORSO_LEVELS + POSITION_WIDTH;
    float sum = 0.f;
    for (int j = 0; j < POSE_WIDTH + INDIVIDUAL; ++j) sum += row[j] * constant[j];
    *(i < 64 ? w.deform_bias + i : w.color_bias + (i - 64)) = sum;
  }
}

// Sine and cosine with the argument brought to one turn first, which the fast instructions need.
__device__ __forceinline__ void wave(float v, float& sine, float& cosine) {
  float turns = v * 0.15915494309f;
  float angle = (turns - rintf(turns)) * 6.28318530718f;
  sine = __sinf(angle);
  cosine = __cosf(angle);
}

__device__ __forceinline__ void encode_waves(u32 (&a)[2][POSITION_STEPS][4], float x, float y, int lane) {
  int g = lane >> 2, q = lane & 3;
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    float px = __shfl_sync(~0u, x, g + 8 * r), py = __shfl_sync(~0u, y, g + 8 * r);
#pragma unroll
    for (int k = 0; k < POSITION_STEPS; ++k) {
      int octave = 4 * k + q;
      float sx, cx, sy, cy;
      wave(px * (float)(1 << octave), sx, cx);
      wave(py * (float)(1 << octave), sy, cy);
      u32 low = pack_half2(sx, sy), high = pack_half2(cx, cy);
      if (octave == POSITION_OCTAVES) low = pack_half2(px, py);
      if (octave >= POSITION_OCTAVES) high = 0;
      if (octave > POSITION_OCTAVES) low = 0;
      a[r / 2][k][r % 2] = low;
      a[r / 2][k][2 + r % 2] = high;
    }
  }
}

__device__ __forceinline__ float unit(float v) { return fminf(1.f, fmaxf(-1.f, v)); }

// covered: pixels where the torso can be seen. plate, behind: halves r g b -, [H * W] and [frames, H * W].
extern "C" __global__ void __launch_bounds__(32 * WARPS, 3) blend_torso(
    const TorsoWeights* weights, const void* table, const u32* levels, const u32* covered, int count, int height, int width,
    float shrink, const uint2* plate, uint2* behind) {
  DYNAMIC_SHARED(TorsoWeights, shared_torso);
  TorsoWeights& s = shared_torso[0];
  fetch_block(&s, weights + blockIdx.y);
  __syncthreads();
  behind += (size_t)blockIdx.y * height * width;
  int lane = threadIdx.x & 31, g = lane >> 2, q = lane & 3, tiles = (count + 31) / 32;
  Table<2, PACK> rows = {reinterpret_cast<decltype(Table<2, PACK>::rows)>(table)};
  for (int tile = blockIdx.x * WARPS + threadIdx.x / 32; tile < tiles; tile += gridDim.x * WARPS) {
    int index = tile * 32 + lane;
    u32 pixel = covered[index < count ? index : count - 1];
    float down = (float)(pixel / width) * 2.f / fmaxf(1.f, height - 1.f) - 1.f, right = (float)(pixel % width) * 2.f / fmaxf(1.f, width - 1.f) - 1.f;
    float x = shrink * (s.beside[0] * down + s.beside[1] * right + s.beside[2]), y = shrink * (s.beside[0] * right - s.beside[1] * down + s.beside[3]);
    u32 inputs[2][GRID_STEPS + POSITION_STEPS][4], waves[2][POSITION_STEPS][4], hidden[2][4][4];
    encode_waves(waves, x, y, lane);
    float c[2][8][4], shift[2][4] = {};
    start_with(c, s.deform_bias, q);
    multiply(c, waves, s.deform_first, lane);
    activate(hidden, c);
    clear(c);
    multiply(c, hidden, s.deform_second, lane);
    activate(hidden, c);
    multiply_narrow(shift, hidden, s.deform_out, lane);
    float dx = 0.f, dy = 0.f;
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      float u = __shfl_sync(~0u, shift[r / 2][2 * (r % 2)], 4 * (lane & 7)), v = __shfl_sync(~0u, shift[r / 2][2 * (r % 2) + 1], 4 * (lane & 7));
      if (r == lane / 8) dx = u, dy = v;
    }
    encode_rows<2, PACK, TORSO_GROUPS, 0>(inputs, 0, rows, levels, unit(x + dx), unit(y + dy), 0.f, lane);
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int k = 0; k < POSITION_STEPS; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i) inputs[m][GRID_STEPS + k][i] = waves[m][k][i];
    float n[2][4][4], out[2][4] = {};
    u32 narrow[2][2][4];
    start_with(n, s.color_bias, q);
    multiply(n, inputs, s.color_first, lane);
    activate(narrow, n);
    clear(n);
    multiply(n, narrow, s.color_second, lane);
    activate(narrow, n);
    multiply_narrow(out, narrow, s.color_out, lane);
    // Alpha and red are with lane 4 g, green and blue with lane 4 g + 1; the former finish the pixel.
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      float first = out[r / 2][2 * (r % 2)], second = out[r / 2][2 * (r % 2) + 1];
      first = __fdividef(1.f, 1.f + __expf(-first));
      second = __fdividef(1.f, 1.f + __expf(-second));
      float green = __shfl_down_sync(~0u, first, 1), blue = __shfl_down_sync(~0u, second, 1);
      u32 target = __shfl_sync(~0u, pixel, g + 8 * r);
      if (q == 0) {
        uint2 back = plate[target];
        float keep = 1.f - first;
        behind[target] = make_uint2(pack_half2(first * second + keep * half_low(back.x), first * green + keep * half_high(back.x)),
                                    pack_half2(first * blue + keep * half_low(back.y), 0.f));
      }
    }
  }
}
