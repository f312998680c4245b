#!/usr/bin/env python3
"""A client that asks what Ark asks of an A2A server, and checks what Ark needs of the answers.

Written from the contract: the card is polled at both paths with the headers of a secret, messages go to the base
address with a slash behind it and without A2A-Version, by message/send (blocking) and message/stream; the content is the
last text artifact; no event may reach 640 KB; a task that asks is an error. Standard library only, no redirects, no proxy.

    ark_client.py URL --header-file Authorization=FILE [--say TEXT --expect TEXT] [--large] [--ask TEXT]
"""
import argparse
import json
import re
import sys
import time
import urllib.error
import urllib.request
import uuid

EVENT_LIMIT = 640 * 1024
WISE_EVENT = 500 * 1000
CARD_TIMEOUT = 30
IDLE_LIMIT = 8 * 60
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?\Z")

results = []


def check(what, right, seen=""):
    """One line for each thing that was looked at."""
    results.append(bool(right))
    print(f"  {'ok  ' if right else 'FAIL'} {what}" + ("" if right else f"   saw: {str(seen)[:400]}"), flush=True)
    return right


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect())


def fetch(request, timeout):
    """Status, headers and body, whatever the status."""
    try:
        with OPENER.open(request, timeout=timeout) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


class Ark:
    def __init__(self, address, headers, timeout):
        self.address, self.headers, self.timeout = address.rstrip("/"), headers, timeout
        self.largest = 0
        self.ids = 0

    # --- the controller: is there an agent, and what is it called ---

    def card(self, path):
        request = urllib.request.Request(self.address + path, headers=dict(self.headers, Accept="application/json"))
        status, headers, body = fetch(request, CARD_TIMEOUT)
        if status != 200:
            raise ValueError(f"{path}: HTTP {status}: {body[:200]!r}")
        return json.loads(body)

    # --- a query ---

    def post(self, method, params, headers=None):
        self.ids += 1
        body = json.dumps({"jsonrpc": "2.0", "id": str(self.ids), "method": method, "params": params}).encode()
        sent = dict(self.headers if headers is None else headers)
        sent["Content-Type"] = "application/json; charset=utf-8"
        sent["traceparent"] = f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01"
        sent["baggage"] = "ark.session.id=s1"
        return urllib.request.Request(self.address + "/", data=body, headers=sent, method="POST")

    def message(self, text, context=None):
        message = {"kind": "message", "messageId": str(uuid.uuid4()), "role": "user", "parts": [{"kind": "text", "text": text}]}
        if context:
            message["contextId"] = context
        return message

    def call(self, method, params):
        status, _, body = fetch(self.post(method, params), self.timeout)
        reply = json.loads(body)
        if status != 200 or "error" in reply:
            raise ValueError(f"{method}: HTTP {status}: {body[:300]!r}")
        return reply["result"]

    def send(self, text, context=None):
        return self.call("message/send", {"message": self.message(text, context), "configuration": {"blocking": True}})

    def stream(self, text, context=None):
        """The results of a stream up to final:true, and whether it came. Comments do not count as life."""
        events, final, data, last = [], False, [], time.monotonic()
        request = self.post("message/stream", {"message": self.message(text, context)})
        request.add_header("Accept", "text/event-stream")
        with OPENER.open(request, timeout=self.timeout) as response:
            kind = response.headers.get_content_type()
            if kind != "text/event-stream":
                raise ValueError(f"message/stream: {kind}: {response.read()[:300]!r}")
            for line in response:
                if time.monotonic() - last > IDLE_LIMIT:
                    raise ValueError("no event for eight minutes")
                line = line.rstrip(b"\r\n")
                if line.startswith(b"data:"):
                    data.append(line[5:].removeprefix(b" "))
                elif not line and data:
                    whole, data, last = b"\n".join(data), [], time.monotonic()
                    self.largest = max(self.largest, len(whole))
                    reply = json.loads(whole)
                    if "error" in reply:
                        raise ValueError(f"message/stream: {reply['error']}")
                    events.append(reply["result"])
                    if reply["result"].get("final"):
                        final = True
                        break
        return events, final


