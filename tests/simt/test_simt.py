"""The emulator's own tests: small kernels whose results are known."""

import ctypes
from typing import Any

import numpy as np
import pytest
import torch

from tests.simt.launcher import Kernels, SimtError, compile_source, find_compiler

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="needs a C++ compiler (g++)")

LANES = np.arange(32)
BOTH_ORDERS = pytest.mark.parametrize("reverse", [False, True])


def run(body: str, *outputs: np.ndarray, threads: int = 32, shared_bytes: int = 0, reverse: bool = False) -> None:
    """Launch one block of a kernel whose parameters are the outputs a, b, c."""
    kinds = {"int32": "int", "uint32": "unsigned", "float32": "float", "uint64": "unsigned long long"}
    parameters = ", ".join(f"{kinds[o.dtype.name]}* {name}" for name, o in zip("abcd", outputs, strict=False))
    source = f'extern "C" __global__ void kernel({parameters}) {{ const int t = threadIdx.x; {body} }}'
    compile_source(source).launch("kernel", 1, threads, outputs, shared_bytes, reverse=reverse)


def result(body: str, dtype: Any = np.int32, threads: int = 32, **how: Any) -> np.ndarray:
    """What every thread leaves in a[t]."""
    out = np.zeros(threads, dtype)
    run(body, out, threads=threads, **how)
    return out


def numbered(bodies: list[str], before: str = "") -> Kernels:
    """Kernels with one parameter `a`, compiled at once: kernel0, kernel1, ..."""
    start = 'extern "C" __global__ void kernel'
    return compile_source(
        before + "".join(f"{start}{i}(int* a) {{ const int t = threadIdx.x; {b} }}\n" for i, b in enumerate(bodies))
    )


class TestPlaces:
    def test_every_thread_of_every_block_runs_once(self) -> None:
        kernels = compile_source("""
            extern "C" __global__ void __launch_bounds__(24) visit(int* seen, int* place) {
              int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
              int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
              int at = block * 24 + thread;
              atomicAdd(&seen[at], 1);
              place[at] = threadIdx.x + 10 * threadIdx.y + 100 * threadIdx.z + 1000 * blockIdx.x + 10000 * blockIdx.z;
            }""")
        seen, place = np.zeros(24 * 12, np.int32), np.zeros((2, 3, 2, 4, 3, 2), np.int32)
        kernels.launch("visit", (2, 3, 2), (2, 3, 4), [seen, place])
        assert (seen == 1).all()
        z, _, x, c, b, a = np.indices(place.shape)
        np.testing.assert_array_equal(place, a + 10 * b + 100 * c + 1000 * x + 10000 * z)

    def test_threads_that_returned_do_not_hold_up_the_barrier(self) -> None:
        out = result("if (t >= 40 && t < 90) return; __syncthreads(); a[t] = 1; __syncthreads(); a[t] += 1;", threads=100)
        np.testing.assert_array_equal(out, np.where((np.arange(100) >= 40) & (np.arange(100) < 90), 0, 2))

    @BOTH_ORDERS
    def test_the_barrier_separates_what_is_before_and_after(self, reverse: bool) -> None:
        body = "__shared__ int x[256]; for (int i = 0; i < 3; i++) { x[t] = t + i; __syncthreads(); a[t] += x[255 - t]; __syncthreads(); }"
        out = result(body, threads=256, reverse=reverse)
        np.testing.assert_array_equal(out, 3 * (255 - np.arange(256)) + 3)

    def test_the_counting_barriers(self) -> None:
        body = "a[t] = __syncthreads_count(t % 3 == 0) + 1000 * __syncthreads_or(t == 5) + 2000 * __syncthreads_and(t != 5);"
        assert (result(body, threads=96) == 32 + 1000).all()


