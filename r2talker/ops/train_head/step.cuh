// What the passes of a training step hand to each other, all of it in device memory.
//
// A step looks at FRAMES frames, SLOTS rays each. Passes: draw_rays, shade_samples, (show_rays,) weigh_samples, pull_back_networks
// (pull_back_ambient), spread_features, unfold_gradients. Samples are evaluated in tiles of 32, one warp's rows; a tile's place in
// the buffers is drawn when it is evaluated. Gradients are of SCALE times the sum over rays, which Adam does not notice.
//
// Defined by the host besides what the shared parts ask for: MOST (samples per ray at most, 16), MOST_TILES (tiles per frame at most).

#define SCALE 1024.f
#define ROW_NONE 0xffffffffu

// Rectangles of a frame: rows [top, bottom), columns [left, right).
struct Rectangle {
  int top, bottom, left, right;
};

struct Regions {
  Rectangle head, lips, eyes, face;
};

// Shares of a slot's rays that are drawn from the whole picture, the lips, the eyes; the rest from the head.
struct Shares {
  float anywhere, lips, eyes;
};

// What stays the same over the run. Pictures: bytes, [frames, H, W, 3], [frames, H, W, 4], [H, W, 3].
struct Clip {
  const unsigned char *truth, *torso, *plate;
  const View* views;
  const Regions* regions;
  const int* schedule;  // frames of every step, FRAMES each, `period` steps, then again
  const Shares* shares;  // of every slot
  int height, width, period, steps;
  float entropy, ambient;  // weights of the losses
  u32 seed;
  int coarse_levels, unlock_steps;
  int patch;  // side of the square patches that rays fill, 0 for single pixels
};

// Levels of the position grid come in one after the other, coarse to fine: the first coarse_levels at once, the last one at
// unlock_steps, each by a smooth ramp over the time of one level (Park et al. 2021, "Nerfies", equation 8).
struct LevelWindow {
  int coarse_levels, unlock_steps, step;
  __device__ __forceinline__ float operator()(int slot) const {
    if (unlock_steps == 0 || slot >= 16 * POS_STEPS) return 1.f;
    float open = coarse_levels + (float)(POS_LEVELS - coarse_levels) * step / unlock_steps;
    float ramp = fminf(1.f, fmaxf(0.f, open - slot_level(slot)));
    return 0.5f - 0.5f * __cosf(3.14159265f * ramp);
  }
};

// A ray that has samples, and what it should look like.
struct Target {
  u32 pixel, count, outside_face;
  float truth[3], behind[3];
  u32 index;  // among the rays drawn
};

// Of one step's rays of one frame.
struct Slot {
  u32 listed, taken, tiles, samples;
  u32 drawn, dropped;
  float error, entropy;  // sums over rays of squared error (mean over channels) and opacity entropy
};

__device__ __forceinline__ u32 scramble(u32 x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ x >> 16;
}

// Uniform in [0, 1), a function of its arguments alone.
__device__ __forceinline__ float uniform(u32 seed, u32 step, u32 index, u32 dimension) {
  return (float)(scramble(scramble(scramble(seed ^ step * 0x9e3779b9u) ^ index) ^ dimension * 0x85ebca6bu) >> 8) * (1.f / 16777216.f);
}

__device__ __forceinline__ int frame_of(const Clip& clip, int step, int slot) {
  return clip.schedule[(step % clip.period) * FRAMES + slot];
}
