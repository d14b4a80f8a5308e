"""The passes lowrank and fold from the outside: exact sizes, the same answers in every format, errors that say why."""
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))
from tiny_model import make_tiny_model  # noqa: E402

KINGLET = os.environ.get("KINGLET", os.path.join(ROOT, "build", "release", "kinglet"))
WORDS = "the and of to in is it that was he for on are with his they at be this from have or by one had not but".split()


def kinglet(*arguments, code=0):
    threads = () if "--threads" in arguments or arguments[0] in ("inspect", "convert") else ("--threads", "1")
    done = subprocess.run([KINGLET, *arguments, *threads], capture_output=True, text=True, check=False)
    if done.returncode != code:
        raise AssertionError(f"{arguments}: {done.returncode}, expected {code}\n{done.stderr}")
    return done


def flatten_spectra(path):
    """Gives the layers' matrices the falling spectra of trained ones, which random ones lack: an eighth of the directions, and the
    others at a fiftieth."""
    import numpy as np
    with open(path, "rb") as file:
        data = bytearray(file.read())
    length = struct.unpack("<Q", data[:8])[0]
    for name, tensor in json.loads(data[8:8 + length]).items():
        if "layers" not in name or len(tensor["shape"]) != 2:
            continue
        begin, end = (8 + length + offset for offset in tensor["data_offsets"])
        left, values, right = np.linalg.svd(np.frombuffer(bytes(data[begin:end]), np.float32).reshape(tensor["shape"]), False)
        fallen = values * np.where(np.arange(len(values)) < len(values) // 8, 1, 0.02)
        fallen *= np.sqrt((values ** 2).sum() / (fallen ** 2).sum())
        data[begin:end] = ((left * fallen) @ right).astype(np.float32).tobytes()
    with open(path, "wb") as file:
        file.write(data)


class Structure(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="structure-")
        cls.path = cls.folder.name
        cls.models = {}
        for arch in ("llama", "gemma3", "bert"):
            cls.models[arch] = make_tiny_model(os.path.join(cls.path, arch + ".gguf"), arch=arch, format="gguf", type="f32",
                                               layers=8 if arch == "gemma3" else 5, pattern=4)
        cls.text = os.path.join(cls.path, "text.txt")
        with open(cls.text, "w", encoding="utf-8") as file:
            file.write(" ".join(WORDS[(i * i + 3 * i // 7) % len(WORDS)] for i in range(1000)))
        cls.count = 0

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def shrink(self, source, *steps, code=0, more=()):
        Structure.count += 1
        recipe = os.path.join(self.path, f"{self.count}.yaml")
        out = os.path.join(self.path, f"{self.count}.gguf")
        with open(recipe, "w", encoding="utf-8") as file:
            file.write("steps:\n" + "".join(f"  - {step}\n" for step in steps))
        done = kinglet("shrink", source, "--recipe", recipe, "--text", self.text, "-o", out, "--no-report", *more, "--json", code=code)
        return (out, json.loads(done.stdout)) if code == 0 else done.stderr

    def inspect(self, model):
        return json.loads(kinglet("inspect", model, "--json").stdout)

    def kl(self, model, source):
        done = kinglet("eval", model, "--against", source, "--text", self.text, "--context", "128", "--worst", "0", "--json")
        return json.loads(done.stdout)["kl"]["mean"]

    def same_answers(self, a, b):
        self.assertEqual(self.kl(a, b), 0)
        texts = [json.loads(kinglet("run", each, "the and of", "--raw", "--max-tokens", "12", "--temperature", "0",
                                    "--ignore-eos", "--json").stdout)["token_ids"] for each in (a, b)]
        self.assertEqual(texts[0], texts[1])

    def test_full_rank_changes_nothing_and_higher_ranks_lose_less(self):
        source = self.models["llama"]
        full, report = self.shrink(source, "lowrank: {rank: 10000, force: true, tokens: 512}")
        self.assertEqual(os.path.getsize(full), report["bytes"])
        self.assertLess(self.kl(full, source), 1e-6)
        losses = [self.kl(self.shrink(source, f"lowrank: {{rank: {rank}, multiple: 1, tokens: 512, min-gain: 0}}")[0], source)
                  for rank in (2, 8, 24)]
        self.assertGreater(losses[0], losses[1])
        self.assertGreater(losses[1], losses[2])

    def test_every_file_says_what_it_is(self):
        out, _ = self.shrink(self.models["llama"], "lowrank: {rank: 8, only: ['*ffn_up*', '*attn_q*'], tokens: 512}")
        seen = self.inspect(out)
        self.assertEqual(seen["architecture"], "llama")
        names = {each["name"]: each["shape"] for each in seen["tensors"]}
        self.assertEqual(names["blk.0.ffn_up.weight.0"][0], 8)
        self.assertEqual(names["blk.0.ffn_up.weight.1"][1], 8)
        self.assertNotIn("blk.0.ffn_up.weight", names)
        self.assertIn("blk.0.ffn_down.weight", names)
        self.assertEqual(sum(each.startswith("low-rank ") for each in seen["metadata"]["kinglet.factors"]), 10)
        with open(out, "rb") as file:
            self.assertIn(b"kinglet-llama", file.read(1 << 16))

    def test_safetensors_and_back(self):
        for arch in ("llama", "gemma3"):
            lowrank = "lowrank: {rank: 8, tokens: 512, whiten: false}"
            source = make_tiny_model(os.path.join(self.path, arch), arch=arch, format="hf", type="bf16", layers=5, pattern=4)
            out, _ = self.shrink(source, lowrank, "fold: {pairs: 1, tokens: 256}")
            folder, back = out + ".hf", out + ".back.gguf"
            kinglet("convert", out, "--format", "safetensors", "--type", "f32", "-o", folder)
            with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
                config = json.load(file)
            self.assertTrue(config["architectures"][0].startswith("Kinglet"))
            self.assertEqual(set(config["kinglet"]), {"factors", "layer_map"})
            self.same_answers(folder, out)
            kinglet("convert", folder, "-o", back)
            self.same_answers(back, out)

    def test_factors_are_quantized_like_other_matrices(self):
        source = self.models["llama"]
        lowrank = "lowrank: {rank: 32, tokens: 512, only: ['*ffn*'], min-gain: 0, force: true}"
        plain, _ = self.shrink(source, lowrank, "quantize: {type: q4_0}")
        ours, _ = self.shrink(source, lowrank, "gptq: {type: q4_0, tokens: 1024}")
        self.assertEqual(os.path.getsize(plain), os.path.getsize(ours))
        types = {each["name"]: each["type"] for each in self.inspect(ours)["tensors"]}
        self.assertEqual(types["blk.1.ffn_down.weight.0"], "Q4_0")
        self.assertEqual(types["blk.1.ffn_down.weight.1"], "Q4_0")
        self.assertLess(self.kl(ours, source), 0.9 * self.kl(plain, source))

    def test_a_budget_in_bytes_is_kept(self):
        source = self.models["llama"]
        budget = int(os.path.getsize(source) * 0.8)
        out, _ = self.shrink(source, f"lowrank: {{bytes: {budget}, multiple: 4, tokens: 512}}")
        self.assertLessEqual(os.path.getsize(out), budget)
        self.assertGreater(os.path.getsize(out), 0.9 * budget)

    def test_encoders(self):
        source = self.models["bert"]
        out, _ = self.shrink(source, "lowrank: {rank: 10000, force: true, tokens: 512}")
        vectors = [json.loads(kinglet("embed", each, "the and of to", "--json").stdout)["embeddings"][0] for each in (out, source)]
        self.assertLess(max(abs(a - b) for a, b in zip(*vectors)), 1e-4)

    def test_structure_before_rounding(self):
        """The same factors of the same types: rounding that comes last makes up for what it and the ranks lose, the other order
        does not, and a note says so."""
        folder = make_tiny_model(os.path.join(self.path, "falling"), arch="llama", format="hf", type="f32", width=128, layers=3)
        flatten_spectra(os.path.join(folder, "model.safetensors"))
        rounding = "gptq: {tensors: {'blk.*': k4}, tokens: 1024}"
        last, report = self.shrink(folder, "lowrank: {rank: 0.25, tokens: 1024}", rounding)
        first, other = self.shrink(folder, rounding, "lowrank: {rank: 0.25, tokens: 1024, factor-type: k4}")
        self.assertEqual(report["bytes"], other["bytes"])
        self.assertLess(self.kl(last, folder), 0.5 * self.kl(first, folder))
        note = "step 2 (lowrank) changes what step 1 (gptq) has already rounded"
        recipe = os.path.join(self.path, "order.yaml")
        for steps, said in ((f"[{rounding}, lowrank: {{rank: 0.25, factor-type: k4}}]", True),
                            (f"[lowrank: {{rank: 0.25}}, {rounding}]", False)):
            with open(recipe, "w", encoding="utf-8") as file:
                file.write(f"steps: {steps}\n")
            done = kinglet("shrink", folder, "--recipe", recipe, "--text", self.text, "-o", os.path.join(self.path, "o.gguf"),
                           "--no-report")
            self.assertEqual(note in done.stderr, said)

    def test_threads_change_no_bit(self):
        step = "lowrank: {energy: 0.9, tokens: 512, multiple: 4}"
        data = []
        for threads in ("1", "2"):
            out, _ = self.shrink(self.models["llama"], step, more=("--threads", threads))
            with open(out, "rb") as file:
                data.append(file.read())
        self.assertEqual(data[0], data[1])

    def test_folded_and_expanded_give_the_same_bits(self):
        for arch in ("llama", "gemma3"):
            source = self.models[arch]
            folded, _ = self.shrink(source, "fold: {remove: 1, share: 2, tokens: 256}")
            expanded, _ = self.shrink(folded, "fold: {expand: true}")
            self.same_answers(folded, expanded)
            self.assertLess(os.path.getsize(folded), os.path.getsize(expanded))
            self.assertEqual(self.inspect(expanded)["metadata"][arch + ".block_count"], 7 if arch == "gemma3" else 4)
            self.assertNotIn("kinglet.layer_map", self.inspect(expanded)["metadata"])
            with open(expanded, "rb") as file:
                self.assertNotIn(b"kinglet-" + arch.encode(), file.read())
            # Rounding a folded model rounds each matrix once.
            rounded, _ = self.shrink(folded, "gptq: {type: q8_0, tokens: 512}")
            self.assertLess(self.kl(rounded, folded), 0.01)

    def test_removal_by_divergence(self):
        out, _ = self.shrink(self.models["llama"], "fold: {remove: 2, by: divergence, tokens: 256}")
        self.assertEqual(len(self.inspect(out)["metadata"]["kinglet.layers.original"]), 3)

    def test_sub_blocks_left_out(self):
        """Exactly as many go, what is searched loses no more than chance, and rounding after it works."""
        source = self.models["gemma3"]
        losses = {}
        for by in ("search", "cosine", "window", "random"):
            out, report = self.shrink(source, f"drop: {{attention: 2, feed-forward: 2, by: {by}, generations: 3}}")
            self.assertEqual(os.path.getsize(out), report["bytes"])
            names = {each["name"] for each in self.inspect(out)["tensors"]}
            for part in ("attn_q", "attn_output", "ffn_up", "ffn_down"):
                gone = [layer for layer in range(8) if f"blk.{layer}.{part}.weight" not in names]
                self.assertEqual(len(gone), 2, (by, part))
                self.assertTrue(all(f"blk.{layer}.{part}.weight.1" in names for layer in gone))
            losses[by] = self.kl(out, source)
        self.assertLess(losses["search"], losses["random"])
        self.assertLess(os.path.getsize(out), os.path.getsize(source))
        steps = ("drop: {attention: 1, by: cosine}", "gptq: {type: k3, tokens: 256}")
        self.assertLess(self.kl(self.shrink(self.models["llama"], *steps)[0], self.models["llama"]), 1)
        self.assertIn("nothing to do", self.shrink(source, "drop: {by: cosine}", code=2))
        self.assertIn("some have to stay", self.shrink(source, "drop: {attention: 8, by: random}", code=2))
        self.assertIn("as many attentions", self.shrink(source, "drop: {attention: 1, by: window}", code=2))
        self.assertIn("add its bias", self.shrink(self.models["bert"], "drop: {attention: 1}", code=4))

    def test_recipes_are_checked(self):
        source = self.models["llama"]
        for step, word in (("lowrank: {}", "one of rank, energy and bytes"), ("lowrank: {rank: 0.5, energy: 0.9}", "one of"),
                           ("lowrank: {rank: 0}", "rank"), ("lowrank: {rank: 8, solver: nmf}", "solver"),
                           ("lowrank: {rank: 8, only: ['*nothing*']}", "'*nothing*'"),
                           ("lowrank: {rank: 8, factor-type: q99}", "q99"), ("lowrank: {rank: 1000}", "become smaller"),
                           ("lowrank: {bytes: 12}", "12 bytes"), ("fold: {}", "nothing to do"),
                           ("fold: {remove: 4}", "the first and the last stay"), ("fold: {share: 0}", "share"),
                           ("fold: {pairs: 9}", "pairs"), ("fold: {pairs: 1, share: 2}", "exclude"),
                           ("fold: {remove: 1.5}", "whole number")):
            error = self.shrink(source, step, code=2)
            self.assertIn(word, error, step)
            self.assertIn(".yaml:2", error, step)
        self.assertIn("nothing to expand", self.shrink(source, "fold: {expand: true}", code=4))
        folded, _ = self.shrink(source, "fold: {pairs: 1, tokens: 256}")
        self.assertIn("share matrices already", self.shrink(folded, "fold: {pairs: 1}", code=4))
        self.assertIn("nothing else", self.shrink(folded, "fold: {expand: true, share: 2}", code=2))
        factored, _ = self.shrink(source, "lowrank: {rank: 8, tokens: 256, whiten: false}")
        self.assertIn("factorised", self.shrink(factored, "lowrank: {rank: 4}", code=4))

    def test_damaged_files_are_refused(self):
        folded, _ = self.shrink(self.models["llama"], "fold: {pairs: 1, tokens: 256}")
        factored, _ = self.shrink(self.models["llama"], "lowrank: {rank: 8, tokens: 256, whiten: false}")
        with open(folded, "rb") as file:
            data = file.read()
        key = b"kinglet.layer_map"
        at = data.index(key) + len(key) + 4 + 4 + 8  # type, element type, count
        for values, word in (((0, 1, 9, 3, 4), "layer_map"), ((0, -1, 2, 3, 4), "layer_map"), ((0, 0, 1, 3, 4), "none of its own")):
            self.refused(data[:at] + struct.pack("<5i", *values) + data[at + 20:], word)
        with open(factored, "rb") as file:
            data = file.read()
        entry = b"low-rank "
        at = data.index(entry)
        self.refused(data[:at] + b"high-rank"[:9] + data[at + 9:], "kinglet.factors")
        self.refused(data.replace(b"blk.0.attn_q.weight.1", b"blk.0.attn_q.weight.7"), "has 1 factors, expected 2")
        self.refused(data.replace(b"kinglet.factors", b"kinglet.fact0rs"), "is missing")

    def refused(self, data, word, codes=(4,)):
        path = os.path.join(self.path, "damaged.gguf")
        with open(path, "wb") as file:
            file.write(data)
        done = subprocess.run([KINGLET, "run", path, "the", "--raw", "--max-tokens", "1"], capture_output=True, text=True,
                              check=False)
        self.assertIn(done.returncode, codes, done.stderr)
        self.assertIn(word, done.stderr)


if __name__ == "__main__":
    unittest.main()
