#!/usr/bin/env python3
"""Writes the lines on which tokenizers are compared: English, code, many scripts, emoji, white space, control
characters and broken UTF-8, each line ended by one \\n.

    tools/reference/tokenizer_lines.py OUT [--lines 24000] [--seed 1]

Everything comes from what any Debian machine with Python has (/usr/share/common-licenses, the standard library's own
sources and unicodedata) and from a seeded generator, so the same machine gives the same file.
"""
import argparse
import bisect
import glob
import os
import random
import sysconfig
import unicodedata
from pathlib import Path

SCRIPTS = {  # letters are drawn from these ranges; the names say what a line is
    "latin": [(0xC0, 0x24F), (0x1E00, 0x1EFF)], "greek": [(0x370, 0x3FF), (0x1F00, 0x1FFF)],
    "cyrillic": [(0x400, 0x52F)], "armenian": [(0x531, 0x58F)], "hebrew": [(0x591, 0x5F4)],
    "arabic": [(0x600, 0x6FF), (0x750, 0x77F), (0xFB50, 0xFDFF)], "syriac": [(0x700, 0x74F)],
    "devanagari": [(0x900, 0x97F)], "bengali": [(0x980, 0x9FF)], "gurmukhi": [(0xA00, 0xA7F)],
    "tamil": [(0xB80, 0xBFF)], "telugu": [(0xC00, 0xC7F)], "malayalam": [(0xD00, 0xD7F)], "sinhala": [(0xD80, 0xDFF)],
    "thai": [(0xE01, 0xE5B)], "lao": [(0xE80, 0xEFF)], "tibetan": [(0xF00, 0xFFF)], "myanmar": [(0x1000, 0x109F)],
    "georgian": [(0x10A0, 0x10FF)], "hangul": [(0xAC00, 0xD7A3)], "jamo": [(0x1100, 0x11FF)],
    "ethiopic": [(0x1200, 0x137F)], "khmer": [(0x1780, 0x17FF)], "mongolian": [(0x1800, 0x18AF)],
    "kana": [(0x3041, 0x30FF)], "han": [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF)],
    "gothic": [(0x10330, 0x1034F)], "mathematical": [(0x1D400, 0x1D7FF)],
}
SENTENCES = """Der schnelle braune Fuchs springt über den faulen Hund, und 12 Jäger schauen zu.
Voix ambiguë d'un cœur qui, au zéphyr, préfère les jattes de kiwis à 3,50 €.
El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia y frío; ¿añoraba a su querido cachorro?
Pchnąć w tę łódź jeża lub ośm skrzyń fig.
Příliš žluťoučký kůň úpěl ďábelské ódy.
Съешь же ещё этих мягких французских булок да выпей чаю.
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.
דג סקרן שט בים מאוכזב ולפתע מצא חברה
نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر ومغلف بجلد أزرق
ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश करने वाले विष्णुवतार भगवान श्रीराम।
আমার সোনার বাংলা, আমি তোমায় ভালোবাসি।
யாமறிந்த மொழிகளிலே தமிழ்மொழி போல் இனிதாவது எங்கும் காணோம்
เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน
いろはにほへと ちりぬるを わかよたれそ つねならむ。東京都に住んでいます。
視野無限廣，窗外有藍天。我能吞下玻璃而不伤身体。
다람쥐 헌 쳇바퀴에 타고파. 나는 유리를 먹을 수 있어요.
Tôi có thể ăn thủy tinh mà không hại gì; Đường phố Hà Nội rất đẹp.
მინას ვჭამ და არა მტკივა. Կրնամ ապակի ուտել և ինծի անհանգիստ չըներ։
ሰማይ አይታረስ ንጉሥ አይከሰስ። ខ្ញុំអាចញុំកញ្ចក់បាន ដោយគ្មានបញ្ហា""".split("\n")
EMOJI = ["😀", "😂", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "❤️", "🇩🇪", "🇯🇵🇺🇸", "1️⃣", "👨🏿‍💻", "☃", "🫠", "✈️", "🧑‍🚀", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "©", "™", "→"]
SPACES = [" ", "  ", "   ", "\t", "\t\t", "\r", "\v", "\f", "\x85", "\xa0", "\u1680", "\u2000", "\u2003", "\u2009", "\u200b",
          "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\ufeff", "\u180e", " \t ", " " * 7, " " * 31, " " * 40]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<end_of_turn>", "<start_of_turn>", "<bos>", "<eos>", "<pad>", "<unk>",
           "[CLS]", "[SEP]", "[MASK]", "[UNK]", "<0x0A>", "<tool_call>", "</tool_call>", "<table>", "</table>", "<h1>",
           "<unused7>", "<|fim_prefix|>", "<s>", "</s>", "▁", "▁▁", "Ġ", "##ing", "<|im_end", "[multimodal]", "<b>", "</p>"]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ve", "'M", "'lL", "'D", "'ſ", "’s", "''s", "'", "'x"]
