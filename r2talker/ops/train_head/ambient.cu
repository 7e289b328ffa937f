// The backward pass of the ambient coordinate: from the gradients of its grid's features through the grid and the networks that
// chose it (upstream.md 4.3), added to the gradients of the position features. Runs between pull_back_networks and spread_features.

#if AMBIENT

// The four corners of a cell of the ambient grid.
struct Corners {
  u32 index[4], value[4];
  float fx, fy, half_scale;
};

// Read ahead for all levels at once; a level that only pads its group reads row 0.
__device__ __forceinline__ Corners corners_at(const Table<2, PACK>& table, const Level& l, float x, float y) {
  Corners c;
  u32 i = cell_of(x, l.scale, c.fx) + cell_of(y, l.scale, c.fy) * l.stride_y;
  c.half_scale = 0.5f * l.scale;
  c.index[0] = l.offset + (i & l.mask);
  c.index[1] = l.offset + ((i + 1) & l.mask);
  c.index[2] = l.offset + ((i + l.stride_y) & l.mask);
  c.index[3] = l.offset + ((i + l.stride_y + 1) & l.mask);
#pragma unroll
  for (int k = 0; k < 4; ++k) c.value[k] = load_u32(table.rows + c.index[k]);
  return c;
}

// A lane's share of the gradient of the coordinate from one level.
__device__ __forceinline__ float2 slope_of(const Corners& c, u32 pull) {
  float lo = half_low(pull), hi = half_high(pull), s[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) s[k] = lo * half_low(c.value[k]) + hi * half_high(c.value[k]);
  return make_float2(c.half_scale * ((1.f - c.fy) * (s[1] - s[0]) + c.fy * (s[3] - s[2])),
                     c.half_scale * ((1.f - c.fx) * (s[2] - s[0]) + c.fx * (s[3] - s[1])));
}

__device__ __forceinline__ void spread_corners(float* gradients, const Corners& c, u32 pull) {
  if (nothing(pull)) return;
  add_corner(gradients, c.index[0], (1.f - c.fy) * (1.f - c.fx), pull);
  add_corner(gradients, c.index[1], (1.f - c.fy) * c.fx, pull);
  add_corner(gradients, c.index[2], c.fy * (1.f - c.fx), pull);
  add_corner(gradients, c.index[3], c.fy * c.fx, pull);
}

