// Drawing rays and evaluating their samples.

__device__ __forceinline__ bool inside(const Rectangle& r, int row, int column) {
  return row >= r.top && row < r.bottom && column >= r.left && column < r.right;
}

// share: the ray's place among its slot's, in [0, 1).
__device__ __forceinline__ Rectangle region_of(const Clip& clip, const Shares& shares, const Regions& regions, float share) {
  Rectangle everything = {0, clip.height, 0, clip.width};
  if (share < shares.anywhere) return everything;
  if (share < shares.anywhere + shares.lips) return regions.lips;
  if (share < shares.anywhere + shares.lips + shares.eyes) return regions.eyes;
  return regions.head;
}

// exposures: [frames, 2, 3] gains and offsets of the frames' colours, which are taken back, or null.
__device__ __forceinline__ void read_target(const Clip& clip, const float* exposures, int frame, u32 pixel, Target& target) {
  size_t at = (size_t)frame * clip.height * clip.width + pixel;
  float alpha = clip.torso[4 * at + 3] * (1.f / 255.f);
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    target.truth[c] = clip.truth[3 * at + c] * (1.f / 255.f);
    target.behind[c] = (clip.torso[4 * at + c] * alpha + clip.plate[3 * pixel + c] * (1.f - alpha)) * (1.f / 255.f);
    if (exposures) {
      float gain = exposures[6 * frame + c], offset = exposures[6 * frame + 3 + c];
      target.truth[c] = (target.truth[c] - offset) / gain;
      target.behind[c] = (target.behind[c] - offset) / gain;
    }
  }
}

__device__ __forceinline__ float square_error(const Target& t, const float* colour) {
  float sum = 0.f;
#pragma unroll
  for (int c = 0; c < 3; ++c) sum += (colour[c] - t.truth[c]) * (colour[c] - t.truth[c]);
  return sum * (1.f / 3.f);
}

struct Pixel {
  int row, column;
};

// Where ray `index` of a slot looks: a pixel drawn from a region, or its place in a patch around such a pixel. key: the ray's number.
__device__ __forceinline__ Pixel pixel_of(
    const Clip& clip, const Shares& shares, const Regions& regions, int step, int index, int rays, u32 key) {
  int area = clip.patch * clip.patch, inner = area ? index % area : 0;
  u32 drawn = key - inner;
  float share = area ? uniform(clip.seed, step, drawn, 6) : (index + 0.5f) / rays;
  Rectangle r = region_of(clip, shares, regions, share);
  int row = min(r.bottom - 1, r.top + (int)(uniform(clip.seed, step, drawn, 0) * (r.bottom - r.top)));
  int column = min(r.right - 1, r.left + (int)(uniform(clip.seed, step, drawn, 1) * (r.right - r.left)));
  if (area) {
    row = min(clip.height - clip.patch, max(0, row - clip.patch / 2)) + inner / clip.patch;
    column = min(clip.width - clip.patch, max(0, column - clip.patch / 2)) + inner % clip.patch;
  }
  Pixel pixel = {row, column};
  return pixel;
}

__device__ __forceinline__ void store_colour(float* colours, size_t at, const float* colour) {
#pragma unroll
  for (int c = 0; c < 3; ++c) colours[3 * at + c] = colour[c];
}

