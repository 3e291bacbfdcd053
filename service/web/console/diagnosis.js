// Why a request to S3 failed, as far as a browser can know. Pure functions.

import { duration, textOf } from "./signed-url.js";

const CODES = {
  AccessDenied: [
    "S3 denies the request",
    "The owner of the access key may not do this on this bucket. Check the rights of the key.",
  ],
  EntityTooLarge: ["The file is too large", "S3 accepts at most 5 GB in one upload. A form may have a smaller max-size."],
  EntityTooSmall: ["The file is too small", "The form has a min-size."],
  ExpiredToken: ["The session token has expired", "Store new temporary credentials in the account."],
  InvalidAccessKeyId: ["S3 does not know the access key", "Check access-key-id and host of the account."],
  NoSuchBucket: ["The bucket does not exist", "Check its name, and the region and host of the account."],
  NoSuchKey: ["The object does not exist", "Upload it first, or check its name."],
  RequestTimeTooSkewed: ["A clock is wrong", "The clocks of S3 and of the service differ by more than 15 minutes."],
  SignatureDoesNotMatch: [
    "S3 computes another signature",
    "Check secret-access-key and region of the account, and the headers that the URL binds.",
  ],
};

function isLoopback(hostname) {
  return hostname === "localhost" || hostname.endsWith(".localhost") || /^127\./.test(hostname) || hostname === "[::1]";
}

/**
 * Return what is probably wrong: `cause`, `title`, `text`.
 *
 * `status` is 0 if the browser shows no answer. `reachable` is whether a request without CORS got any answer, `online`
 * and `page` are what the browser says, `expires` is when the URL expires, and `now` is the time.
 */
export function diagnose({ status, body = "", url, page, online = true, reachable = false, expires, now }) {
  if (now > expires) {
    return {
      cause: "expired",
      title: "The URL has expired",
      text: `It expired ${duration(now - expires)} ago. Sign a new one.`,
    };
  }
  if (status) {
    const code = textOf(body, "Code");
    const message = textOf(body, "Message");
    if (code === "AccessDenied" && /expired/i.test(message)) {
      const text =
        "S3 says that the URL has expired, and this machine says that it has not. Compare the clocks of S3, the service and this machine.";
      return { cause: "clock", title: "A clock is wrong", text };
    }
    const [title, text] = CODES[code] ?? [
      `S3 answers ${status}${code ? ` ${code}` : ""}`,
      message || "It gives no reason.",
    ];
    return { cause: code === "RequestTimeTooSkewed" ? "clock" : code || "status", title, text };
  }
  const { protocol, hostname, host } = new URL(url);
  if (!online) return { cause: "offline", title: "This machine is offline", text: "The browser has no network." };
  if (new URL(page).protocol === "https:" && protocol === "http:" && !isLoopback(hostname)) {
    const text = `This page came over https, and the URL begins with http. Set use-ssl of the account to true.`;
    return { cause: "mixed-content", title: "The browser blocks http", text };
  }
  if (reachable) {
    const text = `${host} answers, but the bucket has no CORS rule for this page. Add the rule below to the bucket.`;
    return { cause: "cors", title: "The bucket does not allow this page", text };
  }
  const certificate = protocol === "https:" ? ", or the browser does not trust its certificate" : "";
  return {
    cause: "unreachable",
    title: "The S3 server cannot be reached",
    text: `${host} gives no answer${certificate}. Check host of the account, and that the server runs.`,
  };
}

/** Return the CORS rule of a bucket that lets this page use signed URLs, as the AWS command line takes it. */
export function corsRule(origin) {
  const rule = {
    AllowedOrigins: [origin],
    AllowedMethods: ["GET", "HEAD", "PUT", "POST", "DELETE"],
    AllowedHeaders: ["*"],
    ExposeHeaders: ["ETag"],
    MaxAgeSeconds: 3000,
  };
  const fields = Object.entries(rule).map(
    ([name, value]) => `      "${name}": ${JSON.stringify(value).replaceAll(",", ", ")}`,
  );
  return `{\n  "CORSRules": [\n    {\n${fields.join(",\n")}\n    }\n  ]\n}`;
}