extern "C" __global__ void __launch_bounds__(32 * PULL_WARPS, 1) pull_back_ambient(
    const HeadWeights* forward, const BackWeights* back, const void* ambient_table, const u32* levels, const Slot* slots,
    const uint4* fragments, const float2* coordinates, const u32* sample_ray, uint4* pulls, float* table_gradients,
    Gradients* gradients) {
  DYNAMIC_SHARED(PullShared, ambient_shared);
  __shared__ u32 shared_levels[AMB_GROUPS * 32];
  PullShared& s = ambient_shared[0];
  int slot = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x & 31, g = lane >> 2, q = lane & 3;
  u32 tiles = min(slots[slot].tiles, (u32)MOST_TILES);
  fetch_block(&s.forward, forward + slot);
  fetch_block(&s.back, back + slot);
  for (int i = threadIdx.x; i < AMB_GROUPS * 32; i += blockDim.x) shared_levels[i] = levels[POS_GROUPS * 32 + i];
  Table<2, PACK> table = {reinterpret_cast<decltype(Table<2, PACK>::rows)>(ambient_table)};
#pragma unroll
  for (int i = 0; i < 8; ++i)
    *reinterpret_cast<u32*>(s.inputs + (32 * warp + lane) * STRIDE + EXTRA + 2 * i) = i ? 0u : pack_half2(ONE, 0.f);
  float first[4][4] = {}, second[4][4] = {}, bias[4] = {}, out[4] = {};
  __syncthreads();
  for (u32 group = blockIdx.x; group * PULL_WARPS < tiles; group += gridDim.x) {
    u32 tile = group * PULL_WARPS + warp;
    bool valid = tile < tiles;
    size_t at = ((size_t)slot * MOST_TILES + (valid ? tile : 0)) * 32;
    const uint4* mine = fragments + at * (2 * IN_STEPS) + lane;
    uint4* pull = pulls + at * (2 * IN_STEPS) + lane;
    u32 x[2][POS_STEPS][4], h1[2][4][4], h2[2][4][4], narrow[2][1][4] = {};
    float c[2][8][4], sums[2][4] = {};
    load_fragments(x, mine);
    start_with(c, s.forward.ambient_bias, q);
    multiply(c, x, s.forward.ambient_first, lane);
    activate(h1, c);
    clear(c);
    multiply(c, h1, s.forward.ambient_second, lane);
    activate(h2, c);
    multiply_narrow(sums, h2, s.forward.ambient_out, lane);
    write_rows(s.saved, h1, warp, lane);
    u32 feature[2][AMB_STEPS][4];
    load_fragments(feature, pull + 32 * POS_STEPS);
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      float u = squash(__shfl_sync(~0u, sums[r / 2][2 * (r % 2)], 4 * g)), v = squash(__shfl_sync(~0u, sums[r / 2][2 * (r % 2) + 1], 4 * g));
      bool lives = valid && sample_ray[at + 8 * r + g] != ROW_NONE;
      float du = 0.f, dv = 0.f;
      Corners corners[AMB_GROUPS];
      u32 share[AMB_GROUPS];
#pragma unroll
      for (int j = 0; j < AMB_GROUPS; ++j) {
        corners[j] = corners_at(table, load_level(shared_levels, 4 * j + q), u, v);
        share[j] = lives && 4 * j + q < AMB_LEVELS ? feature[r / 2][j / 2][2 * (j % 2) + r % 2] : 0u;
      }
#pragma unroll
      for (int j = 0; j < AMB_GROUPS; ++j) {
        float2 slope = slope_of(corners[j], share[j]);
        du += slope.x;
        dv += slope.y;
        spread_corners(table_gradients, corners[j], share[j]);
      }
#pragma unroll
      for (int offset = 1; offset < 4; offset *= 2) {
        du += __shfl_xor_sync(~0u, du, offset);
        dv += __shfl_xor_sync(~0u, dv, offset);
      }
      float2 loss = lives ? coordinates[at + 8 * r + g] : make_float2(0.f, 0.f);
      du = fminf(8192.f, fmaxf(-8192.f, (du + loss.x) * (1.f - u * u)));
      dv = fminf(8192.f, fmaxf(-8192.f, (dv + loss.y) * (1.f - v * v)));
      u32 pair = lives && q == 0 ? pack_half2(du, dv) : 0u;
      narrow[r / 2][0][r % 2] = pair;
      *reinterpret_cast<u32*>(s.gradients + (32 * warp + 8 * r + g) * STRIDE + EXTRA + 2 * q) = pair;
    }
    write_rows(s.inputs, h2, warp, lane);
    __syncthreads();
    add_narrow(out, s.inputs, 16 * (warp % 4), s.gradients, EXTRA, ROWS / 2 * (warp / 4), ROWS / 2 * (warp / 4 + 1), lane);
    u32 d[2][4][4];
    clear(c);
    multiply(c, narrow, s.back.ambient_out, lane);
    pull_back(d, c, h2);
    __syncthreads();
    write_rows(s.gradients, d, warp, lane);
    write_rows(s.inputs, x, warp, lane);
    __syncthreads();
    add_products(second, s.saved, s.gradients, warp, lane);
    clear(c);
    multiply(c, d, s.back.ambient_second, lane);
    read_rows(h1, s.saved, warp, lane);
    pull_back(d, c, h1);
    __syncthreads();
    write_rows(s.gradients, d, warp, lane);
    __syncthreads();
    add_products(first, s.inputs, s.gradients, warp, lane);
    add_narrow(bias, s.inputs, EXTRA, s.gradients, 8 * warp, 0, ROWS, lane);
    float e[2][2 * POS_STEPS][4];
    clear(e);
    multiply(e, d, s.back.ambient_first, lane);
    u32 more[2][POS_STEPS][4];
    pack_rows(more, e);
    if (valid)
#pragma unroll
      for (int i = 0; i < 2 * POS_STEPS; ++i) {
        uint4* place = pull + 32 * (i / POS_STEPS * IN_STEPS + i % POS_STEPS);
        const u32* v = more[i / POS_STEPS][i % POS_STEPS];
        uint4 old = *place;
        *place = make_uint4(half2_add(old.x, v[0]), half2_add(old.y, v[1]), half2_add(old.z, v[2]), half2_add(old.w, v[3]));
      }
    __syncthreads();
  }
  Gradients& total = gradients[slot];
  flush_products(total.ambient_first, first, warp, lane);
  flush_products(total.ambient_second, second, warp, lane);
  flush_bias(total.ambient_bias, bias, warp, lane);
  if (q == 0) {
    int i = 16 * (warp % 4) + g;
    red_add_f32x2(total.ambient_out + 2 * i, out[0], out[1]);
    red_add_f32x2(total.ambient_out + 2 * (i + 8), out[2], out[3]);
  }
}

#endif
