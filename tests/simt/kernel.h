// A kernel seen from the host: its parameters as text, and its launch with pointers to the arguments as cuLaunchKernel takes them.
#pragma once

namespace simt {

template <class T> struct Kind { static constexpr char letter = __is_enum(T) ? 'i' : 's'; };
template <class T> struct Kind<T*> { static constexpr char letter = 'p'; };
#define SIMT_KIND(type, what) template <> struct Kind<type> { static constexpr char letter = what; };
SIMT_KIND(float, 'f')
SIMT_KIND(double, 'f')
SIMT_KIND(bool, 'u')
SIMT_KIND(unsigned char, 'u')
SIMT_KIND(unsigned short, 'u')
SIMT_KIND(unsigned, 'u')
SIMT_KIND(unsigned long, 'u')
SIMT_KIND(u64, 'u')
SIMT_KIND(char, 'i')
SIMT_KIND(signed char, 'i')
SIMT_KIND(short, 'i')
SIMT_KIND(int, 'i')
SIMT_KIND(long, 'i')
SIMT_KIND(long long, 'i')

// Everything a launch needs, laid out as launcher.py fills it.
struct Launch {
  u32 grid[3], block[3];
  u64 shared_bytes;
  int reverse;
  const Region* regions;
  u64 region_count;
  void** arguments;
};

template <class... P>
struct Kernel {
  using Function = void (*)(P...);
  static inline Function function;

  static inline char text[256];  // no variable of a function: see shared.ld

  static const char* describe() {
    char* end = text;
    ((end += snprintf(end, text + sizeof text - end, "%c%zu ", Kind<P>::letter, sizeof(P))), ...);
    return text;
  }

  template <size_t... I>
  __attribute__((no_sanitize_thread, noinline)) static void call(void** arguments, std::index_sequence<I...>) {
    function(*static_cast<P*>(arguments[I])...);
  }
  static void body(void* arguments) { call(static_cast<void**>(arguments), std::make_index_sequence<sizeof...(P)>{}); }

  static const char* launch(Function kernel, const Launch& how) {
    function = kernel;
    grid_dim = dim3(how.grid[0], how.grid[1], how.grid[2]);
    block_dim = dim3(how.block[0], how.block[1], how.block[2]);
    thread_count = how.block[0] * how.block[1] * how.block[2];
    dynamic_bytes = how.shared_bytes;
    reverse_order = how.reverse;
    regions = how.regions;
    region_count = how.region_count;
    kernel_body = body;
    kernel_arguments = how.arguments;
    return run_grid();
  }
};

template <class... P> static Kernel<P...> kernel_of(void (*)(P...)) { return {}; }

}  // namespace simt

#define SIMT_EXPORT(number, ...) \
  extern "C" __attribute__((visibility("default"))) const char* simt_describe_##number() { \
    return decltype(simt::kernel_of(&__VA_ARGS__))::describe(); \
  } \
  extern "C" __attribute__((visibility("default"))) const char* simt_launch_##number(const simt::Launch* how) { \
    return decltype(simt::kernel_of(&__VA_ARGS__))::launch(&__VA_ARGS__, *how); \
  }
