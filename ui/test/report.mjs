// What a run of the tests prints: failures, figures, and the counts at its end.
export default async function* report(source) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for await (const { type, data } of source) {
    if (type === "test:diagnostic" && !/^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) /.test(data.message)) yield `  ${data.message}\n`;
    if (data?.details?.type === "suite" || data?.name?.endsWith(".mjs")) continue;
    if (type === "test:pass") {
      counts[data.skip !== undefined ? "skipped" : "passed"] += 1;
      if (data.skip === undefined) yield `test ${data.name} ... ok\n`;
    } else if (type === "test:fail") {
      counts.failed += 1;
      const error = data.details?.error;
      yield `✗ ${data.name}\n${String(error?.cause?.stack ?? error?.cause ?? error).replace(/^/gm, "    ")}\n`;
    }
  }
  yield `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`;
}