def texts(parts):
    return "".join(part.get("text", "") for part in parts if part.get("kind") == "text")


def text_artifacts(artifacts):
    return [artifact for artifact in artifacts if any(part.get("kind") == "text" for part in artifact.get("parts", []))]


def content(artifacts):
    """What a query answers: the last artifact that has text."""
    found = text_artifacts(artifacts)
    return texts(found[-1]["parts"]) if found else None


def folded(events):
    """The artifacts that a stream makes, in the order in which they began."""
    made = {}
    for event in events:
        if event.get("kind") == "task":
            for artifact in event.get("artifacts") or []:
                made[artifact["artifactId"]] = dict(artifact, parts=list(artifact["parts"]))
        if event.get("kind") == "artifact-update":
            artifact = event["artifact"]
            if event.get("append") and artifact["artifactId"] in made:
                made[artifact["artifactId"]]["parts"] += artifact["parts"]
            else:
                made[artifact["artifactId"]] = dict(artifact, parts=list(artifact["parts"]))
    return list(made.values())


def check_card(ark):
    names = set()
    for path in ("/.well-known/agent-card.json", "/.well-known/agent.json"):
        print(f"card at {path}")
        card = ark.card(path)
        name = re.sub(r"[_ ]", "-", card.get("name", "").lower())
        names.add(name)
        check(f"its name makes a resource's name ({name})", LABEL.match(name), card.get("name"))
        check("url, version, description", all(isinstance(card.get(key), str) and card[key] for key in ("url", "version", "description")), card)
        check("url is an address", re.match(r"https?://[^/]+/?", card.get("url", "")), card.get("url"))
        check("it streams", card.get("capabilities", {}).get("streaming") is True, card.get("capabilities"))
        check("skills", isinstance(card.get("skills"), list) and all("id" in skill and "name" in skill for skill in card["skills"]), card.get("skills"))
        others = [interface.get("transport") for interface in card.get("additionalInterfaces", [])]
        check("JSON-RPC is preferred or offered", card.get("preferredTransport", "JSONRPC") == "JSONRPC" or "JSONRPC" in others, card)
    check("one agent at both", len(names) == 1, names)


def check_task(task, expect):
    check("a task", task.get("kind") == "task", task)
    check("completed", task.get("status", {}).get("state") == "completed", task.get("status"))
    check("its id makes a resource's name", NAME.match(f"a2a-task-{task.get('id')}"), task.get("id"))
    check("a contextId", task.get("contextId"), task)
    artifacts = task.get("artifacts") or []
    check("one text artifact, the last", len(text_artifacts(artifacts)) == 1 and text_artifacts(artifacts)[0] is artifacts[-1], artifacts)
    check("its text is the content", expect(content(artifacts) or ""), content(artifacts))
    said = [texts(message["parts"]) for message in task.get("history", []) if message.get("role") == "agent"]
    check("an older Ark, that joins what the agent said, reads the same", "".join(said) == content(artifacts), said)


def check_send(ark, say, expect):
    print("message/send, blocking")
    began = time.monotonic()
    task = ark.send(say)
    check_task(task, expect)
    print(f"       {time.monotonic() - began:.2f} s")
    got = ark.call("tasks/get", {"id": task["id"], "historyLength": 100})
    check("tasks/get says the same", got.get("artifacts") == task.get("artifacts") and got["status"]["state"] == "completed", got)
    again = ark.send(say, task["contextId"])
    check("the same contextId comes back", again.get("contextId") == task["contextId"], again.get("contextId"))
    check("and another task", again["id"] != task["id"] and again["status"]["state"] == "completed", again["status"])


