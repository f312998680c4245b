#!/usr/bin/env python3
"""An agent of five lines: the message is its last argument, its output the answer."""
import sys

words = sys.argv[-1].split()
print(f"{len(words)} words, the longest is {max(words, key=len)!r}.")
