"""run, eval and bench as the contract has them, on a tiny random model."""
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest

import numpy as np

from tiny_model import make_tiny_model

KINGLET = os.environ["KINGLET"]


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = cls.temporary.name
        cls.model = os.path.join(cls.folder, "tiny.gguf")
        make_tiny_model(cls.model, arch="llama", type="q8_0", context=512)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def kinglet(self, *words, status=0, stdin=""):
        done = subprocess.run([KINGLET, *words], capture_output=True, text=True, check=False, input=stdin)
        self.assertEqual(done.returncode, status, done.stderr)
        if status != 0:
            self.assertIn("error", done.stderr)
            self.assertEqual(done.stdout, "")
        return done.stdout

    def run_json(self, *words, **how):
        return json.loads(self.kinglet("run", self.model, *words, "--json", **how))

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def test_run_json_has_the_fields_of_the_contract(self):
        value = self.run_json("Hello there", "-n", "12", "--ignore-eos")
        self.assertEqual(list(value), ["text", "token_ids", "finish_reason", "usage", "timings", "memory"])
        self.assertEqual(len(value["token_ids"]), 12)
        self.assertEqual(value["finish_reason"], "length")
        self.assertEqual(value["usage"]["completion_tokens"], 12)
        self.assertGreater(value["usage"]["prompt_tokens"], 2)
        for name in ("load_ms", "prefill_ms", "decode_ms", "prefill_tokens_per_second", "decode_tokens_per_second"):
            self.assertGreater(value["timings"][name], 0)
        self.assertGreater(value["memory"]["peak_bytes"], 1 << 20)

    def test_the_prompt_comes_from_an_argument_a_file_or_a_pipe(self):
        words = ["-n", "8", "--ignore-eos", "--raw"]
        expected = self.run_json("the and of", *words)
        self.assertEqual(self.run_json(*words, stdin="the and of")["token_ids"], expected["token_ids"])
        self.assertEqual(self.run_json("--file", self.write("p.txt", "the and of"), *words)["token_ids"], expected["token_ids"])
        text = self.kinglet("run", self.model, "the and of", *words)
        self.assertEqual(text, expected["text"] + "\n")
        self.assertNotEqual(self.run_json("the and of", "-n", "8", "--ignore-eos")["usage"]["prompt_tokens"],
                            expected["usage"]["prompt_tokens"])  # the chat template

    def test_stop_strings_end_the_text(self):
        whole = self.run_json("the and of", "-n", "40", "--ignore-eos", "--raw")["text"]
        stop = whole[10:13]
        value = self.run_json("the and of", "-n", "40", "--ignore-eos", "--raw", "--stop", stop)
        self.assertEqual(value["text"], whole[:whole.index(stop)])
        self.assertEqual(value["finish_reason"], "stop")

    def test_speculation_is_reported_and_changes_nothing(self):
        words = ["one two one two one two", "-n", "60", "--ignore-eos", "--raw"]
        plain, drafted = self.run_json(*words), self.run_json(*words, "--drafter", "ngram")
        self.assertEqual(plain["token_ids"], drafted["token_ids"])
        said = drafted["speculation"]
        self.assertEqual(said["drafter"], "ngram")
        self.assertEqual(said["accepted"] + said["target_passes"], 60)

    def test_many_prompts_come_in_order_and_as_if_alone(self):
        prompts = [{"prompt": "the"}, {"prompt": "of and in is it " * 20}, {"messages": [{"role": "user", "content": "what"}]},
                   {"prompt": "all"}]
        file = self.write("p.jsonl", "\n\n".join(json.dumps(p) for p in prompts) + "\n")
        out = self.kinglet("run", self.model, "--prompts", file, "--batch", "3", "-n", "9", "--ignore-eos", "--json", "--temperature", "1",
                           "--seed", "5")
        values = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([v["index"] for v in values], [0, 1, 2, 3])
        for i in (0, 1, 3):
            alone = self.run_json(prompts[i]["prompt"], "-n", "9", "--ignore-eos", "--temperature", "1", "--seed", str(5 + i))
            self.assertEqual(values[i]["token_ids"], alone["token_ids"])
        self.assertEqual(values[2]["token_ids"],
                         self.run_json("what", "-n", "9", "--ignore-eos", "--temperature", "1", "--seed", "7")["token_ids"])

    def test_logprobs_and_bias(self):
        value = self.run_json("the", "-n", "4", "--ignore-eos", "--raw", "--logprobs", "3")
        self.assertEqual([t["id"] for t in value["logprobs"]], value["token_ids"])
        for token in value["logprobs"]:
            self.assertEqual(token["top"][0]["id"], token["id"])  # greedy
            self.assertLessEqual(sum(np.exp(t["logprob"]) for t in token["top"]), 1.0001)
        self.assertEqual(self.run_json("the", "-n", "3", "--ignore-eos", "--logit-bias", "65=100")["token_ids"], [65] * 3)

    def test_errors_have_their_status(self):
        run = ["run", self.model]
        self.kinglet(*run, "x", "--top-p", "2", status=2)
        self.kinglet(*run, "x", "--drafter", "none-such", status=2)
        self.kinglet(*run, "x", "--logit-bias", "x", status=2)
        self.kinglet(*run, "x", "--context", "2", status=5)
        self.kinglet("run", "/nonexistent/model.gguf", "x", status=3)
        self.kinglet(*run, "--prompts", self.write("bad.jsonl", "{\"prompt\": 3}\n"), status=2)
        self.kinglet(*run, "--prompts", self.write("worse.jsonl", "{\"prompt\"\n"), status=4)
        self.kinglet("eval", self.model, status=2)
        self.kinglet("eval", self.model, "--ids", self.write("i.json", "[[1, 2, 99999]]"), status=2)
        self.kinglet("bench", self.model, "--tests", "sleep", status=2)
        self.kinglet("bench", self.model, "--against", "/nonexistent", status=3)

    def test_interrupt_ends_with_130(self):
        program = subprocess.Popen([KINGLET, "run", self.model, "the", "--ignore-eos", "-n", "100000", "--context", "100000"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertTrue(program.stdout.read(1))  # it has begun to answer
        program.send_signal(signal.SIGINT)
        start = time.monotonic()
        program.communicate(timeout=60)
        self.assertEqual(program.returncode, 130)
        self.assertLess(time.monotonic() - start, 30)

    def test_eval_of_text(self):
        text = self.write("text.txt", "the quick brown fox and the lazy dog are not one. " * 40)
        value = json.loads(self.kinglet("eval", self.model, "--text", text, "--context", "64", "--json"))
        self.assertAlmostEqual(np.exp(value["nll"]), value["perplexity"], places=6)
        self.assertEqual(value["tokens"] % 31, 0)
        again = json.loads(self.kinglet("eval", self.model, "--text", text, "--context", "64", "--prefill-chunk", "7", "--json"))
        self.assertEqual(again["nll"], value["nll"])
        self.kinglet_gate(text, value["perplexity"])

    def test_eval_side_by_side_scores_what_it_scores_one_by_one(self):
        random = np.random.default_rng(3)
        ids = [[int(t) for t in random.integers(0, 250, n)] for n in (90, 64, 3, 77)]
        file = self.write("ids.json", json.dumps([*ids[:3], {"ids": ids[3], "score_from": 70}]))
        alone = json.loads(self.kinglet("eval", self.model, "--ids", file, "--json"))
        self.assertEqual([s["tokens"] for s in alone["sequences"]], [44, 31, 1, 7])
        self.assertAlmostEqual(sum(s["nll"] * s["tokens"] for s in alone["sequences"]) / 83, alone["nll"])
        for batch in ("1", "3", "8"):
            value = json.loads(self.kinglet("eval", self.model, "--ids", file, "--batch", batch, "--json"))
            self.assertEqual(value["sequences"], alone["sequences"])
        self.assertGreater(alone["weight_bytes_per_token"], 1000)
        self.kinglet("eval", self.model, "--ids", file, "--batch", "2", "--logits", os.path.join(self.folder, "x.npy"), status=2)
        for wrong in ('[[1], {"ids": [1, 2]}]', '[{"ids": [1, 2], "score_from": 0}]', '[{"ids": 3, "score_from": 1}]', "[[]]", "[3]"):
            self.kinglet("eval", self.model, "--ids", self.write("wrong.json", wrong), status=2)

    def test_calibrated_skips_meet_their_share(self):
        model = os.path.join(self.folder, "deep.gguf")
        make_tiny_model(model, arch="llama", type="q8_0", context=512, layers=12)
        text = self.write("text.txt", "the quick brown fox and the lazy dog are not one. " * 120)
        skip = os.path.join(self.folder, "m.skip")
        for cold in ("costly", "ends"):
            value = json.loads(self.kinglet("calibrate", "ffn-skip", model, "--text", text, "--ratio", "0.25", "--cold", cold,
                                            "-o", skip, "--json"))
            self.assertLess(abs(value["share"] - 0.25), 0.05)
            self.assertEqual(value["cold"][0], 1)
            self.assertGreaterEqual(sum(value["cold"]), 3)
            shares = [point["share"] for point in value["curve"]]
            self.assertEqual(min(shares, key=lambda s: abs(s - 0.25)), value["share"])
            plain = json.loads(self.kinglet("eval", model, "--text", text, "--context", "192", "--batch", "4", "--json"))
            got = json.loads(self.kinglet("eval", model, "--text", text, "--context", "192", "--batch", "4", "--ffn-skip", skip,
                                          "--json"))
            self.assertLess(abs(got["ffn_skip"]["share"] - value["share"]), 0.1)
            self.assertLess(got["ffn_skip"]["share_of_all"], got["ffn_skip"]["share"])
            self.assertNotEqual(got["nll"], plain["nll"])
            ran = json.loads(self.kinglet("run", model, "the", "-n", "60", "--ignore-eos", "--ffn-skip", skip, "--json"))
            self.assertGreater(ran["ffn_skip"]["ran"] + ran["ffn_skip"]["skipped"], 20 * 12)

    def test_exchanged_layers_cost_the_text_no_more(self):
        model = os.path.join(self.folder, "exchanged.gguf")
        make_tiny_model(model, arch="llama", type="q8_0", context=512, layers=12, seed=3)
        text = self.write("text.txt", "the quick brown fox and the lazy dog are not one. " * 120)
        found = []
        for exchanges in ("0", "16"):
            value = json.loads(self.kinglet("calibrate", "ffn-skip", model, "--text", text, "--ratio", "0.2", "--exchanges", exchanges,
                                            "-o", os.path.join(self.folder, "x.skip"), "--json"))
            self.assertLess(abs(value["share"] - 0.2), 0.05)
            found.append((sum(value["cold"]), min(p["nll"] for p in value["curve"] if p["share"] == value["share"])))
        self.assertEqual(found[0][0], found[1][0])  # as many layers that may skip
        self.assertLess(found[1][1], found[0][1] + 0.02)

    def kinglet_gate(self, text, perplexity):
        done = subprocess.run([KINGLET, "eval", self.model, "--text", text, "--context", "64", "--max-perplexity", str(perplexity / 2),
                               "--json"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 6)
        self.assertIn("perplexity", json.loads(done.stdout))

    def test_divergence_equals_numpy(self):
        other = os.path.join(self.folder, "other.gguf")
        make_tiny_model(other, arch="llama", type="q4_0", context=512)
        ids = [[int(t) for t in np.random.default_rng(1).integers(0, 250, n)] for n in (50, 31)]
        file = self.write("ids.json", json.dumps(ids))
        value = json.loads(self.kinglet("eval", self.model, "--against", other, "--ids", file, "--json"))
        rows, log_p = [], {}
        for model in (self.model, other):
            out = os.path.join(self.folder, "logits.npy")
            self.kinglet("eval", model, "--ids", file, "--logits", out, "--json")
            x = np.load(out).astype(np.float64)
            log_p[model] = x - np.log(np.exp(x - x.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True)) - x.max(axis=1, keepdims=True)
        at = 0
        for sequence in ids:
            rows += range(at + len(sequence) // 2, at + len(sequence) - 1)
            at += len(sequence)
        p, q = log_p[other][rows], log_p[self.model][rows]
        kl = (np.exp(p) * (p - q)).sum(axis=1)
        self.assertEqual(value["tokens"], len(rows))
        for name, expected in (("mean", kl.mean()), ("median", np.median(kl)), ("p99", np.quantile(kl, 0.99)), ("max", kl.max())):
            self.assertAlmostEqual(value["kl"][name] / expected, 1, places=4)
        self.assertAlmostEqual(value["top1_agreement"], np.mean(p.argmax(axis=1) == q.argmax(axis=1)))
        self.assertEqual(len(value["worst"]), 10)
        self.assertAlmostEqual(value["worst"][0]["kl"], value["kl"]["max"])

    def test_bench_json(self):
        value = json.loads(self.kinglet("bench", self.model, "--tests", "decode,prefill64,batch2,depth100", "--rounds", "1", "--wait", "0",
                                        "--json"))
        for name in ("decode", "prefill64", "batch2", "depth100"):
            self.assertGreater(value[name]["tokens_per_second"], 0)
            self.assertEqual(value[name]["spread"], 0)
        for name in ("bandwidth_gbps", "bandwidth_share", "load_ms", "peak_bytes"):
            self.assertGreater(value[name], 0)


if __name__ == "__main__":
    unittest.main()
