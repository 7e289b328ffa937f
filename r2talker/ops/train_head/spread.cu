// From the gradients of features to those of the grids' tables, which are single precision, [rows, channels].

__device__ __forceinline__ void add_corner(float* table, u32 row, float weight, Channels4 pull) {
  red_add_f32x4(
      table + 4 * (size_t)row, weight * half_low(pull.low), weight * half_high(pull.low), weight * half_low(pull.high),
      weight * half_high(pull.high));
}

__device__ __forceinline__ void add_corner(float* table, u32 row, float weight, u32 pull) {
  red_add_f32x2(table + 2 * (size_t)row, weight * half_low(pull), weight * half_high(pull));
}

template <typename Pull>
__device__ __forceinline__ void add_plane(float* table, const Level& l, u32 i, float fx, float fy, float weight, Pull pull) {
  float near = weight * (1.f - fy), far = weight * fy;
  add_corner(table, l.offset + (i & l.mask), near * (1.f - fx), pull);
  add_corner(table, l.offset + ((i + 1) & l.mask), near * fx, pull);
  add_corner(table, l.offset + ((i + l.stride_y) & l.mask), far * (1.f - fx), pull);
  add_corner(table, l.offset + ((i + l.stride_y + 1) & l.mask), far * fx, pull);
}

__device__ __forceinline__ bool nothing(u32 v) { return (v & 0x7fff7fffu) == 0; }
__device__ __forceinline__ bool nothing(Channels4 v) { return nothing(v.low | v.high); }

template <typename Pull>
__device__ __forceinline__ void spread_3d(float* table, const Level& l, float x, float y, float z, Pull pull) {
  float fx, fy, fz;
#if POS_HASHED
  u32 i = cell_of(x, l.scale, fx), j = cell_of(y, l.scale, fy), k = cell_of(z, l.scale, fz);
#pragma unroll
  for (u32 corner = 0; corner < 8; ++corner) {
    u32 a = corner & 1, b = corner >> 1 & 1, c = corner >> 2;
    float weight = (a ? fx : 1.f - fx) * (b ? fy : 1.f - fy) * (c ? fz : 1.f - fz);
    add_corner(table, corner_row(l, i + a, j + b, k + c), weight, pull);
  }
#else
  u32 i = cell_of(x, l.scale, fx) + cell_of(y, l.scale, fy) * l.stride_y + cell_of(z, l.scale, fz) * l.stride_z;
  add_plane(table, l, i, fx, fy, 1.f - fz, pull);
  add_plane(table, l, i + l.stride_z, fx, fy, fz, pull);
#endif
}

template <typename Pull>
__device__ __forceinline__ void spread_2d(float* table, const Level& l, float x, float y, Pull pull) {
  float fx, fy;
  u32 i = cell_of(x, l.scale, fx) + cell_of(y, l.scale, fy) * l.stride_y;
  add_plane(table, l, i, fx, fy, 1.f, pull);
}

#if POS_CHANNELS == 4
typedef Channels4 PositionPull;
#else
typedef u32 PositionPull;
#endif

// A lane's share of a group's gradient for its row r, from fragments.
__device__ __forceinline__ void take(const u32 (&pulls)[2][IN_STEPS][4], int group, int r, Channels4& v) {
  v.low = pulls[r / 2][group][r % 2];
  v.high = pulls[r / 2][group][2 + r % 2];
}

__device__ __forceinline__ void take(const u32 (&pulls)[2][IN_STEPS][4], int group, int r, u32& v) {
  v = pulls[r / 2][group / 2][2 * (group % 2) + r % 2];
}

extern "C" __global__ void __launch_bounds__(128) spread_features(
    const Clip* clips, const int* steps, const u32* levels, int rays, const Target* targets, const Slot* slots, const uint4* pulls,
    const u32* sample_ray, const float* sample_t, float* table) {
  __shared__ u32 shared_levels[POS_GROUPS * 32];
  for (int i = threadIdx.x; i < POS_GROUPS * 32; i += blockDim.x) shared_levels[i] = levels[i];
  __syncthreads();
  const Clip& clip = *clips;
  int slot = blockIdx.y, lane = threadIdx.x & 31, g = lane >> 2, q = lane & 3;
  const View& view = clip.views[frame_of(clip, *steps, slot)];
  u32 tiles = min(slots[slot].tiles, (u32)MOST_TILES), stride = gridDim.x * (blockDim.x / 32);
  for (u32 tile = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; tile < tiles; tile += stride) {
    size_t at = ((size_t)slot * MOST_TILES + tile) * 32;
    Row row = row_of(clip, view, targets + (size_t)slot * rays, sample_ray, at + lane);
    float t = sample_t[at + lane];
    float x = position(row.ray, t, POS_AXIS_0), y = position(row.ray, t, POS_AXIS_1), z = position(row.ray, t, POS_AXIS_2);
    u32 mine[2][IN_STEPS][4];
    load_fragments(mine, pulls + at * (2 * IN_STEPS) + lane);
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      float px = __shfl_sync(~0u, x, g + 8 * r), py = __shfl_sync(~0u, y, g + 8 * r), pz = __shfl_sync(~0u, z, g + 8 * r);
#pragma unroll
      for (int j = 0; j < POS_GROUPS; ++j) {
        PositionPull pull;
        take(mine, j, r, pull);
        if (nothing(pull) || 4 * j + q >= POS_LEVELS) continue;
        Level level = load_level(shared_levels, 4 * j + q);
        if (j < POS_DEEP)
          spread_3d(table, level, px, py, pz, pull);
        else
          spread_2d(table, level, px, py, pull);
      }
    }
  }
}
