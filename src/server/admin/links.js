"use strict";
const token = location.hash.slice(1);
const at = (id) => document.getElementById(id);
async function post(path, body) {
  const reply = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token, ...body }),
  });
  const answer = await reply.json();
  if (!reply.ok) throw new Error(answer.error ? answer.error.message : reply.status);
  return answer;
}
function end(words) {
  at("choices").replaceChildren();
  at("title").textContent = words;
}
async function decide(body) {
  try {
    await post("api/v1/links/answer", body);
    end("Answered");
  } catch (error) {
    end(error.message);
  }
}
function offer(name, body) {
  const button = document.createElement("button");
  button.textContent = name;
  button.addEventListener("click", () => decide(body()));
  at("choices").append(button);
}
async function show() {
  try {
    const ask = await post("api/v1/links", {});
    at("title").textContent = `${ask.agent} asks ${ask.caller}`;
    at("text").textContent = ask.words;
    if (ask.kind === "permission") {
      offer("Allow once", () => ({ decision: "allow" }));
      offer("Deny", () => ({ decision: "deny" }));
      return;
    }
    const words = document.createElement("input");
    at("choices").append(words);
    offer("Answer", () => ({ answer: words.value }));
  } catch (error) {
    at("text").textContent = "";
    end(error.message);
  }
}
show();
