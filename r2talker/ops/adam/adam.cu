// Adam over one range of parameters (Kingma and Ba 2015), four to a thread. Parts: device.cuh adam.cu.
//
// rates: the rate at every step. half_copy: the values as halves for the kernels that read tables, or null. sparse: leave entries
// alone whose four gradients are all zero (rows that no sample of the step touched). Gradients are cleared.

#define BETA1 0.9f
#define BETA2 0.99f
#define EPSILON 1e-15f

struct alignas(16) Four {
  float v[4];
};

extern "C" __global__ void adam_step(
    Four* values, Four* gradients, Four* means, Four* squares, uint2* half_copy, int fours, const int* steps, const float* rates,
    float factor, int sparse) {
  int t = *steps;
  float rate = rates[t] * factor / (1.f - powf(BETA1, t + 1.f)), correction = rsqrtf(1.f - powf(BETA2, t + 1.f));
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < fours; i += gridDim.x * blockDim.x) {
    Four g = gradients[i];
    if (sparse && g.v[0] == 0.f && g.v[1] == 0.f && g.v[2] == 0.f && g.v[3] == 0.f) continue;
    Four p = values[i], m = means[i], s = squares[i];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      // An overflow somewhere must not spread into the weights.
      float d = fabsf(g.v[j]) < 3e38f ? g.v[j] : 0.f;
      m.v[j] += (1.f - BETA1) * (d - m.v[j]);
      s.v[j] = BETA2 * s.v[j] + (1.f - BETA2) * d * d;
      p.v[j] -= rate * m.v[j] / (sqrtf(s.v[j]) * correction + EPSILON);
    }
    Four zero = {{0.f, 0.f, 0.f, 0.f}};
    gradients[i] = zero;
    values[i] = p;
    means[i] = m;
    squares[i] = s;
    if (half_copy) half_copy[i] = make_uint2(pack_half2(p.v[0], p.v[1]), pack_half2(p.v[2], p.v[3]));
  }
}

extern "C" __global__ void next_step(int* steps) { *steps += 1; }

// values += share (from - values).
extern "C" __global__ void average(Four* values, const Four* from, int fours, float share) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < fours; i += gridDim.x * blockDim.x) {
    Four a = values[i], b = from[i];
#pragma unroll
    for (int j = 0; j < 4; ++j) a.v[j] += share * (b.v[j] - a.v[j]);
    values[i] = a;
  }
}
