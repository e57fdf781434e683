"""Run by: malleus with web.yaml -- python3 -m unittest test_web"""

import json
import os
import subprocess
import unittest


class Web(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(os.environ["MALLEUS_OUTPUTS"]) as file:
            cls.web = json.load(file)

    def test_greeting(self):
        command = ["malleus", "exec", self.web["instance"], "--", "cat", "/greeting"]
        greeting = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        self.assertEqual(greeting, "hello")
