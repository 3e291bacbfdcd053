// Unit tests of the console's pure modules. test_console_modules.py runs them with node.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

const module = (name) => import(new URL(`../../service/web/console/${name}.js`, import.meta.url));
const { parse, requestAt, toSend, write } = await module("notation");
const { asCurl, asJavaScript, asPython } = await module("snippets");
const { corsRule, diagnose } = await module("diagnosis");
const { duration, keyPath, listing, purpose, signedUrls, terms, textOf, withParameters } = await module("signed-url");
const { api } = await module("api");
const { redact, redactBody } = await module("history");
const { complete, knowledge, operationOf } = await module("completion");
const highlight = await module("highlight");

const SIGNATURE = "0".repeat(64);
const URL_ = `https://s3.example.com/bucket/a.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20240102T030405Z&X-Amz-Expires=60&X-Amz-SignedHeaders=content-type%3Bhost&X-Amz-Signature=${SIGNATURE}`;
const DOCUMENT = `# first
GET /AwsAccount

PUT /AwsAccount
If-Match: 3
Authorization: Basic root:secret

id: a
metadata:
  owner: x

# status: 201
# body:
POST /aws/storage/a/bucket

{"filename": "x"}
`;

describe("the notation", () => {
  test("a document has several requests, and comments are no part of them", () => {
    const [list, put, post] = parse(DOCUMENT);

    assert.deepEqual([list.method, list.path, list.headers, list.body], ["GET", "/AwsAccount", [], ""]);
    assert.deepEqual(put.headers, [
      ["If-Match", "3"],
      ["Authorization", "Basic root:secret"],
    ]);
    assert.equal(put.body, "id: a\nmetadata:\n  owner: x");
    assert.equal(post.body, '{"filename": "x"}');
  });

  test("the request at the cursor is the last one that begins before it", () => {
    const requests = parse(DOCUMENT);

    assert.equal(requestAt(requests, 0), requests[0]);
    assert.equal(requestAt(requests, DOCUMENT.indexOf("owner")), requests[1]);
    assert.equal(requestAt(requests, DOCUMENT.length), requests[2]);
    assert.equal(requestAt([], 5), undefined);
  });

  test("the answer has the format of the body, and is YAML without one", () => {
    const [list, put, post] = parse(DOCUMENT).map(toSend);

    assert.equal(list.headers.accept, "text/yaml");
    assert.equal(put.headers["content-type"], "text/yaml");
    assert.deepEqual([post.headers.accept, post.headers["content-type"]], ["application/json", "application/json"]);
    assert.equal(toSend({ method: "GET", path: "/", headers: [["Accept", "a/b"]], body: "" }).headers.accept, "a/b");
  });

  test("Basic credentials may be written as id:secret", () => {
    const send = (value) =>
      toSend({ method: "GET", path: "/", headers: [["Authorization", value]], body: "" }).headers.authorization;

    assert.equal(send("Basic root:é"), `Basic ${Buffer.from("root:é").toString("base64")}`);
    assert.equal(send("Basic cm9vdDp4"), "Basic cm9vdDp4");
  });

  test("a written request is read as it was", () => {
    const [, put] = parse(DOCUMENT);

    const [again] = parse(write(put));
    assert.deepEqual(
      [again.method, again.path, again.headers, again.body],
      [put.method, put.path, put.headers, put.body],
    );
  });

  test("colours change no character", () => {
    for (const text of [
      DOCUMENT,
      "",
      "\n\n",
      'a: \'b\'\n- c: {d: 1}\n  "e\\"": true',
      "GET /a?b=c d",
      "key:\n  - x # y",
    ]) {
      assert.equal(
        highlight
          .notation(text)
          .map(([, piece]) => piece)
          .join(""),
        text,
      );
      assert.equal(
        highlight
          .body(text, "json")
          .map(([, piece]) => piece)
          .join(""),
        text,
      );
      assert.equal(
        highlight
          .body(text, "yaml")
          .map(([, piece]) => piece)
          .join(""),
        text,
      );
    }
  });
});

