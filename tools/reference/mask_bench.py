#!/usr/bin/env python3
"""Structured output beside two other engines, one thread each, on real schemas: verdicts, times of masks, time to the first mask.

    tools/reference/mask_bench.py KINGLET MODEL.gguf DATA [--sample 500] [--engines kinglet,llguidance,xgrammar,…] [--out F.json]

DATA is the folder maskbench/data of github.com/guidance-ai/jsonschemabench (each file one schema with its valid and invalid instances), or a file
of lines {"schema": ..., "tests": [{"data": ..., "valid": ...}]}. Needs llguidance and xgrammar from PyPI for their columns. Each instance is one
line of JSON as json.dumps(data, ensure_ascii=False) writes it, cut by Kinglet's tokenizer; a mask is made before each token and at the end.
Further engines: kinglet-any-order (with --any-order). --cpu-time measures all by their process's time instead of the wall's, which a busy machine
stretches. "Order" counts valid instances that Kinglet refuses
only because their properties come in another order than the schema's; "wrong" counts all other verdicts that differ from the data's.
"""
import argparse
import glob
import json
import os
import pickle
import random
import resource
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from gguf_metadata import read_metadata  # noqa: E402


clock = time.perf_counter
schema_seconds = 0
TOO_LONG = "too long"


def read_cases(path):
    """[(name, schema, tests)], only those that have tests."""
    cases = []
    if os.path.isdir(path):
        for file in sorted(glob.glob(os.path.join(path, "*.json"))):
            with open(file, encoding="utf-8") as handle:
                case = json.load(handle)
            cases.append((os.path.basename(file), case["schema"], case["tests"]))
    else:
        with open(path, encoding="utf-8") as handle:
            for number, line in enumerate(handle):
                case = json.loads(line)
                cases.append((str(number), case["schema"], case["tests"]))
    return [case for case in cases if case[2]]


def as_text(data):
    return json.dumps(data, ensure_ascii=False)


