"""Reference tokenizers (PyPI's tokenizers and sentencepiece) built from a model file's own vocabulary.

An oracle's encode(line) takes bytes and gives ids; `special` says whether the text of control tokens is read as those
tokens. Ill-formed UTF-8 becomes U+FFFD, one for each maximal ill-formed part (bytes.decode(..., "replace")); a
byte-level vocabulary keeps the bytes themselves: the text is cut into words as if U+FFFD stood there, then the raw
bytes of each word are merged.
"""
import codecs
import functools
import json
import os
import re
import struct
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from gguf_metadata import read_metadata

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)


def splitter(pre):
    if pre == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.Split(Regex(GPT2), "isolated")])
    expression = {"gpt-2": GPT2, "qwen2": QWEN2, "llama-bpe": LLAMA3}[pre]
    return pre_tokenizers.Split(Regex(expression), "isolated")


def byte_alphabet():
    kept = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    table, following = {}, 0x100
    for byte in range(256):
        table[byte] = chr(byte) if byte in kept else chr(following)
        following += byte not in kept
    return table


def characters_with_bytes(line):
    """The line as text, and the bytes behind each character."""
    errors = []

    def remember(error):
        errors.append((error.start, error.end))
        return "\ufffd", error.end

    codecs.register_error("kinglet-remember", remember)
    text = line.decode("utf-8", "kinglet-remember")
    spans, at, starts = [], 0, dict(errors)
    for character in text:
        end = starts[at] if at in starts else at + len(character.encode())
        spans.append(line[at:end])
        at = end
    assert at == len(line)
    return text, spans


class ByteLevel:
    """GPT-2's family from tokenizer.ggml.tokens and merges."""

    def __init__(self, metadata, special, pre=None, ignore_merges=False):
        tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
        vocabulary = {token: k for k, token in enumerate(tokens)}
        merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
        self.split = splitter(pre or metadata["tokenizer.ggml.pre"])
        self.tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=ignore_merges))
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        self.tokenizer.pre_tokenizer = pre_tokenizers.Sequence([self.split, byte_level])
        added = [token for token, kind in zip(tokens, types) if kind == 4 or (kind in (2, 3) and special)]
        self.tokenizer.add_tokens([AddedToken(token, normalized=False) for token in added])
        self.added = {token: vocabulary[token] for token in added}
        longest_first = sorted((token.encode() for token in added), key=len, reverse=True)
        self.added_pattern = re.compile(b"|".join(map(re.escape, longest_first))) if added else None
        self.alphabet = byte_alphabet()

    def encode(self, line):
        try:
            return self.tokenizer.encode(line.decode("utf-8"), add_special_tokens=False).ids
        except UnicodeDecodeError:
            return self.encode_broken(line)

    def encode_broken(self, line):
        ids, at = [], 0
        for match in self.added_pattern.finditer(line) if self.added_pattern else ():
            ids += self.encode_words(line[at : match.start()])
            ids.append(self.added[match.group().decode()])
            at = match.end()
        return ids + self.encode_words(line[at:])

    def encode_words(self, part):
        text, spans = characters_with_bytes(part)
        ids, at = [], 0
        for word, _ in self.split.pre_tokenize_str(text):
            raw = b"".join(spans[at : at + len(word)])
            at += len(word)
            ids += [token.id for token in self.tokenizer.model.tokenize("".join(self.alphabet[b] for b in raw))]
        return ids