describe("signed URLs", () => {
  test("are found in YAML and JSON, once each", () => {
    assert.deepEqual(signedUrls(`url: ${URL_}\n`), [URL_]);
    assert.deepEqual(signedUrls(JSON.stringify({ items: [{ url: URL_ }, { url: URL_ }] })), [URL_]);
    assert.deepEqual(signedUrls("url: https://example.com/"), []);
  });

  test("say when they expire, and which headers they bind", () => {
    assert.deepEqual(terms(URL_), {
      signed: Date.UTC(2024, 0, 2, 3, 4, 5),
      expires: Date.UTC(2024, 0, 2, 3, 5, 5),
      bound: ["content-type"],
    });
  });

  test("have the purpose of their request", () => {
    const of = (method, path, body) => purpose({ method, path, body });

    assert.deepEqual(of("POST", "/aws/storage/a/bb", "filename: 'it''s.txt'"), {
      account: "a",
      bucket: "bb",
      kind: "upload",
      key: "it's.txt",
    });
    assert.equal(of("POST", "/aws/storage/a/bb", '{"filename": "x\\ty"}').key, "x\ty");
    assert.deepEqual(of("POST", "/aws/storage/a/bb/$upload-form?details=true", "starts-with: in/\nmax-size: 5"), {
      account: "a",
      bucket: "bb",
      kind: "form",
      key: "",
      prefix: "in/",
    });
    assert.equal(of("POST", "/aws/storage/a/bb", "filename: x.txt # a comment").key, "x.txt");
    assert.deepEqual(of("GET", "/aws/storage/a/bb/d%C3%A9/x?version-id=3"), {
      account: "a",
      bucket: "bb",
      kind: "download",
      key: "dé/x",
      query: "version-id=3",
    });
    assert.equal(of("GET", "/aws/storage/a/bb/x?method=HEAD").kind, "head");
    assert.equal(of("DELETE", "/aws/storage/a/bb/x").kind, "delete");
    assert.equal(of("GET", "/aws/storage/a/bb?prefix=x").kind, "list");
    assert.equal(of("POST", "/aws/storage/a/bb/$sign", "items: []").kind, "other");
    assert.equal(of("GET", "/AwsAccount"), null);
  });

  test("keys become paths without a character that has another meaning", () => {
    assert.equal(keyPath("a b/é?#%'(.txt"), "a%20b/%C3%A9%3F%23%25%27%28.txt");
  });

  test("a request is repeated with other parameters, each of them once", () => {
    const asked = (path) => withParameters(path, { details: "true", _format: "json" });

    assert.equal(asked("/a/b"), "/a/b?details=true&_format=json");
    assert.equal(asked("/a/b?"), "/a/b?details=true&_format=json");
    assert.equal(
      asked("/a/b?details=false&x=1=?%20&_format=yaml&details"),
      "/a/b?x=1=?%20&details=true&_format=json",
    );
  });

  test("durations are short", () => {
    const cases = [
      [-5, "0 s"],
      [1, "1 s"],
      [61_000, "1 min 1 s"],
      [86_400_000, "24 h"],
      [90_000_000, "25 h"],
      [604_800_000, "7 d"],
    ];
    for (const [given, shown] of cases) assert.equal(duration(given), shown);
  });

  test("a listing is read with its escapes", () => {
    const xml = `<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>a+b%2Bc%C3%A9</Key><Size>3</Size><LastModified>2024-01-02T03:04:05Z</LastModified></Contents>
      <CommonPrefixes><Prefix>photos%2F</Prefix></CommonPrefixes><NextContinuationToken>t&amp;&#34;</NextContinuationToken></ListBucketResult>`;

    assert.deepEqual(listing(xml), {
      objects: [{ key: "a b+cé", size: 3, modified: "2024-01-02T03:04:05Z" }],
      prefixes: ["photos/"],
      next: 't&"',
    });
    assert.deepEqual(listing("<ListBucketResult/>"), { objects: [], prefixes: [], next: null });
    assert.equal(textOf("<Code>A&lt;B</Code>", "Code"), "A<B");
  });

  test("a name that cannot be decoded is a fault of the listing, and another text is shown as it is", () => {
    const contents = (key, type = "") => `<EncodingType>${type}</EncodingType><Contents><Key>${key}</Key></Contents>`;

    assert.throws(() => listing(contents("%zz", "url")));
    assert.throws(() => listing(contents("&#x110000;")));
    assert.throws(() => listing(contents("&#xD800;")));
    assert.throws(() => listing("<CommonPrefixes><Prefix>&#x110000;</Prefix></CommonPrefixes>"));
    assert.equal(listing(contents("%zz")).objects[0].key, "%zz");
    assert.equal(textOf("<Message>&#x110000;</Message>", "Message"), "&#x110000;");
  });

  test("a path that cannot be decoded has a purpose, so that its answer is shown", () => {
    assert.equal(purpose({ method: "GET", path: "/aws/storage/a/b/%zz" }).key, "%zz");
    assert.equal(purpose({ method: "DELETE", path: "/aws/storage/%/b/%zz" }).account, "%");
  });
});

