"""The kernels' wrappers around PTX, on the host: halves, matrix fragments, asynchronous copies."""

import platform
from typing import Any

import numpy as np
import pytest
import torch

from tests.simt.launcher import Kernels, compile_source, find_compiler

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="needs a C++ compiler (g++)")

HALVES = """
extern "C" __global__ void pack(const float* v, unsigned* h, unsigned* r, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) { h[i] = pack_half2(v[2 * i], v[2 * i + 1]); r[i] = pack_half2_relu(v[2 * i], v[2 * i + 1]); }
}
extern "C" __global__ void unpack(const unsigned* h, float* v, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) { v[2 * i] = half_low(h[i]); v[2 * i + 1] = half_high(h[i]); }
}
extern "C" __global__ void combine(const unsigned* x, const unsigned* y, const unsigned* z, uint4* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = make_uint4(half2_add(x[i], y[i]), half2_mul(x[i], y[i]), half2_fma(x[i], y[i], z[i]), half2_relu(x[i]));
}
"""


@pytest.fixture(scope="module", params=["processor", "portable"])
def halves(request: pytest.FixtureRequest) -> Kernels:
    return compile_source(HALVES, flags=["-mno-f16c"] if request.param == "portable" and platform.machine() == "x86_64" else [])


def same_halves(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal bits; not-a-number is equal whatever its bits."""
    both = np.isnan(expected) & np.isnan(actual)
    np.testing.assert_array_equal(np.where(both, 0, actual.view(np.uint16)), np.where(both, 0, expected.view(np.uint16)))


def launch_all(kernels: Kernels, name: str, args: list[Any], count: int) -> None:
    kernels.launch(name, (count + 255) // 256, 256, [*args, count])


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
class TestHalves:
    def test_rounding(self, halves: Kernels) -> None:
        random = np.random.default_rng(0)
        anything = random.integers(0, 2**32, 20000, dtype=np.uint32).view(np.float32)
        near = (random.standard_normal(20000) * 2.0 ** random.integers(-27, 18, 20000)).astype(np.float32)
        every = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
        ties = (every[:-1] + every[1:]) / 2
        edges = np.array([65504, 65519.996, 65520, 1e30, np.inf, np.nan, -0.0, 2.0**-25, 2.0**-25 * 1.0001], np.float32)
        values = np.concatenate([anything, near, ties, -ties, np.nextafter(ties, 9e9), edges, -edges])
        values = np.append(values, np.zeros(len(values) % 2, np.float32)).astype(np.float32)
        packed, rectified = np.zeros((2, len(values) // 2), np.uint32)
        launch_all(halves, "pack", [values, packed, rectified], len(packed))
        same_halves(packed.view(np.float16), values.astype(np.float16))
        same_halves(rectified.view(np.float16), np.where(values > 0, values, np.float32(0)).astype(np.float16))

    def test_every_half_to_float(self, halves: Kernels) -> None:
        words = np.arange(2**16, dtype=np.uint16)
        out = np.zeros(2**16, np.float32)
        launch_all(halves, "unpack", [words.view(np.uint32), out], 2**15)
        np.testing.assert_array_equal(out, words.view(np.float16).astype(np.float32))

    def test_arithmetic_is_rounded_once(self, halves: Kernels) -> None:
        random = np.random.default_rng(1)
        x, y, z = random.integers(0, 2**16, (3, 60000), dtype=np.uint16)
        tame = slice(0, 40000)
        x[tame], y[tame], z[tame] = (
            (random.standard_normal((3, 40000)) * 2.0 ** random.integers(-10, 8, (3, 40000))).astype(np.float16).view(np.uint16)
        )
        out = np.zeros((30000, 4), np.uint32)
        launch_all(halves, "combine", [x.view(np.uint32), y.view(np.uint32), z.view(np.uint32), out], 30000)
        added, multiplied, fused, rectified = (np.ascontiguousarray(out[:, i]).view(np.float16) for i in range(4))
        a, b, c = (v.view(np.float16) for v in (x, y, z))
        # More digits than double has: what is rounded to half is exact.
        wide = a.astype(np.longdouble) * b.astype(np.longdouble) + c.astype(np.longdouble)
        same_halves(added, (a.astype(np.float64) + b.astype(np.float64)).astype(np.float16))
        same_halves(multiplied, (a.astype(np.float64) * b.astype(np.float64)).astype(np.float16))
        same_halves(fused, wide.astype(np.float64).astype(np.float16))
        same_halves(rectified, np.where(a > 0, a, np.float16(0)))


MATRICES = """
extern "C" __global__ void multiply(const unsigned short* A, const unsigned short* B, float* C) {
  int g = threadIdx.x / 4, q = threadIdx.x % 4;
  auto a = [&](int row, int column) { return load_u32((const u32*)(A + row * 16 + column)); };
  auto b = [&](int row) { return u32(B[row * 8 + g]) | u32(B[(row + 1) * 8 + g]) << 16; };
  float c[4];
  for (int i = 0; i < 4; i++) c[i] = C[(g + i / 2 * 8) * 8 + 2 * q + i % 2];
  mma_16x8x16(c, a(g, 2 * q), a(g + 8, 2 * q), a(g, 2 * q + 8), a(g + 8, 2 * q + 8), b(2 * q), b(2 * q + 8));
  for (int i = 0; i < 4; i++) C[(g + i / 2 * 8) * 8 + 2 * q + i % 2] = c[i];
}
extern "C" __global__ void multiply_loaded(const uint4* A, const uint4* B, float* C) {
  __shared__ __align__(16) unsigned short tile_a[16][24], tile_b[16][8];
  int t = threadIdx.x, g = t / 4, q = t % 4;
  copy_async_16(&tile_a[t / 2][t % 2 * 8], A + t);
  if (t < 16) copy_async_16(tile_b[t], B + t);
  copy_async_commit();
  copy_async_wait<0>();
  __syncwarp();
  u32 a[4], b[2];
  ldmatrix_x4(a, &tile_a[t % 16][t / 16 * 8]);
  ldmatrix_x2_trans(b, tile_b[t % 16]);
  float c[4] = {};
  mma_16x8x16(c, a[0], a[1], a[2], a[3], b[0], b[1]);
  for (int i = 0; i < 4; i++) C[(g + i / 2 * 8) * 8 + 2 * q + i % 2] = c[i];
}
extern "C" __global__ void load(const unsigned short* in, u32* plain, u32* transposed, u32* two) {
  __shared__ __align__(16) unsigned short rows[32][8];
  int t = threadIdx.x;
  for (int i = 0; i < 8; i++) rows[t][i] = in[t * 8 + i];
  __syncwarp();
  u32 r[4];
  ldmatrix_x4(r, rows[t]);
  for (int i = 0; i < 4; i++) plain[i * 32 + t] = r[i];
  ldmatrix_x4_trans(r, rows[t]);
  for (int i = 0; i < 4; i++) transposed[i * 32 + t] = r[i];
  ldmatrix_x2(r, t < 16 ? rows[t] : nullptr);
  for (int i = 0; i < 2; i++) two[i * 32 + t] = r[i];
}
"""


class TestMatrices:
    @pytest.mark.parametrize("kernel", ["multiply", "multiply_loaded"])
    def test_product(self, kernel: str) -> None:
        random = np.random.default_rng(2)
        a, b = random.standard_normal((16, 16)).astype(np.float16), random.standard_normal((16, 8)).astype(np.float16)
        c = random.standard_normal((16, 8)).astype(np.float32) if kernel == "multiply" else np.zeros((16, 8), np.float32)
        expected = c + a.astype(np.float64) @ b.astype(np.float64)
        compile_source(MATRICES).launch(kernel, 1, 32, [a, b, c])
        # 16 sums in float: 16 roundings of 2^-24 of values up to about 16.
        np.testing.assert_allclose(c, expected, rtol=0, atol=16 * 2.0**-24 * 16)

    def test_loaded_matrices(self) -> None:
        rows = np.random.default_rng(3).integers(0, 2**16, (4, 8, 8), dtype=np.uint16)
        plain, transposed, two = np.zeros((4, 32), np.uint32), np.zeros((4, 32), np.uint32), np.zeros((2, 32), np.uint32)
        compile_source(MATRICES).launch("load", 1, 32, [rows, plain, transposed, two])
        np.testing.assert_array_equal(plain.view(np.uint16).reshape(4, 8, 8), rows)
        np.testing.assert_array_equal(transposed.view(np.uint16).reshape(4, 8, 8), rows.transpose(0, 2, 1))
        np.testing.assert_array_equal(two, plain[:2])


class TestAsynchronousCopies:
    SOURCE = """
        template <int LEFT> __global__ void copy(const uint4* in, uint4* out) {
          __shared__ uint4 x[3][32];
          for (int i = 0; i < 3; i++) { copy_async_16(&x[i][threadIdx.x], in + 32 * i + threadIdx.x); copy_async_commit(); }
          copy_async_wait<LEFT>();
          for (int i = 0; i < 3; i++) out[32 * i + threadIdx.x] = x[i][threadIdx.x];
        }
    """

    @pytest.mark.parametrize("left", [0, 1, 3])
    def test_bytes_come_with_the_wait_for_their_group(self, left: int) -> None:
        given = np.arange(3 * 32 * 4, dtype=np.uint32).reshape(3, 128)
        # Wide loads want addresses that are multiples of 16.
        given, got = torch.from_numpy(given.view(np.int32)).clone(), torch.zeros(3, 128, dtype=torch.int32)
        compile_source(self.SOURCE, kernels=["copy<0>", "copy<1>", "copy<3>"]).launch(f"copy<{left}>", 1, 32, [given, got])
        assert torch.equal(got[: 3 - left], given[: 3 - left])
        assert (got[3 - left :] == -1).all()
