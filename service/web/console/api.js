// Calls of the service, with the credentials of this tab.

const TOKEN_KEY = "s3-signer.token";
const BASE = new URL("..", import.meta.url);

// A secret is in memory only. A token may survive a reload of the tab, because it ends by itself.
let basic = null;
let token = stored();
let asked = null;
let about = null;
const listeners = new Set();

function stored() {
  try {
    return sessionStorage.getItem(TOKEN_KEY);
  } catch {
    return null;
  }
}

function keep(newToken) {
  token = newToken;
  try {
    if (token) sessionStorage.setItem(TOKEN_KEY, token);
    else sessionStorage.removeItem(TOKEN_KEY);
  } catch {
    // Storage is blocked: the token is in memory only.
  }
}

function basicHeader({ id, secret }) {
  const bytes = new TextEncoder().encode(`${id}:${secret}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}

// A path may look like an address, as in `//example.com` and `/http://example.com`, and is one of the service still.
function urlOf(path) {
  return `${BASE.href.replace(/\/$/, "")}${path}`;
}

async function send(method, path, { headers = {}, body, accept = "application/json", signal, authorization } = {}) {
  const sent = new Headers(headers);
  if (!sent.has("accept")) sent.set("accept", accept);
  if (authorization && !sent.has("authorization")) sent.set("authorization", authorization);
  if (body !== undefined && typeof body !== "string") {
    body = JSON.stringify(body);
    if (!sent.has("content-type")) sent.set("content-type", "application/json");
  } else if (typeof body === "string" && !sent.has("content-type")) {
    sent.set("content-type", /^\s*[{[]/.test(body) ? "application/json" : "text/yaml");
  }
  const started = performance.now();
  const url = urlOf(path);
  const options = { method, headers: sent, body, signal, cache: "no-store", credentials: "omit", redirect: "manual" };
  const answer = await fetch(url, options);
  // The browser hides where a redirect leads.
  const isRedirect = answer.type === "opaqueredirect";
  const text = await answer.text();
  const milliseconds = performance.now() - started;
  const names = Object.fromEntries(answer.headers);
  let data;
  if (/[/+]json/.test(names["content-type"] ?? "")) {
    try {
      data = JSON.parse(text);
    } catch {
      // A proxy may answer with something else.
    }
  }
  const [status, statusText] = isRedirect ? [302, "Found"] : [answer.status, answer.statusText];
  return { status, statusText, headers: names, text, data, milliseconds };
}

async function grantToken(credentials) {
  const body = { grant_type: "client_credentials", client_id: credentials.id, client_secret: credentials.secret };
  const answer = await send("POST", "/auth/token", { body });
  if (answer.status === 200) keep(answer.data.access_token);
  return answer;
}

// What the service says of these credentials: null if they are good, else a sentence.
async function refusal(authorization) {
  const answer = await send("GET", "/$version", { authorization });
  // A 403 is a caller that is known, and may not read the version.
  if (answer.status === 200 || answer.status === 403) return null;
  return explain(answer);
}

/** Return what an answer says in one sentence. */
export function explain(answer) {
  const issue = answer.data?.issue?.[0]?.diagnostics;
  return issue ?? answer.data?.text?.status ?? `The service answers ${answer.status} ${answer.statusText}`;
}

export const api = {
  base: BASE.href,

  /** Return the address to which a request with this path goes. */
  urlOf,

  /** Return the name, version and links of the service, or null if it cannot be reached. */
  about() {
    about ??= send("GET", "/").then(
      (answer) => answer.data ?? null,
      () => null,
    );
    return about;
  },

  /** Asks the person for credentials. The shell replaces it. Returns whether somebody has signed in. */
  ask: async () => false,

  get authorization() {
    if (token) return `Bearer ${token}`;
    return basic ? basicHeader(basic) : null;
  },

  /** The id with which somebody signed in, an empty text for a token, or null. */
  get caller() {
    return basic?.id ?? (token ? "" : null);
  },

  onChange(listener) {
    listeners.add(listener);
  },

  /**
   * Call the service. A 401 leads to the sign-in, and the call is repeated once; with `ask: false` it is the answer.
   * Rejects with TypeError if the service cannot be reached.
   */
  async request(method, path, options = {}) {
    const own = new Headers(options.headers).has("authorization");
    const call = () => send(method, path, { ...options, authorization: api.authorization });
    let answer = await call();
    if (answer.status !== 401 || own) return answer;
    if (token) {
      // The token has ended.
      keep(null);
      if (basic && (await grantToken(basic)).status === 200) answer = await call();
      if (answer.status !== 401) return answer;
      listeners.forEach((listener) => listener());
    }
    if (options.ask === false) return answer;
    asked ??= api.ask().finally(() => (asked = null));
    return (await asked) ? call() : answer;
  },

  /** Sign in. Returns null, or a sentence that says why not. */
  async signIn(credentials) {
    let reason;
    if (credentials.token) {
      reason = await refusal(`Bearer ${credentials.token}`);
      if (!reason) [basic] = [null, keep(credentials.token)];
    } else {
      keep(null);
      const answer = await grantToken(credentials);
      // A Client without the grant type of tokens may still send its secret with each call.
      reason = answer.status === 200 ? null : await refusal(basicHeader(credentials));
      basic = reason ? null : credentials;
    }
    listeners.forEach((listener) => listener());
    return reason;
  },

  /** Forget the credentials, and end a token that this page has asked for. */
  async signOut() {
    const ended =
      token && basic ? send("POST", "/auth/revoke", { body: { token }, authorization: basicHeader(basic) }) : null;
    basic = null;
    keep(null);
    listeners.forEach((listener) => listener());
    await ended?.catch(() => {});
  },
};