// chosen: [FRAMES, choices] pixels that the last rays of every slot look at, negative where they are drawn like the others, or null.
// shown, wanted: [FRAMES * rays, 3], colours of rays that meet nothing and of the truth; opacities, pixels: [FRAMES * rays], of rays that
// meet nothing and of all; null where nobody asks.
extern "C" __global__ void draw_rays(
    const Clip* clips, const int* steps, const Scene* scenes, const u32* bits, int rays, Listed* listed, Target* targets, Slot* slots,
    const int* chosen, int choices, const float* exposures, float* shown, float* wanted, float* opacities, int* pixels) {
  const Clip& clip = *clips;
  int slot = blockIdx.y, step = *steps, frame = frame_of(clip, step, slot), lane = threadIdx.x & 31;
  int index = blockIdx.x * blockDim.x + threadIdx.x;
  Walk walk;
  walk.mask = 0;
  Target target;
  bool complete = true;
  float missed = 0.f;
  if (index < rays) {
    u32 key = slot * rays + index;
    Pixel pixel = pixel_of(clip, clip.shares[slot], clip.regions[frame], step, index, rays, key);
    int choice = index - (rays - choices), given = choice < 0 ? -1 : chosen[slot * choices + choice];
    if (given >= 0) pixel = {given / clip.width, given % clip.width};
    target.pixel = pixel.row * clip.width + pixel.column;
    target.count = 0;
    target.outside_face = !inside(clip.regions[frame].face, pixel.row, pixel.column);
    target.index = index;
    read_target(clip, exposures, frame, target.pixel, target);
    if (wanted) {
      store_colour(wanted, key, target.truth);
      pixels[key] = target.pixel;
    }
    Ray ray = pixel_ray(clip.views[frame], pixel.row, pixel.column);
    Scene scene = *scenes;
    if (start_walk(scene, ray, uniform(clip.seed, step, key, 2), walk)) {
      find_occupied(scene, bits, ray, walk);
      complete = advance(scene, walk.t, 64) >= walk.stop;
    }
    if (!walk.mask) {
      missed = square_error(target, target.behind);
      if (shown) {
        store_colour(shown, key, target.behind);
        opacities[key] = 0.f;
      }
    }
  }
  u32 found = __ballot_sync(~0u, walk.mask != 0), base = 0;
  for (int offset = 16; offset; offset /= 2) missed += __shfl_xor_sync(~0u, missed, offset);
  if (lane == 0) {
    if (found) base = atomicAdd(&slots[slot].listed, (u32)__popc(found));
    if (missed > 0.f) atomicAdd(&slots[slot].error, missed);
  }
  base = __shfl_sync(~0u, base, 0);
  if (walk.mask) {
    size_t place = (size_t)slot * rays + base + __popc(found & ((1u << lane) - 1));
    Listed entry = {target.pixel | (complete ? 0x80000000u : 0u), walk.t, walk.mask};
    listed[place] = entry;
    targets[place] = target;
  }
}

// Where a tile's features go: fragments as they are, 4 * IN_STEPS / 2 words of 16 bytes to a lane.
struct TileRecord {
  uint4* fragments;
  float2* coordinates;
  int lane;
  __device__ __forceinline__ void ambient(float u, float v) const { coordinates[lane] = make_float2(u, v); }
  __device__ __forceinline__ void features(const u32 (&a)[2][IN_STEPS][4]) const {
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int k = 0; k < IN_STEPS; ++k)
        fragments[(m * IN_STEPS + k) * 32 + lane] = make_uint4(a[m][k][0], a[m][k][1], a[m][k][2], a[m][k][3]);
  }
};

// A lane's ray in training: only its transmittance matters for how far it goes.
struct Traced {
  Ray ray;
  Walk walk;
  u32 place;
  bool alive, complete;
  int count;
  float transmittance;
};

