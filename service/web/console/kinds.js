// The kinds of resources that have a view, and what each shows.

const PRESETS = {
  AWS: { host: undefined, "use-ssl": true, "path-style": undefined, region: "us-east-1" },
  MinIO: { host: "127.0.0.1:9000", "use-ssl": false, "path-style": true, region: "us-east-1" },
  Garage: { host: "127.0.0.1:3900", "use-ssl": false, "path-style": true, region: "garage" },
  Ceph: { host: "rgw.example.com", "use-ssl": true, "path-style": true, region: "default" },
  "Cloudflare R2": {
    host: "<account-id>.r2.cloudflarestorage.com",
    "use-ssl": true,
    "path-style": true,
    region: "auto",
  },
  "Backblaze B2": {
    host: "s3.us-west-004.backblazeb2.com",
    "use-ssl": true,
    "path-style": true,
    region: "us-west-004",
  },
};

function clientsOf(policy) {
  if (!policy.link) return "every caller";
  return policy.link.map((link) => link.reference?.split("/")[1] ?? link.id).join(", ");
}

/**
 * By kind: the names and texts, the view, the fields that the form shows first, the required ones, and the columns of the
 * list, each a heading and a function of the resource.
 */
export const KINDS = {
  AwsAccount: {
    title: "Accounts",
    one: "account",
    view: "accounts",
    about: "The keys with which the service signs URLs. A secret can be changed, but nobody can read it back.",
    start: "Add the keys of your S3, and the service signs URLs with them.",
    first: ["access-key-id", "secret-access-key", "region", "host", "use-ssl", "path-style"],
    required: [],
    presets: PRESETS,
    columns: [
      ["Server", (account) => account.host ?? `AWS, ${account.region ?? "us-east-1"}`],
      ["Access key", (account) => account["access-key-id"] ?? "none"],
    ],
  },
  Client: {
    title: "Clients",
    one: "Client",
    view: "clients",
    about: "Who may call the service. What a Client may do is decided by policies.",
    start: "Add a Client for each program that calls the service.",
    first: ["secret", "grant_types", "description"],
    required: [],
    columns: [
      ["Logs in by", (client) => (client.grant_types ?? []).join(", ") || "nothing"],
      ["Description", (client) => client.description ?? ""],
    ],
  },
  AccessPolicy: {
    title: "Policies",
    one: "policy",
    view: "policies",
    about: "What callers may do. A request that no policy allows is denied.",
    start: "Until a policy allows it, a Client may do nothing. The root client needs no policy.",
    first: ["engine", "matcho", "link", "max-expiration", "description"],
    required: ["engine"],
    columns: [
      ["Engine", (policy) => policy.engine],
      ["For", clientsOf],
      ["Description", (policy) => policy.description ?? ""],
    ],
  },
};
