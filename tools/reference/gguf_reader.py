"""Reads GGUF with numpy alone and spreads its blocks out to f32: the independent other half of the comparisons with Kinglet.

Written from the format's description, not from Kinglet's readers, and as plainly as numpy allows.
"""
import mmap
import struct

import numpy as np

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

# GGUF number -> (name, values a block, bytes a block)
TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 30: ("BF16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 20: ("IQ4_NL", 32, 18), 23: ("IQ4_XS", 256, 136),
}
IQ4_CODES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)


def half(blocks, at):
    """The f16 at byte `at` of each block, as a column of f32."""
    return np.ascontiguousarray(blocks[:, at:at + 2]).view(np.float16).astype(np.float32)


def nibbles(bytes_):
    """Low nibbles, then high ones: [blocks, 2 * bytes]."""
    return np.concatenate([bytes_ & 15, bytes_ >> 4], axis=1)


def bits32(bytes_):
    """Four bytes as 32 bits, lowest first: [blocks, 32]."""
    return np.unpackbits(bytes_, axis=1, bitorder="little")


def k_scales(bytes_):
    """The 12 bytes of Q4_K and Q5_K: eight 6-bit scales and eight 6-bit minimums."""
    low, high, both = bytes_[:, 0:4], bytes_[:, 4:8], bytes_[:, 8:12]
    scales = np.concatenate([low & 63, (both & 15) | ((low >> 6) << 4)], axis=1)
    minimums = np.concatenate([high & 63, (both >> 4) | ((high >> 6) << 4)], axis=1)
    return scales.astype(np.float32), minimums.astype(np.float32)


def q4_0(b):
    return half(b, 0) * (nibbles(b[:, 2:18]).astype(np.float32) - 8)


def q4_1(b):
    return half(b, 0) * nibbles(b[:, 4:20]).astype(np.float32) + half(b, 2)


def q5_0(b):
    codes = nibbles(b[:, 6:22]) | (bits32(b[:, 2:6]) << 4)
    return half(b, 0) * (codes.astype(np.float32) - 16)


def q5_1(b):
    codes = nibbles(b[:, 8:24]) | (bits32(b[:, 4:8]) << 4)
    return half(b, 0) * codes.astype(np.float32) + half(b, 2)


def q8_0(b):
    return half(b, 0) * b[:, 2:34].view(np.int8).astype(np.float32)


def two_bits(bytes_):
    """[blocks, 64] bytes -> [blocks, 256] codes: of each 32 bytes the lowest pairs first."""
    halves = bytes_.reshape(len(bytes_), 2, 1, 32)
    return ((halves >> np.array([0, 2, 4, 6], np.uint8).reshape(4, 1)) & 3).reshape(len(bytes_), 256)


def q2_k(b):
    scales = b[:, 0:16]
    codes = two_bits(b[:, 16:80]).reshape(-1, 16, 16).astype(np.float32)
    d = half(b, 80) * (scales & 15).astype(np.float32)
    m = half(b, 82) * (scales >> 4).astype(np.float32)
    return (d[:, :, None] * codes - m[:, :, None]).reshape(-1, 256)


def q3_k(b):
    high = np.stack([(b[:, 0:32] >> i) & 1 for i in range(8)], axis=1).reshape(-1, 256)  # set: no 4 is subtracted
    codes = two_bits(b[:, 32:96]).astype(np.float32) - 4 * (1 - high.astype(np.float32))
    low, top = b[:, 96:104], b[:, 104:108]
    scales = np.concatenate([low & 15, low >> 4], axis=1)
    scales = scales | np.concatenate([((top >> s) & 3) << 4 for s in (0, 2, 4, 6)], axis=1)
    d = half(b, 108) * (scales.astype(np.float32) - 32)
    return (d[:, :, None] * codes.reshape(-1, 16, 16)).reshape(-1, 256)


def q4_k(b):
    scales, minimums = k_scales(b[:, 4:16])
    quarters = b[:, 16:144].reshape(-1, 4, 32)
    codes = np.stack([quarters & 15, quarters >> 4], axis=2).reshape(-1, 8, 32).astype(np.float32)
    return ((half(b, 0) * scales)[:, :, None] * codes - (half(b, 2) * minimums)[:, :, None]).reshape(-1, 256)


def q5_k(b):
    scales, minimums = k_scales(b[:, 4:16])
    high = np.stack([(b[:, 16:48] >> i) & 1 for i in range(8)], axis=1)
    quarters = b[:, 48:176].reshape(-1, 4, 32)
    codes = np.stack([quarters & 15, quarters >> 4], axis=2).reshape(-1, 8, 32) + 16 * high
    return ((half(b, 0) * scales)[:, :, None] * codes.astype(np.float32) -
            (half(b, 2) * minimums)[:, :, None]).reshape(-1, 256)


