"""The pass tensor_train from the outside: exact sizes, lossless at full bonds, less loss with more bonds, kills, errors with their line."""
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KINGLET = os.environ.get("KINGLET", os.path.join(ROOT, "build", "release", "kinglet"))
WORDS = "the and of to in is it that was he for on are with his they at be this from have or by one had not but what all".split()


def kinglet(*arguments, check=True):
    done = subprocess.run([KINGLET, *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{arguments}: {done.returncode}\n{done.stderr}")
    return done


def sha(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class TensorTrain(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="train-")
        cls.path = cls.folder.name
        cls.model = os.path.join(cls.path, "llama.gguf")
        subprocess.run([sys.executable, os.path.join(ROOT, "tools", "make_tiny_model"), "--arch", "llama", "--format", "gguf", "--type",
                        "f32", "--out", cls.model], check=True, capture_output=True)
        cls.text = os.path.join(cls.path, "text.txt")
        with open(cls.text, "w", encoding="utf-8") as file:
            file.write(" ".join(WORDS[(i * i + 3 * i // 7) % len(WORDS)] for i in range(2000)))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def shrink(self, name, body, *more, check=True, source=None):
        recipe, out = os.path.join(self.path, name + ".yaml"), os.path.join(self.path, name + ".gguf")
        with open(recipe, "w", encoding="utf-8") as file:
            file.write("steps:\n  - tensor_train: {" + body + "}\n")
        done = kinglet("shrink", source or self.model, "--recipe", recipe, "--text", self.text, "-o", out, "--no-report", *more,
                       check=check)
        return out if check else done

    def kl(self, model):
        done = kinglet("eval", model, "--against", self.model, "--text", self.text, "--context", "128", "--worst", "0", "--json")
        return json.loads(done.stdout)["kl"]["mean"]

    def test_more_bonds_lose_less_and_all_lose_nothing(self):
        losses = [self.kl(self.shrink(f"r{ratio}", f"ratio: {ratio}, min-numbers: 0")) for ratio in (0.2, 0.5, 0.8)]
        self.assertGreater(losses[0], losses[1])
        self.assertGreater(losses[1], losses[2])
        self.assertLess(self.kl(self.shrink("full", "bond: 1000000, min-numbers: 0")), 1e-6)
        self.assertLess(self.kl(self.shrink("three", "bond: 1000000, sites: 3, min-numbers: 0")), 1e-6)

    def test_files_fit_their_bytes_and_resume_to_the_same(self):
        size = os.path.getsize(self.model) * 7 // 10
        for profile in ("measured", "none", "reversed"):
            out = self.shrink(profile, f"bytes: {size}, profile: {profile}, min-numbers: 0")
            self.assertLessEqual(os.path.getsize(out), size)
            self.assertGreater(os.path.getsize(out), 0.9 * size)
        again = self.shrink("again", f"bytes: {size}, min-numbers: 0", "--threads", "1")
        self.assertEqual(sha(again), sha(os.path.join(self.path, "measured.gguf")))

    def test_what_is_written_runs_is_listed_and_goes_to_other_formats(self):
        out = self.shrink("run", "ratio: 0.5, factor-type: q8_0, min-numbers: 0")
        self.assertTrue(kinglet("run", out, "the and", "-n", "6").stdout)
        folder = os.path.join(self.path, "hf")
        kinglet("convert", out, "--format", "safetensors", "-o", folder)
        for path in (out, folder):
            names = {tensor["name"] for tensor in json.loads(kinglet("inspect", path, "--json").stdout)["tensors"]}
            self.assertIn("blk.0.ffn_up.weight.0", names)
            self.assertIn("blk.0.ffn_up.weight.1", names)
            self.assertNotIn("blk.0.ffn_up.weight", names)
        again = self.shrink("twice", "ratio: 0.5", source=out, check=False)
        self.assertNotEqual(again.returncode, 0)

    def test_wrong_options_name_their_line(self):
        for body, message in (("ratio: 0.5, bond: 3", "takes one of bytes, ratio and bond"), ("sites: 2", "takes one of"),
                              ("ratio: 1.5", "ratio takes a number"), ("bond: 0", "bond takes a whole number"),
                              ("ratio: 0.5, sites: 9", "sites takes"), ("ratio: 0.5, profile: measured", "profile goes with bytes"),
                              ("bytes: 9MB, sites: 3", "measured profile is for two sites"), ("ratio: 0.5, factor-type: q9", "no type"),
                              ("ratio: 0.5, only: [nothing]", "no matrix of a layer matches"), ("bytes: 1000, min-numbers: 0", "cannot have")):
            done = self.shrink("wrong", body, check=False)
            self.assertNotEqual(done.returncode, 0, body)
            self.assertIn(message, done.stderr, body)
            self.assertIn("wrong.yaml:2", done.stderr, body)


if __name__ == "__main__":
    unittest.main()
