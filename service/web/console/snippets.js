// A request as source text of other tools. Pure functions. Credentials of the tab are never part of it.

function shell(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

// A JSON string is also a string of Python and JavaScript, apart from these two characters in old JavaScript.
function quoted(text) {
  return JSON.stringify(text).replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");
}

function headersOf(request) {
  return Object.entries(request.headers ?? {});
}

// curl leaves out a header with nothing after its colon. A semicolon in its place sends the header without a value.
function headerLine([name, value]) {
  return `-H ${shell(value ? `${name}: ${value}` : `${name};`)}`;
}

// --upload-file adds the name of the file to a path that ends in a slash. --data-binary does not, but reads the whole
// file into memory, and adds the type of a form.
function upload(url, file, headers) {
  if (!new URL(url).pathname.endsWith("/")) return [`--upload-file ${shell(file)}`];
  const isTyped = headers.some(([name]) => name.toLowerCase() === "content-type");
  return [...(isTyped ? [] : ["-H 'content-type:'"]), `--data-binary ${shell(`@${file}`)}`];
}

// Browsers escape such characters, and curl does not.
function ascii(url) {
  return url.replace(/[^ -~]+/g, encodeURIComponent);
}

/** Return a command of curl. `request` has `method`, `url`, `headers`, `body` or `file`, and `signedIn`. */
export function asCurl({ method, url, body, file, signedIn, ...request }) {
  const parts = [`curl ${method === "HEAD" ? "-I" : `-X ${method}`} ${shell(ascii(url))}`];
  // curl would replace {a,b} and [1-2] by their values.
  if (/[[\]{}]/.test(url)) parts.push("--globoff");
  const headers = headersOf(request);
  parts.push(...headers.map(headerLine));
  if (signedIn) parts.push('-H "Authorization: $AUTHORIZATION"');
  // --data-binary would read a file for a body that begins with @.
  if (body) parts.push(`--data-raw ${shell(body)}`);
  if (file) parts.push(...upload(url, file, headers));
  return parts.join(" \\\n  ");
}

/** Return a program in Python, with the library requests. */
export function asPython({ method, url, body, signedIn, ...request }) {
  const headers = headersOf(request).map(([name, value]) => `    ${quoted(name)}: ${quoted(value)},`);
  if (signedIn) headers.push('    "authorization": os.environ["AUTHORIZATION"],');
  return [
    signedIn ? "import os\n\nimport requests\n" : "import requests\n",
    "answer = requests.request(",
    `    ${quoted(method)},`,
    `    ${quoted(url)},`,
    headers.length ? `    headers={\n    ${headers.join("\n    ")}\n    },` : null,
    body ? `    data=${quoted(body)}.encode(),` : null,
    "    timeout=10,",
    ")",
    "print(answer.status_code, answer.text)",
  ]
    .filter((line) => line !== null)
    .join("\n");
}

/** Return a program in JavaScript, with fetch. */
export function asJavaScript({ method, url, body, signedIn, ...request }) {
  const headers = headersOf(request).map(([name, value]) => `    ${quoted(name)}: ${quoted(value)},`);
  if (signedIn) headers.push("    authorization: process.env.AUTHORIZATION,");
  return [
    `const answer = await fetch(${quoted(url)}, {`,
    `  method: ${quoted(method)},`,
    headers.length ? `  headers: {\n${headers.join("\n")}\n  },` : null,
    body ? `  body: ${quoted(body)},` : null,
    "});",
    "console.log(answer.status, await answer.text());",
  ]
    .filter((line) => line !== null)
    .join("\n");
}
