// From the gradients of a frame's folded weights to those of the networks as they are stored, by the chain rule of what was
// folded: row factors, biases, and the product of two matrices.

// Where gradients go; same shapes as `HeadMatrices` without the product. code: [FRAMES, CODE], individual: [frames, INDIVIDUAL].
struct NetworkGradients {
  float *first, *second, *third, *color, *rgb;
  float *ambient_first, *ambient_second, *ambient_out;
};

__device__ __forceinline__ int column_slot(int column) {
  for (int k = 0; k < 16 * IN_STEPS; ++k)
    if (slot_column(k) == column) return k;
  return 0;
}

// One block per output unit o; threads over inputs. Everything is overwritten.
extern "C" __global__ void unfold_gradients(
    const NetworkGradients* outputs, const HeadMatrices* matrices, const Gradients* gradients, const Clip* clips, const int* steps,
    const float* code, const float* eye, float* code_gradient, float* individual_gradient) {
  const NetworkGradients out = *outputs;
  const HeadMatrices m = *matrices;
  int o = blockIdx.x;
  // Row o of the first and second layer, and the FiLM code of unit o.
  for (int column = threadIdx.x; column < IN_WIDTH; column += blockDim.x) {
    bool seen = EYE && column == IN_WIDTH - 1;
    int k = seen ? 0 : column_slot(column);
    float sum = 0.f;
    for (int f = 0; f < FRAMES; ++f) {
      float factor = FILM ? 1.f + code[f * CODE + HIDDEN + o] : 1.f;
      float folded = seen ? gradients[f].first_bias[o] * eye[frame_of(*clips, *steps, f)] : gradients[f].first[k * 64 + o];
      sum += factor * folded;
    }
    out.first[o * IN_WIDTH + column] = sum;
  }
  for (int k = threadIdx.x; k < HIDDEN; k += blockDim.x) {
    float second = 0.f, geometry = 0.f, third = 0.f;
    for (int f = 0; f < FRAMES; ++f) second += (FILM ? 1.f + code[f * CODE + 3 * HIDDEN + o] : 1.f) * gradients[f].second[k * 64 + o];
    out.second[o * HIDDEN + k] = second;
    // joint = geometry third[1:]: row o of the colour network's part, and row 1 + o of the third layer.
    for (int j = 0; j < HIDDEN; ++j) {
      float a = 0.f, b = 0.f;
      for (int f = 0; f < FRAMES; ++f) {
        a += gradients[f].joint[j * 64 + o];
        b += gradients[f].joint[k * 64 + j];
      }
      geometry += a * m.third[(1 + k) * HIDDEN + j];
      third += b * m.color[j * COLOR_WIDTH + DIRECTION + o];
    }
    out.color[o * COLOR_WIDTH + DIRECTION + k] = geometry;
    out.third[(1 + o) * HIDDEN + k] = third;
  }
  if (threadIdx.x < DIRECTION) {
    float sum = 0.f;
    for (int f = 0; f < FRAMES; ++f) sum += gradients[f].direction[threadIdx.x * 64 + o];
    out.color[o * COLOR_WIDTH + threadIdx.x] = sum;
  }
  // The product's bias is the colour network's part for the individual code times that code.
  if (threadIdx.x < 4) {
    float sum = 0.f;
    for (int f = 0; f < FRAMES; ++f) sum += gradients[f].rgb[o * 4 + threadIdx.x];
    if (threadIdx.x < 3) out.rgb[threadIdx.x * HIDDEN + o] = sum;
    if (threadIdx.x == 3) out.third[o] = sum;
  }
#if FILM
  __shared__ float products[2][HIDDEN + 1];
  for (int f = 0; f < FRAMES; ++f) {
    float first = 0.f, second = 0.f;
    for (int k = threadIdx.x; k < 16 * IN_STEPS; k += blockDim.x)
      if (slot_column(k) >= 0) first += m.first[o * IN_WIDTH + slot_column(k)] * gradients[f].first[k * 64 + o];
    for (int k = threadIdx.x; k < HIDDEN; k += blockDim.x) second += m.second[o * HIDDEN + k] * gradients[f].second[k * 64 + o];
    products[0][threadIdx.x] = first;
    products[1][threadIdx.x] = second;
    __syncthreads();
    if (threadIdx.x == 0) {
      float a = 0.f, b = 0.f;
      for (int k = 0; k < (int)blockDim.x; ++k) a += products[0][k], b += products[1][k];
      if (EYE) a += m.first[o * IN_WIDTH + IN_WIDTH - 1] * eye[frame_of(*clips, *steps, f)] * gradients[f].first_bias[o];
      code_gradient[f * CODE + o] = gradients[f].first_bias[o];
      code_gradient[f * CODE + HIDDEN + o] = a;
      code_gradient[f * CODE + 2 * HIDDEN + o] = gradients[f].second_bias[o];
      code_gradient[f * CODE + 3 * HIDDEN + o] = b;
    }
    __syncthreads();
  }
#endif
#if AMBIENT
  for (int k = threadIdx.x; k < POS_FEATURES + CODE; k += blockDim.x) {
    float sum = 0.f;
    int from = k < POS_FEATURES ? column_slot(k) : 0;
    for (int f = 0; f < FRAMES; ++f)
      sum += k < POS_FEATURES ? gradients[f].ambient_first[from * 64 + o] : gradients[f].ambient_bias[o] * code[f * CODE + k - POS_FEATURES];
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
  for (int e = threadIdx.x; e < FRAMES * INDIVIDUAL; e += blockDim.x) {
    int f = e / INDIVIDUAL, j = e % INDIVIDUAL;
    float sum = 0.f;
    for (int o = 0; o < HIDDEN; ++o)
      sum += matrices->color[o * COLOR_WIDTH + DIRECTION + GEOMETRY + j] * gradients[f].direction[o] / ONE;
    atomicAdd(&individual_gradient[frame_of(*clips, *steps, f) * INDIVIDUAL + j], sum);
  }
}
