// A warp's 32 samples through fully connected layers on the matrix units, activations in registers all the way.
//
// A sample is a row; lane = 4 g + q holds parts of rows g, g + 8, g + 16, g + 24. Weights lie in fragment order: entry
// ((k-step * tiles / 2) + tile pair) * 32 + lane is the lane's share of two neighbouring 8-column tiles (`fragment_weights`).

template <int TILES>
__device__ __forceinline__ void clear(float (&c)[2][TILES][4]) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < TILES; ++n) c[m][n][0] = c[m][n][1] = c[m][n][2] = c[m][n][3] = 0.f;
}

// Every row starts with the bias of its columns. bias: 8 * TILES floats.
template <int TILES>
__device__ __forceinline__ void start_with(float (&c)[2][TILES][4], const float* bias, int q) {
#pragma unroll
  for (int n = 0; n < TILES; ++n) {
    float2 b = *reinterpret_cast<const float2*>(bias + 8 * n + 2 * q);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      c[m][n][0] = c[m][n][2] = b.x;
      c[m][n][1] = c[m][n][3] = b.y;
    }
  }
}

template <int STEPS, int TILES>
__device__ __forceinline__ void multiply(float (&c)[2][TILES][4], const u32 (&a)[2][STEPS][4], const uint4* weights, int lane) {
#pragma unroll
  for (int k = 0; k < STEPS; ++k)
#pragma unroll
    for (int n = 0; n < TILES / 2; ++n) {
      uint4 w = weights[(k * (TILES / 2) + n) * 32 + lane];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        mma_16x8x16(c[m][2 * n], a[m][k][0], a[m][k][1], a[m][k][2], a[m][k][3], w.x, w.y);
        mma_16x8x16(c[m][2 * n + 1], a[m][k][0], a[m][k][1], a[m][k][2], a[m][k][3], w.z, w.w);
      }
    }
}

// One 8-column tile. weights: entry k-step * 32 + lane.
template <int STEPS>
__device__ __forceinline__ void multiply_narrow(float (&c)[2][4], const u32 (&a)[2][STEPS][4], const uint2* weights, int lane) {
#pragma unroll
  for (int k = 0; k < STEPS; ++k) {
    uint2 w = weights[k * 32 + lane];
#pragma unroll
    for (int m = 0; m < 2; ++m) mma_16x8x16(c[m], a[m][k][0], a[m][k][1], a[m][k][2], a[m][k][3], w.x, w.y);
  }
}

// Sums become the next layer's input.
template <int STEPS>
__device__ __forceinline__ void activate(u32 (&a)[2][STEPS][4], const float (&c)[2][2 * STEPS][4]) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int k = 0; k < STEPS; ++k) {
      a[m][k][0] = pack_half2_relu(c[m][2 * k][0], c[m][2 * k][1]);
      a[m][k][1] = pack_half2_relu(c[m][2 * k][2], c[m][2 * k][3]);
      a[m][k][2] = pack_half2_relu(c[m][2 * k + 1][0], c[m][2 * k + 1][1]);
      a[m][k][3] = pack_half2_relu(c[m][2 * k + 1][2], c[m][2 * k + 1][3]);
    }
}

// Weights to fragment order, by all threads of a block; `entry(n, k)` is the weight of input slot k for output n.

template <int TILES, typename Entry>
__device__ void pack_wide(uint4* out, int steps, Entry entry) {
  u32* words = reinterpret_cast<u32*>(out);
  for (int e = threadIdx.x; e < steps * 64 * TILES; e += blockDim.x) {
    int part = e % 2, odd = e / 2 % 2, lane = e / 4 % 32, pair = e / 128 % (TILES / 2), step = e / (64 * TILES);
    int n = (2 * pair + odd) * 8 + lane / 4, k = step * 16 + part * 8 + 2 * (lane % 4);
    words[e] = pack_half2(entry(n, k), entry(n, k + 1));
  }
}

// One 8-column tile; outputs from `rows` on have no weights.
template <typename Entry>
__device__ void pack_narrow(uint2* out, int steps, int rows, Entry entry) {
  u32* words = reinterpret_cast<u32*>(out);
  for (int e = threadIdx.x; e < steps * 64; e += blockDim.x) {
    int part = e % 2, lane = e / 2 % 32, step = e / 64, n = lane / 4, k = step * 16 + part * 8 + 2 * (lane % 4);
    words[e] = n < rows ? pack_half2(entry(n, k), entry(n, k + 1)) : 0u;
  }
}

// Copies a block to shared memory.
template <typename Block>
__device__ void fetch_block(Block* to, const Block* from) {
  static_assert(sizeof(Block) % 16 == 0, "blocks are copied in units of 16 bytes");
  for (int i = threadIdx.x; i < (int)(sizeof(Block) / 16); i += blockDim.x)
    reinterpret_cast<uint4*>(to)[i] = load_u128(reinterpret_cast<const uint4*>(from) + i);
}
