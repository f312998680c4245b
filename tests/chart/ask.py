"""One HTTP request, from JSON on standard input; the answer as JSON on standard output.

A program of its own, because it is run inside the network namespace of the pod.
"""

import http.client
import json
import sys


def main():
    asked = json.load(sys.stdin)
    connection = http.client.HTTPConnection("127.0.0.1", asked["port"], timeout=asked.get("timeout", 30))
    try:
        connection.request(
            asked.get("method", "GET"), asked["path"], asked.get("body"), asked.get("headers", {})
        )
        answer = connection.getresponse()
        print(json.dumps({"status": answer.status, "body": answer.read().decode()}))
    except OSError as error:
        print(json.dumps({"status": 0, "body": str(error)}))


if __name__ == "__main__":
    main()
