"""Lossless means identical: every drafter gives the tokens of plain decoding; sampling keeps its distribution.

Small by default, on tiny random models. `lossless_test.py --full` takes 100 prompts of 128 tokens on the models of the store (some
minutes); KINGLET names the program.
"""
import collections
import json
import os
import subprocess
import sys
import tempfile
import unittest

KINGLET = os.environ["KINGLET"]
FULL = "--full" in sys.argv
MAKE_TINY_MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "make_tiny_model")
OPENINGS = ["Once upon a time", "def quicksort(values):\n    ", "The three laws of", "import os\nimport sys\n\n\nclass Reader:\n    def __init__",
            "one two three one two three one", "Dear Sir or Madam,\n", "| name | age |\n|---|---|\n| Ann | 31 |\n|", "Q: Why is the sky blue?\nA:",
            "{\"a\": 1, \"b\": 2, \"c\":", "In the beginning"]
ENDINGS = ["", " and", " of the", "\n\n", " the the the", " 1, 2, 3,", " if", " 'x'", " a", " (see"]
PROMPTS = [opening + ending for opening in OPENINGS for ending in ENDINGS]


def run(*words):
    done = subprocess.run([KINGLET, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


class Lossless(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = cls.temporary.name

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def tiny(self, name, *words):
        path = os.path.join(self.folder, name)
        if not os.path.exists(path):
            subprocess.run([sys.executable, MAKE_TINY_MODEL, "--context", "512", "--out", path, *words], check=True)
        return path

    def answers(self, model, prompts, tokens, *options):
        file = os.path.join(self.folder, "prompts.jsonl")
        with open(file, "w", encoding="utf-8") as out:
            for prompt in prompts:
                out.write(json.dumps({"prompt": prompt}) + "\n")
        lines = run("run", model, "--prompts", file, "--json", "--quiet", "--raw", "--ignore-eos", "-n", str(tokens), *options)
        return [json.loads(line) for line in lines.splitlines()]

    def compare(self, model, prompts, tokens, drafters, ways=(["--batch", "1"], ["--batch", "5", "--draft-budget", "5"])):
        expected = [a["token_ids"] for a in self.answers(model, prompts, tokens, "--batch", "8")]
        self.assertEqual({len(ids) for ids in expected}, {tokens})
        for drafter in drafters:
            for options in ways:
                with self.subTest(model=os.path.basename(model), drafter=drafter, options=options):
                    answers = self.answers(model, prompts, tokens, "--drafter", drafter, *options)
                    self.assertEqual([a["token_ids"] for a in answers], expected)
                    said = [a["speculation"] for a in answers]
                    for one in said:
                        self.assertEqual(one["accepted"] + one["target_passes"], tokens)
                        self.assertLessEqual(one["accepted"], one["drafted"])
                    if options == ways[0]:
                        passes = sum(one["target_passes"] for one in said)
                        print(f"{os.path.basename(model)}, {os.path.basename(drafter)}: {len(prompts)} prompts, "
                              f"{len(prompts) * tokens / passes:.2f} tokens a pass, "
                              f"{sum(s['accepted'] for s in said) / max(1, sum(s['drafted'] for s in said)):.2f} accepted", flush=True)

    def test_every_drafter_gives_the_plain_greedy_tokens(self):
        llama = self.tiny("llama.gguf", "--arch", "llama", "--type", "q8_0")
        gemma = self.tiny("gemma.gguf", "--arch", "gemma3", "--type", "q8_0")
        other = self.tiny("other.gguf", "--arch", "llama", "--type", "q4_0", "--seed", "5")
        self.compare(llama, PROMPTS[::12], 24, ["ngram", "layers", "layers:1", "auto", llama, other, "auto," + llama, gemma])
        self.compare(gemma, PROMPTS[::24], 24, ["ngram", "layers:1", "auto", gemma, llama])

    def test_drafters_over_other_caches(self):
        """What a cache keeps is the same with and without a drafter, so the tokens are."""
        llama = self.tiny("llama.gguf", "--arch", "llama", "--type", "q8_0")
        other = self.tiny("other.gguf", "--arch", "llama", "--type", "q4_0", "--seed", "5")
        caches = (["--cache", "int8"], ["--cache", "int4"], ["--early-exit", "1:0.02"], ["--weight-memory", "128KiB"])
        for cache in caches:
            expected = [a["token_ids"] for a in self.answers(llama, PROMPTS[::25], 90, *cache, "--batch", "1")]
            for drafter in ("ngram", "layers:1", llama, "auto," + other, "tree," + llama):
                with self.subTest(cache=cache, drafter=drafter):
                    self.assertEqual([a["token_ids"] for a in self.answers(llama, PROMPTS[::25], 90, *cache, "--drafter", drafter, "--batch", "2")],
                                     expected)

    def trim(self, name, target, *options, status=0):
        path, text = os.path.join(self.folder, name), os.path.join(self.folder, "text.txt")
        with open(text, "w", encoding="utf-8") as out:
            out.write("\n".join(PROMPTS))
        done = subprocess.run([KINGLET, "drafter", "trim", target, "--text", text, "-o", path, "--json", *options], capture_output=True,
                              text=True, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        return path, json.loads(done.stdout) if status == 0 else done.stderr

    def test_every_strategy_of_a_pair_is_listed(self):
        target, second = self.tiny("llama.gguf", "--arch", "llama", "--type", "q8_0"), self.tiny("coarse.gguf", "--arch", "llama", "--type", "q4_0")
        tasks = os.path.join(self.folder, "one.jsonl")
        with open(tasks, "w", encoding="utf-8") as out:
            out.write(json.dumps({"task": "prose", "prompt": "The end of one"}) + "\n")
        bench = ["bench", target, "--strategies", "--tasks", tasks, "--rounds", "1", "-n", "24", "--ignore-eos", "--json"]
        table = {one["strategy"]: one for one in json.loads(run(*bench, "--pair", second))["strategies"]}
        methods = json.loads(run("list", "methods", "--json"))["methods"]
        for method in methods:
            if method["seam"] == "drafter":
                name = {"model": second, "tree": "tree," + second}.get(method["name"], method["name"])
            elif method["seam"] == "pair":
                name = method["applicability"].partition(", ")[2].replace("SMALL", second).replace("REFERENCE", second)
            elif method["seam"] == "cache policy" and method["name"] != "full":
                name = "--cache-policy " + method["name"]
            else:
                continue
            self.assertIn(name, table)
        lossless = ["none", "ngram", "layers", "auto", second, "auto," + second, "tree," + second]
        self.assertTrue(all(table[name]["same_tokens"] and table[name]["alike"] == 1 for name in lossless))
        self.assertIn("--early-exit 1:0.9", table)
        # The second model's weights are counted, and those of the layers that draft.
        self.assertTrue(all(table[name]["weight_bytes"] > table["none"]["weight_bytes"] for name in (second, "layers", "--with " + second)))
        # Options on the command line are a strategy of their own, and leave plain decoding as it is.
        some = {one["strategy"]: one for one in json.loads(run(*bench, "--only", "--early-exit 1:0;ngram"))["strategies"]}
        self.assertEqual(list(some), ["none", "--early-exit 1:0", "ngram"])
        self.assertEqual(some["none"]["weight_bytes"], table["none"]["weight_bytes"])
        self.assertFalse(some["--early-exit 1:0"]["same_tokens"])
        self.assertLess(some["--early-exit 1:0"]["alike"], 1)

    def test_a_proposal_ends_where_the_drafter_is_unsure(self):
        model = self.tiny("llama.gguf", "--arch", "llama", "--type", "q8_0")
        drafted = []
        for least in ("0", "1"):
            answers = self.answers(model, PROMPTS[::25], 24, "--drafter", model, "--draft-min-prob", least, "--batch", "1")
            drafted.append(sum(a["speculation"]["drafted"] for a in answers) / sum(a["speculation"]["target_passes"] for a in answers))
            for said in (a["speculation"] for a in answers):
                self.assertGreater(said["draft_bytes"], 0)
                self.assertEqual(said["pass_bytes"] % (said["target_passes"] - 1), 0)  # the first comes with the prompt
        self.assertGreater(drafted[0], 4)
        self.assertLess(drafted[1], 1.01)

    def test_drafter_files(self):
        target, second = self.tiny("llama.gguf", "--arch", "llama", "--type", "q8_0"), self.tiny("coarse.gguf", "--arch", "llama", "--type", "q4_0")
        layers, said = self.trim("layers.drafter", target, "--keep", "64", "--layers", "1")
        self.assertLessEqual(said["kept"], 64)
        self.assertEqual([p["keep"] for p in said["held_out_coverage"]], sorted(p["keep"] for p in said["held_out_coverage"]))
        half, _ = self.trim("half.drafter", target, "--keep", "150", "--with", second, "--generate", "256")
        whole, said = self.trim("whole.drafter", target, "--keep", "1000000", "--with", second)
        self.compare(target, PROMPTS[::25], 24, [layers, half, "auto," + half])
        # All tokens kept: the packed rows are the whole head's, so that each draw of the drafter is the same.
        sampling = ["--temperature", "0.5", "--seed", "7", "--acceptance", "ratio", "--batch", "1", "--drafter"]
        plain, trimmed, less = ([(a["token_ids"], a["speculation"]["drafted"], a["speculation"]["accepted"])
                                 for a in self.answers(target, PROMPTS[::20], 24, *sampling, drafter)] for drafter in (second, whole, half))
        self.assertEqual(trimmed, plain)
        self.assertNotEqual(less, plain)
        # Of another model, and damaged.
        other = self.tiny("other.gguf", "--arch", "llama", "--type", "q4_0", "--seed", "5")
        for model, drafter, status in ((other, layers, 4), (target, self.damaged(layers), 4)):
            done = subprocess.run([KINGLET, "run", model, "x", "-n", "2", "--drafter", drafter], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, status, done.stderr)
        self.trim("none.drafter", target, "--layers", "2000", status=2)
        # Reading along with what the target wrote, a second model of the same weights is right everywhere.
        same, said = self.trim("same.drafter", target, "--keep", "auto", "--with", target, "--generate", "640")
        curve = said["held_out_coverage"]
        self.assertEqual([p["accepted"] for p in curve][-1], 1)
        self.assertAlmostEqual(curve[-1]["block_efficiency"], 1 + curve[-1]["length"] * (1 - (curve[-1]["length"] - 1) / 128), 6)
        self.assertEqual(said["kept"], max(curve, key=lambda p: p["speed_up"])["keep"])
        for point in curve:  # a token is right where it is kept; in so small a set few are
            self.assertAlmostEqual(point["accepted"], point["coverage"], 6)
        self.trim("none.drafter", target, "--keep", "auto", status=2)
        # For comparison: the lowest ids, and any.
        kept = [subprocess.run([KINGLET, "inspect", self.trim(how + ".drafter", target, "--keep", "40", "--choose", how)[0], "--json"],
                               capture_output=True, text=True, check=True).stdout for how in ("counted", "ids", "random")]
        kept = [json.loads(text)["metadata"]["kinglet.drafter.kept"] for text in kept]
        self.assertEqual({len(ids) for ids in kept}, {40})
        self.assertEqual(len({tuple(ids) for ids in kept}), 3)

    def damaged(self, path):
        with open(path, "rb") as file:
            data = bytearray(file.read())
        data[-300] ^= 0xff
        bad = os.path.join(self.folder, "bad.drafter")
        with open(bad, "wb") as file:
            file.write(data[:-100])
        return bad

    def test_bench_compares_the_strategies(self):
        tasks = os.path.join(self.folder, "tasks.jsonl")
        with open(tasks, "w", encoding="utf-8") as out:
            for task, text in (("copy", "one two one two one two one two"), ("prose", "The end")):
                out.write(json.dumps({"task": task, "prompt": text}) + "\n")
        value = json.loads(run("bench", self.tiny("llama.gguf", "--arch", "llama", "--type", "q8_0"), "--strategies", "--tasks", tasks,
                               "--rounds", "2", "-n", "24", "--ignore-eos", "--json"))["strategies"]
        self.assertEqual({(one["task"], one["strategy"]) for one in value},
                         {(t, s) for t in ("copy", "prose") for s in ("none", "ngram", "layers", "auto")})
        for one in value:
            self.assertTrue(one["same_tokens"])
            self.assertEqual(one["tokens"], 23)
            self.assertEqual(one["target_passes"] + one["accepted"], 23)
            self.assertGreater(one["ratio"], 0)

    def compare_pairs(self, model, small, prompts, tokens):
        """Two models whose policy leaves the answer to the large one."""
        expected = [a["token_ids"] for a in self.answers(model, prompts, tokens, "--batch", "8")]
        for words in (["--fallback", "0", "--rollback", "0"], ["--fallback", "0.6", "--rollback", "0"], ["--fallback", "1.01"]):
            answers = self.answers(model, prompts, tokens, "--with", small, *words)
            self.assertEqual([a["token_ids"] for a in answers], expected)
            visits = sum(a["pair"]["visits"] for a in answers)
            print(f"{os.path.basename(model)}, --with, {' '.join(words)}: {len(prompts)} prompts, {len(prompts) * tokens / visits:.2f} tokens a visit",
                  flush=True)

    def coarse(self, model):
        path = os.path.join(self.folder, model + "-q4_0.gguf")
        if not os.path.exists(path):
            run("convert", model, "--type", "q4_0", "-o", path)
        return path

    @unittest.skipUnless(FULL, "takes minutes: --full")
    def test_on_smollm2(self):
        model, small = "smollm2-135m-instruct", self.coarse("smollm2-135m-instruct")
        layers, _ = self.trim("store_layers.drafter", model, "--keep", "2000", "--layers", "27")
        trimmed, _ = self.trim("store_model.drafter", model, "--keep", "2000", "--with", small)
        self.compare(model, PROMPTS, 128, ["ngram", "auto", "layers", "layers:28", layers, small, trimmed, "auto," + small, "tree," + small])
        self.compare_pairs(model, small, PROMPTS, 128)

    @unittest.skipUnless(FULL, "takes minutes: --full")
    def test_on_qwen(self):
        model = "qwen2.5-coder-0.5b-instruct"
        small = self.coarse(model)
        trimmed, _ = self.trim("store_qwen.drafter", model, "--keep", "8000", "--with", small)
        # Side by side: a pass of this model costs eight sequences little more than one.
        self.compare(model, PROMPTS, 128, ["layers:20", small, "tree," + small, trimmed, "smollm2-135m-instruct", "auto," + small, "auto", "ngram"],
                     ways=(["--batch", "8", "--draft-budget", "4"],))

    def sampled(self, model, count, *options):
        """How often each pair of second and third token was drawn, and how many proposals stood."""
        answers = self.answers(model, ["The"] * count, 4, "--temperature", "0.8", "--top-k", "3" if model.endswith(".gguf") else "20", "--batch", "16", *options)
        said = [a.get("speculation", {"accepted": 0, "drafted": 0}) for a in answers]
        return (collections.Counter(tuple(a["token_ids"][1:3]) for a in answers), sum(s["accepted"] for s in said),
                sum(s["drafted"] for s in said))

    def compare_distributions(self, model, count, drafter):
        plain, _, _ = self.sampled(model, count, "--seed", "1")
        same, _, _ = self.sampled(model, count, "--seed", "1", "--drafter", drafter)
        self.assertEqual(same, plain)  # by default the tokens are those of the seed
        drawn, accepted, drafted = self.sampled(model, count, "--seed", str(10 * count), "--drafter", drafter, "--acceptance", "ratio")
        self.assertGreater(accepted, 0)
        # Two samples of one distribution: the sum over pooled cells is chi-square with one degree of freedom a cell.
        total, cells, rest = 0.0, 0, [0, 0]
        for pair in set(plain) | set(drawn):
            if plain[pair] + drawn[pair] < 16:
                rest = [rest[0] + plain[pair], rest[1] + drawn[pair]]
                continue
            total += (plain[pair] - drawn[pair]) ** 2 / (plain[pair] + drawn[pair])
            cells += 1
        total += (rest[0] - rest[1]) ** 2 / max(1, sum(rest))
        print(f"{os.path.basename(model)}: {accepted} of {drafted} drawn proposals stood; chi-square {total:.1f} over {cells} degrees "
              "of freedom", flush=True)
        self.assertGreaterEqual(cells, 2)
        self.assertLess(total, cells + 4 * (2 * cells) ** 0.5)
        return drawn

    def test_acceptance_by_ratio_keeps_the_distribution(self):
        model = self.tiny("llama.gguf", "--arch", "llama", "--type", "q8_0")
        self.compare_distributions(model, 600, self.tiny("coarse.gguf", "--arch", "llama", "--type", "q4_0"))

    def test_acceptance_by_ratio_with_a_trimmed_head(self):
        """What the drafter cannot propose is drawn at its proper rate: the rest is taken over the whole vocabulary."""
        model = self.tiny("llama.gguf", "--arch", "llama", "--type", "q8_0")
        path, _ = self.trim("few.drafter", model, "--keep", "200", "--with", model, "--choose", "random", "--seed", "1")
        kept = json.loads(run("inspect", path, "--json"))["metadata"]["kinglet.drafter.kept"]
        drawn = self.compare_distributions(model, 600, path)
        outside = sum(count for pair, count in drawn.items() if not set(pair) <= set(kept))
        print(f"{outside} of {sum(drawn.values())} pairs with a token that was not proposed", flush=True)
        self.assertGreater(outside, 100)

    @unittest.skipUnless(FULL, "takes minutes: --full")
    def test_acceptance_by_ratio_on_the_real_vocabulary(self):
        self.compare_distributions("smollm2-135m-instruct", 3000, "layers:28")


if __name__ == "__main__":
    unittest.main(argv=[a for a in sys.argv if a != "--full"])
