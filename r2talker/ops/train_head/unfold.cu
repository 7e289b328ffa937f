// From the gradients of a frame's folded weights to those of the networks as they are stored, by the chain rule of what was
// folded: row factors, biases, and the product of two matrices.

// Where gradients go; same shapes as `HeadMatrices` without the product. code: [FRAMES, CODE], individual: [frames, INDIVIDUAL].
struct NetworkGradients {
  float *first, *second, *third, *color, *rgb;
  float *ambient_first, *ambient_second, *ambient_out;
};

// The inverse of `slot_column`.
__device__ __forceinline__ int column_slot(int column) {
  if (column >= POS_FEATURES) {
    int level = (column - POS_FEATURES) / 2, group = level / 4;
    return 16 * (POS_STEPS + group / 2) + 8 * (group % 2) + 2 * (level % 4) + column % 2;
  }
  int level = column / POS_CHANNELS, channel = column % POS_CHANNELS, group = level / 4;
  if (POS_CHANNELS == 4) return 16 * group + 8 * (channel / 2) + 2 * (level % 4) + channel % 2;
  return 16 * (group / 2) + 8 * (group % 2) + 2 * (level % 4) + channel;
}

#define PARTS 4  // threads that share a sum over 64 products

// One block per output unit o, of 64 * PARTS threads. Everything is overwritten.
extern "C" __global__ void __launch_bounds__(64 * PARTS) unfold_gradients(
    const NetworkGradients* outputs, const HeadMatrices* matrices, const Gradients* gradients, const Clip* clips, const int* steps,
    const float* code, const float* eye, float* code_gradient) {
  __shared__ float shared_sums[2][PARTS][HIDDEN];
  const NetworkGradients out = *outputs;
  const HeadMatrices m = *matrices;
  LevelWindow window = {clips->coarse_levels, clips->unlock_steps, *steps};
  int o = blockIdx.x, k = threadIdx.x % HIDDEN, part = threadIdx.x / HIDDEN;
  // joint = geometry third[1:]: row o of the colour network's part, and row 1 + o of the third layer.
  float geometry = 0.f, third = 0.f;
#pragma unroll
  for (int i = 0; i < HIDDEN / PARTS; ++i) {
    int j = part * (HIDDEN / PARTS) + i;
    float a = 0.f, b = 0.f;
    for (int f = 0; f < FRAMES; ++f) {
      a += gradients[f].joint[j * 64 + o];
      b += gradients[f].joint[k * 64 + j];
    }
    geometry += a * m.third[(1 + k) * HIDDEN + j];
    third += b * m.color[j * COLOR_WIDTH + DIRECTION + o];
  }
  shared_sums[0][part][k] = geometry;
  shared_sums[1][part][k] = third;
  __syncthreads();
  if (part == 0) {
    for (int i = 1; i < PARTS; ++i) geometry += shared_sums[0][i][k], third += shared_sums[1][i][k];
    out.color[o * COLOR_WIDTH + DIRECTION + k] = geometry;
    out.third[(1 + o) * HIDDEN + k] = third;
  }
  __syncthreads();
  // Row o of the first and second layer.
  for (int column = threadIdx.x; column < IN_WIDTH; column += blockDim.x) {
    bool seen = EYE && column == IN_WIDTH - 1;
    int slot = seen ? 0 : column_slot(column);
    float sum = 0.f, share = seen ? 1.f : window(slot);
    for (int f = 0; f < FRAMES; ++f) {
      float factor = FILM ? 1.f + code[f * CODE + HIDDEN + o] : 1.f;
      float folded = seen ? gradients[f].first_bias[o] * eye[f] : gradients[f].first[slot * 64 + o];
      sum += factor * share * folded;
    }
    out.first[o * IN_WIDTH + column] = sum;
  }
  if (part == 1) {
    float second = 0.f;
    for (int f = 0; f < FRAMES; ++f) second += (FILM ? 1.f + code[f * CODE + 3 * HIDDEN + o] : 1.f) * gradients[f].second[k * 64 + o];
    out.second[o * HIDDEN + k] = second;
  }
  if (part == 2 && k < DIRECTION) {
    float sum = 0.f;
    for (int f = 0; f < FRAMES; ++f) sum += gradients[f].direction[k * 64 + o];
    out.color[o * COLOR_WIDTH + k] = sum;
  }
  if (part == 3 && k < 4) {
    float sum = 0.f;
    for (int f = 0; f < FRAMES; ++f) sum += gradients[f].rgb[o * 4 + k];
    *(k < 3 ? out.rgb + k * HIDDEN + o : out.third + o) = sum;
  }
#if FILM
  for (int f = 0; f < FRAMES; ++f) {
    if (part < 2) {
      // The scale of unit o in layer 1 + part multiplies the row: its gradient is the row times that of the folded row.
      const float* row = part ? m.second + o * HIDDEN : m.first + o * IN_WIDTH;
      const float* folded = part ? gradients[f].second : gradients[f].first;
      int column = part ? k : k < 16 * IN_STEPS ? slot_column(k) : -1;
      shared_sums[0][part][k] = column < 0 ? 0.f : row[column] * folded[k * 64 + o] * (part ? 1.f : window(k));
    }
    __syncthreads();
    if (part < 2 && k == 0) {
      float sum = 0.f;
      for (int i = 0; i < HIDDEN; ++i) sum += shared_sums[0][part][i];
      if (EYE && !part) sum += m.first[o * IN_WIDTH + IN_WIDTH - 1] * eye[f] * gradients[f].first_bias[o];
      code_gradient[f * CODE + 2 * HIDDEN * part + o] = part ? gradients[f].second_bias[o] : gradients[f].first_bias[o];
      code_gradient[f * CODE + 2 * HIDDEN * part + HIDDEN + o] = sum;
    }
    __syncthreads();
  }
#endif
#if AMBIENT
  for (int k = threadIdx.x; k < POS_FEATURES + CODE; k += blockDim.x) {
    float sum = 0.f;
    int from = k < POS_FEATURES ? column_slot(k) : 0;
    for (int f = 0; f < FRAMES; ++f)
      sum += k < POS_FEATURES ? window(from) * gradients[f].ambient_first[from * 64 + o] : gradients[f].ambient_bias[o] * code[f * CODE + k - POS_FEATURES];
    out.ambient_first[o * (POS_FEATURES + CODE) + k] = sum;
  }
  for (int k = threadIdx.x; k < HIDDEN; k += blockDim.x) {
    float sum = 0.f;
    for (int f = 0; f < FRAMES; ++f) sum += gradients[f].ambient_second[k * 64 + o];
    out.ambient_second[o * HIDDEN + k] = sum;
  }
  if (threadIdx.x < 2) {
    float sum = 0.f;
    for (int f = 0; f < FRAMES; ++f) sum += gradients[f].ambient_out[o * 2 + threadIdx.x];
    out.ambient_out[threadIdx.x * HIDDEN + o] = sum;
  }
  // Unit o of the code hears through column o of the ambient network's first layer.
  for (int f = threadIdx.x; f < FRAMES; f += blockDim.x) {
    float sum = 0.f;
    for (int n = 0; n < HIDDEN; ++n) sum += m.ambient_first[n * (POS_FEATURES + CODE) + POS_FEATURES + o] * gradients[f].ambient_bias[n];
    code_gradient[f * CODE + o] = sum;
  }
#endif
}

