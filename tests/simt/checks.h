// What the compiler's instrumentation calls: undefined behaviour and, on request, accesses outside every buffer end the launch.
// The library is linked without the sanitizers' own run time, so the host process lives on and gets the message.
#pragma once

namespace simt {

struct Place {
  const char* file;
  u32 line, column;
};

static void undefined(const char* what, void* data) {
  const Place& place = *static_cast<Place*>(data);
  fail("%s at %s:%u:%u", what, place.file, place.line, place.column);
}

// Not itself checked: it would call itself.
SIMT_PLAIN static bool contains(const Region& region, u64 begin, u64 end) { return begin >= region.begin && end <= region.end; }

SIMT_PLAIN static void check_access(const Fiber& fiber, u64 address, u64 bytes, AccessKind kind, const void* code) {
  const char* what = kind == READ ? "read" : kind == WRITE ? "write" : "atomic update";
  static const Region* last;
  u64 end = address + bytes, stack = reinterpret_cast<u64>(stacks), shared = reinterpret_cast<u64>(dynamic_shared);
  if (address - stack < u64(MAX_THREADS) * SIMT_STACK_BYTES) return;
  if (address - shared < MAX_SHARED) {
    if (end <= shared + dynamic_bytes) return check_race(fiber, address, bytes, kind);
    fail("%s of %llu bytes at byte %llu of dynamic shared memory, which has %zu", what, bytes, address - shared, dynamic_bytes);
  }
  if (last >= regions && last < regions + region_count && contains(*last, address, end)) return;
  if (contains(image, address, end)) return check_race(fiber, address, bytes, kind);
  for (size_t r = 0; r < region_count; r++) {
    last = &regions[r];
    if (contains(*last, address, end)) return;
  }
  for (size_t r = 0; r < region_count; r++)
    if (address + 4096 >= regions[r].begin && address < regions[r].end + 4096)
      fail("%s of %llu bytes outside every buffer, at byte %lld of buffer %zu, which has %llu (code +0x%llx)", what, bytes,
           (long long)(address - regions[r].begin), r, regions[r].end - regions[r].begin,
           reinterpret_cast<u64>(code) - image.begin);
  fail("%s of %llu bytes outside every buffer, at 0x%llx (code +0x%llx)", what, bytes, address,
       reinterpret_cast<u64>(code) - image.begin);
}

SIMT_PLAIN static inline void check_instrumented(u64 address, u64 bytes, AccessKind kind, const void* code) {
  if (current) check_access(*current, address, bytes, kind, code);
}

}  // namespace simt

#define SIMT_UNDEFINED(handler, what, ...) \
  extern "C" __attribute__((visibility("hidden"))) void __ubsan_handle_##handler(void* data, ##__VA_ARGS__) { \
    simt::undefined(what, data); \
  }
SIMT_UNDEFINED(out_of_bounds, "index outside its array", void*)
SIMT_UNDEFINED(shift_out_of_bounds, "shift by a count outside the type", void*, void*)
SIMT_UNDEFINED(add_overflow, "signed sum overflows", void*, void*)
SIMT_UNDEFINED(sub_overflow, "signed difference overflows", void*, void*)
SIMT_UNDEFINED(mul_overflow, "signed product overflows", void*, void*)
SIMT_UNDEFINED(negate_overflow, "signed negation overflows", void*)
SIMT_UNDEFINED(divrem_overflow, "division by zero or overflow", void*, void*)
SIMT_UNDEFINED(load_invalid_value, "invalid value of its type is read", void*)
SIMT_UNDEFINED(builtin_unreachable, "code that cannot be reached is reached")
SIMT_UNDEFINED(missing_return, "a function ends without its result")
SIMT_UNDEFINED(vla_bound_not_positive, "array of no elements", void*)

extern "C" __attribute__((visibility("hidden"))) void __ubsan_handle_type_mismatch_v1(void* data, void* pointer) {
  struct Mismatch { simt::Place place; void* type; unsigned char log_alignment, kind; };
  const Mismatch& mismatch = *static_cast<Mismatch*>(data);
  if (!pointer) simt::undefined("null pointer is used", data);
  simt::fail("address %p is not a multiple of %u at %s:%u:%u", pointer, 1u << mismatch.log_alignment, mismatch.place.file,
             mismatch.place.line, mismatch.place.column);
}

#define SIMT_HOOK(name, ...) extern "C" __attribute__((visibility("hidden"))) void __tsan_##name(__VA_ARGS__)
#define SIMT_ACCESS(name, bytes, kind) \
  SIMT_HOOK(name, u64 address) { simt::check_instrumented(address, bytes, simt::kind, __builtin_return_address(0)); }
#define SIMT_ACCESSES(bytes) \
  SIMT_ACCESS(read##bytes, bytes, READ) \
  SIMT_ACCESS(write##bytes, bytes, WRITE) \
  SIMT_ACCESS(unaligned_read##bytes, bytes, READ) \
  SIMT_ACCESS(unaligned_write##bytes, bytes, WRITE) \
  SIMT_ACCESS(volatile_read##bytes, bytes, READ) \
  SIMT_ACCESS(volatile_write##bytes, bytes, WRITE)
SIMT_ACCESSES(1)
SIMT_ACCESSES(2)
SIMT_ACCESSES(4)
SIMT_ACCESSES(8)
SIMT_ACCESSES(16)
SIMT_HOOK(read_range, u64 address, u64 bytes) {
  simt::check_instrumented(address, bytes, simt::READ, __builtin_return_address(0));
}
SIMT_HOOK(write_range, u64 address, u64 bytes) {
  simt::check_instrumented(address, bytes, simt::WRITE, __builtin_return_address(0));
}
SIMT_HOOK(init) {}
