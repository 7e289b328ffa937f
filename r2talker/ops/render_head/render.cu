// Pictures of the head in two passes: rays that meet occupied cells are listed, then persistent warps take rays off that list,
// one to a lane, and evaluate 32 samples at a time, each lane going on with its ray until it is opaque or leaves.
//
// Parts of one translation unit, in this order: device.cuh mlp.cuh grid.cuh rays.cuh head_weights.cuh head_eval.cuh render.cu.
// Defined by the host besides what those ask for: PACK (rows per table entry); ROUNDS, where rays take as many samples as the
// reference's rounds come to (upstream.md 5.5): how many follows from how long all rays of the picture go on, so rays are first
// shaded with the most that rounds can come to, which are counted, and those that went on too long are shaded again.

#ifndef ROUNDS
#define ROUNDS 0
#endif
#define WIDEST_ROUND 8

extern "C" __global__ void fold_weights(
    HeadWeights* out, const HeadMatrices* matrices, const float* code, const float* eye, const float* individual, Counters* counters) {
  int frame = blockIdx.x;
  if (threadIdx.x == 0) {
    Counters zero = {0, 0, 0, 0};
    counters[frame] = zero;
  }
  fold_head(out + frame, *matrices, code + frame * CODE, eye[frame], individual, AllLevels());
}

__device__ __forceinline__ u32 byte_of(float v) { return (u32)__float2int_rn(fminf(1.f, fmaxf(0.f, v)) * 255.f); }

struct Colour {
  float r, g, b;
};

__device__ __forceinline__ Colour behind_at(const uint2* behind, u32 pixel) {
  uint2 v = behind[pixel];
  Colour c = {half_low(v.x), half_high(v.x), half_low(v.y)};
  return c;
}

__device__ __forceinline__ void store(unsigned char* rgb, u32 pixel, Colour c) {
  rgb[3 * pixel] = (unsigned char)byte_of(c.r);
  rgb[3 * pixel + 1] = (unsigned char)byte_of(c.g);
  rgb[3 * pixel + 2] = (unsigned char)byte_of(c.b);
}

// One thread a pixel, a warp a tile of 8 x 4: lists the rays to shade, finishes the others.
// behind: [frames, H * W] halves r g b -. opacity, depth: [frames, H * W] or null.
extern "C" __global__ void list_rays(
    const View* views, const Scene* scenes, const u32* bits, int height, int width, const uint2* behind, unsigned char* rgb,
    float* opacity, float* depth, Listed* rays, Counters* counters) {
  int frame = blockIdx.y, lane = threadIdx.x & 31, tiles = (width + 7) / 8;
  int tile = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  int row = tile / tiles * 4 + lane / 8, column = tile % tiles * 8 + lane % 8;
  bool inside = row < height && column < width;
  size_t first = (size_t)frame * height * width;
  u32 pixel = row * width + column;
  Walk walk;
  walk.mask = 0;
  bool complete = true;
  Scene scene = *scenes;
  if (inside) {
    Ray ray = pixel_ray(views[frame], row, column);
    if (start_walk(scene, ray, 0.f, walk)) {
      find_occupied(scene, bits, ray, walk);
      complete = advance(scene, walk.t, 64) >= walk.stop;
    }
  }
  u32 found = __ballot_sync(~0u, walk.mask != 0), base = 0;
  if (lane == 0 && found) base = atomicAdd(&counters[frame].listed, (u32)__popc(found));
  base = __shfl_sync(~0u, base, 0);
  if (walk.mask) {
    Listed entry = {pixel | (complete ? 0x80000000u : 0u), walk.t, walk.mask};
    rays[first + base + __popc(found & ((1u << lane) - 1))] = entry;
  } else if (inside) {
    store(rgb + 3 * first, pixel, behind_at(behind + first, pixel));
    if (opacity) opacity[first + pixel] = 0.f;
    if (depth) depth[first + pixel] = 0.f;
  }
}

// A lane's ray and what it has gathered.
struct Gathered {
  Ray ray;
  Walk walk;
  u32 pixel;
  bool alive, complete;
#if ROUNDS
  bool opaque;
  u32 place;
#endif
  int left;
  float opacity, depth, r, g, b;
};

__device__ __forceinline__ void take_ray(
    Gathered& s, const Listed& entry, const View& view, const Scene& scene, int width, int budget, u32* harmonics) {
  s.pixel = entry.pixel_and_complete & 0x7fffffffu;
  s.complete = entry.pixel_and_complete >> 31;
  s.ray = pixel_ray(view, s.pixel / width, s.pixel % width);
  s.walk.mask = entry.mask;
  s.walk.t = entry.t;
  float a, b, leave, last;
  slabs(s.ray, scene.low, scene.high, a, leave);
  slabs(s.ray, scene.occupied_low, scene.occupied_high, b, last);
  s.walk.stop = fminf(leave, last);
  s.left = budget;
  s.opacity = s.depth = s.r = s.g = s.b = 0.f;
  s.alive = true;
  spherical_harmonics(s.ray.d, harmonics);
}

// Adds the sample at walk.t and moves on (upstream.md 5.5): the ray ends after the sample that starts nearly opaque.
__device__ __forceinline__ void add_sample(Gathered& s, float4 answer, const Scene& scene, const u32* bits) {
  float delta = step_at(scene, s.walk.t), rest = 1.f - s.opacity;
  float weight = (1.f - __expf(-__expf(answer.x) * delta)) * rest;
  s.opacity += weight;
  s.depth += weight * (s.walk.t + delta);
  s.r += weight * sigmoid(answer.y);
  s.g += weight * sigmoid(answer.z);
  s.b += weight * sigmoid(answer.w);
  s.walk.mask >>= 1;
  s.walk.t += delta;
  --s.left;
#if ROUNDS
  s.opaque = rest < scene.transmittance_least;
#endif
  if (rest < scene.transmittance_least || s.left == 0)
    s.alive = false;
  else if (s.walk.mask == 0) {
    if (!s.complete) find_occupied(scene, bits, s.ray, s.walk);
    s.alive = s.walk.mask != 0;
  }
}

