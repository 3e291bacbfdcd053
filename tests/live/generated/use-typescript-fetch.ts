// Store an account, sign, upload and download with what openapi-generator made of the OpenAPI document.
import { AwsAccountApi, AwsAccountReplacementFromJSON, Configuration, SigningApi } from "./typescript-fetch/index.js";

declare const process: { env: Record<string, string> };
const { SIGNER_URL, ACCOUNT, BUCKET } = process.env;
const configuration = new Configuration({ basePath: SIGNER_URL });
const account = JSON.parse(ACCOUNT);
const accounts = new AwsAccountApi(configuration);
const signing = new SigningApi(configuration);
await accounts.putAwsAccount({ id: account.id, awsAccountReplacement: AwsAccountReplacementFromJSON(account) });
const stored = await accounts.readAwsAccount({ id: account.id });
const key = "generated/typescript-fetch";
const storage = { account: account.id, bucket: BUCKET };
const up = await signing.signUpload({ ...storage, upload: { filename: key } });
await fetch(up.url, { method: "PUT", body: "hello" });
const down = await signing.signDownload({ ...storage, key });
console.log(stored.host, await (await fetch(down.url)).text());
