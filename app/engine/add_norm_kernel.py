"""One CUDA kernel for a residual sum and the layer norm that follows it.

As two kernels of torch they took a fifth of a full pass of BERT-base on an H100 (2.8 of 15.3 ms),
mostly to write the sum and read it again. The kernel is compiled at load by the NVRTC that comes
with torch and includes no headers, so neither a compiler nor CUDA's headers have to be installed.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from app.core.errors import first_line

log = logging.getLogger(__name__)

AddNorm = Callable[[Tensor, Tensor, nn.LayerNorm], Tensor]
"""Takes two tensors of shape (tokens, hidden) and returns the layer norm of their sum, in their
dtype and shape."""

WIDEN = {
    torch.float16: 'asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits))',
    torch.bfloat16: "value = __uint_as_float((unsigned)bits << 16)",
}
"""CUDA statements that convert `bits`, 16 of them, to the float `value`."""

NARROW = {torch.float16: "cvt.rn.f16.f32", torch.bfloat16: "cvt.rn.bf16.f32"}
"""PTX instructions that round a float to 16 bits."""

WARPS = 4
"""Warps of a block; each computes one row."""

KERNEL_SOURCE = r"""
#define CHUNKS (WIDTH / 8)
#define EACH ((CHUNKS + 31) / 32)

__device__ float widened(unsigned short bits) {
  float value;
  WIDEN;
  return value;
}

__device__ unsigned short narrowed(float value) {
  unsigned short bits;
  asm("NARROW %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}

__device__ void unpack(const uint4& chunk, float* values) {
  const unsigned words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
  for (int i = 0; i < 4; i++) {
    values[2 * i] = widened(words[i] & 0xffff);
    values[2 * i + 1] = widened(words[i] >> 16);
  }
}

__device__ float over_warp(float sum) {
  for (int distance = 16; distance; distance >>= 1)
    sum += __shfl_xor_sync(0xffffffff, sum, distance);
  return sum;
}

extern "C" __global__ void add_norm(const uint4* added, const uint4* states, const uint4* weight,
                                    const uint4* bias, uint4* normed, int rows, double epsilon) {
  const int lane = threadIdx.x % 32;
  const long row = (long)blockIdx.x * WARPS + threadIdx.x / 32;
  if (row >= rows) return;
  float sums[EACH][8], other[8], total = 0, squares = 0;
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    const int chunk = lane + 32 * i;
    if (chunk >= CHUNKS) continue;
    unpack(added[row * CHUNKS + chunk], sums[i]);
    unpack(states[row * CHUNKS + chunk], other);
    for (int j = 0; j < 8; j++) total += sums[i][j] += other[j];
  }
  const float mean = over_warp(total) / WIDTH;
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    if (lane + 32 * i >= CHUNKS) continue;
    for (int j = 0; j < 8; j++) squares += (sums[i][j] - mean) * (sums[i][j] - mean);
  }
  const float scale = rsqrtf(over_warp(squares) / WIDTH + (float)epsilon);
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    const int chunk = lane + 32 * i;
    if (chunk >= CHUNKS) continue;
    float factor[8], offset[8];
    unpack(weight[chunk], factor);
    unpack(bias[chunk], offset);
    unsigned words[4];
    for (int j = 0; j < 4; j++) {
      const int low = 2 * j, high = low + 1;
      words[j] =
          narrowed((sums[i][low] - mean) * scale * factor[low] + offset[low]) |
          (unsigned)narrowed((sums[i][high] - mean) * scale * factor[high] + offset[high]) << 16;
    }
    normed[row * CHUNKS + chunk] = make_uint4(words[0], words[1], words[2], words[3]);
  }
}
"""
"""The kernel: a warp holds one row in registers, in float32, from the sum to the norm.

The width has to be a multiple of 8, because 8 values are read and written at a time.
"""


def add_norm(added: Tensor, states: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Return the layer norm of the sum by torch's kernels, on any device."""
    normed: Tensor = norm(added + states)
    return normed


def compiled_add_norm(width: int, dtype: torch.dtype) -> AddNorm:
    """Compile `add_norm` as one kernel for the current CUDA device.

    Args:
        width: the hidden size.
        dtype: of inputs, weights and output; float16 or bfloat16.

    Returns:
        The kernel, or `add_norm` itself if the width is no multiple of 8 or the compilation fails.
    """
    if width % 8:
        return add_norm
    source = f"#define WIDTH {width}\n#define WARPS {WARPS}\n#define WIDEN {WIDEN[dtype]}\n"
    source += KERNEL_SOURCE.replace("NARROW", NARROW[dtype])
    try:
        # A private function, which a release of torch may remove; then torch's kernels are used.
        kernel: Any = torch.cuda._compile_kernel(source, "add_norm")
    except (AttributeError, ImportError, OSError, RuntimeError) as error:
        log.warning("using torch's kernels for sum and layer norm: %s", first_line(error))
        return add_norm

    def compiled(added: Tensor, states: Tensor, norm: nn.LayerNorm) -> Tensor:
        added, states = added.contiguous(), states.contiguous()
        normed, rows = torch.empty_like(added), len(added)
        kernel(
            grid=(-(-rows // WARPS), 1, 1),
            block=(32 * WARPS, 1, 1),
            args=[added, states, norm.weight, norm.bias, normed, rows, float(norm.eps)],
        )
        return normed

    return compiled
