// Store an account, sign, upload and download with openapi-fetch and the types of openapi-typescript.
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

declare const process: { env: Record<string, string> };
const { SIGNER_URL, ACCOUNT, BUCKET, KEY } = process.env;
const client = createClient<paths>({ baseUrl: SIGNER_URL });
const { id, ...fields } = JSON.parse(ACCOUNT);
await client.PUT("/AwsAccount/{id}", { params: { path: { id } }, body: fields });
const stored = await client.GET("/AwsAccount/{id}", { params: { path: { id } } });
const key = `openapi-fetch/${KEY}`;
const storage = { account: id, bucket: BUCKET };
const up = await client.POST("/aws/storage/{account}/{bucket}", { params: { path: storage }, body: { filename: key } });
await fetch(up.data!.url, { method: "PUT", body: "hello" });
const down = await client.GET("/aws/storage/{account}/{bucket}/{key}", { params: { path: { ...storage, key } } });
console.log(stored.data!.host, await (await fetch(down.data!.url)).text());

// The compiler refuses bodies with wrong types and unknown fields.
// @ts-expect-error
await client.PUT("/AwsAccount/{id}", { params: { path: { id } }, body: { "path-style": "yes" } });
// @ts-expect-error
await client.PUT("/AwsAccount/{id}", { params: { path: { id } }, body: { path_style: true } });
// @ts-expect-error
await client.POST("/aws/storage/{account}/{bucket}", { params: { path: storage }, body: {} });
