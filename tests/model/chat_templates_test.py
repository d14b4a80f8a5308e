"""Chat templates of many model families give the text that python3-jinja2 gives."""
import os
import unittest

from reference import compare_templates


class ChatTemplates(unittest.TestCase):
    def test_every_family_and_conversation_equals_jinja2(self):
        cases = [(f"{name}, {conversation}, prompt {variables['add_generation_prompt']}", source, variables)
                 for name, conversation, source, variables in compare_templates.family_cases()]
        self.assertGreaterEqual(len({label.split(",")[0] for label, _, _ in cases}), 30)
        alike, rendered, differences = compare_templates.compare(os.environ["KINGLET"], cases)
        self.assertEqual(differences, [])
        self.assertGreater(rendered, alike // 2)
        print(f"{rendered} texts equal, {alike - rendered} refused by both")


if __name__ == "__main__":
    unittest.main()