// fragments: [FRAMES * MOST_TILES][2 IN_STEPS][32]; answers, coordinates: [FRAMES * MOST_TILES][32]; sample_ray, sample_t likewise;
// ray_samples: [FRAMES * rays][MOST], the rows of each ray's samples.
extern "C" __global__ void __launch_bounds__(32 * WARPS, BLOCKS) shade_samples(
    const Clip* clips, const int* steps, const HeadWeights* weights, const void* table, const void* ambient_table, const u32* levels,
    const Scene* scenes, const u32* bits, int rays, const Listed* listed, Target* targets, Slot* slots, uint4* fragments,
    float4* answers, float2* coordinates, u32* sample_ray, float* sample_t, u32* ray_samples) {
  DYNAMIC_SHARED(ShadeShared, shared);
  ShadeShared& s = shared[0];
  const Clip& clip = *clips;
  int slot = blockIdx.y, lane = threadIdx.x & 31;
  size_t first = (size_t)slot * rays;
  u32 total = slots[slot].listed;
  const View& view = clip.views[frame_of(clip, *steps, slot)];
  fetch_block(&s.weights, weights + slot);
  for (int i = threadIdx.x; i < (POS_GROUPS + AMB_GROUPS) * 32; i += blockDim.x) s.levels[i] = levels[i];
  __syncthreads();
  Tables tables = make_tables(table, ambient_table);
  Desk& desk = s.desks[threadIdx.x / 32];
  Scene scene = *scenes;
  Traced mine;
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
      if (lane == 0) base = atomicAdd(&slots[slot].taken, (u32)__popc(idle));
      base = __shfl_sync(~0u, base, 0);
      mine.place = mine.alive ? mine.place : base + __popc(idle & ((1u << lane) - 1));
      if (!mine.alive && mine.place < total) {
        Listed entry = listed[first + mine.place];
        u32 pixel = entry.pixel_and_complete & 0x7fffffffu;
        mine.complete = entry.pixel_and_complete >> 31;
        mine.ray = pixel_ray(view, pixel / clip.width, pixel % clip.width);
        float a, b, leave, last;
        slabs(mine.ray, scene.low, scene.high, a, leave);
        slabs(mine.ray, scene.occupied_low, scene.occupied_high, b, last);
        mine.walk.stop = fminf(leave, last);
        mine.walk.mask = entry.mask;
        mine.walk.t = entry.t;
        mine.count = 0;
        mine.transmittance = 1.f;
        mine.alive = true;
        spherical_harmonics(mine.ray.d, desk.direction[lane]);
      }
      empty = base + __popc(idle) >= total;
      idle = __ballot_sync(~0u, !mine.alive);
    }
    if (idle == ~0u) break;
    u32 tile = 0;
    if (lane == 0) tile = atomicAdd(&slots[slot].tiles, 1u);
    tile = __shfl_sync(~0u, tile, 0);
    if (tile >= MOST_TILES) {
      // Over budget: what is under way is left out of the loss.
      if (mine.alive) targets[first + mine.place].count = 0;
      if (lane == 0) atomicAdd(&slots[slot].dropped, 32u - __popc(idle));
      break;
    }
    if (mine.alive) {
      int skipped = __ffsll(mine.walk.mask) - 1;
      mine.walk.t = advance(scene, mine.walk.t, skipped);
      mine.walk.mask >>= skipped;
    }
    __syncwarp();
    size_t rows = ((size_t)slot * MOST_TILES + tile) * 32;
    TileRecord record = {fragments + rows * (2 * IN_STEPS), coordinates + rows, lane};
    evaluate(s, desk, tables, mine.ray, mine.walk.t, lane, record);
    float4 answer = desk.answer[lane];
    answers[rows + lane] = answer;
    sample_ray[rows + lane] = mine.alive ? mine.place : ROW_NONE;
    sample_t[rows + lane] = mine.walk.t;
    samples += 32 - __popc(idle);
    if (mine.alive) {
      ray_samples[(first + mine.place) * MOST + mine.count++] = tile * 32 + lane;
      float delta = step_at(scene, mine.walk.t);
      mine.transmittance *= __expf(-__expf(answer.x) * delta);
      mine.walk.mask >>= 1;
      mine.walk.t += delta;
      mine.alive = mine.transmittance >= scene.transmittance_least && mine.count < min(MOST, scene.steps_most);
      if (mine.alive && mine.walk.mask == 0) {
        if (!mine.complete) find_occupied(scene, bits, mine.ray, mine.walk);
        mine.alive = mine.walk.mask != 0;
      }
      if (!mine.alive) targets[first + mine.place].count = mine.count;
    }
    __syncwarp();
  }
  if (lane == 0 && samples) atomicAdd(&slots[slot].samples, samples);
}

// What a ray gathers: colour, and the transmittance that is left.
struct Gathered {
  float colour[3], transmittance;
};

__device__ __forceinline__ Gathered gather_ray(
    const Scene& scene, const Target& target, const u32* samples, const float4* answers, const float* sample_t) {
  Gathered g = {{0.f, 0.f, 0.f}, 1.f};
  for (u32 k = 0; k < target.count; ++k) {
    float4 a = answers[samples[k]];
    float pass = __expf(-__expf(a.x) * step_at(scene, sample_t[samples[k]])), weight = g.transmittance * (1.f - pass);
    g.colour[0] += weight * sigmoid(a.y);
    g.colour[1] += weight * sigmoid(a.z);
    g.colour[2] += weight * sigmoid(a.w);
    g.transmittance *= pass;
  }
  return g;
}

