// Store an account, sign, upload and download with what openapi-generator made of the OpenAPI document.
import { AwsAccountReplacementFromJSON, Configuration, SignerApi } from "./typescript-fetch/index.js";

declare const process: { env: Record<string, string> };
const { SIGNER_URL, ACCOUNT, BUCKET, KEY } = process.env;
const account = JSON.parse(ACCOUNT);
const signer = new SignerApi(new Configuration({ basePath: SIGNER_URL }));
await signer.putAwsAccount({ id: account.id, awsAccountReplacement: AwsAccountReplacementFromJSON(account) });
const stored = await signer.readAwsAccount({ id: account.id });
const key = `typescript-fetch/${KEY}`;
const storage = { account: account.id, bucket: BUCKET };
const up = await signer.signUpload({ ...storage, upload: { filename: key } });
await fetch(up.url, { method: "PUT", body: "hello" });
const down = await signer.signDownload({ ...storage, key });
console.log(stored.host, await (await fetch(down.url)).text());
