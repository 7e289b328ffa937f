// The occupancy grid's refresh (upstream.md 5.7, 5.8): densities at jittered cell centres, dilation, decayed maximum, bits.
// Cells are numbered (x * 128 + z) * 128 + y, columns along depth, as in rays.cuh. Only possible cells are evaluated.
//
// Parts: device.cuh mlp.cuh grid.cuh rays.cuh head_weights.cuh head_eval.cuh step.cuh update.cu.

#define CELLS (GRID_SIDE * GRID_SIDE * GRID_SIDE)
#define DECAY 0.95f
#define DENSITY_LEAST 10.f

__device__ __forceinline__ float centre(int cell, float jitter) {
  return (2.f * cell / (GRID_SIDE - 1) - 1.f) * (1.f - 1.f / GRID_SIDE) + (2.f * jitter - 1.f) / GRID_SIDE;
}

// fresh: [CELLS], written at the possible cells. weights: of the frame under whose code the head is looked at. total: cleared.
extern "C" __global__ void __launch_bounds__(32 * WARPS, BLOCKS) sample_density(
    const HeadWeights* weights, const void* table, const void* ambient_table, const u32* levels, const int* cells, int count,
    const int* steps, u32 seed, float* fresh, float* total) {
  DYNAMIC_SHARED(ShadeShared, shared_density);
  ShadeShared& s = shared_density[0];
  int lane = threadIdx.x & 31, q = lane & 3;
  if (blockIdx.x == 0 && threadIdx.x == 0) *total = 0.f;
  fetch_block(&s.weights, weights);
  for (int i = threadIdx.x; i < (POS_GROUPS + AMB_GROUPS) * 32; i += blockDim.x) s.levels[i] = levels[i];
  __syncthreads();
  Tables tables = make_tables(table, ambient_table);
  int tiles = (count + 31) / 32;
  for (int tile = blockIdx.x * WARPS + threadIdx.x / 32; tile < tiles; tile += gridDim.x * WARPS) {
    int index = min(tile * 32 + lane, count - 1), cell = cells[index];
    float jitter[3];
#pragma unroll
    for (int d = 0; d < 3; ++d) jitter[d] = uniform(seed, *steps, index, 3 + d);
    float x = centre(cell / (GRID_SIDE * GRID_SIDE), jitter[0]), y = centre(cell % GRID_SIDE, jitter[1]);
    float z = centre(cell / GRID_SIDE % GRID_SIDE, jitter[2]);
    u32 hidden[2][4][4];
    float sigma[2][4] = {};
    hidden_layers(hidden, s, tables, fminf(1.f, fmaxf(-1.f, x)), fminf(1.f, fmaxf(-1.f, y)), fminf(1.f, fmaxf(-1.f, z)), lane, NoRecord());
    multiply_narrow(sigma, hidden, s.weights.sigma, lane);
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      int target = __shfl_sync(~0u, cell, (lane >> 2) + 8 * r);
      if (q == 0) fresh[target] = __expf(sigma[r / 2][2 * (r % 2)]);
    }
  }
}

// density: -1 where impossible. One thread a cell.
extern "C" __global__ void decay_cells(const float* fresh, float* density, float* total) {
  int cell = blockIdx.x * blockDim.x + threadIdx.x;
  float value = 0.f;
  if (cell < CELLS && density[cell] >= 0.f) {
    int y = cell % GRID_SIDE, z = cell / GRID_SIDE % GRID_SIDE, x = cell / (GRID_SIDE * GRID_SIDE);
    float most = fresh[cell];
    if (y > 0) most = fmaxf(most, fresh[cell - 1]);
    if (y < GRID_SIDE - 1) most = fmaxf(most, fresh[cell + 1]);
    if (z > 0) most = fmaxf(most, fresh[cell - GRID_SIDE]);
    if (z < GRID_SIDE - 1) most = fmaxf(most, fresh[cell + GRID_SIDE]);
    if (x > 0) most = fmaxf(most, fresh[cell - GRID_SIDE * GRID_SIDE]);
    if (x < GRID_SIDE - 1) most = fmaxf(most, fresh[cell + GRID_SIDE * GRID_SIDE]);
    value = fmaxf(density[cell] * DECAY, most);
    density[cell] = value;
  }
  for (int offset = 16; offset; offset /= 2) value += __shfl_xor_sync(~0u, value, offset);
  if ((threadIdx.x & 31) == 0 && value > 0.f) atomicAdd(total, value);
}

// The threshold is the mean over all cells, at most DENSITY_LEAST.
extern "C" __global__ void pack_cells(const float* density, const float* total, u32* bits) {
  int cell = blockIdx.x * blockDim.x + threadIdx.x;
  bool occupied = cell < CELLS && density[cell] > fminf(*total / CELLS, DENSITY_LEAST);
  u32 word = __ballot_sync(~0u, occupied);
  if ((threadIdx.x & 31) == 0 && cell < CELLS) bits[cell / 32] = word;
}