class Vocabulary:
    """The bytes of each token, read from the model's file without Kinglet."""

    def __init__(self, model):
        meta = read_metadata(model)
        pieces, kinds = meta["tokenizer.ggml.tokens"], meta.get("tokenizer.ggml.token_type")
        self.eos = meta["tokenizer.ggml.eos_token_id"]
        self.special = [i for i, kind in enumerate(kinds or []) if kind == 3]
        if meta["tokenizer.ggml.model"] == "gpt2":
            shown = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
            letters = {chr(b): b for b in shown}
            letters.update({chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in shown)})
            self.bytes = [bytes(letters[c] for c in p) if all(c in letters for c in p) else p.encode("utf-8", "surrogateescape") for p in pieces]
        else:
            self.bytes = [bytes([int(p[3:5], 16)]) if kinds[i] == 6 else p.replace("\u2581", " ").encode("utf-8", "surrogateescape")
                          for i, p in enumerate(pieces)]
        for i in self.special:
            self.bytes[i] = b""
        self.meta = meta

    def tokenizer_json(self):
        """The same tokenizer for Hugging Face's library, which llguidance cuts forced text with."""
        from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
        pieces = {piece: i for i, piece in enumerate(self.meta["tokenizer.ggml.tokens"])}
        if self.meta["tokenizer.ggml.model"] == "gpt2":
            merges = [tuple(merge.split(" ")) for merge in self.meta["tokenizer.ggml.merges"]]
            made = Tokenizer(models.BPE(vocab=pieces, merges=merges))
            if self.meta.get("tokenizer.ggml.pre") == "qwen2":
                words = Regex(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
                made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(words, "isolated"),
                                                              pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
            else:
                made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                              pre_tokenizers.ByteLevel(add_prefix_space=False)])
            made.decoder = decoders.ByteLevel()
        else:
            # Pairs are merged in the order of what they become.
            scores = self.meta["tokenizer.ggml.scores"]
            splits = [(scores[i], piece[:at], piece[at:]) for piece, i in pieces.items() for at in range(1, len(piece))
                      if piece[:at] in pieces and piece[at:] in pieces]
            splits.sort(key=lambda split: (-split[0], pieces[split[1]], pieces[split[2]]))
            merges = [(left, right) for _, left, right in splits]
            made = Tokenizer(models.BPE(vocab=pieces, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
            made.normalizer = normalizers.Replace(" ", "\u2581")
            made.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
        made.add_special_tokens([AddedToken(self.meta["tokenizer.ggml.tokens"][i], special=True) for i in self.special])
        return made.to_str()


def run_kinglet(kinglet, model, cases, _ids, _vocabulary, *options):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        for _, schema, tests in cases:
            file.write(json.dumps({"schema": schema, "tests": tests}, ensure_ascii=False) + "\n")
        file.flush()
        own = ["--cpu-time"] if clock is time.process_time else []
        done = subprocess.run([kinglet, "grammar", "test", model, "--cases", file.name, "--json", *options, *own], stdout=subprocess.PIPE, check=True)
    for line in done.stdout.splitlines():
        result = json.loads(line)
        yield {"error": result["error"], "first_ms": result["first_mask_ms"], "mask_us": result["mask_us"],
               "accepted": [test["accepted"] for test in result["tests"]], "order": [test.get("out_of_order", False) for test in result["tests"]]}


def walk(engine_mask, accept, ends, tests_ids, reset):
    """The verdicts and times of one schema, for an engine with these three calls."""
    mask_us, accepted = [], []
    for ids in tests_ids:
        reset()
        fed = True
        for token in ids:
            start = clock()
            bits = engine_mask()
            mask_us.append(1e6 * (clock() - start))
            fed = bool(bits[token // 32] >> (token % 32) & 1) and accept(token)
            if not fed:
                break
        if fed:
            start = clock()
            engine_mask()
            mask_us.append(1e6 * (clock() - start))
            fed = ends()
        accepted.append(fed)
    return mask_us, accepted


def run_kinglet_any_order(*arguments):
    return run_kinglet(*arguments, "--any-order")


def run_llguidance(_kinglet, _model, cases, ids, vocabulary):
    import llguidance
    import numpy
    tokenizer = llguidance.LLTokenizer(vocabulary.tokenizer_json(), n_vocab=len(vocabulary.bytes), eos_token=vocabulary.eos)
    buffer = numpy.zeros((len(vocabulary.bytes) + 31) // 32, dtype=numpy.uint32)
    for (_, schema, _), tests in zip(cases, ids):
        start = clock()
        try:
            matcher = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema)), log_level=0)
            error = matcher.get_error()
        except ValueError as failure:
            error = str(failure)
        if error:
            yield {"error": error}
            continue

        def mask(matcher=matcher):
            matcher.unsafe_compute_mask_ptr(buffer.ctypes.data, buffer.nbytes)
            return buffer

        try:
            mask()
            first = 1e3 * (clock() - start)
            mask_us, accepted = walk(mask, matcher.consume_token, matcher.is_accepting, tests, matcher.reset)
            yield {"error": None, "first_ms": first, "mask_us": mask_us, "accepted": accepted}
        except ValueError as failure:
            yield {"error": str(failure)}


def within(seconds, work):
    """What work() gives in a process of its own, or None where it needs more of the processor's time than this."""
    global clock
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        if clock is time.process_time:
            clock = time.thread_time  # the limit makes a process's time count in ticks
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        os.close(read_end)
        with os.fdopen(write_end, "wb") as out:
            pickle.dump(work(), out)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as file:
        data = file.read()
    return pickle.loads(data) if os.waitpid(child, 0)[1] == 0 else None


def run_xgrammar(_kinglet, _model, cases, ids, vocabulary):
    import xgrammar
    info = xgrammar.TokenizerInfo(vocabulary.bytes, vocab_type=xgrammar.VocabType.RAW, vocab_size=len(vocabulary.bytes), stop_token_ids=[vocabulary.eos])

    def one(schema, tests):
        start = clock()
        try:
            compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
            compiled = compiler.compile_json_schema(json.dumps(schema), strict_mode=False)
            matcher = xgrammar.GrammarMatcher(compiled)
            bitmask = xgrammar.allocate_token_bitmask(1, len(vocabulary.bytes))
            view = bitmask.numpy()[0].view("uint32")

            def mask(matcher=matcher, bitmask=bitmask, view=view):
                matcher.fill_next_token_bitmask(bitmask)
                return view

            def ends(view=view):
                return bool(view[vocabulary.eos // 32] >> (vocabulary.eos % 32) & 1)

            mask()
            first = 1e3 * (clock() - start)
            mask_us, accepted = walk(mask, matcher.accept_token, ends, tests, matcher.reset)
            return {"error": None, "first_ms": first, "mask_us": mask_us, "accepted": accepted}
        except (RuntimeError, ValueError) as failure:
            return {"error": str(failure)}

    for (_, schema, _), tests in zip(cases, ids):
        if schema_seconds:
            yield within(schema_seconds, lambda schema=schema, tests=tests: one(schema, tests)) or {"error": TOO_LONG}
        else:
            yield one(schema, tests)


def tokens_of(kinglet, model, cases):
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        for _, _, tests in cases:
            for test in tests:
                file.write(as_text(test["data"]) + "\n")
        file.flush()
        done = subprocess.run([kinglet, "tokenize", model, "--file", file.name, "--lines", "--json"], stdout=subprocess.PIPE, check=True)
    lines = iter(done.stdout.splitlines())
    return [[json.loads(next(lines))["ids"] for _ in tests] for _, _, tests in cases]


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def summary(name, cases, results):
    masks = [us for r in results if r["error"] is None for us in r["mask_us"]]
    first = [r["first_ms"] for r in results if r["error"] is None]
    differ = [(case[0], i, test["valid"], test["valid"] and r.get("order", ())[i:i + 1] == [True]) for case, r in zip(cases, results)
              if r["error"] is None for i, (test, got) in enumerate(zip(case[2], r["accepted"])) if test["valid"] != got]
    order, wrong = [d[:3] for d in differ if d[3]], [d[:3] for d in differ if not d[3]]
    refused = [(case[0], r["error"]) for case, r in zip(cases, results) if r["error"] not in (None, TOO_LONG)]
    return {"engine": name, "schemas": len(results), "masks": len(masks), "mask_us_p50": quantile(masks, .5), "mask_us_p99": quantile(masks, .99),
            "mask_us_max": max(masks, default=0), "first_ms_p50": quantile(first, .5), "first_ms_p99": quantile(first, .99),
            "first_ms_max": max(first, default=0), "refused": len(refused), "too_long": sum(r["error"] == TOO_LONG for r in results), "order": len(order), "order_schemas": len({o[0] for o in order}),
            "wrong": len(wrong), "wrong_schemas": len({w[0] for w in wrong}),
            "wrong_list": wrong, "refused_list": refused}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinglet")
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--sample", type=int, default=0, help="this many schemas, drawn at random (0: all)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engines", default="kinglet,llguidance,xgrammar")
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--most-seconds", type=float, default=float("inf"), help="an engine stops after the schema with which this is over")
    parser.add_argument("--schema-seconds", type=int, default=0,
                        help="xgrammar leaves a schema that takes more of the processor's time (0: none), and has no masks and verdicts of it")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    global clock, schema_seconds
    schema_seconds = arguments.schema_seconds
    if arguments.cpu_time:
        clock = time.process_time
    cases = read_cases(arguments.data)
    if arguments.sample:
        cases = [cases[i] for i in sorted(random.Random(arguments.seed).sample(range(len(cases)), arguments.sample))]
    ids = tokens_of(arguments.kinglet, arguments.model, cases)
    vocabulary = Vocabulary(arguments.model)
    runs = {"kinglet": run_kinglet, "kinglet-any-order": run_kinglet_any_order, "llguidance": run_llguidance, "xgrammar": run_xgrammar}
    table = []
    print(f"{len(cases)} schemas, {sum(len(case[2]) for case in cases)} instances, {len(vocabulary.bytes)} tokens")
    print(f"{'':17} {'schemas':>7} {'mask p50':>9} {'p99':>9} {'max':>9} {'first p50':>11} {'p99':>11} {'refused':>8} {'order':>9} {'wrong':>9} (schemas)")
    for name in arguments.engines.split(","):
        results, end = [], time.monotonic() + arguments.most_seconds
        for result in runs[name](arguments.kinglet, arguments.model, cases, ids, vocabulary):
            results.append(result)
            if time.monotonic() > end:
                break
        row = summary(name, cases, results)
        table.append(row)
        print(f"{name:17} {row['schemas']:7} {row['mask_us_p50']:6.2f} us {row['mask_us_p99']:6.1f} us {row['mask_us_max']:6.0f} us "
              f"{row['first_ms_p50']:8.3f} ms {row['first_ms_p99']:8.2f} ms {row['refused']:8} {row['order']:4} ({row['order_schemas']:2}) "
              f"{row['wrong']:4} ({row['wrong_schemas']:2})" + (f"; too long: {row['too_long']}" if row["too_long"] else ""), flush=True)
        if arguments.out:
            with open(arguments.out, "w", encoding="utf-8") as file:
                json.dump(table, file, indent=1)


if __name__ == "__main__":
    main()
