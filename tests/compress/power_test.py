"""The pass power from the outside: types and bytes as planned, less error than the uniform grid, errors with their line."""
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


class Power(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="power-")
        cls.path = cls.folder.name
        cls.model = os.path.join(cls.path, "llama.gguf")
        subprocess.run([sys.executable, os.path.join(ROOT, "tools", "make_tiny_model"), "--arch", "llama", "--format", "gguf", "--type",
                        "f32", "--out", cls.model], check=True, capture_output=True)
        cls.text = os.path.join(cls.path, "text.txt")
        with open(cls.text, "w", encoding="utf-8") as file:
            file.write(" ".join(WORDS[(i * i + 3 * i // 7) % len(WORDS)] for i in range(3000)))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def shrink(self, name, body, *more, check=True):
        recipe, out = os.path.join(self.path, name + ".yaml"), os.path.join(self.path, name + ".gguf")
        with open(recipe, "w", encoding="utf-8") as file:
            file.write("steps:\n  - " + body + "\n")
        done = kinglet("shrink", self.model, "--recipe", recipe, "--text", self.text, "-o", out, "--no-report", *more, check=check)
        return out if check else done

    def kl(self, model):
        done = kinglet("eval", model, "--against", self.model, "--text", self.text, "--context", "128", "--worst", "0", "--json")
        return json.loads(done.stdout)["kl"]["mean"]

    def types(self, model):
        tensors = json.loads(kinglet("inspect", model, "--json").stdout)["tensors"]
        return {tensor["name"]: tensor["type"] for tensor in tensors if len(tensor["shape"]) == 2}

    def test_exponents_are_searched_and_better_than_uniform_at_the_same_bytes(self):
        uniform = self.shrink("uniform", "power: {bits: 3, exponent: 1}")
        searched = self.shrink("searched", "power: {bits: 3}")
        self.assertEqual(set(self.types(uniform).values()), {"P3_100"})
        found = set(self.types(searched).values())
        self.assertTrue(all(each.startswith("P3") and each != "P3_100" for each in found), found)
        self.assertLess(abs(os.path.getsize(uniform) - os.path.getsize(searched)), 64)  # names in the header
        self.assertLess(self.kl(searched), self.kl(uniform))
        one = self.types(self.shrink("one", "power: {bits: 3, exponent: model}"))
        self.assertEqual(len(set(one.values())), 1)

    def test_learned_codes_are_better_and_patterns_win(self):
        plain = self.shrink("plain", "power: {bits: 3}")
        learned = self.shrink("learned", 'power: {bits: 3, learn: true, tokens: 2048, tensors: {"*attn_v*": q8_0}}')
        self.assertLess(self.kl(learned), 0.8 * self.kl(plain))
        for name, kind in self.types(learned).items():
            self.assertEqual(kind == "Q8_0", "attn_v" in name, name)
        self.assertEqual(kinglet("run", learned, "the and", "-n", "4").returncode, 0)

    def test_wrong_options_name_their_line(self):
        for body, message in (("power: {bits: 6}", "bits takes a whole number"), ("power: {exponent: 0.2}", "from 0.5 to 1.2"),
                              ("power: {exponent: nan}", "exponent takes"), ("power: {exponent: x}", "exponent takes"),
                              ("power: {bits: 4, learn: maybe}", "learn takes true or false"),
                              ("power: {tensors: {a: p4_77}}", "there is no type 'p4_77'")):
            done = self.shrink("wrong", body, check=False)
            self.assertEqual(done.returncode, 2, body + done.stderr)
            self.assertIn(message, done.stderr)
            self.assertIn("wrong.yaml:2", done.stderr)


if __name__ == "__main__":
    unittest.main()
