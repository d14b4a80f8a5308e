#!/usr/bin/env python3
"""Writes tests/tensor/data/block_vectors.bin: blocks of every type and their values by ggml's own Python package.

    pip install numpy gguf && tools/reference/make_block_vectors.py tests/tensor/data/block_vectors.bin

Records until the end of the file, little-endian: name (16 bytes, zero-padded), blocks, bytes a block, values a block
(u32 each), the blocks, the values (f32).
"""
import struct
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

# Offsets of the f16 scales in a block: half of the blocks get tame ones, the others keep random bits (NaN included).
SCALES = {
    "F32": [], "F16": [], "BF16": [], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
}


def blocks_of(name, rng):
    kind = GGMLQuantizationType[name]
    values, size = GGML_QUANT_SIZES[kind]
    count = 6 if values == 256 else 24 if values == 32 else 256
    raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for offset in SCALES[name]:
        tame = (rng.standard_normal(count // 2) * 0.02).astype(np.float16)
        raw[: count // 2, offset : offset + 2] = tame.view(np.uint8).reshape(-1, 2)
    if not SCALES[name]:
        tame = rng.standard_normal((count // 2, 1)).astype(np.float16 if name == "F16" else np.float32)
        raw[: count // 2] = tame.view(np.uint8).reshape(count // 2, -1)[:, -size:]
    return kind, values, size, raw


def main(path):
    rng = np.random.default_rng(20261125)
    with open(path, "wb") as out, np.errstate(all="ignore"):
        for name in SCALES:
            kind, values, size, raw = blocks_of(name, rng)
            decoded = quants.dequantize(raw.reshape(-1), kind).astype("<f4")
            assert decoded.size == len(raw) * values
            out.write(struct.pack("<16sIII", name.encode(), len(raw), size, values))
            out.write(raw.tobytes() + decoded.tobytes())


if __name__ == "__main__":
    main(sys.argv[1])