__device__ __forceinline__ void finish(
    const Gathered& s, const Scene& scene, const uint2* behind, unsigned char* rgb, float* opacity, float* depth) {
  Colour back = behind_at(behind, s.pixel);
  float rest = 1.f - s.opacity;
  Colour c = {s.r + rest * back.r, s.g + rest * back.g, s.b + rest * back.b};
  store(rgb, s.pixel, c);
  if (opacity) opacity[s.pixel] = s.opacity;
  if (depth) {
    float entry, leave;
    slabs(s.ray, scene.low, scene.high, entry, leave);
    float near = fmaxf(entry, scene.near_least);
    depth[s.pixel] = fmaxf(0.f, s.depth - near) / fmaxf(1e-6f, leave - near);
  }
}

// For every frame the samples that the reference's rounds come to. living: [frames, most + WIDEST_ROUND], how many rays still go on
// after exactly so many samples; those of the pixels that list nothing do not count after the first round.
extern "C" __global__ void count_rounds(const u32* living, int pixels, const Scene* scenes, Counters* late) {
  if (threadIdx.x != 0) return;
  int frame = blockIdx.x, most = scenes->steps_most, bins = most + WIDEST_ROUND;
  int taken = 0, going = pixels;
  while (taken < most && going > 0) {
    int width = pixels / going;
    taken += width < 1 ? 1 : width > WIDEST_ROUND ? WIDEST_ROUND : width;
    going = 0;
    for (int bin = taken; bin < bins; ++bin) going += living[frame * bins + bin];
  }
  late[frame].budget = taken;
}

// living, late, late_counters: of the first shading by rounds; null in the second one, whose rays and counters are `late`.
extern "C" __global__ void __launch_bounds__(32 * WARPS, BLOCKS) shade_rays(
    const HeadWeights* weights, const void* table, const void* ambient_table, const u32* levels, const View* views,
    const Scene* scenes, const u32* bits, int height, int width, const uint2* behind, unsigned char* rgb, float* opacity,
    float* depth, const Listed* rays, Counters* counters, u32* living, Listed* late, Counters* late_counters) {
  DYNAMIC_SHARED(ShadeShared, shared);
  ShadeShared& s = shared[0];
  int frame = blockIdx.y, lane = threadIdx.x & 31;
  size_t first = (size_t)frame * height * width;
  u32 listed = counters[frame].listed;
  fetch_block(&s.weights, weights + frame);
  for (int i = threadIdx.x; i < (POS_GROUPS + AMB_GROUPS) * 32; i += blockDim.x) s.levels[i] = levels[i];
  __syncthreads();
  Tables tables = make_tables(table, ambient_table);
  Desk& desk = s.desks[threadIdx.x / 32];
  Scene scene = *scenes;
  int budget = scene.steps_most;
#if ROUNDS
  budget = living ? budget + WIDEST_ROUND - 1 : (int)counters[frame].budget;
#endif
  Gathered mine;
  mine.alive = false;
  mine.ray.o[0] = mine.ray.o[1] = mine.ray.o[2] = mine.ray.d[0] = mine.ray.d[1] = mine.ray.d[2] = 0.f;
  mine.walk.t = 0.f;
#pragma unroll
  for (int i = 0; i < 8; ++i) desk.direction[lane][i] = 0;
  u32 samples = 0;
  bool empty = false;
  while (true) {
    u32 idle = __ballot_sync(~0u, !mine.alive);
    if (idle && !empty) {
      u32 base = 0;
      if (lane == 0) base = atomicAdd(&counters[frame].taken, (u32)__popc(idle));
      base = __shfl_sync(~0u, base, 0);
      u32 place = base + __popc(idle & ((1u << lane) - 1));
      if (!mine.alive && place < listed) {
        take_ray(mine, rays[first + place], views[frame], scene, width, budget, desk.direction[lane]);
#if ROUNDS
        mine.place = place;
#endif
      }
      empty = base + __popc(idle) >= listed;
      idle = __ballot_sync(~0u, !mine.alive);
    }
    if (idle == ~0u) break;
    if (mine.alive) {
      int skipped = __ffsll(mine.walk.mask) - 1;
      mine.walk.t = advance(scene, mine.walk.t, skipped);
      mine.walk.mask >>= skipped;
    }
    __syncwarp();
    evaluate(s, desk, tables, mine.ray, mine.walk.t, lane, NoRecord());
    samples += 32 - __popc(idle);
    if (mine.alive) {
      add_sample(mine, desk.answer[lane], scene, bits);
      if (!mine.alive) {
        finish(mine, scene, behind + first, rgb + 3 * first, opacity ? opacity + first : opacity, depth ? depth + first : depth);
#if ROUNDS
        if (living) {
          // A ray that turned opaque is gone with its round; one that ran out is missed only by the next.
          int after = budget - mine.left - (mine.opaque ? 1 : 0);
          atomicAdd(&living[frame * (scene.steps_most + WIDEST_ROUND) + after], 1u);
          if (after >= scene.steps_most) late[first + atomicAdd(&late_counters[frame].listed, 1u)] = rays[first + mine.place];
        }
#endif
      }
    }
    __syncwarp();
  }
  if (lane == 0 && samples) atomicAdd(&counters[frame].samples, samples);
}
