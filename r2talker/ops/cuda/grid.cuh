// Multi-resolution grid features straight into matrix fragments (upstream.md 3.1).
//
// Lane 4 g + q of a warp interpolates level 4 j + q of group j at the samples of its rows g, g + 8, g + 16, g + 24. With four
// channels a group fills a k-step; with two, groups 2 k and 2 k + 1 fill the halves of k-step k (`slot_columns`).
//
// A table entry holds ROWS rows of halves, so that neighbouring corners come with one load: 1: the row alone; 2: rows i and
// i + 1; 4: rows i, i + 1, i + stride_y, i + stride_y + 1; wrapped already. Table rows of all levels lie one after the other.
//
// Of a hashed level neighbouring corners lie anywhere. POS_HASHED is 1 where the position grid has such levels; entries then hold
// one row.

struct Level {
  float scale;
  u32 stride_y, stride_z;  // 0 where the index ignores the coordinate
  u32 mask;                // size - 1 where the level wraps, else all ones
  u32 offset;              // first row
  u32 hashed;              // rows are found by mixing the coordinates
};

__device__ __forceinline__ Level load_level(const u32* levels, int index) {
  const u32* p = levels + 8 * index;
  Level level = {__uint_as_float(p[0]), p[1], p[2], p[3], p[4], p[5]};
  return level;
}

// Two channels: (1 - f) a + f b.
__device__ __forceinline__ u32 mix(u32 a, u32 b, u32 f) { return half2_fma(f, b, half2_fma(f ^ 0x80008000u, a, a)); }

struct Channels4 {
  u32 low, high;
};

__device__ __forceinline__ Channels4 mix(Channels4 a, Channels4 b, u32 f) {
  Channels4 r = {mix(a.low, b.low, f), mix(a.high, b.high, f)};
  return r;
}

template <int CHANNELS, int ROWS>
struct Table;

template <>
struct Table<4, 1> {
  typedef Channels4 Value;
  const uint2* rows;
  __device__ __forceinline__ Value row(u32 i) const {
    uint2 v = load_u64(rows + i);
    Value r = {v.x, v.y};
    return r;
  }
  __device__ __forceinline__ Value plane(const Level& l, u32 i, u32 fx, u32 fy) const {
    Value a = row(l.offset + (i & l.mask)), b = row(l.offset + ((i + 1) & l.mask));
    Value c = row(l.offset + ((i + l.stride_y) & l.mask)), d = row(l.offset + ((i + l.stride_y + 1) & l.mask));
    return mix(mix(a, b, fx), mix(c, d, fx), fy);
  }
};

template <>
struct Table<4, 2> {
  typedef Channels4 Value;
  const uint4* rows;
  __device__ __forceinline__ Value edge(u32 i, u32 fx) const {
    uint4 v = load_u128(rows + i);
    Value a = {v.x, v.y}, b = {v.z, v.w};
    return mix(a, b, fx);
  }
  __device__ __forceinline__ Value plane(const Level& l, u32 i, u32 fx, u32 fy) const {
    return mix(edge(l.offset + (i & l.mask), fx), edge(l.offset + ((i + l.stride_y) & l.mask), fx), fy);
  }
};

template <>
struct Table<4, 4> {
  typedef Channels4 Value;
  const uint4* rows;
  __device__ __forceinline__ Value plane(const Level& l, u32 i, u32 fx, u32 fy) const {
    const uint4* p = rows + 2 * (u64)(l.offset + (i & l.mask));
    uint4 u = load_u128(p), v = load_u128(p + 1);
    Value a = {u.x, u.y}, b = {u.z, u.w}, c = {v.x, v.y}, d = {v.z, v.w};
    return mix(mix(a, b, fx), mix(c, d, fx), fy);
  }
};

template <>
struct Table<2, 1> {
  typedef u32 Value;
  const u32* rows;
  __device__ __forceinline__ Value row(u32 i) const { return load_u32(rows + i); }
  __device__ __forceinline__ Value plane(const Level& l, u32 i, u32 fx, u32 fy) const {
    u32 a = load_u32(rows + l.offset + (i & l.mask)), b = load_u32(rows + l.offset + ((i + 1) & l.mask));
    u32 c = load_u32(rows + l.offset + ((i + l.stride_y) & l.mask));
    u32 d = load_u32(rows + l.offset + ((i + l.stride_y + 1) & l.mask));
    return mix(mix(a, b, fx), mix(c, d, fx), fy);
  }
};

template <>
struct Table<2, 2> {
  typedef u32 Value;
  const uint2* rows;
  __device__ __forceinline__ Value plane(const Level& l, u32 i, u32 fx, u32 fy) const {
    uint2 u = load_u64(rows + l.offset + (i & l.mask)), v = load_u64(rows + l.offset + ((i + l.stride_y) & l.mask));
    return mix(mix(u.x, u.y, fx), mix(v.x, v.y, fx), fy);
  }
};