// The picture of the rays that meet something, into `shown`, [FRAMES * rays, 3], and how opaque it is.
extern "C" __global__ void show_rays(
    const Scene* scenes, int rays, const Target* targets, const Slot* slots, const float4* answers, const float* sample_t,
    const u32* ray_samples, float* shown, float* opacities) {
  int slot = blockIdx.y, index = blockIdx.x * blockDim.x + threadIdx.x;
  size_t first = (size_t)slot * rays, rows = (size_t)slot * MOST_TILES * 32;
  if (index >= (int)slots[slot].listed) return;
  Target target = targets[first + index];
  Gathered g = gather_ray(*scenes, target, ray_samples + (first + index) * MOST, answers + rows, sample_t + rows);
#pragma unroll
  for (int c = 0; c < 3; ++c) g.colour[c] += g.transmittance * target.behind[c];
  store_colour(shown, first + target.index, g.colour);
  opacities[first + target.index] = 1.f - g.transmittance;
}

// Composites every listed ray and replaces its samples' answers by the loss's gradient with respect to them (upstream.md 5.4).
// Coordinates become the gradient of the ambient loss with respect to them. pulls: [FRAMES * rays, 3], the loss's gradient with
// respect to the rays' colours, where it is another than the squared error; else null.
extern "C" __global__ void weigh_samples(
    const Clip* clips, const int* steps, const Scene* scenes, int rays, const Target* targets, Slot* slots, float4* answers,
    float2* coordinates, const float* sample_t, const u32* ray_samples, const float* pulls) {
  int slot = blockIdx.y, index = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31;
  size_t first = (size_t)slot * rays, rows = (size_t)slot * MOST_TILES * 32;
  float error = 0.f, entropy = 0.f;
  if (index < (int)slots[slot].listed && targets[first + index].count) {
    const Clip& clip = *clips;
    Scene scene = *scenes;
    Target target = targets[first + index];
    const u32* samples = ray_samples + (first + index) * MOST;
    Gathered g = gather_ray(scene, target, samples, answers + rows, sample_t + rows);
    float transmittance = g.transmittance;
    float opacity = 1.f - transmittance, pull[3], shown[3], pull_opacity = 0.f;
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      float v = g.colour[c] + transmittance * target.behind[c];
      shown[c] = fminf(1.f, fmaxf(0.f, v));
      float pulled = pulls ? pulls[3 * (first + target.index) + c] : (2.f / 3.f) * (v - target.truth[c]);
      pull[c] = v == shown[c] ? SCALE * pulled : 0.f;
      pull_opacity -= pull[c] * target.behind[c];
    }
    error = square_error(target, shown);
    float o = fminf(1.f - 1e-5f, fmaxf(1e-5f, opacity));
    entropy = -(o * __log2f(o) + (1.f - o) * __log2f(1.f - o));
    if (o == opacity) pull_opacity += SCALE * clip.entropy * __log2f((1.f - o) / o);
    float rest[3] = {g.colour[0], g.colour[1], g.colour[2]}, before = 1.f;
    float ambient = target.outside_face ? SCALE * clip.ambient * fminf(1.f, (float)*steps / clip.steps) : 0.f;
    for (u32 k = 0; k < target.count; ++k) {
      size_t at = rows + samples[k];
      float4 a = answers[at];
      float rgb[3] = {sigmoid(a.y), sigmoid(a.z), sigmoid(a.w)}, d[3];
      float density = __expf(a.x), delta = step_at(scene, sample_t[at]), pass = __expf(-density * delta);
      float weight = before * (1.f - pass), slope = pull_opacity * transmittance;
      before *= pass;
#pragma unroll
      for (int c = 0; c < 3; ++c) {
        rest[c] -= weight * rgb[c];
        slope += pull[c] * (before * rgb[c] - rest[c]);
        d[c] = fminf(8192.f, fmaxf(-8192.f, pull[c] * weight * rgb[c] * (1.f - rgb[c])));
      }
      // exp's gradient is bounded as in upstream.md 3.4.
      float inner = fminf(8192.f, fmaxf(-8192.f, slope * delta * fminf(density, 3269017.4f)));
      answers[at] = make_float4(inner, d[0], d[1], d[2]);
#if AMBIENT
      float2 uv = coordinates[at];
      coordinates[at] = make_float2(copysignf(ambient, uv.x), copysignf(ambient, uv.y));
#endif
    }
  }
  for (int offset = 16; offset; offset /= 2) {
    error += __shfl_xor_sync(~0u, error, offset);
    entropy += __shfl_xor_sync(~0u, entropy, offset);
  }
  if (lane == 0 && (error > 0.f || entropy > 0.f)) {
    atomicAdd(&slots[slot].error, error);
    atomicAdd(&slots[slot].entropy, entropy);
  }
}