describe("the diagnosis", () => {
  const facts = { url: URL_, page: "http://localhost:8080/", now: 0, expires: 60_000 };
  const cause = (more) => diagnose({ ...facts, status: 0, ...more }).cause;
  const xml = (code, message = "") => `<Error><Code>${code}</Code><Message>${message}</Message></Error>`;

  test("tells blocked requests apart", () => {
    assert.equal(cause({ online: false }), "offline");
    assert.equal(cause({ reachable: true }), "cors");
    assert.equal(cause({}), "unreachable");
    assert.equal(cause({ url: "http://s3.example.com/b", page: "https://signer.example.com/" }), "mixed-content");
    assert.equal(
      cause({ url: "http://127.0.0.1:9000/b", page: "https://signer.example.com/", reachable: true }),
      "cors",
    );
  });

  test("tells an expired URL from a wrong clock", () => {
    assert.equal(cause({ status: 403, body: xml("AccessDenied", "Request has expired"), now: 60_001 }), "expired");
    assert.equal(cause({ status: 403, body: xml("AccessDenied", "Request has expired") }), "clock");
    assert.equal(cause({ status: 403, body: xml("RequestTimeTooSkewed") }), "clock");
  });

  test("explains the codes of S3, and shows those that it does not know", () => {
    assert.equal(diagnose({ ...facts, status: 404, body: xml("NoSuchBucket") }).title, "The bucket does not exist");
    assert.equal(diagnose({ ...facts, status: 500, body: xml("Strange", "why") }).title, "S3 answers 500 Strange");
    assert.equal(diagnose({ ...facts, status: 500, body: xml("Strange", "why") }).text, "why");
    assert.equal(diagnose({ ...facts, status: 502, body: "" }).title, "S3 answers 502");
  });

  test("the CORS rule is for this page alone", () => {
    assert.deepEqual(JSON.parse(corsRule("https://a.example")).CORSRules[0].AllowedOrigins, ["https://a.example"]);
  });
});

describe("the address of a request", () => {
  for (const path of ["/AwsAccount", "//evil.example/x", "///evil.example", "/http://evil.example/", "/javascript:0"]) {
    test(`is one of the service: ${path}`, () => {
      assert.equal(api.urlOf(path), api.base.replace(/\/$/, "") + path);
      assert.equal(new URL(api.urlOf(path)).host, new URL(api.base).host);
    });
  }
});

describe("the history", () => {
  const kept = (body, more = {}) => redact({ method: "PUT", path: "/AwsAccount", headers: [], body, ...more });

  for (const [name, body] of Object.entries({
    plain: "id: a\nsecret-access-key: hunter2\nregion: r",
    quoted: 'id: a\n"secret-access-key": "hunter2"',
    block: "secret: |\n  hunter2\n  hunter2\nid: a",
    folded: "session-token: hunter2\n  hunter2\nid: a",
    list: "- secret: hunter2",
    nested: "a:\n  secret: >-\n\n    hunter2\n  b: c",
    flow: "{secret-access-key: hunter2}",
    "flow in a line": "a: {secret: hunter2}",
    json: '{"a": [{"secret-access-key": "hunter2"}]}',
    "escape in JSON": '{"secr\\u0065t": "hunter2"}',
    "escape in YAML": '"secr\\u0065t": hunter2',
    "complex key": "? secret\n: hunter2",
    "cut off": '{"secret": "hunter2',
    url: `note: ${URL_}`,
    "JSON Patch": '[{"op": "replace", "path": "/secret-access-key", "value": "hunter2"}]',
    "JSON Patch, value first": '[{"value": ["hunter2"], "path": "/session-token", "op": "add"}]',
    "JSON Patch in YAML": "- op: add\n  path: /secret-access-key\n  value: hunter2",
    "JSON Patch in YAML, value first": "- value: hunter2\n  path: /secret-access-key",
    "several lines of a password": "password: 'hunter2\n  hunter2'",
  })) {
    test(`holds no secret: ${name}`, () => {
      assert.doesNotMatch(kept(body), /hunter2|X-Amz-Signature/);
    });
  }

  test("keeps what is no secret", () => {
    assert.equal(redactBody("id: a\nsecret-access-key: x\nregion: r"), "id: a\nsecret-access-key: <secret>\nregion: r");
    assert.equal(redactBody("filename: example.txt"), "filename: example.txt");
    assert.deepEqual(JSON.parse(redactBody('{"id": "a", "secret": "x"}')), { id: "a", secret: "<secret>" });
  });

  test("drops credentials in headers, and secrets in the query", () => {
    assert.equal(
      kept("", {
        headers: [
          ["Authorization", "Basic a:hunter2"],
          ["X-Api-Key", "hunter2"],
          ["If-Match", "3"],
        ],
      }),
      "PUT /AwsAccount\nIf-Match: 3",
    );
    assert.equal(kept("", { path: "/x?token=hunter2" }), "PUT /x");
    assert.equal(kept("", { path: "/x?expiration=5" }), "PUT /x?expiration=5");
    assert.equal(kept("", { path: `/aws/storage/${encodeURIComponent(URL_)}` }), "PUT /");
  });
});