class GemmaTokenizers:
    """SentencePiece BPE in the form of the tokenizers package: merges made from the scores."""

    def __init__(self, metadata, special):
        tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
        vocabulary = {token: k for k, token in enumerate(tokens)}
        if "merges of the scores" not in metadata:  # seconds of work, and the same for every oracle of this file
            metadata["merges of the scores"] = self.merges_of_scores(metadata, vocabulary)
        merges = metadata["merges of the scores"]
        self.tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
        prefix = metadata.get("tokenizer.ggml.add_space_prefix", True)
        steps = [normalizers.Prepend("▁")] if prefix else []
        self.tokenizer.normalizer = normalizers.Sequence(steps + [normalizers.Replace(" ", "▁")])
        # User-defined tokens are found in the normalised text, as in SentencePiece; control tokens in the text itself.
        added = [(token, kind) for token, kind in zip(tokens, types) if kind == 4 or (kind in (2, 3) and special)]
        self.tokenizer.add_tokens([AddedToken(token, normalized=kind == 4) for token, kind in added])

    @staticmethod
    def merges_of_scores(metadata, vocabulary):
        tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
        scores = metadata["tokenizer.ggml.scores"]
        normal = {token for token, kind in zip(tokens, types) if kind == 1}
        ranked = []
        for token in normal:
            for k in range(1, len(token)):
                left, right = token[:k], token[k:]
                if left in normal and right in normal:
                    ranked.append((-scores[vocabulary[token]], vocabulary[left], vocabulary[right], left, right))
        ranked.sort()
        return [(left, right) for *_, left, right in ranked]

    def encode(self, line):
        return self.tokenizer.encode(line.decode("utf-8", "replace"), add_special_tokens=False).ids


def _field(number, value):
    if isinstance(value, float):
        return bytes([number << 3 | 5]) + struct.pack("<f", value)
    if isinstance(value, (bytes, str)):
        data = value.encode() if isinstance(value, str) else value
        return _varint(number << 3 | 2) + _varint(len(data)) + data
    return _varint(number << 3) + _varint(value)


def _varint(value):
    out = b""
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


class GemmaSentencePiece:
    """The same vocabulary as a SentencePiece model (its protocol buffer is written here by hand)."""

    def __init__(self, metadata, special):
        import sentencepiece

        if special:
            raise ValueError("SentencePiece never reads control tokens from text")
        rows = zip(metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.scores"], metadata["tokenizer.ggml.token_type"])
        unknown = metadata["tokenizer.ggml.unknown_token_id"]
        model = bytearray()  # bytes would be copied whole for each of the 262,144 pieces
        for k, (token, score, kind) in enumerate(rows):
            kind = 2 if k == unknown else kind
            token = token.replace(" ", "▁") if kind == 4 else token
            model += _field(1, _field(1, token) + _field(2, float(score)) + _field(3, kind))
        trainer = _field(3, 2) + _field(35, 1) + _field(40, unknown) + _field(41, metadata["tokenizer.ggml.bos_token_id"])
        trainer += _field(42, metadata["tokenizer.ggml.eos_token_id"]) + _field(43, metadata["tokenizer.ggml.padding_token_id"])
        prefix = int(metadata.get("tokenizer.ggml.add_space_prefix", True))
        normalizer = _field(1, "identity") + _field(3, prefix) + _field(4, 0) + _field(5, 1)
        model += _field(2, trainer) + _field(3, normalizer)
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=bytes(model))

    def encode(self, line):
        return self.processor.encode(line.decode("utf-8", "replace"))


class HuggingFace:
    """A tokenizer.json as it is, without truncation, padding and template."""

    def __init__(self, folder, special):
        content = json.loads(Path(folder, "tokenizer.json").read_text(encoding="utf-8"))
        content["truncation"] = content["padding"] = content["post_processor"] = None
        if not special:
            content["added_tokens"] = [token for token in content["added_tokens"] if not token["special"]]
        self.tokenizer = Tokenizer.from_str(json.dumps(content))

    def encode(self, line):
        return self.tokenizer.encode(line.decode("utf-8", "replace"), add_special_tokens=False).ids


@functools.lru_cache(maxsize=2)
def metadata_of(path, _changed):
    return read_metadata(path)


def oracles_of(model, special=False):
    """Pairs of a name and an oracle for a GGUF file or a Hugging Face folder."""
    if Path(model).is_dir():
        return [("tokenizers", HuggingFace(model, special))]
    metadata = metadata_of(os.path.realpath(model), os.stat(model).st_mtime_ns)
    if metadata["tokenizer.ggml.model"] == "gpt2":
        return [("tokenizers", ByteLevel(metadata, special))]
    found = [("tokenizers", GemmaTokenizers(metadata, special))]
    if not special:
        found.append(("sentencepiece", GemmaSentencePiece(metadata, special)))
    return found
