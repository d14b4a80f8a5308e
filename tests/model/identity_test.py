"""One arithmetic: tokens and logits are the same bits for any threads, batch, prompt chunks, instruction set and drafter.

    identity_test.py          SmolLM2 (or a tiny random model where it is not in the store), a minute on two cores
    identity_test.py --full   50 prompts in six languages and code, 5,000 tokens and more, on all three models

The models are those of KINGLET_TEST_MODELS (a folder with NAME.gguf), or of Kinglet's store.
"""
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import unittest

KINGLET = os.environ.get("KINGLET") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build",
                                                    "release", "kinglet")
MAKE_TINY_MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "make_tiny_model")
FULL = "--full" in sys.argv
MODELS = ["smollm2-135m-instruct", "gemma-3-270m", "qwen2.5-coder-0.5b-instruct"]

PROMPTS = [
    # English
    "Why is the sky blue?", "Write a short story about a lighthouse keeper.", "Explain how a bicycle stays upright.",
    "List five uses for old newspapers.", "What is the difference between weather and climate?",
    "Summarise the plot of Romeo and Juliet.", "Give me a recipe for vegetable soup.",
    "How do vaccines work?", "Describe the taste of an orange to someone who has never eaten one.",
    "Repeat this sentence three times: The quick brown fox jumps over the lazy dog. The quick brown fox jumps over",
    # German
    "Warum ist der Himmel blau?", "Schreibe ein kurzes Gedicht über den Herbst.", "Erkläre, wie ein Kühlschrank funktioniert.",
    "Nenne fünf Städte in Deutschland und je eine Sehenswürdigkeit.", "Was ist der Unterschied zwischen Fluss und Bach?",
    "Fasse das Märchen vom Rotkäppchen zusammen.",
    # French
    "Pourquoi le ciel est-il bleu ?", "Raconte une histoire courte sur un chat qui voyage.",
    "Comment fait-on du pain ?", "Quelles sont les saisons de l'année et comment les reconnaître ?",
    "Explique la photosynthèse à un enfant.", "Écris une lettre pour réserver une chambre d'hôtel.",
    # Spanish
    "¿Por qué es azul el cielo?", "Escribe un cuento breve sobre el mar.", "¿Cómo se prepara una tortilla de patatas?",
    "Explica qué es la inflación.", "Nombra los planetas del sistema solar.", "Describe tu ciudad ideal.",
    # Russian
    "Почему небо голубое?", "Напиши короткий рассказ о зиме.", "Как работает двигатель внутреннего сгорания?",
    "Назови пять рек России.", "Объясни, что такое гравитация.",
    # Chinese
    "天空为什么是蓝色的？", "请写一首关于春天的短诗。", "如何学习一门新语言？", "解释一下什么是人工智能。", "介绍一下长城的历史。",
    # Code
    "Write a Python function that returns the n-th Fibonacci number.", "def quicksort(items):\n    \"\"\"Sorts a list.\"\"\"\n",
    "#include <stdio.h>\n\nint main(void) {\n    for (int i = 0; i < 10; i++) {\n",
    "SELECT name, COUNT(*) FROM orders GROUP BY", "Explain this code: for (let i = 0; i < n; i++) { sum += a[i]; }",
    "Write a regular expression that matches an e-mail address.", "class Stack:\n    def __init__(self):\n        self.items = []\n",
    "Write a bash script that renames all .txt files to .md.", "fn main() {\n    let v: Vec<i32> = ",
    "Translate to Python: int gcd(int a, int b) { return b == 0 ? a : gcd(b, a % b); }",
    "<html>\n<head>\n<title>", "{\"name\": \"Ada\", \"age\": 36, \"languages\": [",
    # odd
    "a", " ", "🙂🙃🙂🙃🙂🙃",
]


def find_model(name):
    folder = os.environ.get("KINGLET_TEST_MODELS")
    store = os.environ.get("KINGLET_HOME") or os.path.join(
        os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "kinglet")
    for path in ([os.path.join(folder, name + ".gguf")] if folder else []) + [os.path.join(store, "models", name + ".gguf")]:
        if os.path.exists(path):
            return path
    return None


