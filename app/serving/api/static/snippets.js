// The same request as code to copy. It reads the key from a variable and never contains it.

const quoted = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

export function curl(address, body, withKey) {
  const lines = [`curl ${quoted(`${address}classify`)}`, "-H 'content-type: application/json'"];
  if (withKey) lines.push('-H "authorization: Bearer $DOPPELKOPF_API_KEY"');
  lines.push(`-d ${quoted(JSON.stringify(body, null, 2))}`);
  return lines.join(" \\\n  ");
}

export function python(address, { text, ...options }, withKey) {
  // Python reads the escapes of JSON strings in the same way.
  const literal = (value) => (value === true ? "True" : JSON.stringify(value));
  const given = Object.entries(options).map(([name, value]) => `        ${name}=${literal(value)},\n`);
  const where = JSON.stringify(address.replace(/\/$/, ""));
  const key = withKey ? ', api_key=os.environ["DOPPELKOPF_API_KEY"]' : "";
  return `${withKey ? "import os\n\n" : ""}from app.client import DoppelkopfClient

with DoppelkopfClient(${where}${key}) as client:
    answer = client.classify(
        ${literal(text)},
${given.join("")}    )
print(answer.job_category.label, answer.min_education.label)`;
}
