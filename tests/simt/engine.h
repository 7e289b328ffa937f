// Threads of a block as fibers on one host thread; warp collectives and the block barrier are where they change.
#pragma once

#ifndef SIMT_STACK_BYTES
#define SIMT_STACK_BYTES (128 * 1024)
#endif

// Bounds of static shared memory, from shared.ld.
extern "C" char __start_simt_shared[] __attribute__((visibility("hidden")));
extern "C" char __stop_simt_shared[] __attribute__((visibility("hidden")));

// The emulator's own hot paths run unchecked; they are tested with the checks' absence in mind, kernels never use this.
#define SIMT_PLAIN __attribute__((no_sanitize_thread, no_sanitize_undefined))

namespace simt {

constexpr unsigned MAX_THREADS = 1024, LANES = 32, FULL_MASK = 0xffffffffu;
constexpr unsigned MAX_COPIES = 32;
constexpr size_t MAX_SHARED = 256 * 1024;

#if defined(__x86_64__) && !defined(SIMT_UCONTEXT)
using Context = void*;
#else
using Context = ucontext_t;
#endif

using Finish = void (*)(u32 mask, void** operands);

struct Copy {
  void* shared;
  const void* global;
  u32 group;
};

struct Fiber {
  Context context;
  uint3 thread;
  unsigned index, warp, lane;
  const char* waits_for;  // name of the collective, null while it runs
  Copy copies[MAX_COPIES];  // asynchronous ones under way, the oldest first
  u32 copy_count, committed;
};

// Lanes that arrived at one collective with one mask.
struct Group {
  Finish finish;
  u32 mask, arrived;
};

struct Warp {
  u32 alive, ready;
  u32 group_count;
  Group groups[LANES];
  void* operands[LANES];  // each lane's operands and results, on its own stack
};

struct Region { u64 begin, end; };

static Fiber fibers[MAX_THREADS];
static Warp warps[MAX_THREADS / LANES];
static Fiber* current;
static Context host;
static char* stacks;
static u32 ready_warps;
static unsigned thread_count, alive_count, barrier_count, barrier_sum, barrier_result;
static u64 barrier_epoch, clock_ticks;
static void reset_clocks();
static bool reverse_order;
static char message[4096];
static void (*kernel_body)(void*);
static void* kernel_arguments;
alignas(128) static char dynamic_shared[MAX_SHARED];
static size_t dynamic_bytes;
static const Region* regions;
static size_t region_count;
static Region image;  // this library's own code and data

static dim3 grid_dim, block_dim, block_index;

#if defined(__x86_64__) && !defined(SIMT_UCONTEXT)
// Saves what the ABI keeps over a call, on the stack that is left, and takes it from the one that is entered.
extern "C" void simt_switch(void** from, void* to) __attribute__((visibility("hidden")));
asm(R"(
.text
.hidden simt_switch
.globl simt_switch
.type simt_switch, @function
simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size simt_switch, . - simt_switch
)");
SIMT_PLAIN static inline void change(Context& from, Context& to) { simt_switch(&from, to); }
static void prepare(Context& context, char* stack, void (*entry)()) {
  void** top = reinterpret_cast<void**>(stack + SIMT_STACK_BYTES);
  *--top = nullptr;  // keeps the alignment that a call leaves
  *--top = reinterpret_cast<void*>(entry);
  for (int saved = 0; saved < 6; saved++) *--top = nullptr;
  context = top;
}
#else
SIMT_PLAIN static inline void change(Context& from, Context& to) { swapcontext(&from, &to); }
static void prepare(Context& context, char* stack, void (*entry)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = SIMT_STACK_BYTES;
  makecontext(&context, entry, 0);
}
#endif

static void say(const char* format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char* format, ...) {
  size_t used = strlen(message);
  va_list list;
  va_start(list, format);
  vsnprintf(message + used, sizeof message - used, format, list);
  va_end(list);
}

[[noreturn]] static void leave() {
  Context abandoned;
  current = nullptr;
  change(abandoned, host);
  __builtin_unreachable();
}

// Ends the launch; the host gets the message with the thread's place appended.
[[noreturn]] static void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
[[noreturn]] static void fail(const char* format, ...) {
  message[0] = 0;
  va_list list;
  va_start(list, format);
  vsnprintf(message, sizeof message, format, list);
  va_end(list);
  if (!current) leave();
  say("; in block (%u, %u, %u), thread (%u, %u, %u)", block_index.x, block_index.y, block_index.z, current->thread.x,
      current->thread.y, current->thread.z);
  leave();
}

static void say_lanes(unsigned warp, u32 lanes) {
  for (unsigned lane = 0; lane < LANES; lane++) {
    if (!(lanes >> lane & 1)) continue;
    unsigned last = lane;
    while (last + 1 < LANES && (lanes >> (last + 1) & 1)) last++;
    say(last == lane ? " %u" : " %u-%u", warp * LANES + lane, warp * LANES + last);
    lane = last;
  }
}

static void say_barrier_and_exits() {
  for (unsigned w = 0; w * LANES < thread_count; w++) {
    u32 waiting = 0, exited = 0;
    for (unsigned lane = 0; lane < LANES && w * LANES + lane < thread_count; lane++) {
      bool in_group = false;
      for (u32 g = 0; g < warps[w].group_count; g++) in_group |= warps[w].groups[g].arrived >> lane & 1;
      if (!(warps[w].alive >> lane & 1)) exited |= 1u << lane;
      else if (!in_group) waiting |= 1u << lane;
    }
    if (waiting) say("\n  warp %u: __syncthreads: arrived threads", w), say_lanes(w, waiting);
    if (exited) say("\n  warp %u: returned threads", w), say_lanes(w, exited);
  }
}

[[noreturn]] static void fail_deadlock() {
  snprintf(message, sizeof message, "deadlock in block (%u, %u, %u): nobody can go on", block_index.x, block_index.y,
           block_index.z);
  for (unsigned w = 0; w * LANES < thread_count; w++) {
    for (u32 g = 0; g < warps[w].group_count; g++) {
      const Group& group = warps[w].groups[g];
      const char* name = fibers[w * LANES + __builtin_ctz(group.arrived)].waits_for;
      say("\n  warp %u: %s(mask 0x%08x): arrived threads", w, name, group.mask);
      say_lanes(w, group.arrived);
      say(", missing");
      say_lanes(w, group.mask & ~group.arrived);
    }
  }
  say_barrier_and_exits();
  leave();
}

// Next set bit after (or before, in reverse) a place, cyclic.
SIMT_PLAIN static inline unsigned next_bit(u32 bits, unsigned place) {
  if (reverse_order) {
    u32 below = bits & ((1u << place) - 1);
    return 31 - __builtin_clz(below ? below : bits);
  }
  u32 above = bits & ~((2u << place) - 1);
  return __builtin_ctz(above ? above : bits);
}

SIMT_PLAIN static inline void resume_next(Context& from, unsigned warp, unsigned lane) {
  u32 lanes = warps[warp].ready;
  if (!lanes) {
    ready_warps &= ~(1u << warp);
    if (!ready_warps) fail_deadlock();
    warp = next_bit(ready_warps, warp);
    lanes = warps[warp].ready;
    lane = reverse_order ? 0 : LANES - 1;
  }
  lane = next_bit(lanes, lane);
  warps[warp].ready &= ~(1u << lane);
  Fiber* next = &fibers[warp * LANES + lane];
  if (next == current) return;
  current = next;
  change(from, next->context);
}

SIMT_PLAIN static inline void wait(Fiber* self, const char* name) {
  self->waits_for = name;
  resume_next(self->context, self->warp, self->lane);
  self->waits_for = nullptr;
}

// Lets others go on, other warps first: for loops that wait for another thread.
SIMT_PLAIN static void yield() {
  Fiber* self = current;
  Warp& warp = warps[self->warp];
  warp.ready |= 1u << self->lane;
  ready_warps |= 1u << self->warp;
  unsigned next = next_bit(ready_warps, self->warp);
  unsigned lane = next == self->warp ? self->lane : (reverse_order ? 0 : LANES - 1);
  resume_next(self->context, next, lane);
}

SIMT_PLAIN static void release_barrier() {
  barrier_result = barrier_sum;
  barrier_sum = barrier_count = 0;
  barrier_epoch++;
  for (unsigned w = 0; w * LANES < thread_count; w++) {
    warps[w].ready = warps[w].alive;
    if (warps[w].alive) ready_warps |= 1u << w;
  }
}

// Returns the sum of what the threads brought.
SIMT_PLAIN static unsigned barrier(unsigned value) {
  Fiber* self = current;
  barrier_sum += value;
  if (++barrier_count == alive_count) {
    release_barrier();
    warps[self->warp].ready &= ~(1u << self->lane);
  } else {
    wait(self, "__syncthreads");
  }
  return barrier_result;
}

SIMT_PLAIN static void leave_group(Warp& warp, u32 group) {
  warp.groups[group] = warp.groups[--warp.group_count];
}

// Waits until every lane of the mask is here; the last one computes for all.
SIMT_PLAIN static void collective(const char* name, u32 mask, Finish finish, void* operands) {
  Fiber* self = current;
  Warp& warp = warps[self->warp];
  u32 bit = 1u << self->lane;
  if (!(mask & bit)) fail("%s: the calling lane %u is not in its mask 0x%08x", name, self->lane, mask);
  if (mask & ~warp.alive) fail("%s: lanes 0x%08x of mask 0x%08x have returned or do not exist", name, mask & ~warp.alive, mask);
  warp.operands[self->lane] = operands;
  u32 g = 0;
  while (g < warp.group_count && !(warp.groups[g].mask == mask && warp.groups[g].finish == finish)) g++;
  if (g == warp.group_count) warp.groups[warp.group_count++] = Group{finish, mask, 0};
  warp.groups[g].arrived |= bit;
  if (warp.groups[g].arrived != mask) return wait(self, name);
  leave_group(warp, g);
  finish(mask, warp.operands);
  warp.ready |= mask & ~bit;
}

SIMT_PLAIN __attribute__((noinline)) static void run_thread() {
  kernel_body(kernel_arguments);
  Fiber* self = current;
  Warp& warp = warps[self->warp];
  warp.alive &= ~(1u << self->lane);
  if (--alive_count == 0) leave();
  if (barrier_count && barrier_count == alive_count) release_barrier();
  resume_next(self->context, self->warp, self->lane);
  __builtin_unreachable();
}

SIMT_PLAIN static void run_block() {
  unsigned warp_count = (thread_count + LANES - 1) / LANES;
  // 0xff bytes are not-a-number as float and as half and -1 as an integer: reading what nobody wrote shows.
  memset(__start_simt_shared, 0xff, __stop_simt_shared - __start_simt_shared);
  memset(dynamic_shared, 0xff, dynamic_bytes);
  ready_warps = warp_count == LANES ? FULL_MASK : (1u << warp_count) - 1;
  alive_count = thread_count;
  barrier_count = barrier_sum = 0;
  barrier_epoch++;
#ifdef SIMT_CHECK_RACES
  reset_clocks();
#endif
  for (unsigned w = 0; w < warp_count; w++) {
    unsigned lanes = thread_count - w * LANES;
    warps[w].alive = warps[w].ready = lanes >= LANES ? FULL_MASK : (1u << lanes) - 1;
    warps[w].group_count = 0;
  }
  for (unsigned t = 0; t < thread_count; t++) {
    Fiber& fiber = fibers[t];
    fiber.thread = uint3{t % block_dim.x, t / block_dim.x % block_dim.y, t / (block_dim.x * block_dim.y)};
    fiber.index = t;
    fiber.warp = t / LANES;
    fiber.lane = t % LANES;
    fiber.waits_for = nullptr;
    fiber.copy_count = fiber.committed = 0;
    prepare(fiber.context, stacks + size_t(t) * SIMT_STACK_BYTES, run_thread);
  }
  current = nullptr;
  resume_next(host, reverse_order ? 0 : LANES - 1, reverse_order ? 0 : LANES - 1);
}

static int find_image(dl_phdr_info* info, size_t, void*) {
  u64 here = reinterpret_cast<u64>(&fibers);
  for (int p = 0; p < info->dlpi_phnum; p++) {
    u64 begin = info->dlpi_addr + info->dlpi_phdr[p].p_vaddr, end = begin + info->dlpi_phdr[p].p_memsz;
    if (info->dlpi_phdr[p].p_type != PT_LOAD) continue;
    if (image.begin == 0 || begin < image.begin) image.begin = begin;
    if (end > image.end) image.end = end;
  }
  if (image.begin <= here && here < image.end) return 1;
  image = Region{0, 0};
  return 0;
}

// Returns the message of what went wrong, or null.
static const char* run_grid() {
  message[0] = 0;
  if (!image.end) dl_iterate_phdr(find_image, nullptr);
  if (!stacks) {
    void* memory = mmap(nullptr, size_t(MAX_THREADS) * SIMT_STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return "no memory for the threads' stacks";
    stacks = static_cast<char*>(memory);
  }
  for (block_index.z = 0; block_index.z < grid_dim.z; block_index.z++)
    for (block_index.y = 0; block_index.y < grid_dim.y; block_index.y++)
      for (block_index.x = 0; block_index.x < grid_dim.x; block_index.x++) {
        run_block();
        if (message[0]) return message;
      }
  return nullptr;
}

}  // namespace simt

#define threadIdx (simt::current->thread)
#define blockIdx simt::block_index
#define blockDim simt::block_dim
#define gridDim simt::grid_dim
#define warpSize 32
