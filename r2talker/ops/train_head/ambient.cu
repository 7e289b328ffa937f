// The backward pass of the ambient coordinate: from the gradients of its grid's features through the grid and the networks that
// chose it (upstream.md 4.3), added to the gradients of the position features. Runs between pull_back_networks and spread_features.

#if AMBIENT

// Table gradient and slope of one level at (x, y): a lane's share of the gradient of the coordinate.
__device__ __forceinline__ float2 spread_ambient(
    float* gradients, const Table<2, PACK>& table, const Level& l, float x, float y, u32 pull) {
  float fx, fy;
  u32 i = cell_of(x, l.scale, fx) + cell_of(y, l.scale, fy) * l.stride_y;
  add_plane(gradients, l, i, fx, fy, 1.f, pull);
  u32 v00 = load_u32(table.rows + l.offset + (i & l.mask)), v10 = load_u32(table.rows + l.offset + ((i + 1) & l.mask));
  u32 v01 = load_u32(table.rows + l.offset + ((i + l.stride_y) & l.mask));
  u32 v11 = load_u32(table.rows + l.offset + ((i + l.stride_y + 1) & l.mask));
  float lo = half_low(pull), hi = half_high(pull);
  float s00 = lo * half_low(v00) + hi * half_high(v00), s10 = lo * half_low(v10) + hi * half_high(v10);
  float s01 = lo * half_low(v01) + hi * half_high(v01), s11 = lo * half_low(v11) + hi * half_high(v11);
  float half_scale = 0.5f * l.scale;
  return make_float2(half_scale * ((1.f - fy) * (s10 - s00) + fy * (s11 - s01)), half_scale * ((1.f - fx) * (s01 - s00) + fx * (s11 - s10)));
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
#pragma unroll
    for (int i = 0; i < 2 * POS_STEPS; ++i) {
      uint4 v = mine[32 * (i / POS_STEPS * IN_STEPS + i % POS_STEPS)];
      u32* to = x[i / POS_STEPS][i % POS_STEPS];
      to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
    }
    start_with(c, s.forward.ambient_bias, q);
    multiply(c, x, s.forward.ambient_first, lane);
    activate(h1, c);
    clear(c);
    multiply(c, h1, s.forward.ambient_second, lane);
    activate(h2, c);
    multiply_narrow(sums, h2, s.forward.ambient_out, lane);
    write_rows(s.saved, h1, warp, lane);
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      float u = squash(__shfl_sync(~0u, sums[r / 2][2 * (r % 2)], 4 * g)), v = squash(__shfl_sync(~0u, sums[r / 2][2 * (r % 2) + 1], 4 * g));
      bool lives = valid && sample_ray[at + 8 * r + g] != ROW_NONE;
      float du = 0.f, dv = 0.f;
      if (lives)
#pragma unroll
        for (int j = 0; j < AMB_GROUPS; ++j) {
          const u32* words = reinterpret_cast<const u32*>(pull + 32 * (r / 2 * IN_STEPS + POS_STEPS + j / 2));
          u32 v2 = words[2 * (j % 2) + r % 2];
          if (nothing(v2) || 4 * j + q >= AMB_LEVELS) continue;
          float2 slope = spread_ambient(table_gradients, table, load_level(shared_levels, 4 * j + q), u, v, v2);
          du += slope.x;
          dv += slope.y;
        }
      __syncwarp();
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
