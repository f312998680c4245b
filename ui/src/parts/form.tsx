// The fields of a question: options, free words, a form with a schema, or an address to open.
import { useState } from "preact/hooks";
import { visible } from "../text/visible";
import type { Ask, Json, Question } from "../types";

interface Props {
  ask: Ask;
  answer: (body: Json) => Promise<void>;
  isSending: boolean;
}

interface Schema {
  properties?: { [name: string]: { type?: string; title?: string; description?: string; enum?: Json[]; default?: Json } };
  required?: string[];
}

export function QuestionForm({ ask, answer, isSending }: Props) {
  const input = ask.input ?? {};
  if (input.requestedSchema) return <SchemaForm ask={ask} schema={input.requestedSchema as unknown as Schema} answer={answer} isSending={isSending} />;
  if (typeof input.url === "string") return <AddressForm url={input.url} answer={answer} isSending={isSending} />;
  const asked = Array.isArray(input.questions) ? (input.questions as unknown as Question[]) : [];
  const questions = asked.length > 0 ? asked : [{ question: ask.text ?? "", options: (ask.options ?? []).map(({ name }) => ({ label: name })) }];
  return <Questions questions={questions} isSingle={asked.length === 0} answer={answer} isSending={isSending} />;
}

interface QuestionsProps {
  questions: Question[];
  isSingle: boolean;
  answer: Props["answer"];
  isSending: boolean;
}

function Questions({ questions, isSingle, answer, isSending }: QuestionsProps) {
  const [chosen, setChosen] = useState<{ [question: string]: string[] }>({});
  const [words, setWords] = useState<{ [question: string]: string }>({});
  const valueOf = ({ question }: Question) => words[question]?.trim() || (chosen[question] ?? []).join(", ");
  const isReady = questions.every((question) => valueOf(question) !== "");
  const submit = (event: Event) => {
    event.preventDefault();
    if (!isReady) return;
    void answer(isSingle ? { answer: valueOf(questions[0]!) } : { answers: Object.fromEntries(questions.map((one) => [one.question, valueOf(one)])) });
  };
  const choose = ({ question, multiSelect }: Question, label: string, isOn: boolean) => {
    const others = multiSelect ? (chosen[question] ?? []).filter((one) => one !== label) : [];
    setChosen({ ...chosen, [question]: isOn ? [...others, label] : others });
    setWords({ ...words, [question]: "" });
  };
  return (
    <form class="question" onSubmit={submit}>
      {questions.map((one) => (
        <fieldset key={one.question}>
          <legend dir="auto" class={questions.length === 1 ? "hidden" : ""}>{visible(one.question)}</legend>
          {(one.options ?? []).map(({ label, description }) => (
            <label key={label} class="option">
              <input type={one.multiSelect ? "checkbox" : "radio"} name={one.question} checked={(chosen[one.question] ?? []).includes(label)} onChange={(event) => choose(one, label, event.currentTarget.checked)} />
              <span dir="auto"><b>{visible(label)}</b> {description && <span class="quiet">{visible(description)}</span>}</span>
            </label>
          ))}
          <input dir="auto" aria-label={`Other words for: ${one.question}`} placeholder={one.options?.length ? "or in your own words" : "your answer"} value={words[one.question] ?? ""} onInput={(event) => setWords({ ...words, [one.question]: event.currentTarget.value })} />
        </fieldset>
      ))}
      <button type="submit" class="primary" disabled={!isReady || isSending}>Answer</button>
    </form>
  );
}

function SchemaForm({ schema, answer, isSending }: Props & { schema: Schema }) {
  const fields = Object.entries(schema.properties ?? {});
  const [values, setValues] = useState<{ [name: string]: Json }>(Object.fromEntries(fields.map(([name, field]) => [name, field.default ?? (field.type === "boolean" ? false : "")])));
  const set = (name: string, value: Json) => setValues({ ...values, [name]: value });
  const submit = (event: Event) => {
    event.preventDefault();
    const filled = fields.filter(([name]) => values[name] !== "");
    const typed = filled.map(([name, { type }]) => [name, type === "number" || type === "integer" ? Number(values[name]) : values[name]]);
    void answer({ answers: Object.fromEntries(typed) as Json });
  };
  return (
    <form class="question" onSubmit={submit}>
      {fields.map(([name, field]) => (
        <label key={name} class={field.type === "boolean" ? "option" : ""}>
          {field.type === "boolean" && <input type="checkbox" checked={values[name] === true} onChange={(event) => set(name, event.currentTarget.checked)} />}
          <span dir="auto"><b>{visible(field.title ?? name)}</b> {field.description && <span class="quiet">{visible(field.description)}</span>}</span>
          {field.enum && (
            <select required={schema.required?.includes(name)} value={String(values[name])} onChange={(event) => set(name, event.currentTarget.value)}>
              <option value="" />
              {field.enum.map((one) => <option key={String(one)}>{String(one)}</option>)}
            </select>
          )}
          {!field.enum && field.type !== "boolean" && (
            <input dir="auto" inputMode={field.type === "number" || field.type === "integer" ? "decimal" : "text"} required={schema.required?.includes(name)} value={String(values[name])} onInput={(event) => set(name, event.currentTarget.value)} />
          )}
        </label>
      ))}
      <button type="submit" class="primary" disabled={isSending}>Answer</button>
    </form>
  );
}

function AddressForm({ url, answer, isSending }: { url: string; answer: Props["answer"]; isSending: boolean }) {
  const isWeb = /^https?:\/\//i.test(url);
  return (
    <div class="question">
      <p dir="ltr" class="mono">{isWeb ? <a href={url} target="_blank" rel="noopener noreferrer">{visible(url)}</a> : visible(url)}</p>
      <button type="button" class="primary" disabled={isSending} onClick={() => answer({ decision: "allow" })}>It is done</button>
    </div>
  );
}
