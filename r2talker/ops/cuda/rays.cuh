// Pixels to rays, and where rays meet occupied cells (upstream.md 2.3, 5.1 to 5.3), for one cascade of 128^3 cells.

#define GRID_SIDE 128

// What rendering is set to, in this order in memory.
struct Scene {
  float low[3], high[3];            // rendered box
  float occupied_low[3], occupied_high[3];  // box around the occupied cells
  float near_least, step_least, step_most, step_growth;
  float transmittance_least;
  int steps_most;
};

// Rows of [right down forward | position], then fx, fy, cx, cy.
struct View {
  float c2w[3][4];
  float fx, fy, cx, cy;
};

struct Ray {
  float o[3], d[3];
};

__device__ __forceinline__ Ray pixel_ray(const View& view, int row, int column) {
  float x = ((float)column + 0.5f - view.cx) / view.fx, y = ((float)row + 0.5f - view.cy) / view.fy;
  float shrink = rsqrtf(x * x + y * y + 1.f);
  Ray ray;
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    ray.o[i] = view.c2w[i][3];
    ray.d[i] = (view.c2w[i][0] * x + view.c2w[i][1] * y + view.c2w[i][2]) * shrink;
  }
  return ray;
}

// Entry and exit of a box; entry > exit where it is missed. fminf and fmaxf pass over the 0 * inf of a ray inside a face's plane.
__device__ __forceinline__ void slabs(const Ray& ray, const float* low, const float* high, float& entry, float& leave) {
  entry = -3e38f;
  leave = 3e38f;
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    float inverse = 1.f / ray.d[i];
    float a = (low[i] - ray.o[i]) * inverse, b = (high[i] - ray.o[i]) * inverse;
    entry = fmaxf(entry, fminf(a, b));
    leave = fminf(leave, fmaxf(a, b));
  }
}

__device__ __forceinline__ float step_at(const Scene& scene, float t) {
  return fminf(scene.step_most, fmaxf(scene.step_least, t * scene.step_growth));
}

__device__ __forceinline__ float advance(const Scene& scene, float t, int steps) {
  if (scene.step_least == scene.step_most) return __fmaf_rn((float)steps, scene.step_least, t);
  for (int i = 0; i < steps; ++i) t += step_at(scene, t);
  return t;
}

__device__ __forceinline__ float position(const Ray& ray, float t, int axis) {
  return fminf(1.f, fmaxf(-1.f, __fmaf_rn(t, ray.d[axis], ray.o[axis])));
}

// Bits of the cells lie in columns along axis 1 (depth), which rays run along: word (x * 128 + z) * 4 + y / 32, bit y % 32.
__device__ __forceinline__ u32 occupied_at(const u32* bits, const Ray& ray, float t) {
  int n[3];
#pragma unroll
  for (int i = 0; i < 3; ++i) n[i] = (int)fminf(GRID_SIDE - 1.f, fmaxf(0.f, (position(ray, t, i) + 1.f) * (GRID_SIDE / 2.f)));
  return load_u32(bits + (n[0] * GRID_SIDE + n[2]) * (GRID_SIDE / 32) + (n[1] >> 5)) >> (n[1] & 31) & 1u;
}

// Where a ray stands: lattice point `t`, and which of the 64 points from there on are occupied.
struct Walk {
  float t, stop;
  u64 mask;
};

// Occupancy of the 32 points from t on, before `stop`; t moves past them.
__device__ __forceinline__ u32 look_ahead(const Scene& scene, const u32* bits, const Ray& ray, float& t, float stop) {
  u32 mask = 0;
#pragma unroll 1
  for (int base = 0; base < 32 && t < stop; base += 8) {
    u32 part = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      u32 bit = t < stop ? occupied_at(bits, ray, t) : 0u;
      part |= bit << j;
      t += step_at(scene, t);
    }
    mask |= part << base;
  }
  return mask;
}

// Moves to the first occupied point at or after walk.t; mask stays 0 when there is none.
__device__ __forceinline__ void find_occupied(const Scene& scene, const u32* bits, const Ray& ray, Walk& walk) {
  u64 mask = 0;
  float t = walk.t, begin = t;
  while (t < walk.stop) {
    begin = t;
    mask = look_ahead(scene, bits, ray, t, walk.stop);
    if (mask) break;
  }
  walk.mask = 0;
  if (!mask) return;
  int first = __ffsll(mask) - 1;
  walk.t = advance(scene, begin, first);
  mask >>= first;
  for (int filled = 32 - first; filled < 64 && t < walk.stop; filled += 32)
    mask |= (u64)look_ahead(scene, bits, ray, t, walk.stop) << filled;
  walk.mask = mask;
}

// First lattice point of a ray near the occupied box, and where it ends; false when it has nothing to see.
__device__ __forceinline__ bool start_walk(const Scene& scene, const Ray& ray, float noise, Walk& walk) {
  float entry, leave, first, last;
  slabs(ray, scene.low, scene.high, entry, leave);
  slabs(ray, scene.occupied_low, scene.occupied_high, first, last);
  float near = fmaxf(entry, scene.near_least);
  walk.stop = fminf(leave, last);
  walk.mask = 0;
  if (leave < entry || last < first || !(near < walk.stop)) return false;
  walk.t = near + step_at(scene, near) * noise;
  if (scene.step_least == scene.step_most) {
    int skipped = (int)fmaxf(0.f, floorf((first - walk.t) / scene.step_least));
    walk.t = __fmaf_rn((float)skipped, scene.step_least, walk.t);
  }
  return walk.t < walk.stop;
}

// Real spherical harmonics to degree 3 of a unit direction (upstream.md 3.2), as pairs of halves.
__device__ __forceinline__ void spherical_harmonics(const float* d, u32* out) {
  float x = d[0], y = d[1], z = d[2], xx = x * x, yy = y * y, zz = z * z;
  out[0] = pack_half2(0.28209479177387814f, -0.48860251190291987f * y);
  out[1] = pack_half2(0.48860251190291987f * z, -0.48860251190291987f * x);
  out[2] = pack_half2(1.0925484305920792f * x * y, -1.0925484305920792f * y * z);
  out[3] = pack_half2(0.94617469575755997f * zz - 0.31539156525251999f, -1.0925484305920792f * x * z);
  out[4] = pack_half2(0.54627421529603959f * (xx - yy), 0.59004358992664352f * y * (yy - 3.f * xx));
  out[5] = pack_half2(2.8906114426405538f * x * y * z, 0.45704579946446572f * y * (1.f - 5.f * zz));
  out[6] = pack_half2(0.3731763325901154f * z * (5.f * zz - 3.f), 0.45704579946446572f * x * (1.f - 5.f * zz));
  out[7] = pack_half2(1.4453057213202769f * z * (xx - yy), 0.59004358992664352f * x * (3.f * yy - xx));
}
