// Grid encoding in single precision, one thread per point and level (upstream.md 3.1). Parts: device.cuh encode.cu.
// Defined by the host: DIM, CHANNELS, LEVELS.

struct EncodeLevel {
  float scale;
  u32 strides[3];  // 0 where the index ignores the coordinate
  u32 mask;        // size - 1 where the level wraps, else all ones
  u32 offset;      // first row
  u32 hashed;      // rows are found by mixing the coordinates
  u32 unused;
};

struct Cell {
  u32 low[DIM];
  float fraction[DIM];
  bool inside;
};

__device__ __forceinline__ Cell locate(const float* x, const EncodeLevel& level, float bound) {
  Cell cell;
  cell.inside = true;
#pragma unroll
  for (int d = 0; d < DIM; ++d) {
    float u = (x[d] + bound) / (2.f * bound);
    cell.inside = cell.inside && u >= 0.f && u <= 1.f;
    float p = __fmaf_rn(u, level.scale, 0.5f), low = floorf(p);
    cell.low[d] = cell.inside ? (u32)low : 0u;
    cell.fraction[d] = p - low;
  }
  return cell;
}

__device__ __forceinline__ u32 row_of(const Cell& cell, const EncodeLevel& level, int corner) {
  const u32 primes[3] = {1u, 2654435761u, 805459861u};
  u32 row = 0;
#pragma unroll
  for (int d = 0; d < DIM; ++d) {
    u32 c = cell.low[d] + (corner >> d & 1);
    row = level.hashed ? row ^ c * primes[d] : row + c * level.strides[d];
  }
  return level.offset + (row & level.mask);
}

__device__ __forceinline__ float weight_of(const Cell& cell, int corner, int without) {
  float weight = 1.f;
#pragma unroll
  for (int d = 0; d < DIM; ++d)
    if (d != without) weight *= corner >> d & 1 ? cell.fraction[d] : 1.f - cell.fraction[d];
  return weight;
}

extern "C" __global__ void encode(const float* x, const float* table, const EncodeLevel* levels, int points, float bound, float* out) {
  int index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= points * LEVELS) return;
  int point = index / LEVELS;
  EncodeLevel level = levels[index % LEVELS];
  Cell cell = locate(x + point * DIM, level, bound);
  float sum[CHANNELS] = {};
  if (cell.inside)
#pragma unroll
    for (int corner = 0; corner < 1 << DIM; ++corner) {
      const float* row = table + (size_t)row_of(cell, level, corner) * CHANNELS;
      float weight = weight_of(cell, corner, -1);
#pragma unroll
      for (int c = 0; c < CHANNELS; ++c) sum[c] += weight * row[c];
    }
#pragma unroll
  for (int c = 0; c < CHANNELS; ++c) out[(size_t)index * CHANNELS + c] = sum[c];
}

// Adds to table_gradient (zero before) and, unless null, to x_gradient.
extern "C" __global__ void encode_backward(
    const float* x, const float* table, const EncodeLevel* levels, int points, float bound, const float* gradient,
    float* table_gradient, float* x_gradient) {
  int index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= points * LEVELS) return;
  int point = index / LEVELS;
  EncodeLevel level = levels[index % LEVELS];
  Cell cell = locate(x + point * DIM, level, bound);
  if (!cell.inside) return;
  float g[CHANNELS], slope[DIM] = {};
#pragma unroll
  for (int c = 0; c < CHANNELS; ++c) g[c] = gradient[(size_t)index * CHANNELS + c];
#pragma unroll
  for (int corner = 0; corner < 1 << DIM; ++corner) {
    size_t row = (size_t)row_of(cell, level, corner) * CHANNELS;
    float weight = weight_of(cell, corner, -1), along = 0.f;
#pragma unroll
    for (int c = 0; c < CHANNELS; ++c) {
      if (table_gradient) atomicAdd(table_gradient + row + c, weight * g[c]);
      along += g[c] * table[row + c];
    }
#pragma unroll
    for (int d = 0; d < DIM; ++d) slope[d] += (corner >> d & 1 ? along : -along) * weight_of(cell, corner, d);
  }
  if (x_gradient)
#pragma unroll
    for (int d = 0; d < DIM; ++d) atomicAdd(x_gradient + point * DIM + d, slope[d] * level.scale / (2.f * bound));
}