BROKEN = [b"\xff", b"\xc3", b"\xe2\x96", b"\xf0\x9f\x98", b"\xf0\x9f", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80\x80\x80", b"\x80", b"\xbf\xbf",
          b"\xe0\x80\x80", b"\xf4\x90\x80\x80", b"\xfe", b"\xc3\x28", b"\xe2\x28\xa1"]


def pick(random_, ranges, assigned_only=True):
    while True:
        low, high = random_.choice(ranges)
        character = chr(random_.randint(low, high))
        if not assigned_only or unicodedata.category(character) not in ("Cn", "Cs"):
            return character


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        licences = [Path(f).read_text(encoding="utf-8") for f in sorted(glob.glob("/usr/share/common-licenses/*")) if os.path.isfile(f)]
        self.prose = [line for text in licences for line in text.split("\n") if line.strip()]
        library = sysconfig.get_paths()["stdlib"]
        sources = sorted(glob.glob(library + "/*.py") + glob.glob(library + "/json/*.py") + glob.glob(library + "/asyncio/*.py"))
        self.code = [line for f in sources for line in Path(f).read_text(encoding="utf-8", errors="replace").split("\n") if line.strip()]
        self.word_list = sorted({w for line in self.prose for w in line.split()})
        self.code_points = self.all_code_points()

    @staticmethod
    def all_code_points():
        """Every assigned code point of every plane once, 40 a line; of the large uniform blocks a sample."""
        kept = []
        for code in range(1, 0x110000):
            if 0xD800 <= code < 0xE000 or code == 10:
                continue
            sampled = 0x3400 <= code < 0xA000 or 0xAC00 <= code < 0xD7A4 or 0x17000 <= code < 0x18CFF or 0x20000 <= code < 0x323B0
            private = 0xE000 <= code < 0xF900 or code >= 0xE0200
            if (sampled and code % 7) or (private and code % 509):
                continue
            # Unassigned ones too: reference and program may know different versions of Unicode.
            if 0x323B0 <= code < 0xE0000 and code % 997:
                continue
            kept.append(code)
        return kept

    def words(self, low, high):
        return [self.random.choice(self.word_list) for _ in range(self.random.randint(low, high))]

    def script_line(self):
        ranges = SCRIPTS[self.random.choice(sorted(SCRIPTS))]
        return " ".join("".join(pick(self.random, ranges) for _ in range(self.random.randint(1, 9)))
                        for _ in range(self.random.randint(1, 10))).encode()

    def sentence_line(self):
        line = self.random.choice(SENTENCES)
        words = line.split(" ")
        self.random.shuffle(words)
        if self.random.random() < 0.3:
            line = unicodedata.normalize("NFD", line)
        return (line if self.random.random() < 0.2 else " ".join(words)).encode()

    def emoji_line(self):
        return "".join(self.random.choice(EMOJI + [" ", " ok ", "!"]) for _ in range(self.random.randint(1, 14))).encode()

    def space_line(self):
        parts = self.words(1, 6)
        out = "".join(self.random.choice(SPACES) * self.random.randint(1, 3) + part for part in parts)
        return (out + self.random.choice(["", self.random.choice(SPACES)])).encode()

    def control_line(self):
        controls = [chr(c) for c in list(range(0, 10)) + list(range(11, 32)) + list(range(127, 160)) + [0xAD, 0x200D, 0x202E, 0x2066, 0xFFFD, 0xFFFE]]
        return "".join(self.random.choice(controls) * self.random.choice([1, 1, 2]) + self.random.choice(["", "a", " word", "9", "!"])
                       for _ in range(self.random.randint(1, 12))).encode()

    def broken_line(self):
        base = bytearray(self.random.choice([self.sentence_line, self.emoji_line, self.space_line, self.script_line])())
        if self.random.random() < 0.3 and len(base) > 1:
            del base[self.random.randrange(len(base))]
        for _ in range(self.random.randint(1, 4)):
            at = self.random.randint(0, len(base))
            base[at:at] = self.random.choice(BROKEN)
        return bytes(base)

    def number_line(self):
        parts = [str(self.random.randint(0, 10 ** self.random.randint(1, 12))), "3.14", "1,000,000", "0x7F", "½", "²³", "Ⅷ", "٣٤٥", "१२३", "𝟘𝟙", "1e-9",
                 "12:30", "€5", "50%", "v2.0.1", "①"]
        return self.random.choice(["", " ", "  "]).join(self.random.choice(parts) for _ in range(self.random.randint(1, 10))).encode()

    def mixed_line(self):
        pool = SPECIAL + CONTRACTIONS + EMOJI + SPACES + ["\r", "...", "!?", "--", "()", "{}", "_", "\\n", "#", "://", "日本", "да", "été"]
        return "".join(self.random.choice(pool if self.random.random() < 0.6 else self.word_list) for _ in range(self.random.randint(1, 14))).encode()

    def random_line(self):
        out = ""
        for _ in range(self.random.randint(1, 40)):
            out += pick(self.random, [(1, 9), (11, 0x7F), (0x80, 0x2FFF), (0x3000, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x1FFFF)], False)
        return out.encode()

    def long_line(self):
        unit = self.random.choice(["a", "ab", " ", "\t", "é", "日", "😀", "=", "-", "7", "x̣́", "Ab1 ", "\u3000", "haha", "ſ", "'", "\r"])
        return (unit * self.random.randint(50, 400)).encode()

    def lines(self, count):
        shares = [(0.14, lambda: self.random.choice(self.prose).encode()), (0.16, lambda: self.random.choice(self.code).encode()),
                  (0.05, lambda: " ".join(self.words(1, 12)).encode()), (0.14, self.script_line), (0.08, self.sentence_line),
                  (0.06, self.emoji_line), (0.09, self.space_line), (0.05, self.control_line), (0.07, self.broken_line),
                  (0.05, self.number_line), (0.08, self.mixed_line), (0.02, self.random_line), (0.01, self.long_line)]
        edges = [sum(share for share, _ in shares[: k + 1]) for k in range(len(shares))]
        swept = [self.code_points[k : k + 40] for k in range(0, len(self.code_points), 40)]
        if count < 4 * len(swept):  # a small set takes every n-th of the sweep
            swept = swept[:: max(1, 4 * len(swept) // max(count, 1))]
        for k, codes in enumerate(swept):
            yield self.random.choice(["", " ", "a"]).join(map(chr, codes)).encode()
        for _ in range(count - len(swept)):
            maker = shares[min(bisect.bisect(edges, self.random.random()), len(shares) - 1)][1]
            yield maker().replace(b"\n", b" ")


def make_lines(count, seed=1):
    return [line.replace(b"\n", b" ") for line in Generator(seed).lines(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("--lines", type=int, default=24000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with open(arguments.out, "wb") as file:
        for line in make_lines(arguments.lines, arguments.seed):
            file.write(line + b"\n")


if __name__ == "__main__":
    main()
