// RGB bytes to the planes of yuv420p, one thread per 2 x 2 pixels. Parts: device.cuh convert.cu.
//
// Defined by the host: LUMA_0 ... LUMA_2, BLUE_0 ..., RED_0 ..., the weights of R, G and B, and BITS, their binary places
// (reference.py has the formula).

// The weighted sum, rounded to the nearest.
#define WEIGH(name, r, g, b, bits, zero) \
  ((name##_0 * (r) + name##_1 * (g) + name##_2 * (b) + ((zero) << (bits)) + (1 << ((bits) - 1))) >> (bits))

// rgb: [pictures, height, width, 3]. planes, each picture: Y [2 high, 2 wide], Cb [high, wide], Cr [high, wide], where high and wide
// are half of height and width, rounded up; beyond an odd border its last row or column is repeated.
// Grid: columns of blocks of pixels, rows of them, pictures.
extern "C" __global__ void rgb_to_yuv420(const unsigned char* rgb, int height, int width, unsigned char* planes) {
  int wide = (width + 1) / 2, high = (height + 1) / 2;
  int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
  if (column >= wide) return;
  rgb += (size_t)blockIdx.z * height * width * 3;
  planes += (size_t)blockIdx.z * high * wide * 6;
  int red = 0, green = 0, blue = 0;
#pragma unroll
  for (int y = 0; y < 2; ++y) {
    const unsigned char* line = rgb + (size_t)min(2 * row + y, height - 1) * width * 3;
    u32 pair = 0;
#pragma unroll
    for (int x = 0; x < 2; ++x) {
      const unsigned char* pixel = line + 3 * min(2 * column + x, width - 1);
      int r = pixel[0], g = pixel[1], b = pixel[2];
      pair |= (u32)WEIGH(LUMA, r, g, b, BITS, 16) << (8 * x);
      red += r, green += g, blue += b;
    }
    // Rows of Y are even in length, so pairs lie at even addresses.
    reinterpret_cast<u16*>(planes)[(size_t)(2 * row + y) * wide + column] = (u16)pair;
  }
  unsigned char* chroma = planes + (size_t)(4 * high + row) * wide + column;
  chroma[0] = (unsigned char)WEIGH(BLUE, red, green, blue, BITS + 2, 128);
  chroma[(size_t)high * wide] = (unsigned char)WEIGH(RED, red, green, blue, BITS + 2, 128);
}