describe("completion", () => {
  const schema = { properties: { filename: { description: "the key" }, "content-type": {} } };
  const body = { content: { "application/json": { schema: { $ref: "#/components/schemas/Upload" } } } };
  const known = knowledge(
    {
      components: { schemas: { Upload: schema } },
      paths: {
        "/AwsAccount": { get: { summary: "List accounts" } },
        "/AwsAccount/{id}": { get: {} },
        "/fhir/AwsAccount": { get: {} },
        "/aws/storage/{account}/{bucket}": { post: { requestBody: body, operationId: "signUpload", tags: ["Sign URLs"] } },
        "/aws/storage/{account}/{bucket}/{key}": { delete: { operationId: "signDelete", tags: ["Sign URLs"] } },
      },
    },
    ["acme"],
  );
  const options = (text) => complete(text, text.length, known)?.options.map((option) => option.text.trim());

  test("offers methods, paths with the ids of accounts, and fields", () => {
    assert.deepEqual(options("P"), ["POST", "PUT", "PATCH"]);
    assert.deepEqual(options("GET /Aws"), ["/AwsAccount", "/AwsAccount/acme"]);
    assert.deepEqual(options("POST /aws/storage/a"), ["/aws/storage/acme/{bucket}"]);
    assert.deepEqual(options("POST /aws/storage/acme/bb\n\nfile"), ["filename:"]);
  });

  test("knows the operation of a request, and its address on the API page", () => {
    const about = (method, path) => operationOf({ method, path }, known)?.about;
    assert.equal(about("POST", "/aws/storage/acme/bb?details=true"), "#tag/sign-urls/signUpload");
    assert.equal(about("DELETE", "/aws/storage/acme/bb/a/b.txt"), "#tag/sign-urls/signDelete");
    assert.equal(about("PUT", "/nowhere"), undefined);
  });

  test("offers nothing that is written already, and nothing in values and comments", () => {
    assert.equal(options("POST /aws/storage/acme/bb\n\nfilename: x\nfile"), undefined);
    assert.equal(options("GET"), undefined);
    assert.equal(options("# GET /"), undefined);
    assert.equal(options("POST /aws/storage/acme/bb\n\nfilename: con"), undefined);
  });
});

describe("snippets", () => {
  const request = { method: "PUT", url: 'http://h/it\'s?a="b"&$x', headers: { accept: "text/yaml" }, body: "a: 'é'\n" };

  test("quote what shells and languages would read", () => {
    assert.ok(asCurl(request).startsWith(`curl -X PUT 'http://h/it'\\''s?a="b"&$x'`));
    assert.ok(asPython(request).includes('"http://h/it\'s?a=\\"b\\"&$x"'));
    assert.ok(asJavaScript(request).includes("body: \"a: 'é'\\n\""));
  });

  test("send a body and an address that curl would change as the browser does", () => {
    const odd = asCurl({ method: "POST", url: "http://h/[1-2]?a={b}é", body: "@file\n" });

    assert.equal(odd, "curl -X POST 'http://h/[1-2]?a={b}%C3%A9' \\\n  --globoff \\\n  --data-raw '@file\n'");
    assert.equal(asCurl({ method: "HEAD", url: "http://h/a%20b" }), "curl -I 'http://h/a%20b'");
  });

  test("send a header without a value", () => {
    const empty = { ...request, headers: { "x-amz-meta-note": "" } };

    assert.ok(asCurl(empty).includes("-H 'x-amz-meta-note;'"));
    assert.ok(asPython(empty).includes('"x-amz-meta-note": "",'));
    assert.ok(asJavaScript(empty).includes('"x-amz-meta-note": "",'));
  });

  test("send a file in pieces, and as data where curl would add its name to the path", () => {
    const upload = (url, headers) => asCurl({ method: "PUT", url, headers, file: "FILE" }).split(" \\\n  ").slice(1);

    assert.deepEqual(upload("http://h/b/a.txt?x=/"), ["--upload-file 'FILE'"]);
    assert.deepEqual(upload("http://h/b/a/?x=1"), ["-H 'content-type:'", "--data-binary '@FILE'"]);
    assert.deepEqual(upload("http://h/b/a/", { "content-type": "text/csv" }), [
      "-H 'content-type: text/csv'",
      "--data-binary '@FILE'",
    ]);
  });

  test("never contain the credentials of the tab", () => {
    for (const make of [asCurl, asPython, asJavaScript]) {
      assert.match(make({ ...request, signedIn: true }), /AUTHORIZATION/);
      assert.doesNotMatch(make(request), /AUTHORIZATION/);
    }
  });
});
