"""What was checked: a line for each, and the count at the end."""

import sys


class Report:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, 0, 0

    def section(self, title):
        print(f"== {title}", flush=True)

    def check(self, name, problems):
        """Passes when there are no problems: a list of texts, or one text, or nothing."""
        problems = [problems] if problems and isinstance(problems, str) else list(problems or [])
        if problems:
            self.failed += 1
            print(f"FAIL  {name}")
            for problem in problems:
                print("      " + str(problem).strip().replace("\n", "\n      "))
        else:
            self.passed += 1
            print(f"pass  {name}")
        sys.stdout.flush()
        return not problems

    def skip(self, name, reason):
        self.skipped += 1
        print(f"skip  {name}: {reason}", flush=True)

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed else 0
