"""The program as its users and their scripts meet it: usage errors, exit codes, streams, signals, the chat in a terminal."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = os.path.abspath(os.environ["KINGLET"])
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def setUpModule():
    global FOLDER, MODEL, ENVIRONMENT
    FOLDER = tempfile.TemporaryDirectory()
    MODEL = os.path.join(FOLDER.name, "tiny.gguf")
    subprocess.run([sys.executable, os.path.join(ROOT, "tools", "make_tiny_model"), "--out", MODEL], check=True, capture_output=True)
    ENVIRONMENT = dict(os.environ, KINGLET_HOME=os.path.join(FOLDER.name, "home"), XDG_STATE_HOME=os.path.join(FOLDER.name, "state"))


def tearDownModule():
    FOLDER.cleanup()


def run(*words, **options):
    options.setdefault("stdin", None if "input" in options else subprocess.DEVNULL)
    if "input" in options:
        options.pop("stdin")
    return subprocess.run([PROGRAM, *words], capture_output=True, timeout=120, env=ENVIRONMENT, **options)


def commands():
    text = run("--help").stdout.decode()
    return re.findall(r"^  ([a-z]+)  +\S", text, re.MULTILINE)


class Usage(unittest.TestCase):
    def fails(self, status, pattern, *words, **options):
        done = run(*words, **options)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(done.stdout, b"")
        self.assertRegex(done.stderr.decode(), pattern)
        return done.stderr.decode()

    def test_without_arguments_the_help_goes_to_standard_error(self):
        self.fails(2, "Usage: kinglet COMMAND")

    def test_every_command_has_help_with_usage_options_and_examples(self):
        names = commands()
        self.assertGreaterEqual(len(names), 12)
        for name in names:
            for words in ((name, "--help"), ("help", name)):
                done = run(*words)
                self.assertEqual(done.returncode, 0)
                for part in ("Usage: kinglet " + name, "--json", "--threads", "Examples:", "kinglet " + name):
                    self.assertIn(part, done.stdout.decode())

    def test_a_misspelled_command_gets_the_nearest_suggested(self):
        self.fails(2, r"there is no command tokenise\nhint: Did you mean kinglet tokenize\?", "tokenise")
        self.fails(2, "there is no command zzzzzz", "zzzzzz")
        self.fails(2, "there is no option --zzz", "--zzz")

    def test_a_misspelled_option_gets_the_nearest_suggested(self):
        self.fails(2, r"^kinglet run: error: there is no option --max-token\nhint: Did you mean --max-tokens\?", "run", MODEL, "x", "--max-token", "5")

    def test_wrong_values_say_what_was_expected(self):
        for option, value in (("--max-tokens", "-1"), ("--max-tokens", "x"), ("--max-tokens", "9" * 30), ("--temperature", "nan"),
                              ("--temperature", "-1"), ("--top-p", "2"), ("--threads", "0"), ("--cache", "f8"), ("--seed", "1.5")):
            self.fails(2, f"^kinglet run: error: {option} expects .*found '{value}'", "run", MODEL, "x", option, value)

    def test_missing_and_surplus_arguments(self):
        self.fails(2, "an argument is missing", "tokenize")
        self.fails(2, "unexpected argument 'c'", "tokenize", MODEL, "b", "c")
        self.fails(2, "expects a value", "tokenize", MODEL, "--file")
        self.fails(2, "both --file and a text", "tokenize", MODEL, "b", "--file", "c")

    def test_what_is_not_there_ends_with_3(self):
        self.fails(3, "no-such-model", "tokenize", "no-such-model", "x")
        self.fails(3, "no-such-file", "tokenize", MODEL, "--file", os.path.join(FOLDER.name, "no-such-file"))

    def test_a_bad_file_ends_with_4(self):
        path = os.path.join(FOLDER.name, "bad.gguf")
        with open(path, "wb") as file:
            file.write(b"PK\x03\x04 this is no model")
        self.fails(4, "error:", "tokenize", path, "x")

    def test_what_is_no_model_file_ends_with_4_and_never_hangs(self):
        folder, pipe = (os.path.join(FOLDER.name, name) for name in ("no-model", "pipe"))
        os.mkdir(folder)
        os.mkfifo(pipe)
        cases = [(folder, "expected a model, found a folder"), (pipe, "found a pipe"), ("/dev/zero", "found a device"),
                 ("/dev/null", "found a device"), ("/", "expected a model, found a folder")]
        for path, message in cases:
            for words in (("inspect", path), ("run", path, "x", "--raw"), ("tokenize", path, "x"), ("pull", path, "--name", "no-such"),
                          ("convert", path, "-o", os.path.join(FOLDER.name, "never")), ("eval", path, "--text", MODEL),
                          ("bench", path)):
                with self.subTest(words):
                    self.assertRegex(self.fails(4, message, *words), r"\nhint: \w")

    def test_a_file_that_may_not_be_read_ends_with_4(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            path = os.path.join(folder, "secret.gguf")
            with open(path, "wb") as file:
                file.write(b"GGUF")
            os.chmod(path, 0)
            user = {}
            if os.access(path, os.R_OK):  # root may read everything: as nobody, then
                user = {"user": 65534, "group": 65534, "extra_groups": []}
                try:
                    subprocess.run([PROGRAM, "version"], check=True, capture_output=True, **user)
                except OSError as error:
                    self.skipTest(f"the program cannot be run as nobody: {error}")
            for words in (("inspect", path), ("run", path, "x", "--raw")):
                self.assertRegex(self.fails(4, "without permission to read", *words, **user), r"\nhint: Look at the owner")

    def test_control_characters_of_names_do_not_reach_the_terminal(self):
        text = self.fails(3, "error:", "tokenize", "no\x1b[31m\x07model", "x")
        self.assertNotIn("\x1b", text)
        self.assertNotIn("\x07", text)


class Streams(unittest.TestCase):
    def test_empty_input_is_a_text(self):
        for done in (run("tokenize", MODEL, "", "--json"), run("tokenize", MODEL, "--json", input=b""), run("tokenize", MODEL, "--file", "/dev/null", "--json")):
            if done.returncode == 0:
                self.assertEqual(json.loads(done.stdout), {"ids": []})
            else:  # a device is refused with a reason
                self.assertIn(b"/dev/null", done.stderr)
        self.assertEqual(json.loads(run("tokenize", MODEL, "--json", input=b"").stdout), {"ids": []})

    def test_tokens_and_text_come_back(self):
        for text in ("Hello, world", "größe 東京 🙂", "a\n\nb", "--raw"):
            ids = json.loads(run("tokenize", MODEL, "--json", "--", text).stdout)["ids"]
            self.assertEqual(json.loads(run("detokenize", MODEL, "--json", *map(str, ids)).stdout), {"text": text})

    def test_lines_are_texts_of_their_own(self):
        done = run("tokenize", MODEL, "--lines", "--json", input=b"a\n\nbc\n")
        lines = [json.loads(line)["ids"] for line in done.stdout.splitlines()]
        self.assertEqual(len(lines), 3)
        self.assertEqual(lines[1], [])
        back = run("detokenize", MODEL, "--lines", input=done.stdout)
        self.assertEqual(back.stdout, b"a\n\nbc\n")

    def test_bytes_that_are_no_utf8_are_taken(self):
        for data in (b"\xff\xfe\x80", b"a\xc3", b"\x00\x01"):
            self.assertEqual(run("tokenize", MODEL, "--json", input=data).returncode, 0)

    def test_ids_outside_the_vocabulary_are_usage_errors(self):
        for word in ("99999999", "-1", "x", "1e3", "4294967296"):
            self.assertEqual(run("detokenize", MODEL, "--", word).returncode, 2, word)

    def test_a_closed_standard_output_is_an_error_with_a_reason(self):
        done = subprocess.run(f'"{PROGRAM}" version >&-', shell=True, capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"standard output cannot be written", done.stderr)

    def test_a_full_disk_ends_with_5(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([PROGRAM, "version"], stdout=full, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 5)

    def test_a_reader_that_leaves_is_no_failure(self):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([PROGRAM, "version"], stdout=writer, stderr=subprocess.PIPE, timeout=60)
        os.close(writer)
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_json_is_one_value_alone_on_standard_output(self):
        for words in (("version",), ("inspect", MODEL), ("run", MODEL, "x", "--max-tokens", "3", "--raw")):
            json.loads(run(*words, "--json").stdout)

    def test_no_escape_sequences_without_a_terminal(self):
        done = run("run", MODEL, "x", "--max-tokens", "3", "--raw")
        self.assertEqual(done.returncode, 0)
        self.assertNotIn(b"\x1b", done.stderr)

    def test_too_little_memory_is_an_error_and_no_signal(self):
        done = subprocess.run(f'ulimit -v 60000; "{PROGRAM}" run "{MODEL}" x --raw --max-tokens 2', shell=True,
                              capture_output=True, timeout=120, env=ENVIRONMENT)
        if b"shared librar" not in done.stderr and b"AddressSanitizer" not in done.stderr and b"ThreadSanitizer" not in done.stderr:
            self.assertIn(done.returncode, (0, 1, 5), done.stderr)


class Signals(unittest.TestCase):
    def ends(self, number, status):
        process = subprocess.Popen([PROGRAM, "tokenize", MODEL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:  # until the handlers stand
            with open(f"/proc/{process.pid}/status", encoding="utf-8") as file:
                caught = re.search(r"^SigCgt:\s*([0-9a-f]+)", file.read(), re.MULTILINE)
            if caught and int(caught[1], 16) & 1 << (number - 1):
                break
            time.sleep(0.01)
        process.send_signal(number)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, status)

    def test_ctrl_c_ends_with_130(self):
        self.ends(signal.SIGINT, 130)

    def test_sigterm_ends_with_143(self):
        self.ends(signal.SIGTERM, 143)


class Completion(unittest.TestCase):
    def test_scripts_name_every_command_and_its_options(self):
        for shell in ("bash", "zsh", "fish"):
            script = run("completion", shell).stdout.decode()
            for name in commands():
                self.assertIn(name, script)
            self.assertIn("max-tokens", script)

    def test_the_bash_script_completes_commands_options_and_choices(self):
        def complete(*words):
            script = ('source <("$0" completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); kinglet() { "$KINGLET" "$@"; }; '
                      '_kinglet; printf "%s\\n" "${COMPREPLY[@]}"')
            return subprocess.run(["bash", "-c", script, PROGRAM, *words], capture_output=True, timeout=60, text=True,
                                  env=dict(ENVIRONMENT, KINGLET=PROGRAM)).stdout.split()
        self.assertEqual(complete("kinglet", "toke"), ["tokenize"])
        self.assertEqual(complete("kinglet", "run", "m", "--max-t"), ["--max-tokens"])
        self.assertEqual(complete("kinglet", "run", "m", "--cache", "b"), ["bf16"])

    def test_man_pages_are_written(self):
        folder = os.path.join(FOLDER.name, "man")
        self.assertEqual(run("completion", "man", folder).returncode, 0)
        self.assertEqual(sorted(os.listdir(folder)), sorted(["kinglet.1"] + [f"kinglet-{name}.1" for name in commands()]))

    def test_an_unknown_shell_is_a_usage_error(self):
        self.assertEqual(run("completion", "tcsh").returncode, 2)


class Chat(unittest.TestCase):
    def test_each_line_of_a_pipe_is_answered(self):
        done = run("chat", MODEL, "--json", "--max-tokens", "4", input=b"one\n\"\"\"two\nlines\"\"\"\nthree \\\nends\n/quit\nnever\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(len(answers), 3)
        self.assertLess(answers[0]["usage"]["prompt_tokens"], answers[2]["usage"]["prompt_tokens"])

    def test_the_conversation_can_be_saved(self):
        path = os.path.join(FOLDER.name, "saved.json")
        run("chat", MODEL, "--json", "--max-tokens", "2", "--system", "S", input=f"hello\n/save {path}\n".encode())
        with open(path, encoding="utf-8") as file:
            messages = json.load(file)
        self.assertEqual([message["role"] for message in messages], ["system", "user", "assistant"])
        self.assertEqual(run("template", MODEL, "--messages", path).returncode, 0)

    def test_in_a_terminal_ctrl_c_stops_the_answer_and_ctrl_d_leaves(self):
        try:
            process, terminal = pty.fork()
        except OSError as error:  # a root without /dev/pts
            self.skipTest(f"no pseudo-terminal: {error}")
        if process == 0:
            os.execve(PROGRAM, [PROGRAM, "chat", MODEL, "--max-tokens", "1000000", "--ignore-eos", "--context", "200000"], dict(ENVIRONMENT, TERM="xterm"))
        seen = b""

        def expect(pattern):
            nonlocal seen
            deadline = time.monotonic() + 60
            while not re.search(pattern, seen):
                self.assertLess(time.monotonic(), deadline, seen[-500:])
                if select.select([terminal], [], [], 1)[0]:
                    seen += os.read(terminal, 65536)
            seen = b""

        try:
            expect(rb"> ")
            os.write(terminal, b"helo\x1b[Dl\r")  # arrow to the left
            expect(rb"hello[^\n]*\n")
            expect(rb".")
            os.write(terminal, b"\x03")
            expect(rb"\[stopped\][\s\S]*> ")
            os.write(terminal, b"/help\r")
            expect(rb"/reset[\s\S]*> ")
            os.write(terminal, b"\x04")
            deadline = time.monotonic() + 60
            while True:
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended:
                    break
                self.assertLess(time.monotonic(), deadline)
                try:
                    if select.select([terminal], [], [], 0.1)[0]:
                        os.read(terminal, 65536)
                except OSError:
                    pass
            process = 0
            self.assertEqual(os.waitstatus_to_exitcode(status), 0)
        finally:
            if process:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
            os.close(terminal)
        with open(os.path.join(ENVIRONMENT["XDG_STATE_HOME"], "kinglet", "history"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "hello\n/help\n")


if __name__ == "__main__":
    unittest.main()
