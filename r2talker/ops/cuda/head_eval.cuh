// A warp evaluates the head at 32 samples (upstream.md 4.3). Needs PACK, the rows of a table entry.

#define WARPS 4

// Zero before every picture.
struct Counters {
  u32 listed, taken, samples, budget;
};

// A ray that has something to see. complete: the mask covers all of it.
struct alignas(16) Listed {
  u32 pixel_and_complete;
  float t;
  u64 mask;
};

// What a warp keeps in shared memory beside the weights.
struct Desk {
  float4 answer[32];    // density's exponent and three colour sums of each row
  u32 direction[32][8]; // spherical harmonics of each row's ray, as halves
};

struct ShadeShared {
  HeadWeights weights;
  Desk desks[WARPS];
  u32 levels[(POS_GROUPS + AMB_GROUPS) * 4 * 8];
};

// The tables of both grids.
struct Tables {
  Table<POS_CHANNELS, PACK> position;
  Table<2, PACK> ambient;
};

__device__ __forceinline__ Tables make_tables(const void* position, const void* ambient) {
  Tables tables = {{reinterpret_cast<decltype(Table<POS_CHANNELS, PACK>::rows)>(position)},
                   {reinterpret_cast<decltype(Table<2, PACK>::rows)>(ambient)}};
  return tables;
}

// What `evaluate` reports on its way: nothing here, what the backward pass needs in training.
struct NoRecord {
  __device__ __forceinline__ void ambient(float, float) const {}
  __device__ __forceinline__ void features(const u32 (&)[2][IN_STEPS][4]) const {}
};

// The second hidden layer of the warp's rows: what density and colour are read from. x, y, z: position of row `lane`.
template <typename Record>
__device__ __forceinline__ void hidden_layers(
    u32 (&hidden)[2][4][4], ShadeShared& s, Tables tables, float x, float y, float z, int lane, Record record) {
  int q = lane & 3;
  float c[2][8][4];
  u32 features[2][IN_STEPS][4];
  float at[3] = {x, y, z};
  encode_rows<POS_CHANNELS, PACK, POS_GROUPS, POS_DEEP>(
      features, 0, tables.position, s.levels, at[POS_AXIS_0], at[POS_AXIS_1], at[POS_AXIS_2], lane);
#if AMBIENT
  float u, v;
  ambient_coordinate(s.weights, features, u, v, lane);
  encode_rows<2, PACK, AMB_GROUPS, 0>(features, POS_STEPS, tables.ambient, s.levels + POS_GROUPS * 32, u, v, 0.f, lane);
  record.ambient(u, v);
#endif
  record.features(features);
  start_with(c, s.weights.first_bias, q);
  multiply(c, features, s.weights.first, lane);
  activate(hidden, c);
  start_with(c, s.weights.second_bias, q);
  multiply(c, hidden, s.weights.second, lane);
  activate(hidden, c);
}

// Density exponent and colour sums of the warp's rows into the desk. Row `lane` is the sample at `t` of the lane's ray.
template <typename Record>
__device__ __forceinline__ void evaluate(
    ShadeShared& s, Desk& desk, Tables tables, const Ray& ray, float t, int lane, Record record) {
  int g = lane >> 2, q = lane & 3;
  u32 hidden[2][4][4];
  float c[2][8][4];
  hidden_layers(hidden, s, tables, position(ray, t, 0), position(ray, t, 1), position(ray, t, 2), lane, record);
  float sigma[2][4] = {}, rgb[2][4] = {};
  multiply_narrow(sigma, hidden, s.weights.sigma, lane);
  u32 direction[2][1][4];
#pragma unroll
  for (int i = 0; i < 8; ++i) direction[i / 4][0][i % 4] = desk.direction[16 * (i / 4) + 8 * (i % 2) + g][4 * (i / 2 % 2) + q];
  start_with(c, s.weights.joint_bias, q);
  multiply(c, direction, s.weights.direction, lane);
  multiply(c, hidden, s.weights.joint, lane);
  activate(hidden, c);
  multiply_narrow(rgb, hidden, s.weights.rgb, lane);
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    float* answer = reinterpret_cast<float*>(&desk.answer[8 * r + g]);
    if (q == 0) {
      answer[0] = sigma[r / 2][2 * (r % 2)];
      answer[1] = rgb[r / 2][2 * (r % 2)];
      answer[2] = rgb[r / 2][2 * (r % 2) + 1];
    }
    if (q == 1) answer[3] = rgb[r / 2][2 * (r % 2)];
  }
  __syncwarp();
}

__device__ __forceinline__ float sigmoid(float v) { return __fdividef(1.f, 1.f + __expf(-v)); }
