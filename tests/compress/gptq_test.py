"""The pass gptq from the outside: exact sizes, a better result than plain rounding, resumed runs give the same bytes."""
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KINGLET = os.environ.get("KINGLET", os.path.join(ROOT, "build", "release", "kinglet"))
TEXT = "the and of to in is it that was he for on are with his they at be this from have or by one had not but what all "


def kinglet(*arguments, check=True):
    done = subprocess.run([KINGLET, *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{arguments}: {done.returncode}\n{done.stderr}")
    return done


def sha(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class Gptq(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="gptq-")
        cls.path = cls.folder.name
        cls.models = {}
        for arch in ("llama", "gemma3", "bert"):
            cls.models[arch] = os.path.join(cls.path, arch + ".gguf")
            subprocess.run([sys.executable, os.path.join(ROOT, "tools", "make_tiny_model"), "--arch", arch, "--format", "gguf",
                            "--type", "f32", "--out", cls.models[arch]], check=True, capture_output=True)
        cls.text = os.path.join(cls.path, "text.txt")
        words = TEXT.split()
        with open(cls.text, "w", encoding="utf-8") as file:
            file.write(" ".join(words[(i * i + 3 * i // 7) % len(words)] for i in range(3000)))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def recipe(self, name, body):
        path = os.path.join(self.path, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write("steps:\n  - " + body + "\n")
        return path

    def shrink(self, arch, recipe, name, *more):
        out = os.path.join(self.path, name)
        kinglet("shrink", self.models[arch], "--recipe", recipe, "--text", self.text, "-o", out, *more)
        return out

    def kl(self, model, arch):
        done = kinglet("eval", model, "--against", self.models[arch], "--text", self.text, "--context", "128", "--worst", "0",
                       "--json")
        return json.loads(done.stdout)["kl"]["mean"]

    def test_better_than_plain_rounding_at_the_same_bytes(self):
        for arch in ("llama", "gemma3"):
            plain = self.shrink(arch, self.recipe("p.yaml", "quantize: {type: q4_0}"), f"{arch}-plain.gguf")
            ours = self.shrink(arch, self.recipe("g.yaml", "gptq: {type: q4_0, tokens: 2048}"), f"{arch}-gptq.gguf")
            self.assertEqual(os.path.getsize(plain), os.path.getsize(ours))
            self.assertLess(self.kl(ours, arch), 0.8 * self.kl(plain, arch), arch)

    def test_an_embedding_model(self):
        """Calibrated and planned on lines, as such models read texts; judged on other lines."""
        text = os.path.join(self.path, "lines.txt")
        words = TEXT.split()
        other = os.path.join(self.path, "other-lines.txt")
        for path, step in ((text, 1), (other, 7)):
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(" ".join(words[(i * i * step + k) % len(words)] for i in range(12)) + "\n" for k in range(40))
        distances = []
        for name in ("quantize", "gptq"):
            recipe = self.recipe(name + ".yaml", f"{name}: {{type: k3, tensors: {{token_embd.weight: q8_0}}}}")
            out = os.path.join(self.path, f"bert-{name}.gguf")
            kinglet("shrink", self.models["bert"], "--recipe", recipe, "--text", text, "-o", out, "--no-report")
            done = kinglet("compare", self.models["bert"], out, "--text", other, "--rounds", "0", "--json")
            distances.append(json.loads(done.stdout)["models"][1]["cosine_distance"]["mean"])
        self.assertLess(distances[1], 0.5 * distances[0])
        size = os.path.getsize(out) * 9 // 10
        plan = json.loads(kinglet("shrink", self.models["bert"], "--to", str(size), "--text", text, "--dry-run", "--json").stdout)
        self.assertGreater(plan["predicted_cosine_distance"], 0)
        self.assertIsNone(plan["predicted_kl"])
        done = kinglet("shrink", self.models["bert"], "--to", str(size), "--text", text, "-o", out, "--no-report")
        self.assertLessEqual(os.path.getsize(out), size)
        self.assertNotIn("kind of matrix alone", done.stderr)
        self.assertEqual(os.path.getsize(out), plan["bytes"])
        # The embedding lies in groups by frequency, and common tokens have no fewer bits than rare ones.
        tensors = {each["name"]: each for each in json.loads(kinglet("inspect", out, "--json").stdout)["tensors"]}
        groups = [tensors[name] for name in sorted(tensors) if name.startswith("token_embd.weight.")]
        self.assertEqual(groups[-1]["type"], "I8")
        self.assertEqual(sum(each["shape"][0] for each in groups[:-1]), groups[-1]["shape"][0])
        bits = [each["bytes"] / each["shape"][0] for each in groups[:-1]]
        self.assertEqual(bits, sorted(bits, reverse=True))

    def test_groups_of_rows_change_no_answer(self):
        """Sorting an embedding's rows keeps their values, in every format and after a conversion."""
        grouped = self.shrink("bert", self.recipe("r.yaml", "row_groups: {groups: 3, first: 10}"), "grouped.gguf", "--no-report")
        folder = os.path.join(self.path, "grouped-folder")
        kinglet("convert", grouped, "-o", folder)
        vectors = [json.loads(kinglet("embed", each, "the water of that", "--json").stdout)["embeddings"][0]
                   for each in (self.models["bert"], grouped, folder)]
        self.assertEqual(vectors[0], vectors[1])
        self.assertEqual(vectors[0], vectors[2])
        done = kinglet("shrink", self.models["llama"], "--recipe", os.path.join(self.path, "r.yaml"), "-o", folder + ".gguf",
                       check=False)
        self.assertEqual(done.returncode, 4)
        self.assertIn("encoders", done.stderr)

    def test_threads_and_a_kill_change_no_bit(self):
        recipe = self.recipe("k.yaml", "gptq: {type: q4_1, tokens: 2048}")
        whole = sha(self.shrink("llama", recipe, "whole.gguf", "--threads", "1"))
        out = os.path.join(self.path, "killed.gguf")
        command = [KINGLET, "shrink", self.models["llama"], "--recipe", recipe, "--text", self.text, "-o", out]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not any(f.is_file() for d in [out + ".partial"] if os.path.isdir(d)
                                                 for f in os.scandir(d)):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        subprocess.run(command, check=True, capture_output=True)
        self.assertEqual(sha(out), whole)

    def test_an_encoder_killed_anywhere(self):
        """Biases, norms and tables are fitted beside the matrices: whichever of them stand already, the rest comes out alike."""
        recipe = self.recipe("e.yaml", "row_groups: {first: 8}\n  - gptq: {type: k3, tokens: 512, tensors: {token_embd.weight.0: q8_0}}")
        whole = self.shrink("bert", recipe, "encoder.gguf", "--threads", "1", "--no-report")
        out = os.path.join(self.path, "encoder-killed.gguf")
        command = [KINGLET, "shrink", self.models["bert"], "--recipe", recipe, "--text", self.text, "-o", out, "--no-report"]
        seen = 0
        for least in (3, 8, 13, 21):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and seen < least:
                seen = sum(name.endswith(".tensor") for _, _, names in os.walk(out + ".partial") for name in names)
            process.send_signal(signal.SIGKILL)
            process.wait()
            if os.path.exists(out):
                break
        subprocess.run(command, check=True, capture_output=True)
        self.assertEqual(sha(out), sha(whole))

    def test_a_search_from_one_type_keeps_its_bytes(self):
        """What one matrix gains others pay, the model is better for it, and the recipe that the report shows gives the same file without
        a search."""
        self.models["deep"] = os.path.join(self.path, "deep.gguf")
        subprocess.run([sys.executable, os.path.join(ROOT, "tools", "make_tiny_model"), "--arch", "llama", "--format", "gguf", "--type", "f32",
                        "--layers", "8", "--out", self.models["deep"]], check=True, capture_output=True)
        step = "gptq: {{type: k3, tensors: {{token_embd.weight: q8_0}}, tokens: 512{}}}"
        plain = self.shrink("deep", self.recipe("one.yaml", step.format("")), "one.gguf", "--no-report")
        search = self.recipe("some.yaml", step.format(", search: 8, among: [k2, k3, k4, k5]"))
        found = self.shrink("deep", search, "some.gguf")
        tensors = lambda path: [(each["name"], each["type"], each["bytes"]) for each in  # noqa: E731
                                json.loads(kinglet("inspect", path, "--json").stdout)["tensors"] if len(each["shape"]) == 2]
        self.assertEqual(sum(each[2] for each in tensors(plain)), sum(each[2] for each in tensors(found)))
        self.assertGreater(len({each[1] for each in tensors(found)}), 2)
        self.assertLessEqual({each[1] for each in tensors(found)}, {"K2", "K3", "K4", "K5", "Q8_0"})
        self.assertLess(self.kl(found, "deep"), 0.8 * self.kl(plain, "deep"))
        with open(found + ".report.json", encoding="utf-8") as file:
            recipe = json.load(file)["recipe"]
        self.assertNotIn("search", recipe)
        again = os.path.join(self.path, "again.yaml")
        with open(again, "w", encoding="utf-8") as file:
            file.write(recipe)
        self.assertEqual(sha(found), sha(self.shrink("deep", again, "again.gguf", "--no-report")))
        bad = self.recipe("bad.yaml", step.format(", search: 8, among: [k99]"))
        done = kinglet("shrink", self.models["llama"], "--recipe", bad, "-o", os.path.join(self.path, "b.gguf"), check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("there is no type 'k99'", done.stderr)

    def test_a_search_among_uniform_types(self):
        """What `among` lists is planned, rounded, searched and written, whether or not the planner would look at it by itself."""
        recipe = self.recipe("u.yaml", "gptq: {tokens: 512, among: [u2, u3, k4], search: 4}")
        out = self.shrink("llama", recipe, "u.gguf", "--no-report", "--bits", "3.6")
        tensors = json.loads(kinglet("inspect", out, "--json").stdout)["tensors"]
        types = {each["type"] for each in tensors if len(each["shape"]) == 2}
        self.assertLessEqual(types, {"U2", "U3", "K4"})
        self.assertTrue(types & {"U2", "U3"})
        self.assertGreater(len(kinglet("run", out, "the", "--raw", "--max-tokens", "4").stdout), 0)

    def test_refuses_what_it_cannot_do(self):
        bad = self.recipe("b.yaml", "gptq: {type: q4_0, damping: 0}")
        done = kinglet("shrink", self.models["llama"], "--recipe", bad, "-o", os.path.join(self.path, "b.gguf"), check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("damping", done.stderr)


if __name__ == "__main__":
    unittest.main()
