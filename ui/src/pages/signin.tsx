// A token is pasted; it stays in this tab.
import { useState } from "preact/hooks";
import { signIn, signInNote } from "../api";

export function SignIn() {
  const [value, setValue] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    const trimmed = value.trim();
    if (/^[\x21-\x7e]+$/.test(trimmed)) signIn(trimmed);
    else signInNote.value = "A token has no spaces and no special characters.";
  };
  return (
    <main class="signin">
      <form onSubmit={submit}>
        <h1 tabIndex={-1}><img src="/ui/icon.svg" alt="" width="34" height="34" /> Pilothouse</h1>
        <label for="token">Token</label>
        <input id="token" type="password" autocomplete="off" spellcheck={false} required value={value} onInput={(event) => setValue(event.currentTarget.value)} aria-describedby="token-help token-note" />
        <button type="submit" class="primary">Sign in</button>
        <p id="token-note" class="error" role="alert">{signInNote.value}</p>
        <p id="token-help" class="quiet">
          The server prints where its token is when it starts. <code>pilothouse token create NAME --scopes read,answer</code> makes one for
          somebody else. It is kept in this tab alone.
        </p>
      </form>
    </main>
  );
}