COLLECTIVES = [
    ("__shfl_sync(~0u, 100 + t, 5)", np.full(32, 105)),
    ("__shfl_sync(~0u, 100 + t, t + 1, 8)", 100 + LANES // 8 * 8 + (LANES + 1) % 8),
    ("__shfl_xor_sync(~0u, 100 + t, 5)", 100 + (LANES ^ 5)),
    ("__shfl_up_sync(~0u, 100 + t, 3)", 100 + np.where(LANES < 3, LANES, LANES - 3)),
    ("__shfl_down_sync(~0u, 100 + t, 3, 16)", 100 + np.where(LANES % 16 > 12, LANES, LANES + 3)),
    ("int(__shfl_xor_sync(~0u, 0.5f * t, 1) * 2)", LANES ^ 1),
    ("int(__shfl_up_sync(~0u, unsigned(t), 1u))", np.maximum(LANES - 1, 0)),
    ("int(__ballot_sync(~0u, t % 3 == 0))", sum(1 << lane for lane in range(0, 32, 3))),
    ("__any_sync(~0u, t == 7) + 2 * __all_sync(~0u, t == 7)", 1),
    ("__any_sync(~0u, 0) + 2 * __all_sync(~0u, 1 + t)", 2),
    ("int(__activemask())", -1),
    ("int(__match_any_sync(~0u, t % 5))", [sum(1 << k for k in range(n % 5, 32, 5)) for n in range(32)]),
    ("int(__reduce_add_sync(~0u, unsigned(t)))", 496),
    ("__reduce_add_sync(~0u, -t)", -496),
    ("__reduce_max_sync(~0u, t - 40) * 100 + __reduce_min_sync(~0u, t - 40)", -940),
]


class TestWarp:
    @pytest.mark.parametrize("number", range(len(COLLECTIVES)), ids=[call for call, _ in COLLECTIVES])
    def test_collective(self, number: int) -> None:
        out = np.zeros(32, np.int32)
        numbered([f"a[t] = {call}; __syncwarp();" for call, _ in COLLECTIVES]).launch(f"kernel{number}", 1, 32, [out])
        expected = np.asarray(COLLECTIVES[number][1], np.int64).astype(np.int32)
        np.testing.assert_array_equal(out, np.broadcast_to(expected, 32))

    @BOTH_ORDERS
    def test_halves_of_a_warp_go_their_own_ways(self, reverse: bool) -> None:
        body = """
            if (t % 2) { for (int i = 0; i < 4; i++) a[t] += __shfl_xor_sync(0xaaaaaaaau, t, 2); }
            else { a[t] = __reduce_add_sync(0x55555555u, t) + __popc(__ballot_sync(0x55555555u, t > 10)); }
            __syncwarp();
            a[t] = __shfl_xor_sync(~0u, a[t], 1);"""
        expected = np.where(LANES % 2, 4 * (LANES ^ 2), 240 + 10)[LANES ^ 1]
        np.testing.assert_array_equal(result(body, reverse=reverse), expected)

    def test_lanes_may_meet_from_different_places(self) -> None:
        out = result("if (t < 16) a[t] = __shfl_xor_sync(~0u, t, 16); else a[t] = __shfl_xor_sync(~0u, t + 100, 16);")
        np.testing.assert_array_equal(out, np.where(LANES < 16, LANES + 116, LANES - 16))

    def test_masks_that_cross(self) -> None:
        body = """
            if (t == 4) { __syncwarp(0x90u); a[t] = __ballot_sync(0x70u, 1); }
            else if (t == 7) __syncwarp(0x90u);
            else if (t == 5 || t == 6) a[t] = __ballot_sync(0x70u, 1);"""
        assert result(body, reverse=True)[4:8].tolist() == [0x70, 0x70, 0x70, 0]

    def test_a_lane_outside_the_mask_gives_poison(self) -> None:
        assert result("if (t < 8) a[t] = __shfl_sync(0xffu, t, 20);")[:8].tolist() == [-1] * 8

    def test_warps_are_independent(self) -> None:
        out = result("for (int i = 0; i <= t / 32; i++) a[t] += __reduce_add_sync(~0u, 1);", threads=128)
        np.testing.assert_array_equal(out, 32 * (1 + np.arange(128) // 32))


ERRORS = [
    ("if (t < 16) __shfl_sync(~0u, t, 0); else __syncthreads();", r"__shfl_sync.*arrived threads 0-15, missing 16-31"),
    ("if (t < 16) __shfl_sync(~0u, t, 0); else __syncthreads();", r"__syncthreads: arrived threads 16-31"),
    ("if (t % 2) __syncwarp(); else __ballot_sync(~0u, 1);", r"(?s)deadlock.*__ballot_sync.*__syncwarp"),
    ("__syncwarp(t == 3 ? 0xfffffffeu : ~0u);", r"(?s)0xffffffff.*missing 3.*0xfffffffe"),
    (
        "if (t == 9) return; __syncwarp();",
        r"(?s)__syncwarp.*(missing 9.*returned threads 9|lanes 0x00000200.*returned)",
    ),
    ("if (t > 1) __syncwarp(1);", r"lane 2 is not in its mask.*thread \(2, 0, 0\)"),
    ("if (t == 31) __trap();", r"__trap.*thread \(31, 0, 0\)"),
    ("a[t] = __shfl_sync(~0u, t, 0, 12);", r"width 12"),
    ("uint4* wide = (uint4*)(a + 1); if (t == 0) a[0] = wide->x;", r"not a multiple of 16 at kernel.cu:\d+:"),
    ("int x[4] = {t, 0, 0, 0}; a[0] = x[t];", r"index outside its array.*thread \(4, 0, 0\)"),
    ("a[0] = 1 << (t + 1);", r"shift by a count"),
    ("a[t] = t + 2147483640;", r"signed sum overflows.*thread \(8, 0, 0\)"),
    ("a[t + 1] = t;", r"write of 4 bytes outside every buffer, at byte 128 of buffer 0, which has 128"),
    ("a[0] = a[t - 1];", r"read of 4 bytes outside every buffer, at byte -4"),
    ("atomicAdd(a + 40, t);", r"outside every buffer"),
    ("DYNAMIC_SHARED(int, x); x[t] = 0;", r"byte 64 of dynamic shared memory, which has 64"),
    ("red_add_f32x2((float*)a + 1, 1, 2);", r"red_add_f32x2.*not a multiple of 8"),
    ("u32 r[4]; ldmatrix_x4(r, a);", r"ldmatrix_x4: address .* not in shared memory"),
]


class TestErrors:
    @pytest.mark.parametrize("number", range(len(ERRORS)), ids=[body for body, _ in ERRORS])
    def test_what_is_wrong_is_said(self, number: int) -> None:
        # Room around the tensor, so that one that is wrongly read or written is ours.
        room = np.zeros(128, np.int32)
        start = 32 + room[32:].ctypes.data % 16 // 4
        with pytest.raises(SimtError, match=ERRORS[number][1]):
            numbered([body for body, _ in ERRORS]).launch(f"kernel{number}", 1, 32, [room[start : start + 32]], 64)

    def test_a_launch_after_an_error_is_a_fresh_one(self) -> None:
        kernels = compile_source("""
            extern "C" __global__ void either(int* a, int bad) {
              if (bad && threadIdx.x < 16) __syncwarp();
              __syncthreads();
              a[threadIdx.x] = __reduce_add_sync(~0u, 1);
            }""")
        out = np.zeros(64, np.int32)
        with pytest.raises(SimtError, match="deadlock"):
            kernels.launch("either", 1, 64, [out, 1])
        kernels.launch("either", 1, 64, [out, 0])
        assert (out == 32).all()

    def test_without_the_x86_switch(self) -> None:
        source = """__global__ void sum(int* a) {
            a[threadIdx.x] = __reduce_add_sync(~0u, threadIdx.x); __syncthreads(); if (a[0] && threadIdx.x == 50) __trap(); }"""
        out = np.zeros(64, np.int32)
        with pytest.raises(SimtError, match=r"__trap.*thread \(50, 0, 0\)"):
            compile_source(source, flags=["-DSIMT_UCONTEXT"]).launch("sum", 1, 64, [out])
        assert out.tolist() == [496] * 32 + [1520] * 32

    def test_a_source_that_does_not_compile(self) -> None:
        with pytest.raises(SimtError, match=r"kernel\.cu:2:"):
            compile_source("__global__ void kernel() {\n nonsense; }")


class TestShared:
    def test_static_shared_memory_is_poisoned_between_blocks(self) -> None:
        kernels = compile_source(
            "__global__ void kernel(unsigned* a) { __shared__ unsigned x[32]; a[blockIdx.x] |= ~x[threadIdx.x]; x[threadIdx.x] = 5; }"
        )
        out = np.zeros(3, np.uint32)
        kernels.launch("kernel", 3, 32, [out])
        assert out.tolist() == [0, 0, 0]

    def test_dynamic_shared_memory(self) -> None:
        body = "DYNAMIC_SHARED(float, x); a[t] = __float_as_uint(x[t]); x[t] = t; __syncthreads(); b[t] = x[t ^ 32];"
        poison, out = np.zeros(64, np.uint32), np.zeros(64, np.float32)
        run(body, poison, out, threads=64, shared_bytes=256)
        assert (poison == 0xFFFFFFFF).all()
        np.testing.assert_array_equal(out, np.arange(64) ^ 32)

    def test_in_templates_and_functions(self) -> None:
        source = """
            template <class T> __device__ __forceinline__ T first(T v) {
              __shared__ T x[32]; T old = x[threadIdx.x]; __syncthreads(); x[threadIdx.x] = v; __syncthreads(); return old + x[0];
            }
            __device__ __forceinline__ int last(int v) { __shared__ int x[32]; x[threadIdx.x] = v; __syncthreads(); return x[31]; }
            __global__ void both(int* a, float* b) {
              __shared__ int one; if (threadIdx.x == 0) one = 100; __syncthreads();
              a[blockIdx.x * 32 + threadIdx.x] = first<int>(7 + threadIdx.x) + last(threadIdx.x) + one;
              b[blockIdx.x * 32 + threadIdx.x] = first<float>(threadIdx.x);
            }"""
        a, b = np.zeros(64, np.int32), np.zeros(64, np.float32)
        compile_source(source).launch("both", 2, 32, [a, b])
        assert (a == -1 + 7 + 31 + 100).all()
        assert np.isnan(b).all()

    def test_in_a_template_it_is_the_instance_s_own(self) -> None:
        kernels = compile_source(
            """template <int N> __global__ void fill(int* a) {
              __shared__ int x[N];
              for (int i = threadIdx.x; i < N; i += blockDim.x) x[i] = i * N;
              __syncthreads();
              for (int i = threadIdx.x; i < N; i += blockDim.x) a[i] = x[N - 1 - i];
            }""",
            kernels=["fill<40>", "fill<7>"],
        )
        for size in (40, 7):
            out = np.zeros(size, np.int32)
            kernels.launch(f"fill<{size}>", 1, 32, [out])
            np.testing.assert_array_equal(out, np.arange(size)[::-1] * size)


class TestAtomics:
    def test_sums(self) -> None:
        a, b = np.zeros(1, np.float32), np.zeros(1, np.uint64)
        run("atomicAdd(a, 0.5f); atomicAdd(b, 1ull << 33);", a, b, threads=96)
        assert (a[0], b[0]) == (48, 96 << 33)

    def test_integers(self) -> None:
        a, b = np.array([5, 5, 7, 0], np.int32), np.array([9, 9, 0, 0], np.uint32)
        body = """atomicMax(a, t - 10); atomicMin(a + 1, t - 10); atomicExch(a + 2, -1); atomicAdd(a + 3, -t);
            atomicMax(b, unsigned(t)); atomicMin(b + 1, unsigned(t) + 3); atomicOr(b + 2, 1u << t); atomicAdd(b + 3, 2u);"""
        run(body, a, b)
        assert a.tolist() == [21, -10, -1, -496]
        assert b.tolist() == [31, 3, 0xFFFFFFFF, 64]

    def test_what_was_there_comes_back(self) -> None:
        count = np.zeros(1, np.int32)
        order = np.zeros(64, np.int32)
        run("b[t] = atomicAdd(a, 1);", count, order, threads=64)
        assert sorted(order) == list(range(64))

    @BOTH_ORDERS
    def test_a_lock_is_handed_on(self, reverse: bool) -> None:
        lock, total = np.zeros(1, np.int32), np.zeros(1, np.int32)
        body = """while (atomicCAS(a, 0, 1) != 0) {} int old = b[0]; __nanosleep(20); b[0] = old + t; atomicExch(a, 0);"""
        run(body, lock, total, threads=64, reverse=reverse)
        assert total[0] == 2016

    def test_wide_reductions(self) -> None:
        a, b = np.zeros(8, np.float32), np.array([0x3C003C00], np.uint32)
        run("red_add_f32x4(a, 1, 2, 3, 4); red_add_f32x2(a + 4, 5, 6); if (t < 3) red_add_half2(b, pack_half2(1, 0.5));", a, b)
        assert a.tolist() == [32, 64, 96, 128, 160, 192, 0, 0]
        assert b.view(np.float16).tolist() == [4, 2.5]


class TestIntrinsics:
    def test_bits(self) -> None:
        body = """unsigned v = 0x00012340u;
            a[0] = __popc(v); a[1] = __popcll(~0ull); a[2] = __ffs(v); a[3] = __ffsll(1ll << 40); a[4] = __clz(v);
            a[5] = __clzll(1); a[6] = __brev(1u) == 0x80000000u; a[7] = __clz(0); a[8] = __ffs(0); a[9] = __brev(0x12345678u);
            a[10] = __float_as_int(1.0f); a[11] = int(__uint_as_float(0x40400000u)); a[12] = __float2int_rd(-1.5f);
            a[13] = __float2int_rz(-1.5f); a[14] = __float2int_rz(1e20f); a[15] = __float2int_rd(NAN); a[16] = __float2int_rn(2.5f);
            a[17] = min(3, -4); a[18] = max(3u, 4u); a[19] = int(min(2.5f, 7.0f) * 2); a[20] = int(__fdividef(9.0f, 2.0f) * 2);
            a[21] = make_int4(1, 2, 3, 4).z; a[22] = __ldg(a + 21); a[23] = sizeof(float3) * 100 + alignof(float4);"""
        out = result(body, threads=1 << 5)
        reverse = int(f"{0x12345678:032b}"[::-1], 2)
        assert out[:9].tolist() == [5, 64, 7, 41, 15, 63, 1, 32, 0]
        assert out[9] == reverse
        assert out[10:24].tolist() == [0x3F800000, 3, -2, -1, 2**31 - 1, 0, 2, -4, 4, 5, 9, 3, 3, 1216]

    def test_functions(self) -> None:
        calls = "rsqrtf(v), __expf(v), __logf(v), __sinf(v), __cosf(v), fast_exp2(v), fast_rcp(v), __frcp_rn(v), __fmaf_rn(v, v, 1.0f)"
        out = result(f"float v = 1.75f; float x[] = {{{calls}}}; if (t < 9) a[t] = x[t];", np.float32)[:9]
        v = 1.75
        expected = [v**-0.5, np.exp(v), np.log(v), np.sin(v), np.cos(v), 2**v, 1 / v, 1 / v, v * v + 1]
        np.testing.assert_allclose(out, expected, rtol=3e-7)


class TestLaunch:
    SOURCE = """
        struct Pair { float scale; int count; const float* more; };
        extern "C" __global__ void take(float* out, Pair pair, double d, unsigned long long u, bool b, const int* none) {
          out[0] = pair.scale; out[1] = pair.count; out[2] = pair.more[1]; out[3] = d; out[4] = u >> 40; out[5] = b; out[6] = !none;
          out[7] = FACTOR;
        }
        // __global__ void commented_out() {}
        template <class T> __global__ void typed(T* out) { *out = T(3.5); }
    """

    class Pair(ctypes.Structure):
        _fields_ = (("scale", ctypes.c_float), ("count", ctypes.c_int), ("more", ctypes.c_void_p))

    def test_arguments_of_every_kind(self) -> None:
        kernels = compile_source(self.SOURCE, {"FACTOR": "2.5f"})
        assert list(kernels.numbers) == ["take"]
        out, more = torch.zeros(8), torch.tensor([1.0, 9.0])
        pair = self.Pair(0.5, -3, more.data_ptr())
        kernels.launch("take", 1, 1, [out, pair, 0.25, 7 << 40, True, None], buffers=[more])
        assert out.tolist() == [0.5, -3, 9, 0.25, 7, 1, 1, 2.5]

    def test_templates_are_named(self) -> None:
        kernels = compile_source(self.SOURCE, {"FACTOR": 1}, kernels=["typed<float>", "typed<int>"])
        real, whole = np.zeros(1, np.float32), np.zeros(1, np.int32)
        kernels.launch("typed<float>", 1, 1, [real])
        kernels.launch("typed<int>", 1, 1, [whole])
        assert (real[0], whole[0]) == (3.5, 3)

    @pytest.mark.parametrize(
        ("grid", "block", "args", "message"),
        [
            (1, 1, [], "0 arguments, 2 parameters"),
            (1, 1025, [None, 1], "at most 1024 threads"),
            (0, 1, [None, 1], "at least 1"),
            (1, 1, ["text", 1], "argument 0: str: wanted a tensor"),
            (1, 1, [None, 1.5], "argument 1: 1.5: wanted a signed integer of 4 bytes"),
            (1, 1, [None, 2**31], "argument 1: 2147483648: wanted a signed integer of 4 bytes"),
        ],
    )
    def test_wrong_arguments(self, grid: int, block: int, args: list[Any], message: str) -> None:
        kernels = compile_source("__global__ void kernel(int* a, int n) {}")
        with pytest.raises(SimtError, match=message):
            kernels.launch("kernel", grid, block, args)

    def test_an_unknown_kernel(self) -> None:
        with pytest.raises(SimtError, match="no kernel other: there are kernel"):
            compile_source("__global__ void kernel() {}").launch("other", 1, 1, [])


RACES = [
    ("a[t] = shared_of<int>(t);", "race.*static"),
    ("__shared__ int x[64]; x[t] = t; a[t] = x[t ^ 32];", r"race: thread 32 wrote byte .*static shared.*thread 0 read"),
    ("__shared__ int x[64]; x[t] = t; a[t] = x[t ^ 1];", "race"),
    ("__shared__ int x[64]; x[t] = t; int y = __shfl_sync(~0u, t, 0); a[t] = x[t ^ 1] + y;", "race"),
    (
        "__shared__ int x[64]; x[t] = t; __syncthreads(); a[t] = x[t ^ 1]; x[t] = 0;",
        "race: thread 33 read byte .*thread 32 wrote",
    ),
    ("DYNAMIC_SHARED(int, x); if (t < 2) x[0] = t;", "thread 1 wrote byte 0 of dynamic.*thread 0 wrote"),
    ("__shared__ int x; if (t == 0) x = 0; __syncthreads(); x += t;", "race"),
    ("__shared__ int x; if (t == 0) x = 0; atomicAdd(&x, 1);", "thread 1 updated.*thread 0 wrote"),
    ("__shared__ __align__(16) uint4 x[64]; x[t] = uint4{}; u32 r[4]; ldmatrix_x4(r, &x[t]);", r"race: thread \d+ read"),
    ("__shared__ int x[64]; x[t] = t; __syncwarp(t & 1 ? 0xaaaaaaaau : 0x55555555u); a[t] = x[t ^ 1];", "race"),
]
ORDERED = [
    "__shared__ int x[64]; x[t] = t; __syncwarp(); a[t] = x[t ^ 1];",
    "__shared__ int x[64]; x[t] = t; __syncthreads(); a[t] = x[t ^ 1]; __syncthreads(); x[t ^ 32] = 1;",
    "__shared__ int x[64]; x[t] = t; __syncwarp(t & 2 ? 0xccccccccu : 0x33333333u); a[t] = x[t ^ 1];",
    "__shared__ int x; if (t == 0) x = 0; __syncthreads(); atomicAdd(&x, 1); __syncthreads(); a[t] = x == 64 ? t ^ 1 : -1;",
    "__shared__ short x[64]; x[t] = t; a[t] = x[t] ^ 1;",
    """__shared__ int x[64]; x[t] = t; if (t % 4 < 2) __syncwarp(0x33333333u);
       if (t % 4 == 1 || t % 4 == 2) __syncwarp(0x66666666u); if (t % 4 != 1) __syncwarp(0xddddddddu); a[t] = x[t] ^ 1;
       if (t % 4 == 2) a[t] += x[t - 2] - t + 2;""",
]


class TestRaces:
    TEMPLATE = "template <class T> __device__ T shared_of(T v) { __shared__ T x[64]; x[threadIdx.x] = v; return x[threadIdx.x ^ 1]; }\n"

    @pytest.mark.parametrize("number", range(len(RACES)), ids=[body for body, _ in RACES])
    def test_a_race_is_said(self, number: int) -> None:
        with pytest.raises(SimtError, match=RACES[number][1]):
            numbered([body for body, _ in RACES], self.TEMPLATE).launch(f"kernel{number}", 1, 64, [np.zeros(64, np.int32)], 64)

    @BOTH_ORDERS
    @pytest.mark.parametrize("number", range(len(ORDERED)), ids=ORDERED)
    def test_what_is_ordered_is_no_race(self, number: int, reverse: bool) -> None:
        out = np.zeros(64, np.int32)
        numbered(ORDERED).launch(f"kernel{number}", 1, 64, [out], reverse=reverse)
        np.testing.assert_array_equal(out, np.arange(64) ^ 1)