def check_stream(ark, say, expect):
    print("message/stream")
    ark.largest = 0
    began = time.monotonic()
    events, final = ark.stream(say)
    took = time.monotonic() - began
    check("it ends by final:true", final, events[-1:])
    kinds = [event.get("kind") for event in events]
    check("events that are known", set(kinds) <= {"task", "message", "status-update", "artifact-update"}, kinds)
    check("first the task, last a status", kinds[:1] == ["task"] and kinds[-1:] == ["status-update"], kinds)
    check("completed", events[-1].get("status", {}).get("state") == "completed", events[-1])
    answer = content(folded(events)) or ""
    check("the last text artifact is the content", expect(answer), answer)
    states = [texts((event["status"].get("message") or {}).get("parts", [])) for event in events[:-1] if event.get("kind") == "status-update"]
    check("no status repeats the answer", not any(answer and answer in text for text in states), states)
    check(f"every event is below 640 KB (largest {ark.largest} bytes)", ark.largest < EVENT_LIMIT, ark.largest)
    print(f"       {took:.2f} s, {len(events)} events, {len(answer)} characters")
    return answer


def check_large(ark):
    """An answer above the limit: the demo agent repeats what it is told."""
    print("an answer above one event's limit")
    sent = "".join(f"{number:08}" for number in range(960_000 // 8))
    answer = check_stream(ark, sent, lambda text: len(text) > EVENT_LIMIT)
    check("it is whole", sent in answer, len(answer))
    check("every event is at most 500 KB", ark.largest <= WISE_EVENT, ark.largest)


def check_ask(ark, say):
    print("an agent that asks")
    task = ark.send(say)
    state = task.get("status", {}).get("state")
    check("input-required, which Ark reports as an error", state == "input-required", state)
    check("with words to show", texts((task["status"].get("message") or {}).get("parts", [])), task["status"])
    ended = ark.call("tasks/cancel", {"id": task["id"]})
    check("canceled afterwards", ended["status"]["state"] == "canceled", ended["status"])


def check_headers(ark):
    print("headers from the secret")
    params = {"message": ark.message("x"), "configuration": {"blocking": True}}
    for name, headers in (("without them", {}), ("with wrong ones", {"Authorization": "Bearer wrong"})):
        status, _, body = fetch(ark.post("message/send", params, headers), ark.timeout)
        check(f"refused {name}", status == 401 and b'"result"' not in body, (status, body))


def pair(text):
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError("NAME=VALUE")
    return name, value


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="spec.address")
    parser.add_argument("--header", type=pair, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--header-file", type=pair, action="append", default=[], metavar="NAME=FILE", help="a key of a mounted secret")
    parser.add_argument("--timeout", type=float, default=300, help="spec.timeout, seconds (300)")
    parser.add_argument("--say", default="hello")
    parser.add_argument("--expect", help="the whole answer; else any text")
    parser.add_argument("--large", action="store_true", help="also an answer above 640 KB, of an agent that repeats what it hears")
    parser.add_argument("--ask", metavar="TEXT", help="also words that make the agent ask")
    arguments = parser.parse_args()
    headers = dict(arguments.header)
    for name, file in arguments.header_file:
        with open(file, encoding="utf-8") as opened:
            headers[name] = opened.read().strip()
    ark = Ark(arguments.url, headers, arguments.timeout)

    def expect(text):
        return text == arguments.expect if arguments.expect is not None else bool(text.strip())

    steps = [lambda: check_card(ark), lambda: check_headers(ark)]
    steps += [lambda: check_send(ark, arguments.say, expect), lambda: check_stream(ark, arguments.say, expect)]
    if arguments.large:
        steps.append(lambda: check_large(ark))
    if arguments.ask:
        steps.append(lambda: check_ask(ark, arguments.ask))
    for step in steps:
        try:
            step()
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            check("no answer that can be read", False, f"{type(error).__name__}: {error}")
    print(f"ark client: {sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