template <>
struct Table<2, 4> {
  typedef u32 Value;
  const uint4* rows;
  __device__ __forceinline__ Value plane(const Level& l, u32 i, u32 fx, u32 fy) const {
    uint4 v = load_u128(rows + l.offset + (i & l.mask));
    return mix(mix(v.x, v.y, fx), mix(v.z, v.w, fx), fy);
  }
};

// Lattice cell and fraction of a coordinate in [-1, 1].
__device__ __forceinline__ u32 cell_of(float x, float scale, float& fraction) {
  float position = __fmaf_rn(__fmaf_rn(x, 0.5f, 0.5f), scale, 0.5f);
  float cell = floorf(position);
  fraction = position - cell;
  return (u32)cell;
}

template <int CHANNELS, int ROWS>
__device__ __forceinline__ typename Table<CHANNELS, ROWS>::Value encode_2d(
    Table<CHANNELS, ROWS> table, const Level& level, float x, float y) {
  float fx, fy;
  u32 i = cell_of(x, level.scale, fx) + cell_of(y, level.scale, fy) * level.stride_y;
  return table.plane(level, i, half2_broadcast(fx), half2_broadcast(fy));
}

#if POS_HASHED
// Row of a corner: by strides, or multiples of primes mixed by XOR (the first prime is 1).
__device__ __forceinline__ u32 corner_row(const Level& level, u32 i, u32 j, u32 k) {
  u32 row = level.hashed ? i ^ j * 2654435761u ^ k * 805459861u : i + j * level.stride_y + k * level.stride_z;
  return level.offset + (row & level.mask);
}

template <int CHANNELS>
__device__ __forceinline__ typename Table<CHANNELS, 1>::Value encode_3d(
    Table<CHANNELS, 1> table, const Level& level, float x, float y, float z) {
  float fx, fy, fz;
  u32 i = cell_of(x, level.scale, fx), j = cell_of(y, level.scale, fy), k = cell_of(z, level.scale, fz);
  u32 hx = half2_broadcast(fx), hy = half2_broadcast(fy);
  typename Table<CHANNELS, 1>::Value planes[2];
#pragma unroll
  for (u32 d = 0; d < 2; ++d)
    planes[d] =
        mix(mix(table.row(corner_row(level, i, j, k + d)), table.row(corner_row(level, i + 1, j, k + d)), hx),
            mix(table.row(corner_row(level, i, j + 1, k + d)), table.row(corner_row(level, i + 1, j + 1, k + d)), hx), hy);
  return mix(planes[0], planes[1], half2_broadcast(fz));
}
#else
template <int CHANNELS, int ROWS>
__device__ __forceinline__ typename Table<CHANNELS, ROWS>::Value encode_3d(
    Table<CHANNELS, ROWS> table, const Level& level, float x, float y, float z) {
  float fx, fy, fz;
  u32 i = cell_of(x, level.scale, fx) + cell_of(y, level.scale, fy) * level.stride_y + cell_of(z, level.scale, fz) * level.stride_z;
  u32 hx = half2_broadcast(fx), hy = half2_broadcast(fy);
  return mix(table.plane(level, i, hx, hy), table.plane(level, i + level.stride_z, hx, hy), half2_broadcast(fz));
}
#endif

__device__ __forceinline__ void place(u32 (*a)[4], int group, int upper, Channels4 value) {
  a[group][upper] = value.low;
  a[group][2 + upper] = value.high;
}

__device__ __forceinline__ void place(u32 (*a)[4], int group, int upper, u32 value) {
  a[group / 2][2 * (group % 2) + upper] = value;
}

// Features of 32 samples; row r of the warp is the sample whose coordinates lane r holds. Groups from DEEP on ignore z.
template <int CHANNELS, int ROWS, int GROUPS, int DEEP, int STEPS>
__device__ __forceinline__ void encode_rows(
    u32 (&a)[2][STEPS][4], int first_step, Table<CHANNELS, ROWS> table, const u32* levels, float x, float y, float z, int lane) {
  int g = lane >> 2, q = lane & 3;
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    float px = __shfl_sync(~0u, x, g + 8 * r), py = __shfl_sync(~0u, y, g + 8 * r), pz = __shfl_sync(~0u, z, g + 8 * r);
#pragma unroll
    for (int j = 0; j < GROUPS; ++j) {
      Level level = load_level(levels, 4 * j + q);
      if (j < DEEP)
        place(a[r / 2] + first_step, j, r % 2, encode_3d(table, level, px, py, pz));
      else
        place(a[r / 2] + first_step, j, r % 2, encode_2d(table, level, px, py));
    }
  }
}
