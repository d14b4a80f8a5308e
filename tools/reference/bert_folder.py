"""A BERT of a Hugging Face folder under the names that forward.py asks for, read by numpy alone."""
import json
import os
import struct

import numpy as np

NAMES = {"token_embd": "embeddings.word_embeddings", "position_embd": "embeddings.position_embeddings",
         "token_types": "embeddings.token_type_embeddings", "token_embd_norm": "embeddings.LayerNorm",
         "attn_q": "attention.self.query", "attn_k": "attention.self.key", "attn_v": "attention.self.value",
         "attn_output": "attention.output.dense", "attn_output_norm": "attention.output.LayerNorm",
         "ffn_up": "intermediate.dense", "ffn_down": "output.dense", "layer_output_norm": "output.LayerNorm"}
TYPES = {"F32": np.float32, "F16": np.float16}


class BertFolder:
    def __init__(self, folder):
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        self.metadata = {"general.architecture": "bert", "bert.block_count": config["num_hidden_layers"],
                         "bert.embedding_length": config["hidden_size"],
                         "bert.attention.head_count": config["num_attention_heads"],
                         "bert.attention.layer_norm_epsilon": config["layer_norm_eps"]}
        with open(os.path.join(folder, "model.safetensors"), "rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            self.header = json.loads(file.read(size))
            self.data = file.read()

    def name(self, gguf):
        parts = gguf.split(".")
        if parts[0] == "blk":
            return f"encoder.layer.{parts[1]}.{NAMES.get(parts[2], parts[2])}.{parts[3]}"
        return f"{NAMES.get(parts[0], parts[0])}.{parts[1]}"

    def __contains__(self, gguf):
        return self.name(gguf) in self.header

    def tensor(self, gguf):
        entry = self.header[self.name(gguf)]
        begin, end = entry["data_offsets"]
        return np.frombuffer(self.data[begin:end], TYPES[entry["dtype"]]).astype(np.float32).reshape(entry["shape"])

    def rows(self, gguf, ids):
        return self.tensor(gguf)[list(ids)]