// Gradients of the individual codes of the step's frames, and of the colour network's columns for them; one block.
// Rows of other frames are left alone: the optimiser clears what it has used.
extern "C" __global__ void unfold_individual(
    const NetworkGradients* outputs, const HeadMatrices* matrices, const Gradients* gradients, const Clip* clips, const int* steps,
    const float* individual, float* individual_gradient) {
  for (int e = threadIdx.x; e < HIDDEN * INDIVIDUAL; e += blockDim.x) {
    int o = e / INDIVIDUAL, j = e % INDIVIDUAL;
    float sum = 0.f;
    for (int f = 0; f < FRAMES; ++f)
      sum += gradients[f].direction[o] / ONE * individual[frame_of(*clips, *steps, f) * INDIVIDUAL + j];
    outputs->color[o * COLOR_WIDTH + DIRECTION + GEOMETRY + j] = sum;
  }
  // A warp for every number of a frame's code.
  int lane = threadIdx.x & 31;
  for (int e = threadIdx.x / 32; e < FRAMES * INDIVIDUAL; e += blockDim.x / 32) {
    int f = e / INDIVIDUAL, j = e % INDIVIDUAL;
    float sum = 0.f;
    for (int o = lane; o < HIDDEN; o += 32)
      sum += matrices->color[o * COLOR_WIDTH + DIRECTION + GEOMETRY + j] * gradients[f].direction[o] / ONE;
    for (int offset = 16; offset; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
    if (lane == 0) atomicAdd(&individual_gradient[frame_of(*clips, *steps, f) * INDIVIDUAL + j], sum);
  }
}
