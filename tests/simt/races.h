// Accesses to shared memory by different threads of a block with neither __syncthreads nor __syncwarp between them.
// Threads take turns only at collectives, so such a race would rarely show in the results here. Shuffles, votes and mma order no
// memory on the device, so they order none here (CUDA C++ Programming Guide, "Warp Shuffle Functions").
#pragma once

namespace simt {

enum AccessKind { READ, WRITE, ATOMIC };

struct Access {
  u64 epoch;  // block barriers before it, over all launches; 0 is none
  u32 stamp;  // the thread's own clock
  u16 thread;
  u16 kind;
};

// For each byte the last write and the last readers: two, so that one is always somebody else than the next writer.
struct Shadow { Access writer, reader, other; };

static Shadow shadows[2 * MAX_SHARED];  // dynamic shared memory, then static
// Per warp: what lane l knows of the clock of lane m. __syncwarp joins the rows of its lanes.
static u32 clocks[MAX_THREADS / LANES][LANES][LANES];

SIMT_PLAIN static void reset_clocks() {
  for (unsigned w = 0; w * LANES < thread_count; w++) {
    memset(clocks[w], 0, sizeof clocks[w]);
    for (unsigned lane = 0; lane < LANES; lane++) clocks[w][lane][lane] = 1;
  }
}

SIMT_PLAIN static void finish_syncwarp(u32 mask, void**) {
#ifdef SIMT_CHECK_RACES
  auto& rows = clocks[current->warp];
  u32 joined[LANES] = {};
  for (u32 left = mask; left; left &= left - 1)
    for (unsigned m = 0; m < LANES; m++) joined[m] = joined[m] > rows[__builtin_ctz(left)][m] ? joined[m] : rows[__builtin_ctz(left)][m];
  for (u32 left = mask; left; left &= left - 1) {
    unsigned lane = __builtin_ctz(left);
    memcpy(rows[lane], joined, sizeof joined);
    rows[lane][lane]++;
  }
#endif
}

SIMT_PLAIN static bool conflicts(const Access& before, const Access& now) {
  if (before.epoch != now.epoch || before.thread == now.thread) return false;
  if (before.kind == now.kind && now.kind != WRITE) return false;
  if (before.thread / LANES != now.thread / LANES) return true;
  return before.stamp > clocks[now.thread / LANES][now.thread % LANES][before.thread % LANES];
}

SIMT_PLAIN static void check_race(const Fiber& fiber, u64 address, u64 bytes, AccessKind kind) {
#ifdef SIMT_CHECK_RACES
  u64 offset = address - reinterpret_cast<u64>(dynamic_shared), base = 0;
  const char* where = "dynamic";
  if (offset >= MAX_SHARED) {
    offset = address - reinterpret_cast<u64>(__start_simt_shared), base = MAX_SHARED, where = "static";
    if (offset >= MAX_SHARED || address >= reinterpret_cast<u64>(__stop_simt_shared)) return;
  }
  static const char* const done[] = {"read", "wrote", "updated"};
  Access now{barrier_epoch, clocks[fiber.warp][fiber.lane][fiber.lane], u16(fiber.index), u16(kind)};
  for (u64 byte = offset; byte < offset + bytes; byte++) {
    Shadow& shadow = shadows[base + byte];
    const Access* before = conflicts(shadow.writer, now) ? &shadow.writer : nullptr;
    if (kind != READ && conflicts(shadow.reader, now)) before = &shadow.reader;
    if (kind != READ && conflicts(shadow.other, now)) before = &shadow.other;
    if (before)
      fail("race: thread %u %s byte %llu of %s shared memory, which thread %u %s with no barrier between", fiber.index, done[kind],
           byte, where, before->thread, done[before->kind]);
    const Access& last = shadow.writer;
    // A plain write is not hidden by the same thread's atomic one that follows at once.
    bool hides = kind == ATOMIC && last.kind == WRITE && last.epoch == now.epoch && last.stamp == now.stamp && last.thread == now.thread;
    if (kind != READ && !hides) shadow.writer = now;
    else if (kind != READ) continue;
    else if (shadow.reader.epoch != now.epoch || shadow.reader.thread == now.thread) shadow.reader = now;
    else shadow.other = now;
  }
#endif
}

static void check_access(const Fiber& fiber, u64 address, u64 bytes, AccessKind kind, const void* code);

// For accesses that the emulator itself does in the name of a thread.
SIMT_PLAIN static inline void check_access_of(const Fiber& fiber, const void* address, u64 bytes, AccessKind kind) {
#ifdef SIMT_CHECK_MEMORY
  check_access(fiber, reinterpret_cast<u64>(address), bytes, kind, __builtin_return_address(0));
#endif
}

}  // namespace simt
