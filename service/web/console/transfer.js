// Bytes to and from S3: with progress, and large files in parts that can be resumed.

import { explain } from "./api.js";
import { elements, textOf } from "./signed-url.js";

const KEY = "s3-signer.uploads";
const MIB = 1024 * 1024;
const LARGE = 16 * MIB;
const SMALLEST_PART = 8 * MIB;
// S3 lists at most this many parts in one answer.
const MOST_PARTS = 1000;
const AT_ONCE = 3;
const ATTEMPTS = 3;

/** An answer of S3 or of the service that ends a transfer. */
export class Refused extends Error {
  constructor(message, answer = null) {
    super(message);
    this.answer = answer;
  }
}

/** Send a request to S3. Resolves to `status` (0: the browser shows no answer), `text`, `etag`; rejects on an abort. */
export function send({ method, url, headers = {}, body = null, onProgress = () => {}, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    const finish = () => {
      signal?.removeEventListener("abort", abort);
      const etag = request.status ? request.getResponseHeader("etag") : null;
      resolve({ status: request.status, text: request.responseText, etag });
    };
    request.open(method, url);
    // A browser sends the length by itself, and refuses to be given one.
    for (const [name, value] of Object.entries(headers))
      if (name !== "content-length") request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded));
    request.addEventListener("load", finish);
    request.addEventListener("error", finish);
    request.addEventListener("abort", () => reject(new DOMException("The transfer was cancelled", "AbortError")));
    signal?.throwIfAborted();
    signal?.addEventListener("abort", abort);
    request.send(body);
  });
}

/** Whether a file goes up in parts. */
export function isLarge(file) {
  return file.size > LARGE;
}

function uploads() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

function keep(name, uploadId) {
  const { [name]: _, ...others } = uploads();
  try {
    localStorage.setItem(KEY, JSON.stringify(uploadId ? { ...others, [name]: uploadId } : others));
  } catch {
    // Storage is blocked: an upload then resumes only while the page is open.
  }
}

function nameOf({ account, bucket, key }, file) {
  return [account, bucket, key, file.size, file.lastModified].join("\n");
}

async function sign(api, { account, bucket }, item) {
  const path = `/aws/storage/${encodeURIComponent(account)}/${encodeURIComponent(bucket)}/$sign`;
  const answer = await api.request("POST", path, { body: { items: [item] } });
  const signed = answer.data?.items?.[0];
  if (!signed?.url) throw new Refused(explain(signed?.outcome ? { ...answer, data: signed.outcome } : answer));
  return signed.url;
}

async function accepted(answer) {
  // S3 may answer the completion with a 200 whose body is an error.
  if (answer.status < 200 || answer.status >= 300 || elements(answer.text, "Error").length)
    throw new Refused("S3 refuses", answer);
  return answer;
}

async function knownParts(api, place, uploadId) {
  const url = await sign(api, place, { method: "GET", filename: place.key, "upload-id": uploadId });
  const answer = await accepted(await send({ method: "GET", url }));
  return new Map(
    elements(answer.text, "Part").map((part) => [Number(textOf(part, "PartNumber")), textOf(part, "ETag")]),
  );
}

/**
 * Upload a file in parts. `place` has account, bucket and key. An earlier upload of this file that was cancelled goes on.
 *
 * Rejects with Refused, or AbortError. A Refused before anything was sent has no `answer`: the service signs no parts.
 */
export async function uploadInParts({ api, place, file, onProgress, signal }) {
  const name = nameOf(place, file);
  const partSize = Math.max(SMALLEST_PART, Math.ceil(file.size / MOST_PARTS));
  const numbers = Array.from({ length: Math.ceil(file.size / partSize) }, (_, index) => index + 1);
  let uploadId = uploads()[name];
  let tags = new Map();
  if (uploadId) {
    try {
      tags = await knownParts(api, place, uploadId);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      uploadId = null;
    }
  }
  if (!uploadId) {
    const type = file.type ? { "content-type": file.type } : {};
    const url = await sign(api, place, { method: "POST", filename: place.key, ...type });
    const created = await accepted(await send({ method: "POST", url, headers: type, signal }));
    uploadId = textOf(created.text, "UploadId");
    keep(name, uploadId);
  }
  const loaded = new Map(numbers.filter((number) => tags.has(number)).map((number) => [number, slice(number).size]));
  const waiting = numbers.filter((number) => !tags.has(number));

  function slice(number) {
    return file.slice((number - 1) * partSize, number * partSize);
  }

  function report(number, bytes) {
    loaded.set(number, bytes);
    onProgress([...loaded.values()].reduce((sum, part) => sum + part, 0));
  }

  async function sendPart(number) {
    for (let attempt = 1; ; attempt++) {
      const url = await sign(api, place, {
        method: "PUT",
        filename: place.key,
        "upload-id": uploadId,
        "part-number": number,
      });
      const answer = await send({
        method: "PUT",
        url,
        body: slice(number),
        onProgress: (bytes) => report(number, bytes),
        signal,
      });
      if (answer.status && answer.status < 500) {
        await accepted(answer);
        report(number, slice(number).size);
        tags.set(number, answer.etag);
        return;
      }
      if (attempt === ATTEMPTS) throw new Refused("S3 gives no answer", answer);
    }
  }

  async function work() {
    while (waiting.length) {
      signal?.throwIfAborted();
      await sendPart(waiting.shift());
    }
  }

  onProgress([...loaded.values()].reduce((sum, part) => sum + part, 0));
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  // Without an ExposeHeaders rule for ETag, the browser hides the tags.
  if ([...tags.values()].includes(null)) tags = await knownParts(api, place, uploadId);
  const parts = numbers.map(
    (number) => `<Part><PartNumber>${number}</PartNumber><ETag>${tags.get(number)}</ETag></Part>`,
  );
  const body = `<CompleteMultipartUpload>${parts.join("")}</CompleteMultipartUpload>`;
  const url = await sign(api, place, { method: "POST", filename: place.key, "upload-id": uploadId });
  const completed = await accepted(await send({ method: "POST", url, body, signal }));
  keep(name, null);
  return completed;
}

/** Delete the parts of an upload that was cancelled. */
export async function discardParts({ api, place, file }) {
  const name = nameOf(place, file);
  const uploadId = uploads()[name];
  keep(name, null);
  if (!uploadId) return;
  const url = await sign(api, place, { method: "DELETE", filename: place.key, "upload-id": uploadId });
  await send({ method: "DELETE", url });
}

/** Whether parts of this file are on S3 already. */
export function hasParts(place, file) {
  return nameOf(place, file) in uploads();
}

/** Whether the server of a URL gives any answer to a request that needs no CORS rule. */
export async function isReachable(url) {
  try {
    await fetch(new URL("/", url), { mode: "no-cors", cache: "no-store", signal: AbortSignal.timeout(5000) });
    return true;
  } catch {
    return false;
  }
}
