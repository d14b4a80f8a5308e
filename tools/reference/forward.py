#!/usr/bin/env python3
"""Logits or embeddings of a model in f32, by numpy alone: an independent reference for Kinglet.

    tools/reference/forward.py MODEL.gguf IDS.json OUT.npy [--second-half] [--double]

IDS.json is a list of sequences of token ids, fed as they are; OUT.npy gets float32 [all tokens, vocabulary] (for BERT: the
hidden rows [all tokens, width]). Weights are spread out to f32 exactly, one layer at a time. Architectures: llama, qwen2,
qwen3, gemma2, gemma3, bert (also as a Hugging Face folder).
"""
import argparse
import json
import math
import os
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bert_folder import BertFolder  # noqa: E402
from gguf_reader import Gguf  # noqa: E402


def silu(x):
    return x / (1 + np.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf, otypes=[x.dtype])(x / math.sqrt(2)))


class Reference:
    """One model. `dtype` np.float32 or np.float64 is what everything is computed in."""

    def __init__(self, path, dtype=np.float32):
        self.file = BertFolder(path) if os.path.isdir(path) else Gguf(path)
        self.dtype = dtype
        keys = self.file.metadata
        self.arch = keys["general.architecture"]

        def key(name, fallback=None):
            value = keys.get(f"{self.arch}.{name}", fallback)
            if value is None:
                raise ValueError(f"{self.arch}.{name} is missing")
            return value

        self.layers = key("block_count")
        self.width = key("embedding_length")
        self.heads = key("attention.head_count")
        self.kv_heads = key("attention.head_count_kv", self.heads)
        self.head_length = key("attention.key_length", self.width // self.heads)
        self.rotary = key("rope.dimension_count", self.head_length)
        self.gemma = self.arch.startswith("gemma")
        self.epsilon = key("attention.layer_norm_epsilon" if self.arch == "bert" else "attention.layer_norm_rms_epsilon")
        self.base = key("rope.freq_base", 1e6 if self.arch == "gemma3" else 1e4)
        self.local_base = key("rope.freq_base_swa", 1e4)
        scaling = key("rope.scaling.type", "none")
        self.factor = key("rope.scaling.factor", 1.0) if scaling == "linear" else 1.0
        self.scale = key("attention.scale", self.head_length ** -0.5)
        self.score_cap = key("attn_logit_softcapping", 0.0) if self.arch == "gemma2" else 0.0
        self.logit_cap = key("final_logit_softcapping", 0.0) if self.gemma else 0.0
        self.window = key("attention.sliding_window", 0) if self.gemma else 0
        self.pattern = key("attention.sliding_window_pattern", 2 if self.arch == "gemma2" else 6)
        self.factors = self.file.tensor("rope_freqs.weight") if "rope_freqs.weight" in self.file else None

    def weight(self, name):
        return self.file.tensor(name).astype(self.dtype, copy=False)

    def linear(self, x, name):
        y = x @ self.weight(name + ".weight").T
        return y + self.weight(name + ".bias") if name + ".bias" in self.file else y

    def rms(self, x, name):
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.epsilon) * self.weight(name)

    def layer_norm(self, x, name):
        centred = x - np.mean(x, axis=-1, keepdims=True)
        scaled = centred / np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + self.epsilon)
        return scaled * self.weight(name + ".weight") + self.weight(name + ".bias")

    def slides(self, layer):
        if self.window == 0:
            return False
        if isinstance(self.pattern, list):
            return bool(self.pattern[layer])
        return (layer + 1) % self.pattern != 0

    def rotate(self, x, layer):
        """x [tokens, heads, head length]; angles in double."""
        local = self.arch == "gemma3" and self.slides(layer)
        base, factor = (self.local_base, 1.0) if local else (self.base, self.factor)
        half = self.rotary // 2
        frequency = base ** (-np.arange(half, dtype=np.float64) * 2 / self.rotary) / factor
        if self.factors is not None:
            frequency = frequency / self.factors
        angle = np.arange(len(x), dtype=np.float64)[:, None, None] * frequency
        cos, sin = np.cos(angle).astype(self.dtype), np.sin(angle).astype(self.dtype)
        out = x.copy()
        if self.arch == "llama":  # neighbours are a pair
            a, b = x[..., 0:self.rotary:2], x[..., 1:self.rotary:2]
            out[..., 0:self.rotary:2], out[..., 1:self.rotary:2] = a * cos - b * sin, b * cos + a * sin
        else:  # the two halves are
            a, b = x[..., :half], x[..., half:self.rotary]
            out[..., :half], out[..., half:self.rotary] = a * cos - b * sin, b * cos + a * sin
        return out

    def attend(self, q, k, v, layer):
        """One sequence: q [tokens, heads, length], k and v [tokens, kv heads, length]."""
        tokens = len(q)
        age = np.arange(tokens)[:, None] - np.arange(tokens)[None, :]
        hidden = np.zeros((tokens, tokens), bool) if self.arch == "bert" else age < 0
        if self.slides(layer):
            hidden |= age >= self.window
        out = np.empty_like(q)
        for head in range(self.heads):
            group = head // (self.heads // self.kv_heads)
            score = (q[:, head] @ k[:, group].T) * self.dtype(self.scale)
            if self.score_cap:
                score = self.score_cap * np.tanh(score / self.score_cap)
            score[hidden] = -np.inf
            score = np.exp(score - score.max(axis=1, keepdims=True))
            out[:, head] = (score / score.sum(axis=1, keepdims=True)) @ v[:, group]
        return out

    def attention(self, x, layer, borders):
        g = f"blk.{layer}."
        q = self.linear(x, g + "attn_q").reshape(len(x), self.heads, self.head_length)
        k = self.linear(x, g + "attn_k").reshape(len(x), self.kv_heads, self.head_length)
        v = self.linear(x, g + "attn_v").reshape(len(x), self.kv_heads, self.head_length)
        if g + "attn_q_norm.weight" in self.file:
            q, k = self.rms(q, g + "attn_q_norm.weight"), self.rms(k, g + "attn_k_norm.weight")
        out = np.empty_like(q)
        for begin, end in borders:
            a, b = q[begin:end], k[begin:end]
            if self.arch != "bert":
                a, b = self.rotate(a, layer), self.rotate(b, layer)
            out[begin:end] = self.attend(a, b, v[begin:end], layer)
        return self.linear(out.reshape(len(x), -1), g + "attn_output")

    def decoder_layer(self, x, layer, borders):
        g = f"blk.{layer}."
        added = self.attention(self.rms(x, g + "attn_norm.weight"), layer, borders)
        x = x + (self.rms(added, g + "post_attention_norm.weight") if self.gemma else added)
        h = self.rms(x, g + "ffn_norm.weight")
        act = gelu_tanh if self.gemma else silu
        h = self.linear(act(self.linear(h, g + "ffn_gate")) * self.linear(h, g + "ffn_up"), g + "ffn_down")
        return x + (self.rms(h, g + "post_ffw_norm.weight") if self.gemma else h)

    def bert_layer(self, x, layer, borders):
        g = f"blk.{layer}."
        x = self.layer_norm(x + self.attention(x, layer, borders), g + "attn_output_norm")
        h = self.linear(gelu(self.linear(x, g + "ffn_up")), g + "ffn_down")
        return self.layer_norm(x + h, g + "layer_output_norm")

    def hidden(self, sequences):
        """Rows after the last layer and the final norm, of all sequences one after the other."""
        ids = [id_ for sequence in sequences for id_ in sequence]
        ends = np.cumsum([len(s) for s in sequences])
        borders = list(zip(np.concatenate([[0], ends[:-1]]), ends))
        x = self.file.rows("token_embd.weight", ids).astype(self.dtype)
        if self.arch == "bert":
            positions = np.concatenate([np.arange(len(s)) for s in sequences])
            x = x + self.weight("position_embd.weight")[positions] + self.weight("token_types.weight")[0]
            x = self.layer_norm(x, "token_embd_norm")
            for layer in range(self.layers):
                x = self.bert_layer(x, layer, borders)
            return x
        if self.gemma:
            x = x * self.dtype(math.sqrt(self.width))
        for layer in range(self.layers):
            x = self.decoder_layer(x, layer, borders)
        return self.rms(x, "output_norm.weight")

    def logits(self, sequences, rows=None):
        """[rows, vocabulary]; rows: indices into all tokens, None: all of them."""
        x = self.hidden(sequences)
        x = x if rows is None else x[rows]
        head = self.weight("output.weight" if "output.weight" in self.file else "token_embd.weight")
        y = x @ head.T
        return self.dtype(self.logit_cap) * np.tanh(y / self.dtype(self.logit_cap)) if self.logit_cap else y

    def embeddings(self, sequences):
        """Mean over the tokens, length 1."""
        x, at, out = self.hidden(sequences), 0, []
        for sequence in sequences:
            mean = x[at:at + len(sequence)].mean(axis=0)
            out.append(mean / np.linalg.norm(mean))
            at += len(sequence)
        return np.stack(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("ids")
    parser.add_argument("out")
    parser.add_argument("--second-half", action="store_true", help="only the rows that predict the second half")
    parser.add_argument("--double", action="store_true", help="compute in f64")
    options = parser.parse_args()
    with open(options.ids, encoding="utf-8") as file:
        sequences = json.load(file)
    reference = Reference(options.model, np.float64 if options.double else np.float32)
    if reference.arch == "bert":
        np.save(options.out, reference.hidden(sequences).astype(np.float32))
        return
    rows = second_half(sequences) if options.second_half else None
    np.save(options.out, reference.logits(sequences, rows).astype(np.float32))


def second_half(sequences):
    """Indices of the rows that predict the tokens after the middle: size / 2 to the last but one."""
    rows, at = [], 0
    for sequence in sequences:
        rows += range(at + len(sequence) // 2, at + len(sequence) - 1)
        at += len(sequence)
    return np.array(rows)


if __name__ == "__main__":
    main()