def run(*command, isa=None):
    environment = dict(os.environ, **({"KINGLET_ISA": isa} if isa else {}))
    done = subprocess.run([KINGLET, *command], capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise AssertionError(f"kinglet {' '.join(command)} ended with status {done.returncode}: {done.stderr}")
    return done.stdout


def has_isa(isa):
    """Whether this machine runs these kernels."""
    done = subprocess.run([KINGLET, "version"], capture_output=True, text=True, check=False,
                          env=dict(os.environ, KINGLET_ISA=isa))
    flags = ""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = file.read()
    needed = {"avx2": [" avx2 "], "avx512": [" avx512vbmi ", " avx512_vnni ", " avx512_bf16 "], "scalar": []}[isa]
    return done.returncode == 0 and all(flag in flags.replace("\n", " \n") for flag in needed)


class Identity(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def models(self):
        wanted = MODELS if FULL else MODELS[:1]
        found = [find_model(name) for name in wanted]
        if FULL:
            self.assertNotIn(None, found, "--full needs all three models: tools/fetch_test_models")
        if None in found:
            tiny = os.path.join(self.folder, "tiny.gguf")
            subprocess.run([sys.executable, MAKE_TINY_MODEL, "--arch", "llama", "--type", "q4_1", "--width", "256", "--out", tiny],
                           check=True)
            print("smollm2-135m-instruct is not in the store: a tiny random model stands in")
            found = [tiny]
        return found

    def answers(self, model, prompts, tokens, *options, isa=None, batch=1):
        """Token ids of each prompt's greedy answer, and log-probabilities: of each token and its best alternatives, every bit."""
        file = os.path.join(self.folder, "prompts.jsonl")
        with open(file, "w", encoding="utf-8") as out:
            for prompt in prompts:
                out.write(json.dumps({"prompt": prompt}) + "\n")
        lines = run("run", model, "--prompts", file, "--batch", str(batch), "--json", "--quiet", "--max-tokens", str(tokens),
                    "--ignore-eos", "--raw", "--logprobs", "2", *options, isa=isa).splitlines()
        values = [json.loads(line) for line in lines]
        self.assertEqual([v["index"] for v in values], list(range(len(prompts))))
        return [{"token_ids": v["token_ids"], "logprobs": v["logprobs"]} for v in values]

    def logits(self, model, ids, *options, isa=None):
        """A digest of all logits of the sequences."""
        names = [os.path.join(self.folder, n) for n in ("ids.json", "logits.npy")]
        with open(names[0], "w", encoding="utf-8") as out:
            json.dump(ids, out)
        run("eval", model, "--ids", names[0], "--logits", names[1], "--json", "--quiet", *options, isa=isa)
        digest = hashlib.sha256()
        with open(names[1], "rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
        return digest.hexdigest()

    def test_tokens_are_the_same_however_they_are_computed(self):
        prompts = PROMPTS if FULL else PROMPTS[::7]
        tokens = 110 if FULL else 12
        for model in self.models():
            expected = self.answers(model, prompts, tokens, "--threads", "1")
            self.assertEqual({len(a["token_ids"]) for a in expected}, {tokens})
            # Where the batch is not the question, it is 8: eight prompts cost little more than one.
            ways = {"2 threads": (["--threads", "2"], {}), "4 threads": (["--threads", "4"], {"batch": 8})}
            ways |= {f"batch {b}": ([], {"batch": b}) for b in (2, 7, 16)}
            ways |= {f"prompt in chunks of {c}": (["--prefill-chunk", str(c)], {"batch": 8}) for c in (1, 7, 64)}
            ways |= {f"{i} kernels": ([], {"isa": i, "batch": 8}) for i in ("avx2", "avx512") if has_isa(i)}
            ways |= {"n-gram drafts": (["--drafter", "ngram"], {}),
                     "n-gram drafts in a batch": (["--drafter", "ngram"], {"batch": 7})}
            for name, (options, how) in ways.items():
                with self.subTest(model=os.path.basename(model), way=name):
                    self.assertEqual(self.answers(model, prompts, tokens, *options, **how), expected)
            print(f"{os.path.basename(model)}: {len(prompts)} prompts, {len(prompts) * tokens} tokens, the same in "
                  f"{len(ways) + 1} ways", flush=True)

    def test_logits_are_the_same_bits(self):
        for model in self.models():
            prompts = PROMPTS[:40:2] if FULL else PROMPTS[::11]
            answers = self.answers(model, prompts, 24)
            ids = [[1, *a["token_ids"], *answers[0]["token_ids"]] for a in answers]
            expected = self.logits(model, ids, "--threads", "1")
            ways = {f"{t} threads": (["--threads", str(t)], None) for t in (2, 4)}
            ways |= {f"chunks of {c}": (["--prefill-chunk", str(c)], None) for c in (1, 7, 64)}
            ways |= {f"{i} kernels": ([], i) for i in ("avx2", "avx512") if has_isa(i)}
            for name, (options, isa) in ways.items():
                with self.subTest(model=os.path.basename(model), way=name):
                    self.assertEqual(self.logits(model, ids, *options, isa=isa), expected)
            print(f"{os.path.basename(model)}: logits of {sum(map(len, ids))} tokens, the same bits in {len(ways) + 1} ways",
                  flush=True)

    def test_a_seed_gives_the_same_text_with_and_without_drafts_and_batches(self):
        model = self.models()[0]
        sampling = ["--temperature", "0.8", "--top-k", "40", "--top-p", "0.9", "--seed", "3"]
        expected = self.answers(model, PROMPTS[:6], 24, *sampling)
        self.assertEqual(self.answers(model, PROMPTS[:6], 24, *sampling, "--drafter", "ngram", batch=3), expected)
        self.assertNotEqual(self.answers(model, PROMPTS[:6], 24, *sampling[:-1], "4"), expected)


if __name__ == "__main__":
    unittest.main(argv=[a for a in sys.argv if a != "--full"])