def q6_k(b):
    low, high = b[:, 0:128].reshape(-1, 2, 64), b[:, 128:192].reshape(-1, 2, 32)
    parts = []
    for i in range(4):  # 32 values each: the two halves of the low nibbles, then of the high ones
        nibble = low[:, :, 32 * (i % 2):32 * (i % 2) + 32]
        nibble = nibble & 15 if i < 2 else nibble >> 4
        parts.append(nibble | (((high >> (2 * i)) & 3) << 4))
    codes = np.stack(parts, axis=2).reshape(-1, 16, 16).astype(np.float32) - 32
    d = half(b, 208) * b[:, 192:208].view(np.int8).astype(np.float32)
    return (d[:, :, None] * codes).reshape(-1, 256)


def iq4_nl(b):
    return half(b, 0) * IQ4_CODES[nibbles(b[:, 2:18])]


def iq4_xs(b):
    top = np.ascontiguousarray(b[:, 2:4]).view(np.uint16).astype(np.int32)
    low = np.stack([b[:, 4:8] & 15, b[:, 4:8] >> 4], axis=2).reshape(-1, 8).astype(np.int32)
    scales = (low | (((top >> np.arange(0, 16, 2)) & 3) << 4)).astype(np.float32) - 32
    codes = IQ4_CODES[nibbles(b[:, 8:136].reshape(-1, 16))].reshape(-1, 8, 32)
    return ((half(b, 0) * scales)[:, :, None] * codes).reshape(-1, 256)


def dequantize(number, data, count):
    """`count` values of the type with this GGUF number, in f32."""
    name, values, size = TYPES[number]
    if name == "F32":
        return np.frombuffer(data, np.float32, count)
    if name == "F16":
        return np.frombuffer(data, np.float16, count).astype(np.float32)
    if name == "BF16":
        return (np.frombuffer(data, np.uint16, count).astype(np.uint32) << 16).view(np.float32)
    blocks = np.frombuffer(data, np.uint8, count // values * size).reshape(-1, size)
    out = np.empty((len(blocks), values), np.float32)
    function = globals()[name.lower()]
    for begin in range(0, len(blocks), 1 << 16):  # bounded scratch memory
        out[begin:begin + (1 << 16)] = function(blocks[begin:begin + (1 << 16)])
    return out.reshape(-1)


class Gguf:
    """metadata: key -> value; tensors: name -> (type number, shape outermost first, offset)."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.at = 0
        magic, version, tensors, keys = self.take("<4sIQQ")
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError(f"{path} is not a GGUF file of version 2 or 3")
        self.metadata = {}
        for _ in range(keys):
            key = self.string()
            self.metadata[key] = self.value(self.take("<I")[0])
        self.tensors = {}
        for _ in range(tensors):
            name = self.string()
            count = self.take("<I")[0]
            shape = self.take(f"<{count}Q")
            number, offset = self.take("<IQ")
            self.tensors[name] = (number, tuple(reversed(shape)), offset)
        alignment = self.metadata.get("general.alignment", 32)
        self.start = (self.at + alignment - 1) // alignment * alignment

    def take(self, form):
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values

    def string(self):
        size = self.take("<Q")[0]
        text = self.data[self.at:self.at + size]
        self.at += size
        return text.decode("utf-8", "replace")

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            inner, count = self.take("<IQ")
            if inner in SCALARS:
                return list(self.take(f"<{count}{SCALARS[inner]}"))
            return [self.value(inner) for _ in range(count)]
        return self.take("<" + SCALARS[kind])[0]

    def __contains__(self, name):
        return name in self.tensors

    def tensor(self, name):
        """The values in f32, shaped."""
        number, shape, offset = self.tensors[name]
        count = int(np.prod(shape, dtype=np.int64))
        _, values, size = TYPES[number]
        begin = self.start + offset
        return dequantize(number, self.data[begin:begin + count // values * size], count).reshape(shape)

    def rows(self, name, ids):
        """Some rows of a matrix."""
        number, shape, offset = self.tensors[name]
        _, values, size = TYPES[number]
        row = shape[1] // values * size
        out = np.empty((len(ids), shape[1]), np.float32)
        for i, id_ in enumerate(ids):
            begin = self.start + offset + int(id_) * row
            out[i] = dequantize(number, self.data[begin:begin + row], shape[1])
        return out
